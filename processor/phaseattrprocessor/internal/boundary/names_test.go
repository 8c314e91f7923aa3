// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package boundary

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"pgregory.net/rapid"
)

func mapOf(t require.TestingT, raw object) pcommon.Map {
	m := pcommon.NewMap()
	require.NoError(t, m.FromRaw(raw))
	return m
}

func TestNamesAreTheSameWhenAddedTwice(t *testing.T) {
	names := NewKeySet()
	gpu, rank := names.Add("gpu"), names.Add("rank")
	assert.Equal(t, gpu, names.Add("gpu"))
	assert.NotEqual(t, gpu.Mask(), rank.Mask())
	for _, name := range telemetryNames() {
		assert.Equal(t, name, names.Add(name.text))
	}
}

func TestPlacesTellWhichNamesTheyHave(t *testing.T) {
	names := NewKeySet()
	gpu, rank, empty := names.Add("gpu"), names.Add("rank"), names.Add("")
	place := names.Scan(mapOf(t, object{"gpu": "0", "": "empty", "upg": "1", "origin_thread_id": int64(1)}))
	assert.Equal(t, gpu.Mask()|empty.Mask()|originThreadBit, place.Present())
	assert.False(t, place.Present().Any(rank.Mask()))
	assert.Zero(t, names.Scan(pcommon.Map{}))
}

// What was looked through gives the same values as what was not, however many names
// there are, and whatever they are.
func TestFieldsAreTheSameLookedThroughOrNot(t *testing.T) {
	key := rapid.OneOf(
		rapid.SampledFrom([]string{"", "a", "b", "ab", "ba", "rank", "metadata", "origin_thread_id"}),
		rapid.Map(rapid.IntRange(0, 200), func(n int) string { return fmt.Sprintf("name-%d", n) }),
	)
	rapid.Check(t, func(t *rapid.T) {
		names := NewKeySet()
		var known []Key
		for _, text := range rapid.SliceOfN(key, 0, 150).Draw(t, "names") {
			known = append(known, names.Add(text))
		}
		var maps [4]pcommon.Map
		for i := range maps {
			if rapid.Bool().Draw(t, "there") {
				maps[i] = pcommon.NewMap()
				for _, text := range rapid.SliceOfN(key, 0, 8).Draw(t, "keys") {
					maps[i].PutStr(text, fmt.Sprint(i, text))
				}
			}
		}
		plain := NewFields(maps[0], maps[1], maps[2], maps[3])
		var looked Fields
		looked.SetRecord(names.Scan(maps[0]), names.Scan(maps[1]))
		looked.SetScope(names.Scan(maps[2]), names.Scan(maps[3]))
		for i, name := range known {
			want, wanted := plain.Find(name)
			got, found := looked.Find(name)
			require.Equal(t, wanted, found)
			require.Equal(t, want, got)
			wantAny, _ := plain.FindAny(known[i:])
			gotAny, _ := looked.FindAny(known[i:])
			require.Equal(t, wantAny, gotAny)
		}
		if maps[0] == (pcommon.Map{}) {
			return
		}
		for text := range maps[0].All() {
			got, found := looked.Get(text)
			require.True(t, found)
			require.Equal(t, fmt.Sprint(0, text), got.Str())
		}
	})
}
