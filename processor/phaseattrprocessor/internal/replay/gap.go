// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import "math"

// gap is the time between two consecutive boundaries of a process, whatever their
// threads: those with the largest sequence number before a moment and the smallest one
// after it.
type gap struct {
	from, to int64
	// last and first are their sequence numbers.
	last, first int64
	// newest is the time of the newest boundary before the moment.
	newest int64
	// unentered is true when the next boundary of a thread leaves a scope that it had not
	// entered; leftSince and left are the times of its last one and of that one.
	unentered       bool
	leftSince, left int64
}

// newGap returns the gap of a process without boundaries.
func newGap() gap {
	return gap{from: math.MinInt64, to: math.MaxInt64, last: math.MinInt64, first: math.MaxInt64, newest: math.MinInt64}
}

// add adds what a thread has around a moment. next is the position of its first boundary
// that is not before the moment; those at the moment count as before it.
func (g *gap) add(t *thread, at int64, next position) {
	e := t.entries.at(next)
	if e != nil && e.time == at {
		next = t.entries.search(at + 1)
		e = t.entries.at(next)
	}
	numbers := &t.process.numbering
	if e != nil && e.seq < g.first && !numbers.isFar(e.seq) {
		g.first, g.to = e.seq, e.time
	}
	previous := t.previous(next)
	if previous.Any && !numbers.isFar(previous.Sequence) {
		g.addBefore(previous.Time, previous.Sequence)
	}
	if e != nil && e.is(isExit) && !e.is(pops) && (!previous.Any || previous.Time < at) {
		g.unentered, g.leftSince, g.left = true, previous.Time, e.time
	}
}

func (g *gap) addBefore(time, seq int64) {
	g.newest = max(g.newest, time)
	if seq > g.last {
		g.last, g.from = seq, time
	}
}

// gapAround returns the gap around a moment.
func (p *process) gapAround(at int64) gap {
	around := newGap()
	for i := range p.threads {
		t := &p.threads[i]
		around.add(t, at, t.entries.search(at))
	}
	return around
}

// isLost reports whether a boundary of the process is missing in the gap around a moment:
// the sequence numbers say that there was one, or a thread leaves what it had not entered.
func (p *process) isLost(around *gap, at int64) bool {
	if around.unentered {
		around.from, around.to = around.leftSince, around.left
		return true
	}
	lost := around.last != math.MinInt64 && around.first != math.MaxInt64 && around.first > around.last && around.first-around.last > 1
	return lost && around.from < at && at < around.to && !p.beganIn(around.from, around.to)
}

// showsGaps reports whether the sequence numbers show what is missing.
func (p *process) showsGaps() bool { return p.options.Repair && p.numbering.isConsecutive() }

// isDoubtfulAt reports whether a boundary is missing around a moment.
func (p *process) isDoubtfulAt(at int64) bool {
	if !p.showsGaps() {
		return false
	}
	around := p.gapAround(at)
	return p.isDoubtful(&around, at, at)
}

// isDoubtful reports whether a boundary is missing around a moment, or for at least half
// of an interval, so that what was active there is not certain. around is the gap around
// the later moment. A process that does not number its boundaries one by one has none
// missing.
func (p *process) isDoubtful(around *gap, from, to int64) bool {
	if !p.showsGaps() {
		return false
	}
	lost := p.isLost(around, to)
	if !lost && around.newest > from { // otherwise the gap around the earlier moment is the same
		earlier := p.gapAround(from)
		around, lost = &earlier, p.isLost(&earlier, from)
	}
	in := stretch{from: from, to: to}
	return lost && in.isHalf(distance(max(from, around.from), min(to, around.to)))
}
