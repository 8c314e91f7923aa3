// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package boundary

import "sync/atomic"

// Lifespan bounds the times at which an occupant can be present. Who looks through many passes over
// most with it. It is safe for concurrent use.
type Lifespan struct{ since, last atomic.Int64 }

// NewLifespan returns a lifespan between two times, in nanoseconds since the Unix epoch.
func NewLifespan(since, last int64) *Lifespan {
	l := &Lifespan{}
	l.Set(since, last)
	return l
}

// Set sets the first and the last time, in nanoseconds since the Unix epoch.
func (l *Lifespan) Set(since, last int64) {
	l.since.Store(since)
	l.last.Store(last)
}

// Meets reports whether the lifespan and an interval, in nanoseconds since the Unix epoch, have a
// time in common.
func (l *Lifespan) Meets(from, to int64) bool { return l.since.Load() <= to && from <= l.last.Load() }
