// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/boundary"
)

// stream is the replay of one process. What a question needs comes first, and is of few
// cache lines: with many groups each of them is read from memory.
type stream struct {
	key     boundary.RankKey
	options *Options

	// mu guards what follows, up to stats.
	mu      sync.RWMutex
	threads []thread
	clock   clock
	// evicted is the newest time that a bound has pushed out of the window.
	evicted int64
	// lastEnter is the newest time at which a scope was entered.
	lastEnter int64
	// maxSequence is the largest sequence number seen.
	maxSequence int64
	// stopped is the newest time of a stop event; never before there is one.
	stopped int64
	// held and open are the boundaries and the open scopes of all threads.
	held, open int
	// arrived is when the last event came, as time since the index was made.
	arrived time.Duration
	// seats are what the group has alone, began is when its first event was.
	seats []string
	began int64
	// succeeded is when another session of the same process began; never before.
	succeeded int64
	// begun is true once the group has been introduced, silent when no event has come for
	// the session timeout, forgotten when the index has let go of the group.
	begun, silent, forgotten bool

	stats *counters
	// order ranks the groups by the arrival of their first boundary; 0 before it.
	order   atomic.Uint64
	answers answerLog
}

// never is before all times.
const never = math.MinInt64

func newGroup(key boundary.RankKey, options *Options, stats *counters) *stream {
	g := &stream{
		key: key, options: options, stats: stats,
		evicted: never, lastEnter: never, maxSequence: never, stopped: never, succeeded: never,
	}
	g.answers.newest.Store(never)
	return g
}

// update lets f change the group, and brings the index's counters up to date. It
// returns false when the group is no longer part of the index.
func (g *stream) update(f func()) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.forgotten {
		return false
	}
	f()
	held, open := 0, 0
	mends := int64(0)
	for i := range g.threads {
		t := &g.threads[i]
		held += t.held()
		open += int(t.top().size())
		mends += int64(t.mends)
		t.mends = 0
	}
	g.stats.boundaries.Add(int64(held - g.held))
	g.stats.open.Add(int64(open - g.open))
	g.stats.mends.Add(mends)
	g.held, g.open = held, open
	return true
}

// observe takes note of an event that is no boundary.
func (g *stream) observe(at int64, stop bool, arrived time.Duration) {
	g.seen(at, arrived, false)
	if stop {
		g.stopped = max(g.stopped, at)
	}
	g.trim()
}

// add takes in a boundary.
func (g *stream) add(b *boundary.Boundary, arrived time.Duration) (receipt AddResult, outdated int64) {
	if g.clock.votes > 0 && b.Time < g.clock.now {
		receipt.Late = max(time.Duration(uint64(g.clock.now)-uint64(b.Time)), 0) //nolint:gosec // what does not fit is no lateness
	}
	g.seen(b.Time, arrived, b.Sequence > g.maxSequence)
	g.maxSequence = max(g.maxSequence, b.Sequence)
	receipt.Outcome, outdated = g.place(b)
	if receipt.Outcome == Accepted && b.Action == boundary.Enter {
		g.lastEnter = max(g.lastEnter, b.Time)
	}
	g.trim()
	return receipt, outdated
}

// seen takes note of any event's time and arrival.
func (g *stream) seen(at int64, arrived time.Duration, fresh bool) {
	g.arrived, g.silent = arrived, false
	g.began = min(g.began, at)
	if at >= g.succeeded {
		g.succeeded = never
	}
	if g.clock.see(at, g.options.Window, fresh) {
		g.evicted = never
		for i := range g.threads {
			g.threads[i].rebase(at)
		}
	}
}

// place puts a boundary on its thread's timeline. It returns how many of the answers
// given would have been others with it.
func (g *stream) place(b *boundary.Boundary) (Outcome, int64) {
	t := g.thread(b.ThreadID)
	asked := g.answers.touchedBy(b.Time)
	if b.Time < g.floor() {
		// An exit may still close what is open. An enter may be a duplicate of one whose
		// exit has left the window: it would never end.
		if b.Action == boundary.Enter || t == nil {
			return TooOld, 0
		}
		closed := false
		changed := t.outdated(asked, func() { closed = t.close(b.ScopeID) })
		if !closed {
			return TooOld, 0
		}
		return Accepted, changed
	}
	if t == nil && full(len(g.threads), g.options.MaxThreads) {
		return TooManyThreads, 0
	}
	if t != nil && b.Action == boundary.Enter && full(int(t.top().size()), g.options.MaxOpen) {
		return TooManyOpen, 0
	}
	if !g.makeRoom() {
		return TooManyBoundaries, 0
	}
	if t == nil {
		t = g.newThread(b.ThreadID)
	}
	added := false
	changed := t.outdated(asked, func() { added = t.add(b) })
	if !added {
		return Duplicate, 0
	}
	if g.order.Load() == 0 {
		g.order.Store(g.stats.started.Add(1))
	}
	return Accepted, changed
}

func full(n, bound int) bool { return bound > 0 && n >= bound }

// makeRoom lets the oldest boundaries of the group go until there is room for one
// more. A boundary from far ahead of the group's time goes before them.
func (g *stream) makeRoom() bool {
	held, rest := g.held, int(g.stats.boundaries.Load())-g.held
	for full(held, g.options.MaxBoundaries) || full(held+rest, g.options.MaxTotal) {
		var oldest *thread
		for i := range g.threads {
			t := &g.threads[i]
			last := t.entries.last()
			if last == nil {
				continue
			}
			if last.time > g.clock.now && !within(last.time, g.clock.now, g.options.Window) {
				t.entries.removeLast()
				return true
			}
			if oldest == nil || t.entries.first().time < oldest.entries.first().time {
				oldest = t
			}
		}
		if oldest == nil {
			return false
		}
		g.evicted = max(g.evicted, oldest.entries.first().time)
		held -= oldest.held()
		oldest.drop(oldest.entries.next(position{}))
		held += oldest.held()
	}
	return true
}

// floor is the oldest time that the group can still answer for.
func (g *stream) floor() int64 {
	floor := g.clock.floor(g.options.Window)
	if g.evicted >= floor && g.evicted != never {
		return g.evicted + 1
	}
	return floor
}

// trim forgets what has left the window, and threads that have nothing left.
func (g *stream) trim() {
	floor := g.floor()
	idle := false
	for i := range g.threads {
		t := &g.threads[i]
		t.trim(floor)
		idle = idle || t.held() == 0
	}
	if idle {
		g.threads = slices.DeleteFunc(g.threads, func(t thread) bool { return t.held() == 0 })
	}
}

func (g *stream) thread(id int64) *thread {
	for i := range g.threads {
		if g.threads[i].id == id {
			return &g.threads[i]
		}
	}
	return nil
}

// newThread returns a new thread. Threads that were returned before are no longer good.
func (g *stream) newThread(id int64) *thread {
	g.threads = append(g.threads, thread{id: id, repair: g.options.Repair})
	return &g.threads[len(g.threads)-1]
}

// ended tells whether the session is over: it said so and opened nothing since, it
// fell silent, or its process began another one.
func (g *stream) ended() bool {
	return g.silent || g.succeeded != never || g.stopped != never && g.stopped >= g.lastEnter
}

// introduce says which seats the group has, and when it began. Only the first time
// counts.
func (g *stream) introduce(seats []string, at int64) bool {
	if g.begun {
		return false
	}
	if g.clock.votes > 0 { // it has been restored: its first event was earlier
		at = min(at, g.began)
	}
	g.seats, g.began, g.begun = seats, at, true
	return true
}

// succeed ends the session, unless it is still alive when its successor begins. It
// reports whether it ended the session.
func (g *stream) succeed(began int64) bool {
	if began <= g.clock.now {
		return false
	}
	ended := !g.ended()
	g.succeeded = began
	return ended
}

// expire ends a session that has been silent for the session timeout. It reports whether
// that ended the session now, and whether the session ended at least a window ago and
// the stream is to be removed.
func (g *stream) expire(now time.Duration) (ended, over bool) {
	alive := !g.ended()
	quiet := now - g.arrived
	if g.options.SessionTimeout > 0 && quiet >= g.options.SessionTimeout {
		g.silent = true
	}
	ended = alive && g.ended()
	over = g.ended() && g.options.Window > 0 && quiet >= g.options.Window
	if over {
		g.threads = nil
	}
	return ended, over
}

// status tells whether the group can answer for a moment.
func (g *stream) status(at int64) Status {
	switch {
	case at < g.floor():
		return BeforeWindow
	case at <= g.clock.now:
		return Known
	case g.ended():
		return Ended
	}
	return Behind
}
