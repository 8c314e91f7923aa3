// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package hold

import (
	"maps"
	"sync"
	"time"
)

const (
	// maxUnknownPeriod bounds how long telemetry waits for a key to become known.
	maxUnknownPeriod = 5 * time.Second
	// unknownPause is how long telemetry of a key that stayed unknown does not wait again.
	unknownPause = 10 * time.Minute
)

// Unknown remembers the keys of which no event has come, so that telemetry waits for
// each once. Most of them belong to programs that never report a phase.
type Unknown struct {
	period time.Duration
	most   int

	// mu guards what follows.
	mu sync.Mutex
	// named is when each key was first named.
	named map[Key]time.Time
	// pruned is when the keys whose pause is over were last removed.
	pruned time.Time
}

// NewUnknown returns the memory of at most this many keys. Telemetry waits for one for
// the period, but no longer than 5 s.
func NewUnknown(period time.Duration, most int) *Unknown {
	return &Unknown{period: min(period, maxUnknownPeriod), most: most, named: map[Key]time.Time{}}
}

// Deadline returns until when telemetry that names an unknown key waits, and false when
// it does not: the key has been waited for, or there are too many.
func (u *Unknown) Deadline(key Key, now time.Time) (time.Time, bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	since, ok := u.named[key]
	if !ok || now.Sub(since) >= u.period+unknownPause {
		if !ok && len(u.named) >= u.most && !u.prune(now) {
			return time.Time{}, false
		}
		since = now
		u.named[key] = since
	}
	deadline := since.Add(u.period)
	return deadline, now.Before(deadline)
}

// prune removes the keys whose pause is over, at most once a period: it visits all. It is
// called with mu held, and returns false when there is no room.
func (u *Unknown) prune(now time.Time) bool {
	if now.Sub(u.pruned) >= u.period {
		u.pruned = now
		maps.DeleteFunc(u.named, func(_ Key, since time.Time) bool { return now.Sub(since) >= u.period+unknownPause })
	}
	return len(u.named) < u.most
}
