// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"math"
	"runtime"
	"slices"
	"time"

	"github.com/phaseattr/phaseattr/internal/boundary"
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

// Alone returns a handle of the process that has been named, whichever the rank's main one is.
func (h Handle) Alone() Handle {
	h.alone = true
	return h
}

// answering appends the processes that answer at a time; there is at least one, unless all
// work beside a main one that has sent nothing. A process that has been named answers for
// itself, unless nobody can say which the rank's main process is: a worker may have been
// forked by any. It is called with mu held.
func (h Handle) answering(dst []*process, at int64) []*process {
	s := h.s
	if h.process != boundary.MainProcess {
		if p := s.numbered(h.process); p != nil {
			if h.alone || p.aside || p.isPeer() {
				return append(dst, p)
			}
			if main, _ := s.lastStarted(at); main != nil || len(s.candidates(dst, at)) == 1 {
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
		if p := s.processes[0]; !p.aside {
			return p, s.status(p, at)
		}
	}
	var buffer [2]*process
	processes := h.answering(buffer[:0], at)
	switch {
	case len(processes) == 0:
		return nil, Unknown
	case len(processes) == 1:
		return processes[0], s.status(processes[0], at)
	case allPeers(processes):
		return nil, Peers
	}
	return nil, Several
}

// allPeers reports whether processes stand side by side.
func allPeers(processes []*process) bool {
	return !slices.ContainsFunc(processes, func(p *process) bool { return !p.isPeer() })
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
	// Grace is how long telemetry of the rank waits for its events; 0 for the configured
	// period.
	Grace time.Duration
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
	return h.at(from, to)
}

// at is At, called with the stream's mu held.
func (h Handle) at(from, to int64) (state State) {
	s := h.s
	if len(s.processes) == 0 {
		return state
	}
	var buffer [2]*process
	for _, p := range h.answering(buffer[:0], to) {
		state.Known = true
		if p.feed != nil {
			state.Grace = max(state.Grace, p.feed.Grace)
		}
		status := s.status(p, to)
		state.Live = state.Live || p.clock.FirstEvent <= to && (!status.isOver() || !s.over(p, from))
		state.Behind = state.Behind || p.waits(status, to)
	}
	return state
}

// Settled is a state that does not depend on the interval, as long as that ends between two
// moments, in nanoseconds since the Unix epoch. The zero Settled has none.
type Settled struct {
	State
	Since, Until int64
}

// Has reports whether the state is that of an interval.
func (s *Settled) Has(to int64) bool { return s.Known && s.Since <= to && to <= s.Until }

// Settled returns the state of the rank while its one process is known to have been alive:
// that of most telemetry, as long as no other process answers.
func (h Handle) Settled() Settled {
	s := h.s
	if s == nil {
		return Settled{}
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if len(s.processes) != 1 {
		return Settled{}
	}
	p := s.processes[0]
	if p.aside || p.spans != nil { // scopes that come whole are known only once they have ended
		return Settled{}
	}
	settled := Settled{State: State{Known: true, Live: true}, Since: p.clock.FirstEvent, Until: p.clock.Now}
	if p.feed != nil {
		settled.Grace = p.feed.Grace
	}
	return settled
}

// Reached reports whether a lookup at a time, in nanoseconds since the Unix epoch, has
// nothing to wait for: the rank's events have come that far, no more will come, or the
// rank is unknown. It is called with the lock of all that waits held, so it does not wait for
// a rank that is being written: its events have not been read yet then, and whoever writes
// them asks again.
func (x *Index) Reached(key boundary.RankKey, at int64) bool {
	h := x.Handle(key)
	if h.s == nil {
		return true
	}
	for range reachedTries {
		if h.s.mu.TryRLock() {
			defer h.s.mu.RUnlock()
			return !h.at(at, at).Behind
		}
		runtime.Gosched()
	}
	return false
}

// reachedTries is how often Reached tries to lock a rank: mostly it is free soon.
const reachedTries = 64

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
	around, known := newGap(), len(dst)
	for i := range p.threads {
		t := &p.threads[i]
		stack, first, simultaneous := t.stackAt(at)
		around.add(t, at, first)
		if simultaneous {
			dst = t.appendUnion(dst, s.key, stack, at, first)
		} else {
			dst = t.appendStack(dst, s.key, stack, math.MaxInt64, whole)
		}
		if len(dst)-known > maxScopes {
			return append(dst[:known], t.unlisted(s.key)), status
		}
	}
	if p.spans != nil {
		if dst, status = p.spans.appendActive(dst, s.key, at, whole, status); status == Doubtful {
			return dst, Doubtful
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

const (
	// maxScopes bounds the scopes that are listed for a moment, maxStack those of a stack that
	// are visited: what a program keeps open without end must not take time of all lookups.
	// Past them, the answer is ambiguous.
	maxScopes = 1 << 11
	maxStack  = 1 << 9
)

// appendStack appends the scopes of a stack that were opened until a time, down to the one
// that decides, or with whole all of them.
func (t *thread) appendStack(dst []ScopeInterval, rank boundary.RankKey, top *frame, until int64, whole bool) []ScopeInterval {
	known, visited := len(dst), 0
	for frame := top; frame != nil; frame = frame.below {
		visited++
		if visited > maxStack {
			return append(dst[:known], t.unlisted(rank))
		}
		if frame.time > until {
			continue
		}
		dst = append(dst, ScopeInterval{})
		t.describe(&dst[len(dst)-1], &rank, frame)
		if frame.is(decisive) && !whole {
			break
		}
	}
	return dst
}

// appendUnion appends the scopes of a stack and of those that the boundaries at a time, of
// which the first is at a position, found and left.
func (t *thread) appendUnion(dst []ScopeInterval, rank boundary.RankKey, stack *frame, time int64, first position) []ScopeInterval {
	known, swept, seen := len(dst), 0, map[*frame]struct{}{}
	add := func(stack *frame) {
		for frame := stack; frame != nil && len(seen) <= maxStack; frame = frame.below {
			if _, ok := seen[frame]; ok {
				return
			}
			seen[frame] = struct{}{}
			dst = append(dst, t.interval(rank, frame))
		}
	}
	add(stack)
	for e := range t.simultaneous(time, first) {
		add(e.before)
		add(e.after())
		swept++
		if swept > maxSwept || len(seen) > maxStack {
			return append(dst[:known], t.unlisted(rank))
		}
	}
	if len(seen) > maxStack {
		return append(dst[:known], t.unlisted(rank))
	}
	return dst
}
