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

	"github.com/phaseattr/phaseattr/internal/boundary"
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
	// MaxFuture is how far ahead of its arrival an event may be dated.
	MaxFuture time.Duration
	// Grace is how long telemetry waits for the events of its rank.
	Grace time.Duration
	// MaxDepth and MaxLabelBytes bound the paths that come from parents.
	MaxDepth, MaxLabelBytes int
	// MaxRanks bounds the ranks that have sent a boundary or a start event. There are at most
	// half as many others.
	MaxRanks int
	// MaxThreads bounds the threads of a rank, and its processes.
	MaxThreads int
	// MaxOpen bounds the open scopes of a thread.
	MaxOpen int
	// MaxBoundaries bounds the boundaries of a rank. Past it, its oldest are evicted.
	MaxBoundaries int
	// Tenants is true when there may be several tenants. At a bound of all ranks, one that has
	// less than an even share gets room from the one that has most.
	Tenants bool
	// MaxTotal bounds the boundaries of all ranks. Past it, the oldest are evicted of the
	// rank that takes most.
	MaxTotal int
	// MaxRankBytes bounds what a rank takes on the heap, MaxBytes what all ranks take. Past
	// them, the oldest boundaries are evicted as above.
	MaxRankBytes, MaxBytes int
}

// Index holds the boundaries of all ranks. Its methods may be called by many goroutines;
// a writer to one rank does not hold up lookups in another.
type Index struct {
	options Options
	started time.Time
	stats   counters
	sizes   sizes

	// mu guards what follows. It may be locked while the mu of a stream is held, and nothing
	// is waited for while it is.
	mu       sync.RWMutex
	streams  map[boundary.RankKey]*stream
	sessions map[session]*sessionRanks
	tenants  map[string]*tenantRanks
	// visitors is the number of ranks that are visitors.
	visitors int
}

// session identifies a session.
type session struct{ tenant, id string }

func sessionOf(key boundary.RankKey) session { return session{key.Tenant, key.Session} }

// sessionRanks are the ranks of a session.
type sessionRanks struct {
	// ranks are those that are known, by their numbers.
	ranks map[int64]*stream
	// more is true when another one has made room, or got none.
	more bool
}

// New returns an empty index.
func New(options Options) *Index {
	return &Index{
		options:  options,
		started:  time.Now(),
		streams:  map[boundary.RankKey]*stream{},
		sessions: map[session]*sessionRanks{},
		tenants:  map[string]*tenantRanks{},
		sizes:    sizes{small: options.Tenants, tenants: map[string]*tenantSizes{}},
	}
}

// Has reports whether the index knows an event of the rank.
func (x *Index) Has(key boundary.RankKey) bool { return x.stream(key) != nil }

// Tenants returns the tenants that have ranks.
func (x *Index) Tenants() []string {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return slices.Collect(maps.Keys(x.tenants))
}

// HasTenant reports whether the index knows an event of a tenant.
func (x *Index) HasTenant(name string) bool {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.tenants[name] != nil
}

// stream returns the stream of a rank, or nil.
func (x *Index) stream(key boundary.RankKey) *stream {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.streams[key]
}

// MaxSessionRanks bounds the ranks that Session returns.
const MaxSessionRanks = 64

// Session returns ranks of a session of a tenant, one more than MaxSessionRanks if there
// are more, and whether these are all: no event says that the session has more.
func (x *Index) Session(tenant, id string) (ranks []int64, complete bool) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	known, ok := x.sessions[session{tenant, id}]
	if !ok {
		return nil, true
	}
	complete = !known.more
	for rank, s := range known.ranks {
		complete = complete && s.worldSize.Load() <= int64(len(known.ranks))
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
		becameSilent, over := x.sweep(s, now)
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
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.removed || len(s.processes) > 0 {
		return false
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.delete(s)
	return true
}

// delete is called with the index's and the stream's mu held.
func (x *Index) delete(s *stream) {
	s.removed = true
	s.grow(-s.bytes)
	x.sizes.leave(s)
	x.unlist(s)
	delete(x.streams, s.key)
	of := sessionOf(s.key)
	known := x.sessions[of]
	delete(known.ranks, s.key.Rank)
	if len(known.ranks) == 0 {
		delete(x.sessions, of)
	}
	if x.tenants[of.tenant].ranks()+x.tenants[of.tenant].listed[visitor].Len() == 0 {
		delete(x.tenants, of.tenant)
	}
}

// Stats are the sizes and counts of an index.
type Stats struct {
	// Ranks is the number of ranks that have sent a boundary or a start event.
	Ranks      int
	OpenScopes int64
	Boundaries int64
	// Bytes is what the index takes on the heap.
	Bytes int64
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
		Ranks:      x.ranks(),
		OpenScopes: x.stats.openScopes.Load(),
		Boundaries: x.stats.boundaries.Load(),
		Bytes:      x.stats.bytes.Load(),
		Repairs:    x.stats.repairs.Load(),
		Missing:    x.stats.missing.Load(),
	}
}

// counters are updated as the streams change, so that reading them costs nothing.
type counters struct {
	openScopes, boundaries, repairs, missing, bytes atomic.Int64
}
