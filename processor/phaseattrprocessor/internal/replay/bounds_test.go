// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/boundary"
)

func TestNewGroupIsRefusedAtTheBound(t *testing.T) {
	x := New(Options{MaxRanks: 2})
	for rank := range int64(3) {
		want := Accepted
		if rank == 2 {
			want = TooManyRanks
		}
		group := boundary.RankKey{Session: "s", Rank: rank}
		assert.Equal(t, want, x.Ingest().Observe(group, 1, false))
		assert.Equal(t, want, x.Ingest().Add(group, &boundary.Boundary{Time: 1, Path: boundary.NewPath("train")}).Outcome)
	}
	assert.Equal(t, 2, x.Stats().Ranks)
}

func TestNewThreadIsRefusedAtTheBound(t *testing.T) {
	x, e := New(Options{MaxThreads: 2, Window: time.Second}), newEmitter(key)
	for thread := range int64(3) {
		e.enter(thread, "train")
	}
	e.exit(0)
	assert.Equal(t, Accepted, x.Ingest().Add(key, e.out[0]).Outcome)
	assert.Equal(t, Accepted, x.Ingest().Add(key, e.out[1]).Outcome)
	assert.Equal(t, TooManyThreads, x.Ingest().Add(key, e.out[2]).Outcome)
	assert.Equal(t, Accepted, x.Ingest().Add(key, e.out[3]).Outcome)
	for at := range int64(4) {
		x.Ingest().Observe(key, int64(2*time.Second)+at, false)
	}
	assert.Equal(t, Accepted, x.Ingest().Add(key, &boundary.Boundary{
		Time: int64(2 * time.Second), ThreadID: 3, Path: boundary.NewPath("train"),
	}).Outcome, "thread 0 has nothing open and nothing in the window any more")
}

func TestOpenScopesAreBounded(t *testing.T) {
	x, e := New(Options{Repair: true, MaxOpen: 3}), newEmitter(key)
	for range 5 {
		e.now++
		e.enter(1, "deeper")
	}
	var outcomes []Outcome
	for _, b := range e.out {
		outcomes = append(outcomes, x.Ingest().Add(key, b).Outcome)
	}
	assert.Equal(t, []Outcome{Accepted, Accepted, Accepted, TooManyOpen, TooManyOpen}, outcomes)
	e.out = nil
	for range 5 {
		e.now++
		e.exit(1)
	}
	for _, b := range e.out {
		require.Equal(t, Accepted, x.Ingest().Add(key, b).Outcome)
	}
	assert.Zero(t, x.Stats().OpenScopes)
}

func TestOldestBoundariesGoAtTheBound(t *testing.T) {
	for name, options := range map[string]Options{
		"of the group":  {Repair: true, MaxBoundaries: 50},
		"of all groups": {Repair: true, MaxTotal: 50},
	} {
		t.Run(name, func(t *testing.T) {
			x, e := New(options), newEmitter(key)
			e.enter(1, "train")
			steps(e, 100)
			for _, b := range e.out {
				require.Equal(t, Accepted, x.Ingest().Add(key, b).Outcome)
				require.LessOrEqual(t, x.Stats().Boundaries, int64(51))
			}
			assert.Equal(t, "train / step / forward", deepest(x, e.now-1))
			assert.Equal(t, "train", deepest(x, e.now+1))
			assert.Equal(t, BeforeWindow, statusAt(x, e.now-int64(time.Hour)))
		})
	}
}

func TestGroupWithNothingToGiveUpIsRefusedWhenTheIndexIsFull(t *testing.T) {
	x, e := New(Options{Repair: true, MaxTotal: 10}), newEmitter(key)
	e.enter(1, "train")
	steps(e, 3)
	for _, b := range e.out {
		x.Ingest().Add(key, b)
	}
	refused := 0
	for rank := range int64(20) {
		other := boundary.RankKey{Session: "other", Rank: rank}
		if x.Ingest().Add(other, &boundary.Boundary{Time: 1, Path: boundary.NewPath("train")}).Outcome == TooManyBoundaries {
			refused++
		}
	}
	assert.GreaterOrEqual(t, refused, 10)
	assert.Equal(t, int64(10), x.Stats().Boundaries)
	assert.Equal(t, "train / step / forward", deepest(x, e.now-1), "the live group has lost nothing")
}

func TestBoundaryFromFarAheadGoesFirst(t *testing.T) {
	x, e := New(Options{Repair: true, Window: time.Hour, MaxBoundaries: 20}), newEmitter(key)
	e.enter(1, "train")
	steps(e, 4)
	for _, b := range e.out {
		x.Ingest().Add(key, b)
	}
	for i := range int64(5) {
		x.Ingest().Add(key, &boundary.Boundary{Time: i * int64(1000*time.Hour), Sequence: i, ThreadID: i, ScopeID: strconv.FormatInt(i, 10), Path: boundary.NewPath("wild")})
	}
	assert.Equal(t, "train / step / forward", deepest(x, int64(time.Second)), "the oldest real one is still there")
}

func TestCountersFollowWhatIsHeld(t *testing.T) {
	x, e := New(Options{Repair: true, Window: 10 * time.Minute}), newEmitter(key)
	e.enter(1, "train")
	steps(e, 100)
	for _, b := range e.out {
		x.Ingest().Add(key, b)
	}
	held := int64(0)
	for _, g := range x.all() {
		for _, thread := range g.threads {
			held += int64(thread.held())
		}
	}
	assert.Equal(t, held, x.Stats().Boundaries)
}

func TestLateBoundaryCountsTheAnswersItChanges(t *testing.T) {
	x, run := New(Options{Repair: true}), trainingRun()
	for _, b := range without(run, 3) {
		x.Ingest().Add(key, b)
	}
	x.Handle(key).Answered(25, 2) // taken for forward, whose exit shows that its enter was lost
	x.Handle(key).Answered(35, 4) // forward, as it is
	x.Handle(key).Answered(55, 8)
	ingest := x.Ingest()
	assert.Equal(t, AddResult{Accepted, 110}, ingest.Add(key, run[2]))
	assert.Equal(t, Duplicate, ingest.Add(key, run[2]).Outcome)
	assert.Equal(t, int64(2), ingest.Flush())
	assert.Zero(t, ingest.Flush(), "each change counts once")
}
