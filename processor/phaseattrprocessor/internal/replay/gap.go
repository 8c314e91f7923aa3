// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import "math"

// gap is the time between two consecutive boundaries of a process, whatever their
// threads: those with the largest sequence number before a moment and the smallest one
// after it.
type gap struct{ from, to int64 }

// lostAround returns the time around a moment in which a boundary of the process is
// missing: its numbers say that there was one between the last before the moment and the
// first after it, or a thread's next boundary leaves a scope that it had not entered.
// A process that numbers its boundaries in another way has none.
func (p *process) lostAround(at int64) (gap, bool) {
	if !p.options.Repair || !p.numbering.isConsecutive() {
		return gap{}, false
	}
	around := gap{math.MinInt64, math.MaxInt64}
	last, first := int64(math.MinInt64), int64(math.MaxInt64)
	for i := range p.threads {
		t := &p.threads[i]
		next := t.entries.search(at + 1)
		e, previous := t.entries.at(next), t.previous(next)
		if e != nil && e.is(isExit) && !e.is(pops) && (!previous.Any || previous.Time < at) {
			return gap{previous.Time, e.time}, true // its enter is missing
		}
		if e != nil && e.seq < first {
			first, around.to = e.seq, e.time
		}
		if previous.Any && previous.Sequence > last {
			last, around.from = previous.Sequence, previous.Time
		}
	}
	lost := last != math.MinInt64 && first != math.MaxInt64 && first > last && first-last > 1
	return around, lost && around.from < at && at < around.to && !p.beganIn(around.from, around.to)
}

// isDoubtful reports whether a boundary is missing around a moment, or for at least half
// of an interval, so that what was active there is not certain.
func (p *process) isDoubtful(from, to int64) bool {
	around, lost := p.lostAround(to)
	if !lost {
		if from == to {
			return false
		}
		around, lost = p.lostAround(from)
	}
	in := stretch{from: from, to: to}
	return lost && in.isHalf(distance(max(from, around.from), min(to, around.to)))
}
