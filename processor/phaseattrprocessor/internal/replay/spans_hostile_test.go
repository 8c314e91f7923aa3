// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/phaseattr/phaseattr/internal/boundary"
)

// check fails when the spans of a process contradict each other.
func (s *spans) check(t require.TestingT) {
	count, open, perLane := 0, 0, map[*lane]int{}
	unannounced := 0
	var last *span
	s.tree.each(func(sp *span) {
		count++
		perLane[sp.lane]++
		if sp.is(isOpen) {
			open++
		} else if !sp.is(wasAnnounced) {
			unannounced++
		}
		require.True(t, last == nil || last.before(sp))
		require.False(t, sp.is(isMissing))
		last = sp
	})
	require.Equal(t, s.count, count)
	require.Equal(t, s.open, open)
	require.Equal(t, s.unannounced, unannounced)
	require.Len(t, s.lanes, len(perLane))
	for _, l := range s.lanes {
		require.Equal(t, l.spans, perLane[l])
	}
	missing := map[string]int32{}
	s.tree.each(func(sp *span) {
		if sp.parent != nil && sp.parent.is(isMissing) {
			missing[sp.parent.scopeID]++
		}
	})
	s.byID.each(func(sp *span) {
		require.Same(t, sp, s.byID.get(sp.scopeID))
		if sp.is(isMissing) {
			require.Equal(t, missing[sp.scopeID], sp.children)
			delete(missing, sp.scopeID)
		}
	})
	require.Empty(t, missing)
	s.checkBytes(t)
}

// checkBytes fails when the spans are not charged what they take.
func (s *spans) checkBytes(t require.TestingT) {
	bytes, names := 0, map[boundary.Path]int{}
	s.tree.each(func(sp *span) {
		bytes += sp.heap()
		if sp.name != (boundary.Path{}) {
			names[sp.name]++
		}
	})
	s.byID.each(func(sp *span) {
		if sp.is(isMissing) {
			bytes += sp.heap()
		}
	})
	for name := range names {
		bytes += 2 * name.Bytes()
	}
	require.Equal(t, bytes, s.bytes)
	require.Equal(t, names, s.names)
	require.Equal(t, s.tree.root.latest(), s.tree.last)
	for i, sp := range s.tree.recent {
		require.True(t, i > 0 || s.tree.last == nil || s.tree.last.before(sp))
		require.LessOrEqual(t, s.tree.earliestRecent, sp.end)
		require.GreaterOrEqual(t, s.tree.latestRecent, sp.end)
	}
	for _, sp := range s.free {
		require.Equal(t, &span{}, sp)
	}
}

// latest returns the last span of a tree.
func (sp *span) latest() *span {
	for sp != nil && sp.right != nil {
		sp = sp.right
	}
	return sp
}

func TestWhateverComesStaysWithinItsBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		options := Options{
			Repair: true, Window: time.Duration(rapid.SampledFrom([]int64{0, 20, 100}).Draw(t, "window")), SessionTimeout: 1000,
			MaxRanks: 5, MaxThreads: 3, MaxOpen: 4, MaxBoundaries: 30, MaxTotal: 50, MaxDepth: 3, MaxLabelBytes: 40,
		}
		x := New(options)
		times := rapid.OneOf(rapid.Int64Range(0, 200), rapid.Int64Range(0, 200), rapid.Int64())
		ids := rapid.SampledFrom([]string{"", "a", "b", "c", "d", "e", "f", "g"})
		names := rapid.SampledFrom([]string{"", "step", "forward", "backward"})
		lanes := rapid.SampledFrom([]string{"", "", "", "1", "loader", "saver", "other"})
		in := x.Ingest()
		for range rapid.IntRange(1, 80).Draw(t, "events") {
			from := spanSender
			from.Process.PID = rapid.Int64Range(7, 8).Draw(t, "process")
			from.Aside = rapid.IntRange(0, 9).Draw(t, "aside") == 0
			from.Feed = rapid.SampledFrom([]*Feed{nil, {Grace: 10}, {Peers: true, Grace: 5}, {}}).Draw(t, "feed")
			switch rapid.IntRange(0, 9).Draw(t, "kind") {
			case 0, 1, 2, 3:
				iv := boundary.Interval{
					Start: times.Draw(t, "start"), ScopeID: ids.Draw(t, "id"), ParentScopeID: ids.Draw(t, "parent"),
					Lane: lanes.Draw(t, "lane"), Name: names.Draw(t, "name"), Open: rapid.IntRange(0, 3).Draw(t, "open") == 0,
				}
				iv.End = rapid.OneOf(rapid.Just(iv.Start+10), rapid.Just(iv.Start), times).Draw(t, "end")
				if rapid.Bool().Draw(t, "path") {
					iv.Path = boundary.NewPath(iv.Name, names.Draw(t, "leaf"))
				}
				in.AddInterval(&from, &iv)
			case 4, 5, 6:
				b := boundary.Boundary{
					Time: times.Draw(t, "time"), Sequence: rapid.Int64Range(-1, 40).Draw(t, "sequence"), Lane: lanes.Draw(t, "lane"),
					Name: names.Draw(t, "name"), Action: boundary.Action(rapid.IntRange(0, 1).Draw(t, "action")),
				}
				b.Began = rapid.SampledFrom([]int64{0, b.Time - 10, b.Time, math.MaxInt64}).Draw(t, "began")
				in.Add(&from, &b)
			case 7:
				in.Observe(&from, &Event{
					Time: times.Draw(t, "time"), Kind: Kind(rapid.IntRange(0, 3).Draw(t, "event")),
					Numbered: rapid.Bool().Draw(t, "numbered"), Sequence: rapid.Int64Range(-1, 40).Draw(t, "sequence"),
				})
			case 8:
				in.Flush()
			case 9:
				in.Flush()
				snapshot, ok := x.Snapshot(spanSender.Rank)
				if ok {
					restored := New(options)
					require.True(t, restored.Restore(&snapshot))
					x, in = restored, restored.Ingest()
				}
			}
			if s := x.stream(spanSender.Rank); s != nil {
				for _, p := range s.processes {
					if p.spans != nil {
						p.spans.check(t)
					}
				}
			}
			require.LessOrEqual(t, x.Stats().Boundaries, int64(30))
			require.GreaterOrEqual(t, x.Stats().OpenScopes, int64(0))
			at := times.Draw(t, "asked")
			to := at + rapid.Int64Range(0, 50).Draw(t, "length")
			h := x.Handle(spanSender.Rank)
			var c Coverage
			scopes, status := h.Active(nil, at, rapid.Bool().Draw(t, "whole"))
			require.Less(t, status, Incomplete+1, fmt.Sprint(scopes))
			if to > at {
				h.Over(nil, &c, at, to)
				h.ScopeOver(nil, "a", at, to)
				h.Segments(at, to, false, 100, func(Segment) bool { return true })
			}
			h.At(at, max(at, to))
			h.NoteLookup(at, 1)
			h.Each(at)
		}
		in.Flush()
		x.Forget(spanSender.Rank)
		require.Zero(t, x.Stats().Boundaries)
		require.Zero(t, x.Stats().OpenScopes)
	})
}
