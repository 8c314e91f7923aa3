// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/phaseattr/phaseattr/internal/boundary"
)

func TestNewRankIsRefusedAtTheBound(t *testing.T) {
	x := New(Options{MaxRanks: 2})
	for i, want := range []Outcome{Accepted, Accepted, TooManyRanks} {
		rank := boundary.RankKey{Session: "s", Rank: int64(i)}
		assert.Equal(t, want, addOne(x, rank, &boundary.Boundary{Time: 1, Path: boundary.NewPath("train")}))
		assert.Equal(t, want, x.Ingest().Observe(from(rank), &Event{Time: 1, Kind: Start}).Outcome)
	}
	assert.Equal(t, 2, x.Stats().Ranks)
}

func TestNewThreadIsRefusedAtTheBound(t *testing.T) {
	x, e := New(Options{MaxThreads: 2, Window: time.Second}), newEmitter(rank0)
	for thread := range int64(3) {
		e.enter(thread, "train")
	}
	e.exit(0)
	assert.Equal(t, []Outcome{Accepted, Accepted, TooManyThreads, Accepted}, add(x, rank0, e.out...))
	for at := range int64(4) {
		x.Ingest().Observe(from(rank0), &Event{Time: int64(2*time.Second) + at})
	}
	assert.Equal(t, Accepted, addOne(x, rank0, &boundary.Boundary{
		Time: int64(2 * time.Second), ThreadID: 3, Path: boundary.NewPath("train"),
	}), "thread 0 has nothing open and nothing in the window any more")
}

func TestOpenScopesAreBounded(t *testing.T) {
	x, e := New(Options{Repair: true, MaxOpen: 3}), newEmitter(rank0)
	for range 5 {
		e.now++
		e.enter(1, "deeper")
	}
	assert.Equal(t, []Outcome{Accepted, Accepted, Accepted, TooManyOpen, TooManyOpen}, add(x, rank0, e.out...))
	e.out = nil
	for range 5 {
		e.now++
		e.exit(1)
	}
	mustAdd(t, x, rank0, e.out...)
	assert.Zero(t, x.Stats().OpenScopes)
}

func TestOpenScopesAreBoundedInABatchOfLateBoundaries(t *testing.T) {
	x, e := New(Options{Repair: true, MaxOpen: 3}), newEmitter(rank0)
	for range 6 {
		e.now++
		e.enter(1, "deeper")
	}
	mustAdd(t, x, rank0, e.out[0], e.out[5]) // shows the parent as well
	assert.Equal(t, []Outcome{TooManyOpen, TooManyOpen, TooManyOpen, TooManyOpen}, add(x, rank0, e.out[1:5]...))
	assert.Equal(t, int64(3), x.Stats().OpenScopes)
}

func TestOldestBoundariesAreEvictedAtTheBound(t *testing.T) {
	for name, options := range map[string]Options{
		"of the rank":  {Repair: true, MaxBoundaries: 50},
		"of all ranks": {Repair: true, MaxTotal: 50},
	} {
		t.Run(name, func(t *testing.T) {
			x, e := New(options), newEmitter(rank0)
			e.enter(1, "train")
			steps(e, 100)
			for _, b := range e.out {
				require.Equal(t, Accepted, addOne(x, rank0, b))
				require.LessOrEqual(t, x.Stats().Boundaries, int64(51))
			}
			assert.Equal(t, "train / step / forward", deepest(x, e.now-1))
			assert.Equal(t, "train", deepest(x, e.now+1))
			assert.Equal(t, BeforeWindow, statusAt(x, e.now-int64(time.Hour)))
		})
	}
}

func TestRankWithNothingToEvictIsRefusedWhenTheIndexIsFull(t *testing.T) {
	x, e := New(Options{Repair: true, MaxTotal: 10}), newEmitter(rank0)
	e.enter(1, "train")
	steps(e, 3)
	add(x, rank0, e.out...)
	refused := 0
	for rank := range int64(20) {
		other := boundary.RankKey{Session: "other", Rank: rank}
		if addOne(x, other, &boundary.Boundary{Time: 1, Path: boundary.NewPath("train")}) == TooManyBoundaries {
			refused++
		}
	}
	assert.GreaterOrEqual(t, refused, 10)
	assert.Equal(t, int64(10), x.Stats().Boundaries)
	assert.Equal(t, "train / step / forward", deepest(x, e.now-1), "the live rank has lost nothing")
}

func TestBoundaryFromFarAheadIsEvictedFirst(t *testing.T) {
	x, e := New(Options{Repair: true, Window: time.Hour, MaxBoundaries: 20}), newEmitter(rank0)
	e.enter(1, "train")
	steps(e, 4)
	add(x, rank0, e.out...)
	for i := range int64(5) {
		addOne(x, rank0, &boundary.Boundary{Time: i * int64(1000*time.Hour), Sequence: i, ThreadID: i, ScopeID: strconv.FormatInt(i, 10), Path: boundary.NewPath("wild")})
	}
	assert.Equal(t, "train / step / forward", deepest(x, int64(time.Second)), "the oldest real one is still there")
}

func TestCountersAreThoseOfTheThreads(t *testing.T) {
	x, e := New(Options{Repair: true, Window: 10 * time.Minute}), newEmitter(rank0)
	e.enter(1, "train")
	steps(e, 100)
	add(x, rank0, e.out...)
	boundaries := 0
	for _, thread := range x.stream(rank0).processes[0].threads {
		boundaries += thread.size()
	}
	assert.Equal(t, int64(boundaries), x.Stats().Boundaries)
}

func TestLateBoundaryCountsTheLookupsItChanges(t *testing.T) {
	x, run := New(Options{Repair: true}), trainingRun()
	mustAdd(t, x, rank0, without(run, 3)...)
	x.Handle(rank0).NoteLookup(25, 2) // taken for forward, whose exit shows that its enter was lost
	x.Handle(rank0).NoteLookup(35, 4) // forward, which is right
	x.Handle(rank0).NoteLookup(55, 8)
	ingest := x.Ingest()
	added := ingest.Add(from(rank0), run[2])
	assert.Equal(t, Accepted, added.Outcome)
	assert.Equal(t, time.Duration(110), added.Late)
	assert.Equal(t, Duplicate, ingest.Add(from(rank0), run[2]).Outcome)
	assert.Equal(t, int64(2), ingest.Flush())
	assert.Zero(t, ingest.Flush(), "each change counts once")
}
