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

func TestAddingAKeyAgainReturnsTheSameKey(t *testing.T) {
	keys := NewKeySet()
	gpu, rank := keys.Add("gpu"), keys.Add("rank")
	assert.Equal(t, gpu, keys.Add("gpu"))
	assert.NotEqual(t, gpu.Mask(), rank.Mask())
	for _, key := range telemetryKeys() {
		assert.Equal(t, key, keys.Add(key.text))
	}
}

func TestScanFindsTheKeysOfAMap(t *testing.T) {
	keys := NewKeySet()
	gpu, rank, empty := keys.Add("gpu"), keys.Add("rank"), keys.Add("")
	var f Fields
	f.ScanRecord(keys, mapOf(t, object{"gpu": "0", "": "empty", "upg": "1", "origin_thread_id": int64(1)}), pcommon.Map{})
	f.ScanScope(keys, pcommon.Map{}, mapOf(t, object{"rank": int64(1)}))
	assert.Equal(t, rank.Mask(), f.Present())
	f.ScanRecord(keys, mapOf(t, object{"gpu": "0", "": "empty", "upg": "1", "origin_thread_id": int64(1)}), pcommon.Map{})
	assert.Equal(t, gpu.Mask()|empty.Mask()|originThreadMask, f.Own())
	f.Clear()
	assert.Zero(t, f.Present())
	_, found := f.Find(gpu)
	assert.False(t, found)
}

// However many keys there are, and whatever their names.
func TestFieldsAreTheSameScannedOrNot(t *testing.T) {
	name := rapid.OneOf(
		rapid.SampledFrom([]string{"", "a", "b", "ab", "ba", "rank", "metadata", "origin_thread_id"}),
		rapid.Map(rapid.IntRange(0, 200), func(n int) string { return fmt.Sprintf("name-%d", n) }),
	)
	rapid.Check(t, func(t *rapid.T) {
		keys := NewKeySet()
		var known []Key
		for _, text := range rapid.SliceOfN(name, 0, 150).Draw(t, "known") {
			known = append(known, keys.Add(text))
		}
		var maps [4]pcommon.Map
		for i := range maps {
			if rapid.Bool().Draw(t, "exists") {
				maps[i] = pcommon.NewMap()
				for _, text := range rapid.SliceOfN(name, 0, 8).Draw(t, "names") {
					maps[i].PutStr(text, fmt.Sprint(i, text))
				}
			}
		}
		plain := NewFields(maps[0], maps[1], maps[2], maps[3])
		var scanned Fields
		scanned.ScanScope(keys, maps[2], maps[3])
		scanned.ScanRecord(keys, maps[0], maps[1])
		for i, key := range known {
			want, wanted := plain.Find(key)
			got, found := scanned.Find(key)
			require.Equal(t, wanted, found)
			require.Equal(t, want, got)
			wantAny, _ := plain.FindAny(KeysOf(known[i:]...))
			gotAny, _ := scanned.FindAny(KeysOf(known[i:]...))
			require.Equal(t, wantAny, gotAny)
		}
		if maps[0] == (pcommon.Map{}) {
			return
		}
		for text := range maps[0].All() {
			got, found := scanned.Get(text)
			require.True(t, found)
			require.Equal(t, fmt.Sprint(0, text), got.Str())
		}
	})
}
