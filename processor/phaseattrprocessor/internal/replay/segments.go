// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"math"
	"slices"
)

// Segment is a part of an interval in which no scope begins or ends, except at its ends.
type Segment struct {
	// From and To are nanoseconds since the Unix epoch.
	From, To int64
	// Active are the scopes that decide its attribution, as Handle.Active returns them.
	// They are valid until the next segment.
	Active []ScopeInterval
	// Doubtful is true when a boundary around the segment is missing.
	Doubtful bool
	// Incomplete is true when parents of the scopes have not come.
	Incomplete bool
}

// maxListed bounds the scopes that Segments lists for all segments together.
const maxListed = 1 << 18

// Segments calls f for each segment of the interval between two moments, in nanoseconds
// since the Unix epoch, in order and without gaps, and returns the status of its start
// and whether f was called for all of it. A scope that only touches a segment's ends is
// not active in it.
//
//   - Unknown, BeforeWindow, Several: f was not called; the segments are not known.
//   - any other, true: f was called for all of it.
//   - any other, false: f returned false, there are more than maxBoundaries boundaries in the
//     interval, or so many scopes were open in it that it takes too long to list them.
//
// f is called with the rank locked, so that all segments are of one state. It must not
// call the index.
func (h Handle) Segments(from, to int64, whole bool, maxBoundaries int, f func(Segment) bool) (Status, bool) {
	s := h.s
	if s == nil {
		return Unknown, true
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	p, status := h.one(to)
	if status == Unknown || status == Several || status == Peers {
		return status, true
	}
	if status = s.status(p, from); status == BeforeWindow {
		return status, true
	}
	end := s.activeUntil(p, to)
	changes, ok := p.changes(from, to, end, maxBoundaries)
	if !ok {
		return status, false
	}
	segment, listed := Segment{To: from}, 0
	for _, change := range append(changes, to) {
		segment.From, segment.To, segment.Active = segment.To, change, segment.Active[:0]
		segment.Incomplete = false
		segment.Doubtful = p.isDoubtfulAt(segment.From + (segment.To-segment.From)/2)
		if segment.From < end {
			for i := range p.threads {
				t := &p.threads[i]
				segment.Active = t.appendStack(segment.Active, s.key, t.stackAfter(segment.From), math.MaxInt64, whole)
			}
			if listed += len(segment.Active); listed > maxListed {
				return status, false
			}
			if p.spans != nil {
				var of Status
				segment.Active, of = p.spans.appendActive(segment.Active, s.key, segment.From, whole, Known)
				segment.Doubtful, segment.Incomplete = segment.Doubtful || of == Doubtful, of == Incomplete
			}
		}
		if !f(segment) {
			return status, false
		}
	}
	return status, true
}

// changes returns the times between two others at which the active scopes may change, in
// order. It reports false when there are more than maxBoundaries boundaries between them.
func (p *process) changes(from, to, end int64, maxBoundaries int) ([]int64, bool) {
	var times []int64
	boundaries := 0
	for i := range p.threads {
		entries := &p.threads[i].entries
		for _, e := range entries.from(entries.search(from + 1)) {
			if e.time >= to {
				break
			}
			boundaries++
			if boundaries > maxBoundaries {
				return nil, false
			}
			if n := len(times); n == 0 || times[n-1] != e.time {
				times = append(times, e.time)
			}
		}
	}
	if p.spans != nil {
		var listed bool
		if times, listed = p.spans.changes(times, from, to, maxBoundaries); !listed {
			return nil, false
		}
	}
	for _, at := range append(p.begins[:len(p.begins):len(p.begins)], end) {
		if from < at && at < to {
			times = append(times, at)
		}
	}
	slices.Sort(times)
	return slices.Compact(times), true
}
