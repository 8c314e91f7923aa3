// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"math"
	"slices"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/boundary"
)

// Status is whether a lookup can be answered.
type Status uint8

const (
	// Known: the scopes returned are those that were active, as far as the boundaries
	// tell.
	Known Status = iota
	// Unknown: no event of the rank has come.
	Unknown
	// BeforeWindow: the time is older than what is kept. Whether a scope was active is not
	// known.
	BeforeWindow
	// Ended: the time is after the end of the session. No scope is active.
	Ended
	// Behind: the rank is alive and its events have not come as far as the time. The
	// scopes returned are those that were active last; boundaries may be on their way.
	Behind
)

// hasScopes reports whether scopes can be active.
func (s Status) hasScopes() bool { return s == Known || s == Behind }

// Handle leads to a rank without another search for it. It is meant for lookups in
// succession: a rank that is forgotten and comes back is another one. The zero Handle is
// that of an unknown rank.
type Handle struct{ s *stream }

// Handle returns the handle of a rank.
func (x *Index) Handle(key boundary.RankKey) Handle { return Handle{x.stream(key)} }

// State is what is known of a rank for the time between two moments.
type State struct {
	// Known is true when an event of the rank has come. Without one, the rest is false.
	Known bool
	// Live is true when the rank can have been alive between the two: its first event is
	// not after the later one, and its session had not ended before the earlier one.
	Live bool
	// Behind is true when the rank is alive and its events have not come as far as the
	// later moment: boundaries that precede it may be on their way.
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
	status := s.status(to)
	return State{
		Known:  true,
		Live:   s.clock.FirstEvent <= to && (status != Ended || s.status(from) != Ended),
		Behind: status == Behind,
	}
}

// Reached reports whether a lookup at a time, in nanoseconds since the Unix epoch, has
// nothing to wait for: the rank's events have come that far, no more will come, or the
// rank is unknown.
func (x *Index) Reached(key boundary.RankKey, at int64) bool {
	return !x.Handle(key).At(at, at).Behind
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
	status := s.status(at)
	if !status.hasScopes() {
		return dst, status
	}
	for i := range s.threads {
		t := &s.threads[i]
		stack, first, simultaneous := t.stackAt(at)
		if !simultaneous {
			dst = t.appendStack(dst, s.key, stack, math.MaxInt64, whole)
			continue
		}
		for _, frame := range t.union(stack, at, first) {
			dst = append(dst, t.interval(s.key, frame))
		}
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

// Throughout appends the scopes that decide the attribution of the time between two
// moments, in nanoseconds since the Unix epoch, and returns them and the status of the
// later moment: those that were active all the time. With whole these are all of them,
// without it, of each thread, only the top one when it is the deepest and the latest.
func (h Handle) Throughout(dst []ScopeInterval, from, to int64, whole bool) ([]ScopeInterval, Status) {
	s := h.s
	if s == nil {
		return dst, Unknown
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	status := s.status(to)
	if !status.hasScopes() {
		return dst, status
	}
	for i := range s.threads {
		t := &s.threads[i]
		stack, _, _ := t.stackAt(to)
		dst = t.appendStack(dst, s.key, stack, from, whole)
	}
	return dst, status
}
