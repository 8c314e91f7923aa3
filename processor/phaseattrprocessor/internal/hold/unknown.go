// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package hold

import (
	"maps"
	"slices"
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
	// named is when each key was first named, by tenant, known the number of all keys.
	named map[string]map[Key]time.Time
	known int
	// pruned is when the keys whose pause is over were last removed.
	pruned time.Time
}

// NewUnknown returns the memory of at most this many keys. Telemetry waits for one for
// the period, but no longer than 5 s.
func NewUnknown(period time.Duration, most int) *Unknown {
	return &Unknown{period: min(period, maxUnknownPeriod), most: most, named: map[string]map[Key]time.Time{}}
}

// Deadline returns until when telemetry of a tenant that names an unknown key waits, and
// false when it does not: the key has been waited for, or there are too many.
func (u *Unknown) Deadline(tenant string, key Key, now time.Time) (time.Time, bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	since, ok := u.named[tenant][key]
	if !ok || now.Sub(since) >= u.period+unknownPause {
		if !ok {
			if u.known >= u.most && !u.prune(now) && !u.makeRoom(tenant) {
				return time.Time{}, false
			}
			u.known++
		}
		if u.named[tenant] == nil {
			u.named[tenant] = map[Key]time.Time{}
		}
		since = now
		u.named[tenant][key] = since
	}
	deadline := since.Add(u.period)
	return deadline, now.Before(deadline)
}

// Stayed returns the keys that were named in about the last ten minutes, have been waited for
// and are still not known.
func (u *Unknown) Stayed(now time.Time, known func(Key) bool) []Key {
	stayed := u.waitedFor(now)
	return slices.DeleteFunc(stayed, known) // without the lock, since known takes others
}

func (u *Unknown) waitedFor(now time.Time) (keys []Key) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, named := range u.named {
		for key, since := range named {
			if age := now.Sub(since); age >= u.period && age < u.period+unknownPause {
				keys = append(keys, key)
			}
		}
	}
	return keys
}

// prune removes the keys whose pause is over, at most once a period: it visits all. It is
// called with mu held, and returns false when there is no room.
func (u *Unknown) prune(now time.Time) bool {
	if now.Sub(u.pruned) >= u.period {
		u.pruned = now
		u.known = 0
		maps.DeleteFunc(u.named, func(_ string, keys map[Key]time.Time) bool {
			maps.DeleteFunc(keys, func(_ Key, since time.Time) bool { return now.Sub(since) >= u.period+unknownPause })
			u.known += len(keys)
			return len(keys) == 0
		})
	}
	return u.known < u.most
}

// makeRoom forgets a key of the tenant that has most. It is called with mu held, and returns
// false when no tenant has more than the one that needs the room.
func (u *Unknown) makeRoom(tenant string) bool {
	most := tenant
	for other, keys := range u.named {
		if len(keys) > len(u.named[most]) {
			most = other
		}
	}
	for key := range u.named[most] {
		if most != tenant {
			delete(u.named[most], key)
			u.known--
			return true
		}
	}
	return false
}
