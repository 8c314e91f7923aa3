// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"slices"

	"github.com/phaseattr/phaseattr/internal/boundary"
)

// process is the replay of one process of a rank: a stack for each of its threads. Its
// sequence numbers and scope IDs are its own; a forked worker may have its parent's. The
// mu of its stream guards it.
type process struct {
	// The fields that lookups read come first and fill few cache lines.

	options *Options
	threads []thread
	// begins are the times of the newest incarnations, in order: what was open before one
	// of them has ended there.
	begins []int64
	// incarnations are those that began then, but for times at which one had died.
	incarnations []incarnation
	numbering    Numbering
	clock        Clock
	// spans are the scopes that came whole; nil without any.
	spans *spans

	// number is unique in the stream.
	number int32
	// quiet is true when nothing more is waited for until the next event, unflushed when
	// late boundaries wait for flush.
	quiet, unflushed bool
	// aside is true when the process answers only telemetry that names it.
	aside bool
	// feed has the rules of the source that its newest event comes from; nil for stormlog's.
	feed *Feed
	// name is what records call the process; the zero Process is the one of records that
	// name none.
	name boundary.Process
	// previous is the time of the newest event before the newest one, last the one after which the
	// process cannot answer, or a later one.
	previous, last int64
	// starts are the times of the newest start events, firsts those of the newest boundaries
	// that are the first of their numbering. Both are in order.
	starts, firsts []int64
	pulse          pulse
	presences      []Presence
	skew           skew
	// entered has the newest enters of each path, while there are several threads.
	entered map[boundary.Path]*reentries

	// boundaries and openScopes are those of all threads, as the counters include them, and
	// bytes is what the process takes.
	boundaries, openScopes, bytes int
	// nameBytes is what the name takes, presenceBytes what the presences do.
	nameBytes, presenceBytes int
	// paths are those for which an entry has been charged.
	paths pathSet
	// repairs counts the boundaries that did not find the stack that they should have,
	// since the stream was locked.
	repairs int64
}

// clear forgets what the process did.
func (p *process) clear() { p.threads, p.spans, p.paths = nil, nil, pathSet{} }

// by notes who sent an event of the process.
func (p *process) by(from *Sender) {
	p.aside = from.Aside
	if from.Feed != nil {
		p.feed = from.Feed
	}
}

// isPeer reports whether the process stands beside others of its rank.
func (p *process) isPeer() bool { return p.feed != nil && p.feed.Peers }

// isUnnamed reports whether the process is that of the records that name none.
func (p *process) isUnnamed() bool { return p.name.IsUnnamed() }

// place puts a boundary on its thread's timeline.
func (s *stream) place(p *process, b *boundary.Boundary) Outcome {
	t := p.thread(b.ThreadID)
	if b.Time < p.floor() {
		return s.placeBelowWindow(t, b)
	}
	if t == nil && full(s.threads(), s.options.MaxThreads) && !s.dropThread(p) {
		return TooManyThreads
	}
	if t != nil && b.Action == boundary.Enter && s.openScopesFull(t) {
		return TooManyOpen
	}
	if bound := s.makeRoom(1); bound != Accepted {
		return bound
	}
	if t == nil {
		t = p.newThread(b.ThreadID)
	}
	added, late := false, false
	var left *frame
	others := p.options.Repair && len(p.threads) > 1
	if others {
		left = t.top()
	}
	s.change(t, b.Time, func() { added, late = t.add(b) })
	if others && added && !late {
		p.noteOthers(t, b, left)
	}
	if added && t.noteSetBack(keyOf(b)) {
		s.change(t, t.setBack.time, t.supersede)
		p.clock.setBack(t.newest())
		s.transitions.add(ClockSetBack)
	}
	p.unflushed = p.unflushed || late
	s.unflushed = s.unflushed || late
	if !added {
		return Duplicate
	}
	return Accepted
}

// placeBelowWindow adds a boundary that is older than the window. An exit may still
// close an open scope. An enter may be a duplicate of one whose exit has left the window:
// it would never end.
func (s *stream) placeBelowWindow(t *thread, b *boundary.Boundary) Outcome {
	closed := false
	if t != nil && b.Action == boundary.Exit {
		s.change(t, b.Time, func() { closed = t.close(b.ScopeID) })
	}
	if !closed {
		return TooOld
	}
	return Accepted
}

// advance updates what the time of any event changes.
func (s *stream) advance(p *process, at int64, fresh bool) {
	p.quiet = false
	if now := p.clock.Now; p.clock.Confirmations > 0 && at != now {
		p.previous = max(p.previous, min(at, now))
	}
	if n := len(p.incarnations); n > 0 && at < p.incarnations[n-1].began {
		p.hear(s, at)
	}
	if at < p.clock.FirstEvent {
		p.clock.FirstEvent = at
		p.settleBegins(s)
	}
	if p.clock.observe(at, s.options.Window, fresh) {
		s.transitions.add(ClockSetBack)
		p.clock.Evicted = never
		for i := range p.threads {
			s.merge(&p.threads[i])
			p.threads[i].rebase(at)
		}
		if p.spans != nil {
			p.spans.rebase(at)
		}
	}
}

// floor is the oldest time that lookups can be answered for.
func (p *process) floor() int64 { return p.clock.floor(p.options.Window) }

// trim drops the boundaries that have left the window, and the threads that are empty.
func (s *stream) trim(p *process) {
	floor := p.floor()
	empty := false
	for i := range p.threads {
		t := &p.threads[i]
		if t.late != nil && t.late.first().time < floor {
			s.merge(t)
		}
		t.drop(t.entries.searchOldest(floor))
		t.endLost()
		empty = empty || t.size() == 0
	}
	if p.spans != nil {
		p.spans.trim(floor)
	}
	p.trimBegins(floor)
	if empty {
		p.threads = slices.DeleteFunc(p.threads, func(t thread) bool { return t.size() == 0 })
	}
}

func (p *process) thread(id int64) *thread {
	for i := range p.threads {
		if p.threads[i].id == id {
			return &p.threads[i]
		}
	}
	return nil
}

// newThread returns a new thread. Pointers to other threads are invalid afterwards.
func (p *process) newThread(id int64) *thread {
	if len(p.threads) == 1 { // which was alone
		t := &p.threads[0]
		t.outer = t.top().outer()
	}
	p.threads = append(p.threads, thread{id: id, process: p})
	return &p.threads[len(p.threads)-1]
}
