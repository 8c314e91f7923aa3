// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"slices"

	"github.com/phaseattr/phaseattr/internal/boundary"
)

// numbers follows the numbers of all records of a process that numbers them from one counter,
// of whichever kind they are. They may come in any order: what is known depends only on which
// of them have come, and when they were written.
type numbers struct {
	// runs are in the order of their times, which up to maxReversal is that of their numbers.
	runs []numberRun
	// gaps are the numbers that are missing between runs, in order.
	gaps []missingNumbers
	// begins are the times from which on the process numbers anew, in order.
	begins []int64
	// count is how many numbers are in the runs, missing how many in the gaps.
	count, missing int64
}

// numberRun is numbers that have come one after another, and the times of the first and the last.
type numberRun struct {
	first, last, from, to int64
	// since is the earliest time of which one of the records says that the process was in
	// something then.
	since int64
}

// missingNumbers are consecutive numbers that have not come.
type missingNumbers struct {
	first, last int64
	// from and to are the times of the numbers before and after them.
	from, to int64
}

// maxGaps bounds the gaps that are remembered.
const maxGaps = 64

// note notes the number of a record, and since when its process has been in what the record
// leaves. It reports whether that changes what was known of the records that have come before, and
// returns when the process had been known to number anew until then.
func (n *numbers) note(number, at, since int64) (begins []int64, changed bool) {
	if number == boundary.Unnumbered {
		return nil, false
	}
	last := len(n.runs) - 1
	if last >= 0 && n.runs[last].isNext(number, at) && since >= n.runs[last].since { // the usual case
		n.runs[last].append(at, since)
		n.count++
		return nil, false
	}
	i := n.find(number, at)
	for _, r := range n.runs[max(0, i-1):min(i+1, len(n.runs))] {
		if r.has(number, at) {
			return nil, false
		}
	}
	switch {
	case i > 0 && n.runs[i-1].isNext(number, at):
		n.runs[i-1].append(at, since)
	case i <= last && n.runs[i].isPrevious(number, at):
		n.runs[i].prepend(at, since)
	default:
		n.runs = slices.Insert(n.runs, i, numberRun{number, number, at, at, since})
		if len(n.runs) > maxGaps+1 {
			n.shorten()
		}
	}
	begins = slices.Clone(n.begins)
	n.settle()
	return begins, i <= last || !slices.Equal(begins, n.begins)
}

// find returns the index of the first run that is after a number.
func (n *numbers) find(number, at int64) int {
	i := len(n.runs)
	for i > 0 && n.runs[i-1].isAfter(number, at) {
		i--
	}
	return i
}

// shorten makes one run less: of two that follow each other without a gap, or else of the oldest.
func (n *numbers) shorten() {
	for i := 1; i < len(n.runs); i++ {
		if r, next := &n.runs[i-1], n.runs[i]; next.first == r.last+1 {
			r.last, r.to, r.since = next.last, max(r.to, next.to), min(r.since, next.since)
			n.runs = slices.Delete(n.runs, i, i+1)
			return
		}
	}
	n.runs = slices.Delete(n.runs, 0, 1)
}

// settle finds out what is missing, and where the process numbers anew.
func (n *numbers) settle() {
	n.gaps, n.begins, n.count, n.missing = n.gaps[:0], n.begins[:0], 0, 0
	for i, r := range n.runs {
		n.count += r.last - r.first + 1
		if i == 0 {
			continue
		}
		switch before := n.runs[i-1]; {
		case r.first <= before.last:
			n.begins = append(n.begins, n.beginOf(i))
		case r.first > before.last+1 && within(r.first, before.last, maxGap):
			n.gaps = append(n.gaps, missingNumbers{before.last + 1, r.first - 1, before.to, max(before.to, r.from)})
			n.missing += r.first - before.last - 1
		}
	}
}

// beginOf returns when the numbers of a run and those after it began: before all that their
// records tell of, and after those before.
func (n *numbers) beginOf(i int) int64 {
	begin := min(n.runs[i].from, n.runs[i].since)
	for j := i + 1; j < len(n.runs) && n.runs[j].first > n.runs[j-1].last; j++ {
		begin = min(begin, n.runs[j].since)
	}
	return max(begin, min(n.runs[i-1].to+1, n.runs[i].from))
}

// has reports whether a number is in a run.
func (r *numberRun) has(number, at int64) bool {
	return r.first <= number && number <= r.last && r.from <= at && at <= r.to
}

// isNext reports whether a number follows a run, isPrevious whether it precedes it.
func (r *numberRun) isNext(number, at int64) bool {
	return number == r.last+1 && (at >= r.to || within(at, r.to, maxReversal))
}

// isPrevious is described at isNext.
func (r *numberRun) isPrevious(number, at int64) bool {
	return number == r.first-1 && (at <= r.from || within(at, r.from, maxReversal))
}

// isAfter reports whether a run is after a number. Where their times are nearly the same,
// the numbers tell.
func (r *numberRun) isAfter(number, at int64) bool {
	if within(r.from, at, maxReversal) {
		return r.first > number
	}
	return r.from > at
}

func (r *numberRun) append(at, since int64) {
	r.last, r.from, r.to, r.since = r.last+1, min(r.from, at), max(r.to, at), min(r.since, since)
}

func (r *numberRun) prepend(at, since int64) {
	r.first, r.from, r.to, r.since = r.first-1, min(r.from, at), max(r.to, at), min(r.since, since)
}

// any reports whether numbers between two others, each with its time, are missing.
func (n *numbers) any(after, since, before, until int64) bool {
	return slices.ContainsFunc(n.gaps, func(g missingNumbers) bool { return g.isBetween(after, since, before, until) })
}

// only returns the only gap between two numbers, nil when there is none, or more than one.
func (n *numbers) only(after, since, before, until int64) (only *missingNumbers) {
	for i := range n.gaps {
		if g := &n.gaps[i]; g.isBetween(after, since, before, until) {
			if only != nil {
				return nil
			}
			only = g
		}
	}
	return only
}

// isBetween reports whether all of the numbers are between two others, each with its time.
func (g *missingNumbers) isBetween(after, since, before, until int64) bool {
	return g.first > after && g.last < before && g.to >= since && g.from <= until
}

// since returns the time from which on the numbers are known; never if there are none.
func (n *numbers) since() int64 {
	if len(n.runs) == 0 {
		return never
	}
	return n.runs[0].from
}

// isComplete reports whether nearly all numbers have come: a source says that they count all
// records, of which few are lost, unless something before this program drops some kinds of them.
func (n *numbers) isComplete() bool { return 4*n.missing <= max(n.count, minNumbers) }

// gapFrom returns when the first gap begins that does so at a time or after it, forever if there
// is none.
func (n *numbers) gapFrom(at int64) int64 {
	for i := range n.gaps {
		if n.gaps[i].from >= at {
			return n.gaps[i].from
		}
	}
	return forever
}

// heap is what the numbers take.
func (n *numbers) heap() int { return runBytes*cap(n.runs) + gapBytes*cap(n.gaps) + 8*cap(n.begins) }

// runName is what the ends of runs are called in a snapshot.
const runName = "numbers"

// snapshot returns the ends of the runs, as scopes of a lane.
func (n *numbers) snapshot(l *lane) []OpenScope {
	var ends []OpenScope
	for _, r := range n.runs {
		first := boundary.Boundary{Time: r.from, Sequence: r.first, Began: r.since, ThreadID: l.id, ThreadName: l.name, Name: runName}
		last := boundary.Boundary{Time: r.to, Sequence: r.last, ThreadID: l.id, ThreadName: l.name, Name: runName, Action: boundary.Exit}
		ends = append(ends, OpenScope{Boundary: first}, OpenScope{Boundary: last})
	}
	return ends
}

// restore restores the runs from their ends.
func (n *numbers) restore(ends []OpenScope) {
	ends = newest(ends, 2*(maxGaps+1))
	for i := 0; i+1 < len(ends); i += 2 {
		first, last := &ends[i], &ends[i+1]
		n.runs = append(n.runs, numberRun{first.Sequence, last.Sequence, first.Time, last.Time, first.Began})
	}
	n.settle()
}
