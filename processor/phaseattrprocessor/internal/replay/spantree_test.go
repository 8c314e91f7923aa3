// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"cmp"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// listed returns the spans that a function visits.
func listed(visit func(func(*span) bool) bool) (all []*span) {
	visit(func(s *span) bool {
		all = append(all, s)
		return true
	})
	return all
}

// A spanTree is compared with a sorted list, for spans that come and go in order, nearly so, and
// in none.
func TestASpanTreeAnswersAsASortedList(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var tree spanTree
		var all []*span
		spread := rapid.SampledFrom([]int64{0, 3, 50, 1000}).Draw(t, "spread")
		longest := rapid.SampledFrom([]int64{1, 20, 500}).Draw(t, "longest")
		removals := rapid.IntRange(1, 8).Draw(t, "removals")
		remove := func(s *span) {
			at := slices.Index(all, s)
			require.GreaterOrEqual(t, at, 0)
			all = slices.Delete(all, at, at+1)
		}
		for i := range int64(rapid.IntRange(1, 150).Draw(t, "steps")) {
			start := i + rapid.Int64Range(-spread, spread).Draw(t, "start")
			s := &span{start: start, end: start + rapid.Int64Range(1, longest).Draw(t, "length"), number: i}
			if rapid.IntRange(0, 19).Draw(t, "open") == 0 {
				s.end = forever
			}
			tree.insert(s)
			at, _ := slices.BinarySearchFunc(all, s, func(x, y *span) int {
				if x.before(y) {
					return -1
				}
				return 1
			})
			all = slices.Insert(all, at, s)
			for range removals - 5 {
				if len(all) > 0 && rapid.Bool().Draw(t, "remove") {
					s := rapid.SampledFrom(all).Draw(t, "removed")
					tree.remove(s)
					remove(s)
				}
			}
			if len(all) > 0 && rapid.IntRange(0, 9).Draw(t, "evict") < removals {
				earliest := slices.MinFunc(all, func(x, y *span) int { return cmp.Compare(x.end, y.end) }).end
				require.Equal(t, earliest, tree.earliestEnd())
				s := tree.removeFirstToEnd()
				require.Equal(t, earliest, s.end)
				require.Nil(t, s.left)
				require.Nil(t, s.right)
				remove(s)
			}

			require.Equal(t, len(all) == 0, tree.isEmpty())
			var each []*span
			tree.each(func(s *span) { each = append(each, s) })
			require.True(t, slices.Equal(all, each))
			var newest *span
			if len(all) > 0 {
				newest = all[len(all)-1]
			}
			require.Same(t, newest, tree.newest())
			from := rapid.Int64Range(-60, 200).Draw(t, "from")
			to := from + rapid.Int64Range(0, 60).Draw(t, "to")
			var overlapping []*span
			var last, next *span
			for _, s := range all {
				if s.start <= to && s.end > from {
					overlapping = append(overlapping, s)
				}
				if s.start <= to {
					last = s
				} else if next == nil {
					next = s
				}
			}
			got := listed(func(f func(*span) bool) bool { return tree.overlapping(to, from, f) })
			require.True(t, slices.Equal(overlapping, got))
			gotLast, gotNext := tree.around(to)
			require.Same(t, last, gotLast)
			require.Same(t, next, gotNext)
		}
	})
}
