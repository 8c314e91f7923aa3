// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/phaseattr/phaseattr/internal/boundary"
)

// TestTimeline compares a timeline with a sorted list.
func TestTimeline(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var line timeline
		var list []boundary.Boundary
		first := func(at func(boundary.Boundary) bool) int {
			i := slices.IndexFunc(list, at)
			if i < 0 {
				return len(list)
			}
			return i
		}
		locate := func(index int) position {
			p := position{}
			for range index {
				p = line.next(p)
			}
			return p
		}
		times := rapid.OneOf(
			rapid.Int64Range(0, 300),
			rapid.SampledFrom([]int64{math.MinInt64, math.MinInt64 + 1, -1, math.MaxInt64 - 1, math.MaxInt64}),
		)
		insert := func(b boundary.Boundary) {
			index := first(func(other boundary.Boundary) bool {
				return other.Time > b.Time || other.Time == b.Time && other.Sequence >= b.Sequence
			})
			at, found := line.find(keyOf(&b))
			require.Equal(t, index < len(list) && list[index].Time == b.Time && list[index].Sequence == b.Sequence, found)
			require.Equal(t, locate(index), at)
			if found {
				return
			}
			list = slices.Insert(list, index, b)
			at = line.insert(at, entry{time: b.Time, seq: b.Sequence, scope: &frame{}})
			require.Equal(t, locate(index), at)
		}
		t.Repeat(map[string]func(*rapid.T){
			"insert": func(t *rapid.T) {
				insert(boundary.Boundary{Time: times.Draw(t, "time"), Sequence: rapid.Int64Range(0, 3).Draw(t, "sequence")})
			},
			"insert many": func(t *rapid.T) {
				b := boundary.Boundary{Time: times.Draw(t, "time"), Sequence: 9}
				for range rapid.IntRange(0, 2*chunkLength).Draw(t, "count") {
					insert(b)
					b.Time = min(b.Time, math.MaxInt64-3) + 3
				}
			},
			"cut": func(t *rapid.T) {
				index := rapid.IntRange(0, len(list)).Draw(t, "index")
				line.cut(locate(index), func(*entry) {})
				list = list[index:]
			},
			"remove last": func(*rapid.T) {
				if last := len(list) - 1; last >= 0 {
					line.removeLast()
					list = list[:last]
				}
			},
			"search": func(t *rapid.T) {
				time := times.Draw(t, "time")
				index := first(func(b boundary.Boundary) bool { return b.Time >= time })
				require.Equal(t, locate(index), line.search(time))
				require.Equal(t, locate(index), line.searchOldest(time))
			},
			"": func(t *rapid.T) {
				require.Equal(t, len(list), line.count)
				i := 0
				var previous *entry
				for at, e := range line.from(position{}) {
					require.Equal(t, list[i].Time, e.time)
					require.Equal(t, list[i].Sequence, e.seq)
					require.Same(t, e, line.at(at))
					require.Same(t, previous, line.previous(at))
					previous, i = e, i+1
				}
				require.Equal(t, len(list), i)
				require.Same(t, previous, line.last())
				for _, c := range line.chunks {
					require.LessOrEqual(t, len(c.entries), chunkLength)
				}
			},
		})
	})
}
