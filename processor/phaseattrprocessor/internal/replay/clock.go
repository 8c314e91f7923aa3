// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"math"
	"time"
)

// clock follows the event time of a rank and resists outliers: a time more than a window
// away from the newest one must be confirmed by other events, so that one wild timestamp
// does not move the window away from the real ones.
type clock struct {
	// now is the newest accepted event time, in nanoseconds since the Unix epoch.
	now int64
	// candidate is a time more than a window away from now.
	candidate int64
	// confirmations is how many events have confirmed now, at most maxConfirmations; 0
	// before the first event. candidateConfirmations is how many in a row have confirmed
	// candidate; 0 when there is none.
	confirmations, candidateConfirmations int8
}

// maxConfirmations is how many confirmations of now count. A candidate needs more than
// now has.
const maxConfirmations = 3

// observe updates the clock with an event's time. It reports whether the clock moved
// back. An older time counts against the clock only when the event is fresh, known not to
// be a late one.
func (c *clock) observe(t int64, window time.Duration, fresh bool) (back bool) {
	switch {
	case c.confirmations == 0:
		c.now, c.confirmations = t, 1
	case t == c.now, c.candidateConfirmations > 0 && t == c.candidate:
		// The same event again confirms nothing.
	case within(c.now, t, window):
		c.now, c.confirmations, c.candidateConfirmations = max(c.now, t), min(c.confirmations+1, maxConfirmations), 0
	case t < c.now && c.confirmations == maxConfirmations && !fresh:
		// A late event.
	case c.candidateConfirmations > 0 && within(c.candidate, t, window):
		c.candidate = max(c.candidate, t)
		c.candidateConfirmations++
		if c.candidateConfirmations > c.confirmations {
			back = c.candidate < c.now
			c.now, c.confirmations, c.candidateConfirmations = c.candidate, maxConfirmations, 0
		}
	default:
		c.candidate, c.candidateConfirmations = t, 1
	}
	return back
}

// floor is the oldest time inside the window.
func (c *clock) floor(window time.Duration) int64 {
	if window <= 0 || c.confirmations < maxConfirmations || c.now < math.MinInt64+int64(window) {
		return math.MinInt64
	}
	return c.now - int64(window)
}

// within reports whether two times are at most a window apart. Without a window they
// always are.
func within(a, b int64, window time.Duration) bool {
	if window <= 0 {
		return true
	}
	return uint64(max(a, b))-uint64(min(a, b)) <= uint64(window) //nolint:gosec // wraps to the distance
}
