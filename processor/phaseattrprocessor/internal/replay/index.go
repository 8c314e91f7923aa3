// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

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
	// MaxGroups bounds the groups.
	MaxGroups int
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

	// mu guards groups.
	mu     sync.RWMutex
	groups map[boundary.Group]*group
}

// New makes an empty index.
func New(options Options) *Index {
	return &Index{options: options, started: time.Now(), groups: map[boundary.Group]*group{}}
}

// Add takes in a boundary, in any order. It returns what became of it, and how far
// its time was behind that of the group's newest event.
func (x *Index) Add(key boundary.Group, b *boundary.Boundary) (outcome Outcome, late time.Duration) {
	arrived := time.Since(x.started)
	if !x.update(key, func(g *group) { outcome, late = g.add(b, arrived) }) {
		return TooManyGroups, 0
	}
	return outcome, late
}

// Observe takes note of an event of a group that is no boundary: the group is
// alive, and its event time has come this far. A stop event ends its session.
func (x *Index) Observe(key boundary.Group, at int64, stop bool) Outcome {
	arrived := time.Since(x.started)
	if !x.update(key, func(g *group) { g.observe(at, stop, arrived) }) {
		return TooManyGroups
	}
	return Accepted
}

// update lets f change a group, made if need be. It returns false when there is no
// room for the group.
func (x *Index) update(key boundary.Group, f func(*group)) bool {
	for {
		g := x.groupFor(key)
		if g == nil {
			return false
		}
		if g.update(func() { f(g) }) {
			return true
		}
		// The group was forgotten between the two calls.
	}
}

func (x *Index) group(key boundary.Group) *group {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.groups[key]
}

// groupFor returns the group, made if need be, or nil when there is no room for it.
func (x *Index) groupFor(key boundary.Group) *group {
	if g := x.group(key); g != nil {
		return g
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if g := x.groups[key]; g != nil {
		return g
	}
	if full(len(x.groups), x.options.MaxGroups) {
		return nil
	}
	g := newGroup(key, &x.options, &x.stats)
	x.groups[key] = g
	return g
}

// Sweep ends the sessions that have been silent for the session timeout and forgets
// the groups that ended a window ago. It is to be called now and then.
func (x *Index) Sweep() {
	now := time.Since(x.started)
	for _, g := range x.all() {
		expired := false
		g.update(func() { expired = g.expire(now) })
		if expired {
			x.forget(g)
		}
	}
}

// EndAll ends all sessions at their newest event, as when a finished recording has
// been read to its end.
func (x *Index) EndAll() {
	for _, g := range x.all() {
		g.update(func() { g.silent = true })
	}
}

func (x *Index) all() []*group {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return slices.Collect(maps.Values(x.groups))
}

// forget lets go of a group, unless an event has come in the meantime.
func (x *Index) forget(g *group) {
	x.mu.Lock()
	defer x.mu.Unlock()
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.threads) == 0 && g.ended() {
		g.forgotten = true
		delete(x.groups, g.key)
	}
}

// Stats is what the index holds.
type Stats struct {
	Groups     int
	OpenScopes int64
	Boundaries int64
	// Repaired counts the boundaries that showed that another one was lost.
	Repaired uint64
}

// Stats returns what the index holds now.
func (x *Index) Stats() Stats {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return Stats{
		Groups:     len(x.groups),
		OpenScopes: x.stats.open.Load(),
		Boundaries: x.stats.boundaries.Load(),
		Repaired:   x.stats.mends.Load(),
	}
}

// counters are kept as the groups change, so that reading them costs nothing.
type counters struct {
	open, boundaries atomic.Int64
	mends            atomic.Uint64
	// started counts the groups that have had a boundary.
	started atomic.Uint64
}
