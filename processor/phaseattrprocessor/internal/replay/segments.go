// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"slices"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/boundary"
)

// Segment is a stretch of time in which no scope begins or ends, but at its edges.
type Segment struct {
	From, To int64
	// Active are the spans that decide its attribution, as Handle.Active gives them.
	// They are good until the next stretch.
	Active []ScopeInterval
}

// Segments calls f for each stretch of the time from one moment to a later one, in
// order and without gaps, and returns the status of its beginning. What is active in
// a stretch is what is active between its edges: both ends of a span count, but a
// span that only touches an edge takes no time.
//
//   - Unknown, BeforeWindow: f was not called; how the time is divided is not known.
//   - any other, true: f was called for all of it.
//   - any other, false: f returned false, or more than most boundaries lie in that
//     time; f was then not called.
//
// f is called under the group's lock, so that all stretches are of one state: it must
// not call the index.
func (x *Index) Segments(key boundary.RankKey, from, to int64, whole bool, most int, f func(Segment) bool) (Status, bool) {
	g := x.group(key)
	if g == nil {
		return Unknown, true
	}
	g.mu.RLock()
	defer g.mu.RUnlock()
	status := g.status(from)
	if status == BeforeWindow {
		return status, true
	}
	changes, ok := g.changes(from, to, most)
	if !ok {
		return status, false
	}
	s := Segment{To: from}
	for _, change := range append(changes, to) {
		s.From, s.To, s.Active = s.To, change, s.Active[:0]
		if !g.ended() || s.From < g.clock.now {
			for i := range g.threads {
				t := &g.threads[i]
				s.Active = g.stack(s.Active, t, t.following(s.From), whole)
			}
		}
		if !f(s) {
			return status, false
		}
	}
	return status, true
}

// changes lists the moments between two others at which the answer may change, in
// order. It returns false when more than most boundaries stand there.
func (g *stream) changes(from, to int64, most int) ([]int64, bool) {
	var times []int64
	standing := 0
	for i := range g.threads {
		line := &g.threads[i].entries
		for _, e := range line.from(line.search(from + 1)) {
			if e.time >= to {
				break
			}
			standing++
			if standing > most {
				return nil, false
			}
			if n := len(times); n == 0 || times[n-1] != e.time {
				times = append(times, e.time)
			}
		}
	}
	if now := g.clock.now; g.ended() && from < now && now < to {
		times = append(times, now)
	}
	slices.Sort(times)
	return slices.Compact(times), true
}

// following returns the stack right after a moment, once all that stands at that
// moment is over.
func (t *thread) following(time int64) *frame { return t.until(t.entries.search(time + 1)) }
