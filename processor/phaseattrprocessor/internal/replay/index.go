// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

// Package replay keeps the phase boundaries of running programs and returns which scopes
// were active at a time. Boundaries are added in any order; lookups are answered from
// those that have been added.
package replay

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"
	"unique"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/boundary"
)

// Options configure an Index. A bound or a duration of zero is no bound.
type Options struct {
	// Repair infers what lost boundaries did to the stacks. Without it the replay is
	// strict: one lost exit leaves a thread wrong until its session ends.
	Repair bool
	// Window is how much event time behind a rank's newest event is kept.
	Window time.Duration
	// SessionTimeout is how long after the arrival of its last event a session ends.
	SessionTimeout time.Duration
	// MaxRanks bounds the ranks.
	MaxRanks int
	// MaxThreads bounds the threads of a rank.
	MaxThreads int
	// MaxOpen bounds the open scopes of a thread.
	MaxOpen int
	// MaxBoundaries bounds the boundaries of a rank. Past it, its oldest are evicted.
	MaxBoundaries int
	// MaxTotal bounds the boundaries of all ranks. Past it, the oldest of the rank that
	// adds one are evicted.
	MaxTotal int
}

// Index holds the boundaries of all ranks. Its methods may be called by many goroutines;
// a writer to one rank does not hold up lookups in another.
type Index struct {
	options Options
	started time.Time
	stats   counters

	// mu guards what follows. It is locked before the mu of a stream.
	mu      sync.RWMutex
	streams map[boundary.RankKey]*stream
	owners  map[string]owner
}

// owner is the rank whose session owns a claim, and the time of the session's first
// event.
type owner struct {
	key   boundary.RankKey
	since int64
}

// New returns an empty index.
func New(options Options) *Index {
	return &Index{
		options: options,
		started: time.Now(),
		streams: map[boundary.RankKey]*stream{},
		owners:  map[string]owner{},
	}
}

// Has reports whether the index knows an event of the rank.
func (x *Index) Has(key boundary.RankKey) bool { return x.stream(key) != nil }

// Register registers a rank whose first event is at a time, in nanoseconds since the
// Unix epoch, with its claims: what one session owns at a time, such as a process or a
// device. It ends the sessions that owned one of them before, whether they said so or
// not: the new owner inherits no phase. It returns the ranks that it ended; key itself is
// among them when a later owner has registered before. It reports false when the rank
// has been registered before, or there is no room for it.
func (x *Index) Register(key boundary.RankKey, claims []string, at int64) (registered bool, ended []boundary.RankKey) {
	in := x.Ingest()
	s := in.lock(key)
	if s == nil {
		return false, nil
	}
	registered = s.register(claims, at)
	in.unlock()
	if !registered {
		return false, nil
	}
	for _, claim := range claims {
		former, replaced := x.claim(claim, owner{key, at})
		if !replaced {
			continue
		}
		if s := x.stream(former.key); s != nil && s.replace(former.since) {
			ended = append(ended, former.key)
		}
	}
	return true, ended
}

// claim makes the rank the owner of a claim, unless a session that began later owns it.
// When two sessions have claimed it, it returns the one that no longer owns it, since
// when the other one does, and true.
func (x *Index) claim(claim string, by owner) (former owner, replaced bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	newest, taken := x.owners[claim]
	if taken && newest.key != by.key && by.since < newest.since { // its first event came late
		return owner{by.key, newest.since}, true
	}
	x.owners[claim] = by
	return owner{newest.key, by.since}, taken && newest.key != by.key
}

// stream returns the stream of a rank, or nil.
func (x *Index) stream(key boundary.RankKey) *stream {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.streams[key]
}

// streamFor returns the stream of a rank, which it creates if need be, or nil when there
// is no room for it.
func (x *Index) streamFor(key boundary.RankKey) *stream {
	if s := x.stream(key); s != nil {
		return s
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if s := x.streams[key]; s != nil {
		return s
	}
	if full(len(x.streams), x.options.MaxRanks) {
		return nil
	}
	key.Session = unique.Make(key.Session).Value() // one copy for all ranks, not part of a larger text
	s := newStream(key, &x.options, &x.stats)
	x.streams[key] = s
	return s
}

// Sweep ends the sessions that have been silent for the session timeout and removes the
// ranks whose sessions ended at least a window ago. It returns the ranks that it ended
// and those that it removed; a rank may be among both. It must be called regularly.
func (x *Index) Sweep() (ended, forgotten []boundary.RankKey) {
	now := time.Since(x.started)
	for _, s := range x.all() {
		timedOut, over := s.sweep(now)
		if timedOut {
			ended = append(ended, s.key)
		}
		if over && x.remove(s) {
			forgotten = append(forgotten, s.key)
		}
	}
	return ended, forgotten
}

func (x *Index) all() []*stream {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return slices.Collect(maps.Values(x.streams))
}

// Forget removes a rank and all that is known of it.
func (x *Index) Forget(key boundary.RankKey) {
	if s := x.stream(key); s != nil {
		s.empty()
		x.remove(s)
	}
}

// remove removes a stream that is empty and has ended. It reports false when an event
// has arrived in the meantime.
func (x *Index) remove(s *stream) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.removed || len(s.threads) > 0 || !s.ended() {
		return false
	}
	s.removed = true
	delete(x.streams, s.key)
	for _, claim := range s.claims {
		if x.owners[claim].key == s.key {
			delete(x.owners, claim)
		}
	}
	return true
}

// Stats are the sizes and counts of an index.
type Stats struct {
	Ranks      int
	OpenScopes int64
	Boundaries int64
	// Repairs counts the boundaries that showed that another one was lost.
	Repairs int64
}

// Stats returns the current sizes and counts.
func (x *Index) Stats() Stats {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return Stats{
		Ranks:      len(x.streams),
		OpenScopes: x.stats.openScopes.Load(),
		Boundaries: x.stats.boundaries.Load(),
		Repairs:    x.stats.repairs.Load(),
	}
}

// counters are updated as the streams change, so that reading them costs nothing.
type counters struct {
	openScopes, boundaries, repairs atomic.Int64
}
