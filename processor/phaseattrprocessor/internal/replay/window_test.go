// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/phaseattr/phaseattr/internal/boundary"
)

// steps emits n steps of a minute each, with a phase in each of them.
func steps(e *emitter, n int) {
	for range n {
		e.enter(1, "step")
		e.enter(1, "forward")
		e.now += int64(time.Minute)
		e.exit(1)
		e.exit(1)
	}
}

func TestWindowSlidesOverTheRanksOwnTime(t *testing.T) {
	x, e := New(Options{Repair: true, Window: 10 * time.Minute}), newEmitter(rank0)
	e.enter(1, "train")
	steps(e, 600) // ten hours
	mustAdd(t, x, rank0, e.out...)
	assert.Equal(t, "train", deepest(x, e.now+1), "an open scope outlives the window")
	assert.Equal(t, "train / step / forward", deepest(x, e.now-int64(9*time.Minute)-1))
	assert.Equal(t, BeforeWindow, statusAt(x, e.now-int64(10*time.Minute)-1), "not: no phase was active")
	assert.Equal(t, Known, statusAt(x, e.now-int64(10*time.Minute)))
	assert.LessOrEqual(t, x.Stats().Boundaries, int64(4*12), "memory is in proportion to the window")
	assert.Equal(t, int64(1), x.Stats().OpenScopes)
}

func TestBoundaryOlderThanTheWindow(t *testing.T) {
	for name, repair := range map[string]bool{"strict": false, "repair": true} {
		t.Run(name, func(t *testing.T) {
			x, e := New(Options{Repair: repair, Window: 10 * time.Minute}), newEmitter(rank0)
			e.enter(2, "load") // its exit is late
			e.now++
			e.exit(2)
			e.enter(2, "early") // arrives too late
			enter, exit, early := e.out[0], e.out[1], e.out[2]
			e.out = nil
			e.enter(1, "train")
			steps(e, 60)
			require.Equal(t, Accepted, addOne(x, rank0, enter))
			mustAdd(t, x, rank0, e.out...)
			require.Equal(t, int64(2), x.Stats().OpenScopes)

			assert.Equal(t, Accepted, addOne(x, rank0, exit), "still closes its scope")
			assert.Equal(t, int64(1), x.Stats().OpenScopes)
			assert.Equal(t, TooOld, addOne(x, rank0, exit), "nothing is left to close")
			assert.Equal(t, TooOld, addOne(x, rank0, early), "an enter may be a duplicate that would never end")
			assert.Equal(t, TooOld, addOne(x, rank0, enter))
		})
	}
}

func TestWildTimestampDoesNotPushTheWindow(t *testing.T) {
	for name, wild := range map[string]int64{
		"0": 0, "negative": -1, "in 1970": int64(time.Hour), "in 2262": math.MaxInt64, "the smallest": math.MinInt64,
	} {
		for when, before := range map[string]int{"first": 0, "second": 1, "in the middle": 20} {
			t.Run(name+" "+when, func(t *testing.T) {
				x, e := New(Options{Repair: true, Window: 10 * time.Minute}), newEmitter(rank0)
				e.now = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).UnixNano()
				e.enter(1, "train")
				steps(e, 60)
				for i, b := range e.out {
					if i == before {
						for range 5 { // and again and again
							x.Ingest().Observe(from(rank0), &Event{Time: wild})
						}
						addOne(x, rank0, &boundary.Boundary{
							Time: wild, ThreadID: 7, ScopeID: "wild", Path: boundary.NewPath("wild"), Action: boundary.Exit,
						})
					}
					require.Equal(t, Accepted, addOne(x, rank0, b), "boundary %d", i)
				}
				assert.Equal(t, "train", deepest(x, e.now+1))
				assert.Equal(t, "train / step / forward", deepest(x, e.now-int64(90*time.Second)))
				assert.Equal(t, BeforeWindow, statusAt(x, e.now-int64(time.Hour)/2))
			})
		}
	}
}

func TestWindowFollowsAJumpForward(t *testing.T) {
	x, e := New(Options{Repair: true, Window: 10 * time.Minute}), newEmitter(rank0)
	e.enter(1, "train")
	steps(e, 20)
	e.now += int64(10 * time.Hour) // a pause without events
	steps(e, 20)
	mustAdd(t, x, rank0, e.out...)
	assert.Equal(t, "train / step / forward", deepest(x, e.now-int64(90*time.Second)))
	assert.Equal(t, BeforeWindow, statusAt(x, e.now-int64(5*time.Hour)))
	assert.LessOrEqual(t, x.Stats().Boundaries, int64(4*12))
}

func TestClockThatIsSetBackIsFollowed(t *testing.T) {
	x, e := New(Options{Repair: true, Window: 10 * time.Minute}), newEmitter(rank0)
	e.now = int64(100 * time.Hour)
	e.enter(1, "train")
	steps(e, 60)
	ahead := e.now
	e.now -= int64(5 * time.Hour)
	steps(e, 60)
	add(x, rank0, e.out...)
	assert.Equal(t, "train / step / forward", deepest(x, e.now-int64(90*time.Second)))
	assert.Equal(t, "train", deepest(x, e.now+1), "what was open stays open")
	assert.Equal(t, Behind, statusAt(x, ahead))
}

func TestLateEventsDoNotSetTheClockBack(t *testing.T) {
	x, e := New(Options{Repair: true, Window: 10 * time.Minute}), newEmitter(rank0)
	e.enter(1, "train")
	steps(e, 120)
	add(x, rank0, e.out...)
	before, _ := x.Snapshot(rank0)
	for _, b := range e.out[:100] { // an old batch arrives again
		assert.Equal(t, TooOld, addOne(x, rank0, b))
		x.Ingest().Observe(from(rank0), &Event{Time: b.Time})
	}
	after, _ := x.Snapshot(rank0)
	assert.Equal(t, before.Processes[0].Threads, after.Processes[0].Threads)
	assert.Equal(t, "train / step / forward", deepest(x, e.now-int64(90*time.Second)))
}
