// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/phaseattr/phaseattr/internal/boundary"
)

// segmentsOf returns the segments of an interval, their scopes sorted.
func segmentsOf(x *Index, key boundary.RankKey, from, to int64, whole bool) []Segment {
	var all []Segment
	x.Handle(key).Segments(from, to, whole, math.MaxInt, func(s Segment) bool {
		s.Active = sorted(append([]ScopeInterval(nil), s.Active...))
		all = append(all, s)
		return true
	})
	return all
}

// TestSegmentsTileTheIntervalAndAgreeWithTheMomentsInThem holds for runs with late and
// lost boundaries, for sessions that have ended and for others.
func TestSegmentsTileTheIntervalAndAgreeWithTheMomentsInThem(t *testing.T) {
	for name, repair := range map[string]bool{"strict": false, "repair": true} {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				x := New(Options{Repair: repair})
				run := drawLoss(t, drawRun(t, rank0))
				if len(run) == 0 {
					return
				}
				for _, b := range run {
					b.Time *= 3 // so that there are moments between two boundaries
				}
				addDrawn(t, x, rank0, drawArrival(t, run))
				if rapid.Bool().Draw(t, "ended") {
					end(x, rank0)
				}
				whole := rapid.Bool().Draw(t, "whole")
				from := rapid.Int64Range(run[0].Time-5, run[len(run)-1].Time+5).Draw(t, "from")
				to := from + rapid.Int64Range(1, 300).Draw(t, "length")
				at := from
				for _, s := range segmentsOf(x, rank0, from, to, whole) {
					require.Equal(t, at, s.From)
					require.Less(t, s.From, s.To)
					for at = s.From + 1; at < s.To; at++ {
						require.Equal(t, active(x, rank0, at, whole), s.Active, "at %d of %d to %d", at, s.From, s.To)
					}
					at = s.To
				}
				require.Equal(t, to, at)
			})
		})
	}
}

func TestSegmentsAreUnknownBeforeTheWindowAndOfUnknownRanks(t *testing.T) {
	x := New(Options{Window: 10})
	never := func(Segment) bool { t.Fatal("called"); return false }
	status, all := x.Handle(rank0).Segments(1, 2, false, 1, never)
	assert.Equal(t, Unknown, status)
	assert.True(t, all)
	for at := range int64(5) {
		x.Ingest().Observe(from(rank0), &Event{Time: 100 + at})
	}
	status, all = x.Handle(rank0).Segments(1, 103, false, 1, never)
	assert.Equal(t, BeforeWindow, status)
	assert.True(t, all)
}

func TestSegmentsAreBounded(t *testing.T) {
	x, e := New(Options{}), newEmitter(rank0)
	for range 10 {
		e.now++
		e.enter(1, "step")
		e.now++
		e.exit(1)
	}
	mustAdd(t, x, rank0, e.out...)
	first, last := e.out[0].Time, e.out[len(e.out)-1].Time
	for maxBoundaries, want := range map[int]int{17: 0, 18: 19, 100: 19} {
		calls := 0
		_, all := x.Handle(rank0).Segments(first, last, false, maxBoundaries, func(Segment) bool { calls++; return true })
		assert.Equal(t, want, calls)
		assert.Equal(t, want > 0, all)
	}
	calls := 0
	_, all := x.Handle(rank0).Segments(first, last, false, 100, func(Segment) bool { calls++; return calls < 3 })
	assert.Equal(t, 3, calls)
	assert.False(t, all)
}
