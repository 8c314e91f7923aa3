// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

// Package replay keeps the phase boundaries of running programs and returns which scopes
// were active at a time. Boundaries are added in any order; lookups are answered from
// those that have been added.
package replay

import (
	"cmp"
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
	// SessionTimeout is how long after its newest event, in event time, a process ends.
	SessionTimeout time.Duration
	// MaxRanks bounds the ranks.
	MaxRanks int
	// MaxThreads bounds the threads of a rank, and its processes.
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
	// sessions has the numbers of the ranks of each session.
	sessions map[string]map[int64]*stream
	// vacated is when room for ranks was last looked for, since started.
	vacated time.Duration
}

// New returns an empty index.
func New(options Options) *Index {
	return &Index{
		options:  options,
		started:  time.Now(),
		streams:  map[boundary.RankKey]*stream{},
		sessions: map[string]map[int64]*stream{},
		vacated:  -vacateInterval,
	}
}

// Has reports whether the index knows an event of the rank.
func (x *Index) Has(key boundary.RankKey) bool { return x.stream(key) != nil }

// stream returns the stream of a rank, or nil.
func (x *Index) stream(key boundary.RankKey) *stream {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.streams[key]
}

// streamFor returns the stream of a rank, which it creates if need be, or nil when there
// is no room for it. It returns the ranks that have made room.
func (x *Index) streamFor(key boundary.RankKey) (_ *stream, vacated []boundary.RankKey) {
	s := x.stream(key)
	if s != nil {
		return s, nil
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	s = x.streams[key]
	if s != nil {
		return s, nil
	}
	if full(len(x.streams), x.options.MaxRanks) {
		if vacated = x.vacate(); full(len(x.streams), x.options.MaxRanks) {
			return nil, vacated
		}
	}
	key.Session = unique.Make(key.Session).Value() // one copy for all ranks, not part of a larger text
	s = newStream(key, &x.options, &x.stats)
	x.streams[key] = s
	if x.sessions[key.Session] == nil {
		x.sessions[key.Session] = map[int64]*stream{}
	}
	x.sessions[key.Session][key.Rank] = s
	return s, vacated
}

// MaxSessionRanks bounds the ranks that Session returns.
const MaxSessionRanks = 64

// Session returns ranks of a session, one more than MaxSessionRanks if there are more, and
// whether these are all: no event says that the session has more.
func (x *Index) Session(id string) (ranks []int64, complete bool) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	known := x.sessions[id]
	complete = true
	for rank, s := range known {
		s.mu.RLock()
		complete = complete && s.worldSize <= int64(len(known))
		s.mu.RUnlock()
		ranks = append(ranks, rank)
		if len(ranks) > MaxSessionRanks {
			break
		}
	}
	slices.Sort(ranks)
	return ranks, complete
}

// Sweep removes the ranks whose processes have ended and whose newest event arrived at
// least a window ago. It returns the ranks for which nothing is waited for any longer,
// since none of their events has arrived for the session timeout, and those that it
// removed; a rank may be among both. It must be called regularly.
func (x *Index) Sweep() (silent, forgotten []boundary.RankKey) {
	now := time.Since(x.started)
	for _, s := range x.all() {
		becameSilent, over := s.sweep(now)
		if becameSilent {
			silent = append(silent, s.key)
		}
		if over && x.remove(s) {
			forgotten = append(forgotten, s.key)
		}
	}
	return silent, forgotten
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

// remove removes a stream that is empty. It reports false when an event has arrived in
// the meantime.
func (x *Index) remove(s *stream) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.removed || len(s.processes) > 0 {
		return false
	}
	x.delete(s)
	return true
}

// delete is called with the index's and the stream's mu held.
func (x *Index) delete(s *stream) {
	s.removed = true
	delete(x.streams, s.key)
	delete(x.sessions[s.key.Session], s.key.Rank)
	if len(x.sessions[s.key.Session]) == 0 {
		delete(x.sessions, s.key.Session)
	}
}

// vacateInterval is the shortest time between two searches for ranks that can go: with
// none to find, each new rank would cost one.
const vacateInterval = time.Second

// vacate makes room for ranks. A quarter of those that have sent no boundary, or have
// ended, go: those that have been silent longest. It is called with mu held.
func (x *Index) vacate() (vacated []boundary.RankKey) {
	now := time.Since(x.started)
	if now-x.vacated < vacateInterval {
		return nil
	}
	x.vacated = now
	type candidate struct {
		*stream
		lastArrival time.Duration
	}
	var candidates []candidate
	for _, s := range x.streams {
		s.mu.RLock()
		if s.dispensable() {
			candidates = append(candidates, candidate{s, s.lastArrival})
		}
		s.mu.RUnlock()
	}
	slices.SortFunc(candidates, func(a, b candidate) int { return cmp.Compare(a.lastArrival, b.lastArrival) })
	for _, c := range candidates[:(len(candidates)+3)/4] {
		s := c.stream
		s.mu.Lock()
		if !s.removed && s.dispensable() {
			s.clear()
			x.delete(s)
			vacated = append(vacated, s.key)
			x.vacated = -vacateInterval // there are more
		}
		s.mu.Unlock()
	}
	return vacated
}

// dispensable reports whether the rank has sent no boundary, or all its processes have
// ended.
func (s *stream) dispensable() bool {
	if !s.known {
		return true
	}
	for _, p := range s.processes {
		if !p.ended() {
			return false
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
	// Missing is the number of sequence numbers, between those of each process's
	// boundaries, that have not come.
	Missing int64
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
		Missing:    x.stats.missing.Load(),
	}
}

// counters are updated as the streams change, so that reading them costs nothing.
type counters struct {
	openScopes, boundaries, repairs, missing atomic.Int64
}
