// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/boundary"
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
	x.Ingest().Observe(rank0, now+10, true)
	assert.Equal(t, "train", deepest(x, now+10))
	assert.Equal(t, Ended, statusAt(x, now+11))
	assert.Empty(t, deepest(x, now+11))

	x.Ingest().Observe(rank0, now+20, false)
	assert.Equal(t, "train", deepest(x, now+20), "the session's end is its last event of any type")
	assert.Equal(t, Ended, statusAt(x, now+21))
}

func TestSessionThatEntersAScopeAfterItsStopIsAlive(t *testing.T) {
	x, now := openSession(sessions)
	x.Ingest().Observe(rank0, now+10, true)
	addOne(x, rank0, &boundary.Boundary{Time: now + 20, Sequence: 100, ThreadID: 1, ScopeID: "e", Path: boundary.NewPath("evaluate")})
	assert.Equal(t, "evaluate", deepest(x, now+30))
}

func TestStopThatComesBeforeLateBoundaries(t *testing.T) {
	x, e := New(sessions), newEmitter(rank0)
	e.enter(1, "train")
	steps(e, 3)
	x.Ingest().Observe(rank0, e.now, true)
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
			x.Ingest().Observe(rank0, now, false)
			x.Sweep()
		}
		assert.Equal(t, "train", deepest(x, now+1))
	})
}

func TestEndedSessionAnswersForItsWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, now := openSession(sessions)
		x.Ingest().Observe(rank0, now, true)
		time.Sleep(10*time.Minute - time.Nanosecond)
		x.Sweep()
		assert.Equal(t, "train / step / forward", deepest(x, now-1))
		time.Sleep(time.Nanosecond)
		x.Sweep()
		assert.Equal(t, Unknown, statusAt(x, now-1))
	})
}

func TestSilentSessionIsAliveAgainAtItsNextEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, now := openSession(Options{Window: time.Hour, SessionTimeout: time.Minute})
		time.Sleep(2 * time.Minute)
		ended, forgotten := x.Sweep()
		assert.Equal(t, []boundary.RankKey{rank0}, ended)
		assert.Empty(t, forgotten)
		ended, _ = x.Sweep()
		assert.Empty(t, ended, "it ended before")
		assert.Equal(t, Ended, statusAt(x, now+1))
		x.Ingest().Observe(rank0, now+1, false)
		assert.Equal(t, Behind, statusAt(x, now+2))
		assert.Equal(t, "train", deepest(x, now+2))
	})
}

func TestNewSessionOfAProcessEndsTheOneBefore(t *testing.T) {
	process := boundary.Seat{Host: "node", PID: 1, Rank: 0}
	newer := boundary.RankKey{Session: "newer"}
	for name, tc := range map[string]struct {
		process boundary.Seat
		ended   bool
	}{
		"same process":             {process, true},
		"same pid of another rank": {boundary.Seat{Host: "node", PID: 1, Rank: 1}, false},
		"same pid on another host": {boundary.Seat{Host: "other", PID: 1}, false},
		"unknown process":          {boundary.Seat{}, false},
		"another process":          {boundary.Seat{Host: "node", PID: 2}, false},
		"only the host is known":   {boundary.Seat{Host: "node"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			x, now := openSession(sessions)
			x.Register(rank0, claims(process), 0)
			_, ended := x.Register(newer, claims(tc.process), now+100)
			assert.Equal(t, tc.ended, slices.Contains(ended, rank0))
			assert.Equal(t, tc.ended, x.Reached(rank0, now+1000), "nothing more will come")
			x.Ingest().Observe(newer, now+100, false)
			assert.Equal(t, tc.ended, statusAt(x, now+200) == Ended)
			assert.Equal(t, "train / step / forward", deepest(x, now-1), "it keeps its past")
		})
	}
}

func TestSessionWithEventsAfterATakeoverIsAlive(t *testing.T) {
	process := boundary.Seat{Host: "node", PID: 1}
	newer := boundary.RankKey{Session: "newer"}
	x, now := openSession(sessions)
	x.Register(rank0, claims(process), 0)
	_, ended := x.Register(newer, claims(process), now-10)
	assert.Empty(t, ended)
	assert.Equal(t, Behind, statusAt(x, now+1), "both run in one process")
	x.Register(boundary.RankKey{Session: "newest"}, claims(process), now+10)
	assert.Equal(t, Behind, statusAt(x, now+1), "the newest takes over from the newer")
}

func TestTakeoverByFirstEventsInTheWrongOrder(t *testing.T) {
	process := boundary.Seat{Host: "node", PID: 1}
	older := boundary.RankKey{Session: "older"}
	x, now := openSession(sessions)
	x.Register(rank0, claims(process), 100)
	_, ended := x.Register(older, claims(process), 0)
	assert.Equal(t, []boundary.RankKey{older}, ended)
	x.Ingest().Observe(older, 0, false)
	assert.Equal(t, Behind, statusAt(x, now+1), "the newer one stays")
	_, status := x.Handle(older).Active(nil, 101, false)
	assert.Equal(t, Ended, status)
}

func claims(process boundary.Seat) []string {
	if process.Claim() == "" {
		return nil
	}
	return []string{process.Claim()}
}
