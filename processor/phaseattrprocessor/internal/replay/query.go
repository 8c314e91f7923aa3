// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"math"
	"slices"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/boundary"
)

// Handle leads to a rank, or one of its processes, without another search for it. It is
// meant for lookups in succession: a rank that is forgotten and comes back is another one.
// The zero Handle is that of an unknown rank.
type Handle struct {
	s       *stream
	process int32
	// alone is true when no other process is considered.
	alone bool
}

// Handle returns the handle of a rank.
func (x *Index) Handle(key boundary.RankKey) Handle {
	return x.ProcessHandle(key, boundary.MainProcess)
}

// ProcessHandle returns the handle of a process of a rank.
func (x *Index) ProcessHandle(key boundary.RankKey, process int32) Handle {
	s := x.stream(key)
	if s == nil {
		return Handle{}
	}
	return Handle{s: s, process: process}
}

// answering appends the processes that answer at a time; there is at least one. A process
// that has been named answers for itself, unless nobody can say which the rank's main
// process is: a worker may have been forked by any. It is called with mu held.
func (h Handle) answering(dst []*process, at int64) []*process {
	s := h.s
	if h.process != boundary.MainProcess && len(s.processes) > 1 {
		if p := s.numbered(h.process); p != nil {
			if main, _ := s.lastStarted(at); h.alone || main != nil || len(s.candidates(dst, at)) == 1 {
				return append(dst, p)
			}
		}
	}
	return s.candidates(dst, at)
}

// one returns the process that answers at a time, and the status. It is nil when there is
// none, or more than one. It is called with mu held.
func (h Handle) one(at int64) (*process, Status) {
	s := h.s
	switch len(s.processes) {
	case 0:
		return nil, Unknown
	case 1:
		return s.processes[0], s.status(s.processes[0], at)
	}
	var buffer [2]*process
	processes := h.answering(buffer[:0], at)
	if len(processes) > 1 {
		return nil, Several
	}
	return processes[0], s.status(processes[0], at)
}

// Each returns the handles of the processes that may be meant at a time, in nanoseconds
// since the Unix epoch.
func (h Handle) Each(at int64) []Handle {
	var handles []Handle
	if h.s == nil {
		return nil
	}
	h.s.mu.RLock()
	defer h.s.mu.RUnlock()
	if len(h.s.processes) > 0 {
		for _, p := range h.answering(nil, at) {
			handles = append(handles, Handle{s: h.s, process: p.number, alone: true})
		}
	}
	return handles
}

// State is what is known of a rank for the time between two moments.
type State struct {
	// Known is true when an event of the rank has come. Without one, the rest is false.
	Known bool
	// Live is true when the rank can have been alive between the two: its first event is
	// not after the later one, and it was not over at the earlier one.
	Live bool
	// Behind is true when the rank is alive, its events have not come as far as the later
	// moment, and they are waited for: boundaries that precede it may be on their way.
	Behind bool
}

// At returns the state of the rank between two moments, in nanoseconds since the Unix
// epoch. That of an unknown rank is the zero State.
func (h Handle) At(from, to int64) State {
	s := h.s
	if s == nil {
		return State{}
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	state := State{Known: len(s.processes) > 0}
	if !state.Known {
		return state
	}
	var buffer [2]*process
	for _, p := range h.answering(buffer[:0], to) {
		status := s.status(p, to)
		state.Live = state.Live || p.clock.FirstEvent <= to && (!status.isOver() || !s.over(p, from))
		state.Behind = state.Behind || (status == Behind || status == Lagging) && !p.quiet
	}
	return state
}

// Reached reports whether a lookup at a time, in nanoseconds since the Unix epoch, has
// nothing to wait for: the rank's events have come that far, no more will come, or the
// rank is unknown.
func (x *Index) Reached(key boundary.RankKey, at int64) bool {
	return !x.Handle(key).At(at, at).Behind
}

// GiveUp stops waiting for processes that send samples and have not come as far as a
// time, in nanoseconds since the Unix epoch, until their next events.
func (h Handle) GiveUp(at int64) {
	s := h.s
	if s == nil || !s.lock() {
		return
	}
	defer s.mu.Unlock()
	if len(s.processes) == 0 {
		return
	}
	for _, p := range h.answering(nil, at) {
		if s.status(p, at) == Lagging {
			p.quiet = true
		}
	}
}

// Active appends the scopes that decide the attribution at a time, in nanoseconds since
// the Unix epoch, and returns them and the status: per thread the whole stack, or only
// its top when that is the deepest and the latest. With whole it is always the whole
// stack, of which an origin scope may name any.
func (h Handle) Active(dst []ScopeInterval, at int64, whole bool) ([]ScopeInterval, Status) {
	s := h.s
	if s == nil {
		return dst, Unknown
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	p, status := h.one(at)
	if !status.hasScopes() {
		return dst, status
	}
	around := newGap()
	for i := range p.threads {
		t := &p.threads[i]
		stack, first, simultaneous := t.stackAt(at)
		around.add(t, at, first)
		if !simultaneous {
			dst = t.appendStack(dst, s.key, stack, math.MaxInt64, whole)
			continue
		}
		for _, frame := range t.union(stack, at, first) {
			dst = append(dst, t.interval(s.key, frame))
		}
	}
	if p.isDoubtful(&around, at, at) {
		return dst, Doubtful
	}
	return dst, status
}

// NoteLookup notes that records were answered for a time, in nanoseconds since the Unix
// epoch, so that Ingest.Flush can return how many late boundaries make wrong.
func (h Handle) NoteLookup(at, records int64) {
	if h.s != nil {
		h.s.lookups.note(at, records)
	}
}

// appendStack appends the scopes of a stack that were opened until a time, down to the one
// that decides, or with whole all of them.
func (t *thread) appendStack(dst []ScopeInterval, rank boundary.RankKey, top *frame, until int64, whole bool) []ScopeInterval {
	for frame := top; frame != nil; frame = frame.below {
		if frame.time > until {
			continue
		}
		dst = append(dst, t.interval(rank, frame))
		if frame.is(decisive) && !whole {
			break
		}
	}
	return dst
}

// union returns the frames of a stack and of those that the boundaries at a time, of
// which the first is at a position, found and left.
func (t *thread) union(stack *frame, time int64, first position) []*frame {
	var frames []*frame
	add := func(stack *frame) {
		for frame := stack; frame != nil && !slices.Contains(frames, frame); frame = frame.below {
			frames = append(frames, frame)
		}
	}
	add(stack)
	for e := range t.simultaneous(time, first) {
		add(e.before)
		add(e.after())
	}
	return frames
}
