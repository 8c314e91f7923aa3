// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"math"
	"time"
)

// clock follows the event time of a group. A time more than a window away from
// the newest one is believed only when several in a row agree: one wild timestamp
// must not push the window away from everything real.
type clock struct {
	// now is the newest event time that is believed.
	now int64
	// votes is how many events stand behind now, up to quorum.
	votes int8
	// rivalVotes is how many events in a row stand behind rival.
	rivalVotes int8
	rival      int64
}

// quorum is how many events hold the clock against a rival that has no more.
const quorum = 3

// see takes note of an event's time. It returns true when the clock moved back. An
// older time counts against the clock only when the event is fresh, known not to be
// a late one.
func (c *clock) see(t int64, window time.Duration, fresh bool) (back bool) {
	switch {
	case c.votes == 0:
		c.now, c.votes = t, 1
	case t == c.now, c.rivalVotes > 0 && t == c.rival:
		// The same event again says nothing new.
	case within(c.now, t, window):
		c.now, c.votes, c.rivalVotes = max(c.now, t), min(c.votes+1, quorum), 0
	case t < c.now && c.votes == quorum && !fresh:
		// A late event.
	case c.rivalVotes > 0 && within(c.rival, t, window):
		c.rival = max(c.rival, t)
		c.rivalVotes++
		if c.rivalVotes > c.votes {
			back = c.rival < c.now
			c.now, c.votes, c.rivalVotes = c.rival, quorum, 0
		}
	default:
		c.rival, c.rivalVotes = t, 1
	}
	return back
}

// floor is the oldest time inside the window.
func (c *clock) floor(window time.Duration) int64 {
	if window <= 0 || c.votes < quorum || c.now < math.MinInt64+int64(window) {
		return math.MinInt64
	}
	return c.now - int64(window)
}

// within tells whether two times are no further apart than window; without a
// window they always are.
func within(a, b int64, window time.Duration) bool {
	if window <= 0 {
		return true
	}
	return uint64(max(a, b))-uint64(min(a, b)) <= uint64(window) //nolint:gosec // wraps to the distance
}
