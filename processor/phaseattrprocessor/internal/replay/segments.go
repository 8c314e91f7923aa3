// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"math"
	"slices"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/boundary"
)

// Segment is a part of an interval in which no scope begins or ends, except at its ends.
type Segment struct {
	// From and To are nanoseconds since the Unix epoch.
	From, To int64
	// Active are the scopes that decide its attribution, as Handle.Active returns them.
	// They are valid until the next segment.
	Active []ScopeInterval
}

// Segments calls f for each segment of the interval between two moments, in nanoseconds
// since the Unix epoch, in order and without gaps, and returns the status of its start
// and whether f was called for all of it. A scope that only touches a segment's ends is
// not active in it.
//
//   - Unknown, BeforeWindow: f was not called; the segments are not known.
//   - any other, true: f was called for all of it.
//   - any other, false: f returned false, or there are more than maxBoundaries boundaries
//     in the interval, and f was not called.
//
// f is called with the rank locked, so that all segments are of one state. It must not
// call the index.
func (x *Index) Segments(key boundary.RankKey, from, to int64, whole bool, maxBoundaries int, f func(Segment) bool) (Status, bool) {
	s := x.stream(key)
	if s == nil {
		return Unknown, true
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	status := s.status(from)
	if status == BeforeWindow {
		return status, true
	}
	changes, ok := s.changes(from, to, maxBoundaries)
	if !ok {
		return status, false
	}
	segment := Segment{To: from}
	for _, change := range append(changes, to) {
		segment.From, segment.To, segment.Active = segment.To, change, segment.Active[:0]
		if !s.ended() || segment.From < s.clock.Now {
			for i := range s.threads {
				t := &s.threads[i]
				segment.Active = t.appendStack(segment.Active, s.key, t.stackAfter(segment.From), math.MaxInt64, whole)
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
func (s *stream) changes(from, to int64, maxBoundaries int) ([]int64, bool) {
	var times []int64
	boundaries := 0
	for i := range s.threads {
		entries := &s.threads[i].entries
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
	if now := s.clock.Now; s.ended() && from < now && now < to {
		times = append(times, now)
	}
	slices.Sort(times)
	return slices.Compact(times), true
}
