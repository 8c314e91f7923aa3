// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"slices"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/boundary"
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
	begins    []int64
	numbering Numbering
	clock     Clock

	// number is unique in the stream.
	number int32
	// quiet is true when nothing more is waited for until the next event, unflushed when
	// late boundaries wait for flush.
	quiet, unflushed bool
	// name is what records call the process; the zero Process is the one of records that
	// name none.
	name boundary.Process
	// starts are the times of the newest start events, firsts those of the newest boundaries
	// that are the first of their numbering. Both are in order.
	starts, firsts []int64
	pulse          pulse
	presences      []Presence
	// newestSequence is the sequence number of the boundary with the newest time.
	newestSequence int64

	// boundaries and openScopes are those of all threads, as the counters include them.
	boundaries, openScopes int
	// repairs counts the boundaries that did not find the stack that they should have,
	// since the stream was locked.
	repairs int64
}

// isUnnamed reports whether the process is that of the records that name none.
func (p *process) isUnnamed() bool { return p.name == boundary.Process{} }

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
	if !s.makeRoom() {
		return TooManyBoundaries
	}
	if t == nil {
		t = p.newThread(b.ThreadID)
	}
	added, late := false, false
	s.change(t, b.Time, func() { added, late = t.add(b) })
	if added && t.noteSetBack(keyOf(b)) {
		s.change(t, t.setBack.time, t.supersede)
		p.clock.setBack(t.newest())
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
	if at < p.clock.FirstEvent {
		p.clock.FirstEvent = at
		p.settleBegins(s)
	}
	if p.clock.observe(at, s.options.Window, fresh) {
		p.clock.Evicted = never
		for i := range p.threads {
			s.merge(&p.threads[i])
			p.threads[i].rebase(at)
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
		empty = empty || t.size() == 0
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
	p.threads = append(p.threads, thread{id: id, process: p})
	return &p.threads[len(p.threads)-1]
}
