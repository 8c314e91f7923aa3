// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"cmp"
	"slices"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/boundary"
)

// Status says how far the index can answer a question.
type Status uint8

const (
	// Known: the spans are those that were active, as far as the boundaries tell.
	Known Status = iota
	// Unknown: no event of the group has come.
	Unknown
	// BeforeWindow: the time is older than what is kept. Not the same as "no phase
	// was active".
	BeforeWindow
	// Ended: the time lies after the session's end.
	Ended
	// Behind: the group is alive and its events have not come as far as this time.
	// The spans are those that were active last; boundaries may be on their way.
	Behind
)

// Handle leads to a group without looking for it again. It is meant for questions that
// follow each other: a group that is forgotten and comes back is another one. The zero
// Handle is that of a group of which no event has come.
type Handle struct{ g *stream }

// Handle returns the handle of a group.
func (x *Index) Handle(key boundary.RankKey) Handle { return Handle{x.group(key)} }

// Active appends the spans that decide the attribution at a moment: per thread the
// whole stack, or only its top when that is the deepest and the latest of it. An
// origin scope may name any span, so whole makes it the whole stack always.
func (h Handle) Active(dst []ScopeInterval, at int64, whole bool) ([]ScopeInterval, Status) {
	g := h.g
	if g == nil {
		return dst, Unknown
	}
	g.mu.RLock()
	defer g.mu.RUnlock()
	status := g.status(at)
	if status.answers() {
		dst = g.active(dst, at, whole)
	}
	return dst, status
}

// Answered takes note of records that were answered for a moment.
func (h Handle) Answered(at, records int64) {
	if h.g != nil {
		h.g.answers.note(at, records)
	}
}

// answers tells whether there can be active spans.
func (s Status) answers() bool { return s == Known || s == Behind }

func (g *stream) active(dst []ScopeInterval, at int64, whole bool) []ScopeInterval {
	for i := range g.threads {
		t := &g.threads[i]
		stack, from, standing := t.at(at)
		if standing {
			for _, frame := range t.union(stack, at, from) {
				dst = append(dst, t.span(g.key, frame))
			}
			continue
		}
		dst = g.stack(dst, t, stack, whole)
	}
	return dst
}

// stack appends the spans of a thread's stack, down to the frame that answers for
// all below it, or whole.
func (g *stream) stack(dst []ScopeInterval, t *thread, top *frame, whole bool) []ScopeInterval {
	for frame := top; frame != nil; frame = frame.below {
		dst = append(dst, t.span(g.key, frame))
		if frame.is(plain) && !whole {
			break
		}
	}
	return dst
}

// union lists the frames of a stack and of those that the boundaries standing at one
// moment, from a position on, found and left.
func (t *thread) union(stack *frame, time int64, from position) []*frame {
	var frames []*frame
	add := func(stack *frame) {
		for frame := stack; frame != nil && !slices.Contains(frames, frame); frame = frame.below {
			frames = append(frames, frame)
		}
	}
	add(stack)
	for e := range t.standing(time, from) {
		add(e.before)
		add(e.after())
	}
	return frames
}

// Throughout appends the spans that decide the attribution of the time from one moment
// to a later one: those that were active without a break, so at the end, and began by
// the start. Of each thread these are all, or, unless whole, only the top one when it is
// the deepest and the latest. The status is that of the end.
func (h Handle) Throughout(dst []ScopeInterval, from, to int64, whole bool) ([]ScopeInterval, Status) {
	g := h.g
	if g == nil {
		return dst, Unknown
	}
	g.mu.RLock()
	defer g.mu.RUnlock()
	status := g.status(to)
	if !status.answers() {
		return dst, status
	}
	for i := range g.threads {
		t := &g.threads[i]
		stack, _, _ := t.at(to)
		for frame := stack; frame != nil; frame = frame.below {
			if frame.time > from {
				continue
			}
			dst = append(dst, t.span(g.key, frame))
			if frame.is(plain) && !whole {
				break
			}
		}
	}
	return dst, status
}

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
// epoch. The zero Handle's is the zero State.
func (h Handle) At(from, to int64) State {
	g := h.g
	if g == nil {
		return State{}
	}
	g.mu.RLock()
	defer g.mu.RUnlock()
	status := g.status(to)
	return State{
		Known:  true,
		Live:   g.began <= to && (status != Ended || g.status(from) != Ended),
		Behind: status == Behind,
	}
}

// Reached reports whether a lookup at a moment has nothing to wait for: the rank's events
// have come that far, or no more will come, or the rank is unknown.
func (x *Index) Reached(key boundary.RankKey, at int64) bool {
	return !x.Handle(key).At(at, at).Behind
}

// Groups lists the groups of a session in the order of the arrival of their first
// boundaries. Groups without one are left out.
func (x *Index) Groups(session string) []boundary.RankKey {
	var found []*stream
	for _, g := range x.all() {
		if g.key.Session == session && g.order.Load() > 0 {
			found = append(found, g)
		}
	}
	slices.SortFunc(found, func(a, b *stream) int { return cmp.Compare(a.order.Load(), b.order.Load()) })
	keys := make([]boundary.RankKey, len(found))
	for i, g := range found {
		keys[i] = g.key
	}
	return keys
}

// ScopeIntervals appends every span of a group, unordered. What is open ends at the group's
// newest event.
func (x *Index) ScopeIntervals(dst []ScopeInterval, key boundary.RankKey) []ScopeInterval {
	g := x.group(key)
	if g == nil {
		return dst
	}
	g.mu.RLock()
	defer g.mu.RUnlock()
	for i := range g.threads {
		dst = g.threads[i].spans(dst, key, g.clock.now)
	}
	return dst
}
