// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"math"
	"time"
)

// Wall clocks jitter, and are set. Within a thread the sequence numbers tell the order of
// boundaries whose times are reversed by at most maxReversal, or maxReversed boundaries.
const (
	maxReversal = time.Second
	maxReversed = 64
)

// maxClockDifference is how far apart the clocks of two hosts may be that nobody sets right.
const maxClockDifference = 5 * time.Second

// place is where a boundary belongs on a timeline.
type place struct {
	at position
	// time is when the boundary counts as written: not before those with smaller sequence
	// numbers.
	time int64
	// raised is the number of entries, from at on, that count as written at time as well:
	// they have larger sequence numbers.
	raised int
}

// reversed reports whether an entry comes after a boundary by its sequence number, but
// before it in time.
func (t *thread) reversed(e *entry, k entryKey) bool {
	return t.process.options.Repair && e.seq > k.seq && e.time <= k.time && within(e.time, k.time, maxReversal) &&
		!t.process.beganIn(e.time, k.time)
}

// order returns the place of a boundary that is not on the timeline.
func (t *thread) order(k entryKey) place {
	at, _ := t.entries.find(k)
	placed := place{at: at, time: k.time}
	if !t.process.options.Repair {
		return placed
	}
	moved := k
	for n := 0; ; n++ {
		e := t.entries.at(placed.at)
		if e == nil || e.seq > k.seq || e.seq == k.seq && e.key().compare(moved) >= 0 || t.process.beganIn(k.time, e.time) {
			break
		}
		if n == maxReversed || !within(e.time, k.time, maxReversal) {
			return place{at: at, time: k.time} // more than jitter
		}
		placed.at, placed.time = t.entries.next(placed.at), e.time
		moved.time = e.time
	}
	if placed.at != at {
		return placed
	}
	seq := int64(math.MaxInt64) // of the entry after
	if next := t.entries.at(at); next != nil && next.time == k.time {
		seq = next.seq
	}
	for placed.raised < maxReversed {
		e := t.entries.previous(placed.at)
		if e == nil || !t.reversed(e, k) || e.seq >= seq {
			break
		}
		seq = e.seq
		placed.at = t.entries.before(placed.at)
		placed.raised++
	}
	return placed
}

// setBack is a boundary that follows the last one by its sequence number, but comes more
// than maxReversal before it in time. One may have a wrong time; at the second the clock
// must have been set back. But the boundaries of an incarnation may also come after those of
// the next one.
type setBack struct {
	seen      bool
	time, seq int64
}

// noteSetBack notes whether a boundary shows that the clock has been set back. It
// reports true when it must have been.
func (t *thread) noteSetBack(k entryKey) bool {
	last := t.entries.last()
	if last == nil || k.seq < last.seq || !t.process.options.Repair {
		return false
	}
	if k.time >= last.time || within(k.time, last.time, maxReversal) || t.process.beganIn(k.time, last.time) {
		t.setBack = setBack{}
		return false
	}
	if t.endsIncarnation(k, last) {
		return false
	}
	if t.setBack.seen && k.seq > t.setBack.seq && k.time >= t.setBack.time {
		return true
	}
	t.setBack = setBack{seen: true, time: k.time, seq: k.seq}
	return false
}

// endsIncarnation reports whether a boundary that comes before the last one, with a larger
// sequence number, is of an earlier incarnation of the process. Its number is not the next
// one then, or the numbers fall from those before it to those after it.
func (t *thread) endsIncarnation(k entryKey, last *entry) bool {
	if !within(k.seq, t.process.clock.LastSequence, maxReversed) {
		return true
	}
	at, _ := t.entries.find(k)
	next := t.entries.at(at)
	previous := t.entries.beforeNumber(k, last.seq)
	if t.late != nil {
		if late := t.late.beforeNumber(k, last.seq); previous == nil || late != nil && late.time > previous.time {
			previous = late
		}
	}
	return previous != nil && next != nil && previous.seq > next.seq
}

// beforeNumber returns the last entry before a boundary whose sequence number is not past
// another one, or nil.
func (l *timeline) beforeNumber(k entryKey, seq int64) *entry {
	at, _ := l.find(k)
	for {
		e := l.previous(at)
		if e == nil || e.seq <= seq {
			return e
		}
		at = l.before(at)
	}
}

// supersede removes what was written, before the clock was set back, for the time after
// that.
func (t *thread) supersede() {
	if t.late != nil {
		t.merge()
	}
	from := t.entries.search(t.setBack.time)
	var kept []entry
	for _, e := range t.entries.from(from) {
		if e.seq >= t.setBack.seq {
			kept = append(kept, *e)
		} else {
			t.release(e)
		}
	}
	t.entries.truncate(from)
	for i := range kept {
		e := &kept[i]
		left := t.leftBy(t.entries.last(), e.time)
		t.run(e, t.entries.end(), left)
		t.entries.insert(t.entries.end(), *e)
	}
	t.setBack = setBack{}
}
