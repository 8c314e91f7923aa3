// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"slices"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/boundary"
)

// maxBegins bounds the starts and the incarnations of a process that are remembered.
const maxBegins = 16

// start notes a start event.
func (p *process) start(s *stream, at int64) {
	if insertTime(&p.starts, at) {
		p.settleBegins(s)
	}
}

// settleBegins begins an incarnation at each start event that was not the first event,
// and where the process began to number its boundaries again: a first boundary, when
// others came before it in time. Clocks that jitter may order the first ones wrongly.
func (p *process) settleBegins(s *stream) {
	if !p.options.Repair {
		return
	}
	for _, at := range p.starts {
		if p.clock.FirstEvent < at {
			p.begin(s, at)
		}
	}
	for _, at := range p.firsts {
		if p.clock.FirstBoundary < at && !within(p.clock.FirstBoundary, at, maxReversal) {
			p.begin(s, at)
		}
	}
}

// insertTime adds a time to an ordered list of the newest ones, unless it is there.
func insertTime(times *[]int64, at int64) bool {
	i, known := slices.BinarySearch(*times, at)
	if known || i == 0 && len(*times) == maxBegins {
		return false
	}
	*times = slices.Insert(*times, i, at)
	if len(*times) > maxBegins {
		*times = slices.Delete(*times, 0, 1)
	}
	return true
}

// begin begins a new incarnation of the process: its stacks are empty at that time.
func (p *process) begin(s *stream, at int64) {
	if !insertTime(&p.begins, at) {
		return
	}
	for i := range p.threads {
		t := &p.threads[i]
		s.merge(t)
		s.change(t, at, func() { t.beginAnew(at) })
	}
}

// beganIn reports whether an incarnation began after one time and until another.
func (p *process) beganIn(after, until int64) bool {
	for _, begin := range p.begins {
		if after < begin && begin <= until {
			return true
		}
	}
	return false
}

// nextBegin is when the next incarnation after a time began, or another time if that is
// earlier.
func (p *process) nextBegin(after, until int64) int64 {
	for _, begin := range p.begins {
		if begin > after {
			return min(begin, until)
		}
	}
	return until
}

// trimBegins forgets the incarnations that began before a time. What one of them ended
// stays ended.
func (p *process) trimBegins(floor int64) {
	for len(p.begins) > 0 && p.begins[0] < floor {
		for i := range p.threads {
			if t := &p.threads[i]; t.dropped.Time < p.begins[0] {
				t.base = nil
			}
		}
		p.begins = p.begins[1:]
	}
}

// beginAnew replays what follows the beginning of an incarnation.
func (t *thread) beginAnew(begin int64) {
	at := t.entries.search(begin)
	if t.entries.at(at) == nil {
		return
	}
	was := t.base
	if previous := t.entries.previous(at); previous != nil {
		was = previous.after()
	}
	t.replay(at, was)
}

// noteBoundary notes what a boundary shows of its process's incarnations.
func (s *stream) noteBoundary(p *process, b *boundary.Boundary) {
	c := &p.clock
	first := b.Time < c.FirstBoundary
	if b.Time >= c.LastBoundary {
		p.newestSequence = b.Sequence
	}
	c.FirstBoundary, c.LastBoundary = min(c.FirstBoundary, b.Time), max(c.LastBoundary, b.Time)
	if b.Sequence == 1 && b.Action == boundary.Enter && insertTime(&p.firsts, b.Time) {
		first = true
		if b.Time == c.Now { // not one that comes late
			c.MaxSequence, p.numbering = b.Sequence, Numbering{}
		}
	}
	if first {
		p.settleBegins(s)
	}
}
