// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"iter"
	"math"

	"github.com/phaseattr/phaseattr/internal/boundary"
)

// thread is the replay of one thread: its boundaries, each with the stack that it found.
// The mu of its stream guards it.
type thread struct {
	id      int64
	process *process
	// name is what the first of its boundaries calls it.
	name string
	// base is the stack before the first entry: what was opened before the window and is
	// still open.
	base    *frame
	entries timeline
	// dropped is the boundary before the first entry.
	dropped Dropped
	// late holds the boundaries that have been added behind the last entry and wait to be
	// replayed at once, as their entries; nil when there are none. None is in entries.
	late *timeline
	// bytes is what the entries and the base take, beside the chunks.
	bytes int
	// setBack is the boundary by which the clock seems to have been set back.
	setBack setBack
	// outer is the ID of the scope that the outermost one of the stack was opened in; empty
	// if there is none. orphaned is true when that has ended since the newest boundary.
	outer    string
	orphaned bool
}

// add puts a boundary on the timeline, or, when it is behind the last one, keeps it for
// merge. It reports whether it was added, which a duplicate is not, and whether it is
// late.
func (t *thread) add(b *boundary.Boundary) (added, late bool) {
	last := t.entries.last()
	k := keyOf(b)
	if last != nil && (last.key().compare(k) >= 0 || t.reversed(last, k)) {
		return t.addLate(b, k), true
	}
	at := t.entries.end()
	left := t.leftBy(last, b.Time)
	e := t.newEntry(b, left, at)
	t.run(&e, at, left)
	t.entries.insert(at, e)
	return true, false
}

// addLate keeps a late boundary for merge. It reports false for a duplicate.
func (t *thread) addLate(b *boundary.Boundary, k entryKey) bool {
	k.time = t.order(k).time
	at, found := t.entries.find(k)
	if found {
		return false
	}
	if t.late == nil {
		t.late = &timeline{}
	}
	lateAt, found := t.late.find(k)
	if found {
		return false
	}
	e := t.newEntry(b, t.before(at), at)
	e.time = k.time
	e.set(unplayed, true)
	t.late.insert(lateAt, e)
	return true
}

// merge puts the late boundaries on the timeline, then replays what follows each of
// them, nothing twice. It returns how many entries it has replayed.
func (t *thread) merge() (replayed int) {
	late := t.late
	t.late = nil
	first := int64(math.MaxInt64)
	for _, e := range late.from(position{}) {
		place := t.order(e.key())
		e.time = place.time
		for p, n := place.at, 0; n < place.raised; p, n = t.entries.next(p), n+1 {
			t.entries.setTime(p, e.time)
		}
		t.entries.insert(place.at, *e)
		first = min(first, e.time)
	}
	for at, left := t.entries.search(first), late.count; left > 0 && at != t.entries.end(); at = t.entries.next(at) {
		if t.entries.at(at).is(unplayed) { // the replay from an earlier one stopped before it
			n, added := t.replay(at, t.before(at))
			replayed += n
			left -= added
		}
	}
	return replayed
}

// leftBy is the stack at a time that the boundary before it has left, unless a new
// incarnation of the process began in between; previous is nil before the first entry.
func (t *thread) leftBy(previous *entry, until int64) *frame {
	since, stack := t.dropped.Time, t.base
	if previous != nil {
		since, stack = previous.time, previous.after()
	}
	if len(t.process.begins) > 0 && t.process.beganIn(since, until) {
		return nil
	}
	return stack
}

// before is the stack that the boundaries before a position leave.
func (t *thread) before(at position) *frame {
	until := int64(math.MaxInt64)
	if e := t.entries.at(at); e != nil {
		until = e.time
	}
	return t.leftBy(t.entries.previous(at), until)
}

// top is the stack that all boundaries leave.
func (t *thread) top() *frame { return t.before(t.entries.end()) }

// replay runs the entries from a position on, until an entry finds the stack that it
// found before. was is the stack that the last replay left before that position. It
// returns how many entries it has run, and how many of them for the first time.
func (t *thread) replay(from position, was *frame) (replayed, added int) {
	now := t.before(from)
	var changed beneath
	afterNew := false // what an entry repairs depends on its predecessor
	previous := int64(math.MaxInt64)
	for at, e := range t.entries.from(from) {
		if t.process.beganIn(previous, e.time) {
			now, was = nil, nil
		}
		previous = e.time
		isNew := e.is(unplayed)
		if !isNew && !afterNew && now == was && !changed.has(now) {
			break
		}
		afterNew = isNew
		if isNew {
			added++
			t.shareScope(e, now)
		} else {
			was = changed.after(e)
		}
		below := e.before
		t.run(e, at, now)
		if !isNew && !e.is(isExit) && (e.before != below || changed.has(e.before)) {
			changed.note(e.scope, below)
		}
		now = e.after()
		replayed++
	}
	return replayed, added
}

// beneath holds, for one replay, the frames on whose stack something has changed, with
// the frame that each of them lay on before.
type beneath map[*frame]*frame

func (b *beneath) note(f, below *frame) {
	if *b == nil {
		*b = beneath{}
	}
	(*b)[f] = below
}

func (b beneath) has(f *frame) bool {
	_, ok := b[f]
	return ok
}

// after is the stack that an entry, not yet run again, left in the last replay.
func (b beneath) after(e *entry) *frame {
	if e.is(isExit) && e.is(pops) {
		if below, ok := b[e.before]; ok {
			return below
		}
	}
	return e.after()
}

// run lets an entry find the stack that its predecessors left.
func (t *thread) run(e *entry, at position, left *frame) {
	stack := left
	if t.process.options.Repair {
		stack = t.repaired(e, at, left)
	}
	e.before = stack
	e.set(unplayed, false)
	e.set(foundRepaired, stack != left)
	if !e.is(isExit) {
		e.scope.push(stack)
		return
	}
	e.set(pops, stack != nil && stack.scopeID == e.scope.scopeID)
}

// stackAt returns the stack at a time. When there are boundaries at that very time, it is
// the one that the first of them found, and first is its position: both ends of a scope
// count, so a scope that begins then is active beside one that ends then.
func (t *thread) stackAt(time int64) (stack *frame, first position, simultaneous bool) {
	at := t.entries.search(time)
	if e := t.entries.at(at); e != nil && e.time == time {
		return e.before, at, true
	}
	return t.stackBefore(at, time), at, false
}

// stackBefore is the stack at a time between the boundary at a position and the one
// before it.
func (t *thread) stackBefore(at position, time int64) *frame {
	e := t.entries.at(at)
	if e != nil && (!e.is(foundRepaired) || e.is(retroactive)) && !t.process.beganIn(time, e.time) {
		return e.before
	}
	return t.leftBy(t.entries.previous(at), time)
}

// stackAfter is the stack right after a time, past all boundaries at that time.
func (t *thread) stackAfter(time int64) *frame {
	return t.stackBefore(t.entries.search(time+1), time)
}

// simultaneous yields the entries at a time, of which the first is at a position.
func (t *thread) simultaneous(time int64, first position) iter.Seq[*entry] {
	return func(yield func(*entry) bool) {
		for _, e := range t.entries.from(first) {
			if e.time != time || !yield(e) {
				return
			}
		}
	}
}

// size is how many boundaries the thread holds, the open ones before the window included.
func (t *thread) size() int {
	n := t.entries.count + int(t.base.size())
	if t.late != nil {
		n += t.late.count
	}
	return n
}

// oldest is the time of the oldest boundary. There must be an entry.
func (t *thread) oldest() int64 {
	oldest := t.entries.first().time
	if t.late != nil {
		oldest = min(oldest, t.late.first().time)
	}
	return oldest
}

// newest is the time of the newest boundary.
func (t *thread) newest() int64 {
	if last := t.entries.last(); last != nil {
		return last.time
	}
	return t.dropped.Time
}

// drop drops the entries before a position. The scopes that they left open stay, as the
// base of what follows.
func (t *thread) drop(before position) {
	last := t.entries.previous(before)
	if last == nil {
		return
	}
	base := last.after()
	t.dropped = Dropped{Any: true, Time: last.time, Sequence: last.seq}
	t.entries.cut(before, t.release)
	t.setBase(base)
}

// close closes a scope that was opened before the first entry, by an exit that comes too
// late to be placed. It reports false when no such scope is open.
func (t *thread) close(scopeID string) bool {
	scope := t.base.find(scopeID)
	if scope == nil || !t.process.options.Repair && scope != t.base {
		return false
	}
	was := t.base
	t.setBase(scope.below)
	t.replay(position{}, was)
	return true
}

// rebase drops all entries and leaves open what is open now, as if it had been opened at
// a time at the latest.
func (t *thread) rebase(time int64) {
	t.drop(t.entries.end())
	for frame := t.base; frame != nil; frame = frame.below {
		frame.time = min(frame.time, time)
	}
}
