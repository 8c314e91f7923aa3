// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"math"
	"time"
)

// Clock follows the event time of a process and resists outliers: a time more than a window
// away from the newest one must be confirmed by other events, so that one wild timestamp
// does not move the window away from the real ones. Times are in nanoseconds since the Unix
// epoch; the smallest int64 stands for none.
type Clock struct {
	// FirstEvent is the time of the first event.
	FirstEvent int64
	// Now is the newest accepted time, Candidate a time more than a window away from it.
	Now, Candidate int64
	// Confirmations is how many events have confirmed Now, at most maxConfirmations; 0
	// before the first event. CandidateConfirmations is how many in a row have confirmed
	// Candidate; 0 when there is none.
	Confirmations, CandidateConfirmations int8
	// Evicted is the newest time of a boundary that was evicted at a bound.
	Evicted int64
	// FirstBoundary and LastBoundary are the times of the first and the newest boundary,
	// LastEnter is the newest time at which a scope was entered.
	FirstBoundary, LastBoundary, LastEnter int64
	// LastSequence is the sequence number of the boundary with the newest time.
	LastSequence int64
	// Stopped is the newest time of a stop event.
	Stopped int64
}

// never is before all times.
const never = math.MinInt64

func newClock() Clock {
	return Clock{
		FirstEvent: math.MaxInt64, FirstBoundary: math.MaxInt64,
		Evicted: never, LastBoundary: never, LastEnter: never, LastSequence: never, Stopped: never,
	}
}

// maxConfirmations is how many confirmations of Now count. A candidate needs more than
// Now has.
const maxConfirmations = 3

// observe updates the clock with an event's time. It reports whether the clock moved
// back. An older time counts against the clock only when the event is fresh, known not to
// be a late one.
func (c *Clock) observe(t int64, window time.Duration, fresh bool) (back bool) {
	switch {
	case c.Confirmations == 0:
		c.Now, c.Confirmations = t, 1
	case t == c.Now, c.CandidateConfirmations > 0 && t == c.Candidate:
		// The same event again confirms nothing.
	case within(c.Now, t, window):
		c.Now, c.Confirmations, c.CandidateConfirmations = max(c.Now, t), min(c.Confirmations+1, maxConfirmations), 0
	case t < c.Now && c.Confirmations == maxConfirmations && !fresh:
		// A late event.
	case c.CandidateConfirmations > 0 && within(c.Candidate, t, window):
		c.Candidate = max(c.Candidate, t)
		c.CandidateConfirmations++
		if c.CandidateConfirmations > c.Confirmations {
			back = c.Candidate < c.Now
			c.Now, c.Confirmations, c.CandidateConfirmations = c.Candidate, maxConfirmations, 0
		}
	default:
		c.Candidate, c.CandidateConfirmations = t, 1
	}
	return back
}

// setBack sets the clock back, because its process's has been.
func (c *Clock) setBack(t int64) {
	c.Now, c.CandidateConfirmations = t, 0
	c.LastEnter, c.LastBoundary = min(c.LastEnter, t), min(c.LastBoundary, t)
}

// floor is the oldest time inside the window of which nothing has been evicted.
func (c *Clock) floor(window time.Duration) int64 {
	floor := int64(never)
	if window > 0 && c.Confirmations == maxConfirmations && c.Now >= never+int64(window) {
		floor = c.Now - int64(window)
	}
	if c.Evicted >= floor && c.Evicted != never {
		return c.Evicted + 1
	}
	return floor
}

// within reports whether two times are at most a window apart. Without a window they
// always are.
func within(a, b int64, window time.Duration) bool {
	if window <= 0 {
		return true
	}
	return uint64(max(a, b))-uint64(min(a, b)) <= uint64(window) //nolint:gosec // wraps to the distance
}
