// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

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

// Options say how the index replays and what it may keep. A bound of zero is none.
type Options struct {
	// Repair mends the stacks when boundaries were lost. Without it the replay is
	// strict: one lost exit leaves a thread wrong until its session ends.
	Repair bool
	// Window is how much event time behind a group's newest event is kept.
	Window time.Duration
	// SessionTimeout is how long after its last event's arrival a session counts as
	// ended.
	SessionTimeout time.Duration
	// MaxRanks bounds the groups.
	MaxRanks int
	// MaxThreads bounds the threads of a group.
	MaxThreads int
	// MaxOpen bounds the open scopes of a thread.
	MaxOpen int
	// MaxBoundaries bounds the boundaries of a group: past it, its oldest go.
	MaxBoundaries int
	// MaxTotal bounds the boundaries of all groups: past it, the oldest of the group
	// that wants more go.
	MaxTotal int
}

// Index holds the boundaries of all groups. Its methods may be called from many
// goroutines; a writer to one group does not hold up readers of another.
type Index struct {
	options Options
	started time.Time
	stats   counters

	// mu guards what follows.
	mu     sync.RWMutex
	groups map[boundary.RankKey]*stream
	// seats names the newest session in each seat.
	seats map[string]tenant
}

// New makes an empty index.
func New(options Options) *Index {
	return &Index{
		options: options,
		started: time.Now(),
		groups:  map[boundary.RankKey]*stream{},
		seats:   map[string]tenant{},
	}
}

// Has tells whether an event of the group has come.
func (x *Index) Has(key boundary.RankKey) bool { return x.group(key) != nil }

// Register registers a rank whose first event is at a time, in nanoseconds since the
// Unix epoch, with its claims: what one session owns at a time, such as a process or a
// device. It ends the sessions that owned one of them before, whether they said so or
// not: the new owner inherits no phase. It returns the ranks that it ended; key itself is
// among them when a later owner has registered before. It reports false when the rank
// has been registered before, or there is no room for it.
func (x *Index) Register(key boundary.RankKey, claims []string, at int64) (registered bool, ended []boundary.RankKey) {
	if !x.Ingest().update(key, func(g *stream) { registered = g.introduce(claims, at) }) || !registered {
		return false, nil
	}
	for _, claim := range claims {
		earlier, taken := x.sit(claim, key, at)
		if !taken {
			continue
		}
		if g := x.group(earlier.key); g != nil {
			g.update(func() {
				if g.succeed(earlier.began) {
					ended = append(ended, g.key)
				}
			})
		}
	}
	return true, ended
}

// tenant is a session in a seat, and when it began.
type tenant struct {
	key   boundary.RankKey
	began int64
}

// sit gives a session its seat. It returns the session that had it before, and when
// its successor began.
func (x *Index) sit(seat string, key boundary.RankKey, at int64) (tenant, bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	newest, taken := x.seats[seat]
	switch {
	case !taken || newest.key == key:
		x.seats[seat] = tenant{key, at}
		return tenant{}, false
	case at < newest.began: // its first event came late
		return tenant{key, newest.began}, true
	default:
		x.seats[seat] = tenant{key, at}
		return tenant{newest.key, at}, true
	}
}

func (x *Index) group(key boundary.RankKey) *stream {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.groups[key]
}

// groupFor returns the group, made if need be, or nil when there is no room for it.
func (x *Index) groupFor(key boundary.RankKey) *stream {
	if g := x.group(key); g != nil {
		return g
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if g := x.groups[key]; g != nil {
		return g
	}
	if full(len(x.groups), x.options.MaxRanks) {
		return nil
	}
	key.Session = unique.Make(key.Session).Value() // one text for all ranks, part of no larger one
	g := newGroup(key, &x.options, &x.stats)
	x.groups[key] = g
	return g
}

// Sweep ends the sessions that have been silent for the session timeout and removes the
// ranks whose sessions ended at least a window ago. It returns the ranks that it ended
// and those that it removed; a rank may be among both. It must be called regularly.
func (x *Index) Sweep() (ended, forgotten []boundary.RankKey) {
	now := time.Since(x.started)
	for _, g := range x.all() {
		var silent, over bool
		g.update(func() { silent, over = g.expire(now) })
		if silent {
			ended = append(ended, g.key)
		}
		if over && x.forget(g) {
			forgotten = append(forgotten, g.key)
		}
	}
	return ended, forgotten
}

// EndAll ends all sessions at their newest event, as when a finished recording has
// been read to its end.
func (x *Index) EndAll() {
	for _, g := range x.all() {
		g.update(func() { g.silent = true })
	}
}

func (x *Index) all() []*stream {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return slices.Collect(maps.Values(x.groups))
}

// Forget lets go of a group, whatever is known of it.
func (x *Index) Forget(key boundary.RankKey) {
	if g := x.group(key); g != nil {
		g.update(func() { g.threads, g.silent = nil, true })
		x.forget(g)
	}
}

// forget lets go of a group, unless an event has come in the meantime.
func (x *Index) forget(g *stream) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.threads) > 0 || !g.ended() {
		return false
	}
	g.forgotten = true
	delete(x.groups, g.key)
	for _, seat := range g.seats {
		if x.seats[seat].key == g.key {
			delete(x.seats, seat)
		}
	}
	return true
}

// Stats is what the index holds.
type Stats struct {
	Ranks      int
	OpenScopes int64
	Boundaries int64
	// Repairs counts the boundaries that showed that another one was lost.
	Repairs int64
}

// Stats returns what the index holds now.
func (x *Index) Stats() Stats {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return Stats{
		Ranks:      len(x.groups),
		OpenScopes: x.stats.open.Load(),
		Boundaries: x.stats.boundaries.Load(),
		Repairs:    x.stats.mends.Load(),
	}
}

// counters are kept as the groups change, so that reading them costs nothing.
type counters struct {
	open, boundaries, mends atomic.Int64
	// started counts the groups that have had a boundary.
	started atomic.Uint64
}
