// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"cmp"
	"slices"

	"github.com/phaseattr/phaseattr/internal/boundary"
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
	p.empty(s, at)
	p.incarnations = append(p.incarnations, incarnation{began: at, last: p.lastBefore(at), gone: never})
	slices.SortFunc(p.incarnations, func(a, b incarnation) int { return cmp.Compare(a.began, b.began) })
	p.incarnations = p.incarnations[max(0, len(p.incarnations)-maxBegins):]
	for i := range p.incarnations {
		if p.incarnations[i].began == at {
			p.settleGone(s, &p.incarnations[i])
		}
	}
}

// unbegin forgets an incarnation that did not begin then.
func (p *process) unbegin(at int64) {
	p.begins = slices.DeleteFunc(p.begins, func(begin int64) bool { return begin == at })
	p.incarnations = slices.DeleteFunc(p.incarnations, func(n incarnation) bool { return n.began == at })
}

// empty empties the stacks at a time.
func (p *process) empty(s *stream, at int64) {
	for i := range p.threads {
		t := &p.threads[i]
		s.merge(t)
		s.change(t, at, func() { t.beginAnew(at) })
	}
}

// incarnation is one of a process that is not the first, and what is known of the end of the one
// before it.
type incarnation struct {
	began int64
	// last is the time of the newest event before it, gone that by which the former one had
	// missed so many samples that it must have died; never if it had not.
	last, gone int64
}

// lastBefore returns the time of the newest event before a time, as far as it is kept.
func (p *process) lastBefore(at int64) int64 {
	last := int64(never)
	note := func(time int64) {
		if time < at {
			last = max(last, time)
		}
	}
	note(p.previous)
	if p.clock.Confirmations > 0 {
		note(p.clock.Now)
	}
	if i, _ := slices.BinarySearch(p.pulse.Samples, at); i > 0 {
		note(p.pulse.Samples[i-1])
	}
	for i := range p.threads {
		entries := &p.threads[i].entries
		if e := entries.previous(entries.search(at)); e != nil {
			note(e.time)
		}
	}
	return last
}

// hear notes an event that comes after the beginning of an incarnation, and was before it.
func (p *process) hear(s *stream, at int64) {
	for i := range p.incarnations {
		if n := &p.incarnations[i]; at < n.began {
			if at > n.last {
				n.last = at
				p.settleGone(s, n)
			}
			return
		}
	}
}

// settleGone empties the stacks when the incarnation before another one must have died.
func (p *process) settleGone(s *stream, n *incarnation) {
	if n.gone != never {
		p.begins = slices.DeleteFunc(p.begins, func(at int64) bool { return at == n.gone })
		n.gone = never
	}
	patience, pulse := p.pulse.before(n.began).patience()
	if !pulse || n.last == never || within(n.last, n.began, patience) {
		return
	}
	if at := n.last + int64(patience) + 1; at < n.began && insertTime(&p.begins, at) {
		n.gone = at
		p.empty(s, at)
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
				t.setBase(nil)
			}
		}
		if p.spans != nil {
			p.spans.evictOpen(p.begins[0])
		}
		p.begins = p.begins[1:]
	}
	for len(p.incarnations) > 0 && p.incarnations[0].began < floor {
		p.incarnations = p.incarnations[1:]
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
		c.LastSequence = b.Sequence
	}
	c.FirstBoundary, c.LastBoundary = min(c.FirstBoundary, b.Time), max(c.LastBoundary, b.Time)
	if b.Sequence == 1 && b.Action == boundary.Enter && insertTime(&p.firsts, b.Time) {
		first = true
		if b.Time == c.Now { // not one that comes late
			p.numbering = Numbering{}
		}
	}
	if first {
		p.settleBegins(s)
	}
}
