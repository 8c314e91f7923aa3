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

// lifespansHold checks that nothing is present outside its lifespan: whoever passes over it misses
// nobody.
func lifespansHold(t require.TestingT, x *Index, s *stream) {
	for _, p := range s.processes {
		c := &p.clock
		times := []int64{math.MinInt64, 0, math.MaxInt64}
		for _, at := range []int64{c.Now, c.Stopped, p.floor(), c.Now + int64(x.options.SessionTimeout)} {
			times = append(times, at-1, at, at+1)
		}
		for i := range p.presences {
			q, o := &p.presences[i], boundary.Occupant{Rank: s.key, Process: p.number, Presence: int32(i)}
			for _, from := range append(times, q.Since-1, q.Since, q.Taken-1, q.Taken, q.Last+1) {
				for _, to := range []int64{from, from + 10} {
					if from <= to && x.Present(&o, from, to) {
						require.True(t, q.lifespan.Meets(from, to), "%+v from %d to %d", q, from, to)
					}
				}
			}
		}
	}
}

// TestNobodyIsPresentOutsideItsLifespan draws all that changes when processes are somewhere.
func TestNobodyIsPresentOutsideItsLifespan(t *testing.T) {
	other := boundary.RankKey{Session: "other"}
	rapid.Check(t, func(t *rapid.T) {
		x := New(Options{Repair: true, Window: 40, SessionTimeout: 60, MaxBoundaries: 3, MaxThreads: 3})
		var occupants []boundary.Occupant
		for sequence := range rapid.Int64Range(1, 30).Draw(t, "events") {
			from := Sender{
				Rank: rapid.SampledFrom([]boundary.RankKey{rank0, other}).Draw(t, "rank"), Print: uint64(rapid.IntRange(1, 3).Draw(t, "place")),
				Process: rapid.SampledFrom([]boundary.Process{trainer, worker, {}}).Draw(t, "process"),
			}
			at := rapid.Int64Range(0, 300).Draw(t, "time")
			var added Added
			switch rapid.IntRange(0, 6).Draw(t, "what") {
			case 0, 1:
				kind := rapid.SampledFrom([]Kind{Start, Stop, Stop, Sample, Other}).Draw(t, "kind")
				added = x.Ingest().Observe(&from, &Event{Time: at, Kind: kind})
			case 2, 3:
				added = x.Ingest().Add(&from, &boundary.Boundary{Time: at, Sequence: sequence, ScopeID: "1", Path: boundary.NewPath("step")})
			case 4:
				added = x.Ingest().AddInterval(&from, &boundary.Interval{Start: max(at-50, 0), End: at, Name: "step", ScopeID: "1"})
			case 5:
				if len(occupants) > 1 {
					pick := rapid.SampledFrom(occupants)
					x.Contend(pick.Draw(t, "one"), pick.Draw(t, "other"), rapid.Bool().Draw(t, "same job"))
				}
			case 6:
				if snapshot, ok := x.Snapshot(from.Rank); ok {
					x.Forget(from.Rank)
					require.True(t, x.Restore(&snapshot))
				}
			}
			if added.Lifespan != nil {
				occupants = append(occupants, added.Occupant)
			}
			for _, s := range x.all() {
				lifespansHold(t, x, s)
			}
		}
	})
}

// TestLifespanEndsSoonAfterTheProcess would hold for lifespans without end otherwise.
func TestLifespanEndsSoonAfterTheProcess(t *testing.T) {
	x := New(sessions)
	timeout := int64(sessions.SessionTimeout)
	require.Positive(t, timeout)
	lifespan := observe(x, rank0, trainer, 10*second, Other).Lifespan
	assert.False(t, lifespan.Meets(0, 10*second-1))
	assert.True(t, lifespan.Meets(0, 10*second))
	assert.True(t, lifespan.Meets(10*second+timeout, math.MaxInt64))
	assert.False(t, lifespan.Meets(10*second+2*timeout, math.MaxInt64), "it was silent")

	newer := observe(x, boundary.RankKey{Session: "other"}, worker, 20*second, Other)
	x.Contend(observe(x, rank0, trainer, 10*second, Other).Occupant, newer.Occupant, true)
	assert.False(t, lifespan.Meets(20*second, 20*second), "its restart is there")
	observe(x, rank0, trainer, 21*second, Other)
	assert.True(t, lifespan.Meets(21*second, 21*second), "it never left")

	observe(x, rank0, trainer, 30*second, Stop)
	assert.True(t, lifespan.Meets(30*second, 30*second))
	assert.False(t, lifespan.Meets(30*second+1, math.MaxInt64), "it has stopped")
	observe(x, rank0, trainer, 50*second, Start)
	assert.True(t, lifespan.Meets(50*second, math.MaxInt64), "it has been started again")
}
