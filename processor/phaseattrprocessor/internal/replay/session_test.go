// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/phaseattr/phaseattr/internal/boundary"
)

// openSession returns an index in which train has been open since 0, and the time of its
// newest event.
func openSession(options Options) (*Index, int64) {
	x, e := New(options), newEmitter(rank0)
	e.enter(1, "train")
	steps(e, 3)
	add(x, rank0, e.out...)
	return x, e.now
}

var sessions = Options{Repair: true, Window: 10 * time.Minute, SessionTimeout: 15 * time.Minute}

func TestStopEventEndsTheSession(t *testing.T) {
	x, now := openSession(sessions)
	assert.Equal(t, Behind, statusAt(x, now+1), "train is still open")
	assert.Equal(t, "train", deepest(x, now+1))
	x.Ingest().Observe(from(rank0), &Event{Time: now + 10, Kind: Stop})
	assert.Equal(t, "train", deepest(x, now+10))
	assert.Equal(t, Ended, statusAt(x, now+11))
	assert.Empty(t, deepest(x, now+11))

	x.Ingest().Observe(from(rank0), &Event{Time: now + 20})
	assert.Equal(t, "train", deepest(x, now+20), "the session's end is its last event of any type")
	assert.Equal(t, Ended, statusAt(x, now+21))
}

func TestSessionThatEntersAScopeAfterItsStopIsAlive(t *testing.T) {
	x, now := openSession(sessions)
	x.Ingest().Observe(from(rank0), &Event{Time: now + 10, Kind: Stop})
	addOne(x, rank0, &boundary.Boundary{Time: now + 20, Sequence: 100, ThreadID: 1, ScopeID: "e", Path: boundary.NewPath("evaluate")})
	assert.Equal(t, "evaluate", deepest(x, now+30))
}

func TestStopThatComesBeforeLateBoundaries(t *testing.T) {
	x, e := New(sessions), newEmitter(rank0)
	e.enter(1, "train")
	steps(e, 3)
	x.Ingest().Observe(from(rank0), &Event{Time: e.now, Kind: Stop})
	add(x, rank0, e.out...)
	assert.Equal(t, Ended, statusAt(x, e.now+1))
	assert.Equal(t, "train / step / forward", deepest(x, e.now-1))
}

func TestSilentSessionEndsAndIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, now := openSession(sessions)
		time.Sleep(15*time.Minute - time.Nanosecond)
		x.Sweep()
		assert.Equal(t, "train", deepest(x, now+1))
		time.Sleep(time.Nanosecond)
		x.Sweep()
		assert.Equal(t, Unknown, statusAt(x, now+1), "its window has passed as well")
		assert.Equal(t, Stats{Repairs: 0}, x.Stats())
	})
}

func TestTimeoutIsMeasuredByArrival(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, now := openSession(sessions) // event times of 1970
		for range 10 {
			time.Sleep(10 * time.Minute)
			x.Ingest().Observe(from(rank0), &Event{Time: now})
			x.Sweep()
		}
		assert.Equal(t, "train", deepest(x, now+1))
	})
}

func TestEndedSessionAnswersForItsWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, now := openSession(sessions)
		x.Ingest().Observe(from(rank0), &Event{Time: now, Kind: Stop})
		time.Sleep(10*time.Minute - time.Nanosecond)
		x.Sweep()
		assert.Equal(t, "train / step / forward", deepest(x, now-1))
		time.Sleep(time.Nanosecond)
		x.Sweep()
		assert.Equal(t, Unknown, statusAt(x, now-1))
	})
}

func TestSilentSessionIsNotWaitedForUntilItsNextEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, now := openSession(Options{Window: time.Hour, SessionTimeout: time.Minute})
		assert.False(t, x.Reached(rank0, now+1))
		time.Sleep(2 * time.Minute)
		silent, forgotten := x.Sweep()
		assert.Equal(t, []boundary.RankKey{rank0}, silent)
		assert.Empty(t, forgotten)
		silent, _ = x.Sweep()
		assert.Empty(t, silent, "it was silent before")
		assert.True(t, x.Reached(rank0, now+1))
		assert.Equal(t, Behind, statusAt(x, now+1), "what is alive is told by event time")
		assert.Equal(t, Ended, statusAt(x, now+int64(time.Minute)+1))
		x.Ingest().Observe(from(rank0), &Event{Time: now + 1})
		assert.False(t, x.Reached(rank0, now+2))
		assert.Equal(t, "train", deepest(x, now+2))
	})
}
