// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"iter"
	"math"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/boundary"
)

// thread is the replay of one thread: its boundaries, each with the stack that it found.
// It is guarded by its group.
type thread struct {
	id int64
	// name is what the first of its boundaries calls it.
	name string
	// base is the stack before the first entry: what was open before the window.
	base    *frame
	entries timeline
	// before the first entry there was this boundary.
	dropped Dropped
	// repair is whether stacks are mended. mends counts the boundaries that did not find
	// the stack that they should have.
	repair bool
	mends  int32
}

// add puts a boundary where it belongs and replays what comes after it. It returns
// false when the boundary is there already.
func (t *thread) add(b *boundary.Boundary) bool {
	// Most come in order, behind the newest.
	at := t.entries.end()
	if last := t.entries.last(); last != nil && last.compare(b) >= 0 {
		var found bool
		if at, found = t.entries.find(b); found {
			return false
		}
	}
	was := t.before(at)
	at = t.entries.insert(at, t.newEntry(b, was, at))
	t.replay(at, was, true)
	return true
}

// before is the stack that the boundaries before a position leave.
func (t *thread) before(at position) *frame {
	if previous := t.entries.previous(at); previous != nil {
		return previous.after()
	}
	return t.base
}

// top is the stack that all boundaries leave.
func (t *thread) top() *frame { return t.before(t.entries.end()) }

// replay runs the boundaries from a position on, until all that follows is as it was.
// was is the stack that the last replay left before that position; fresh is true when
// the boundary there is new.
func (t *thread) replay(from position, was *frame, fresh bool) {
	now := t.before(from)
	var changed beneath
	i := 0
	for at, e := range t.entries.from(from) {
		// The second entry is always run: what it mends depends on its predecessor.
		if i > 1 && now == was && !changed.has(now) {
			return
		}
		if i > 0 || !fresh {
			was = changed.after(e)
		}
		below := e.before
		t.run(e, at, now)
		if !e.is(isExit) && (i > 0 || !fresh) && (e.before != below || changed.has(e.before)) {
			changed.note(e.scope, below)
		}
		now = e.after()
		i++
	}
}

// beneath notes, for one replay, the frames on whose stack something has changed,
// with the frame that each lay on before.
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

// after is the stack that a boundary, not yet run again, left in the last replay.
func (b beneath) after(e *entry) *frame {
	if e.is(isExit) && e.is(pops) {
		if below, ok := b[e.before]; ok {
			return below
		}
	}
	return e.after()
}

// run lets a boundary find the stack that its predecessors left.
func (t *thread) run(e *entry, at position, left *frame) {
	stack := left
	if t.repair {
		stack = t.mend(e, at, left)
	}
	e.before = stack
	e.set(mended, stack != left)
	if !e.is(isExit) {
		e.scope.push(stack)
		return
	}
	e.set(pops, stack != nil && stack.scopeID == e.scope.scopeID)
}

// at returns the stack at a moment. When boundaries stand at that very moment, it is
// the one that the first of them found, and from is its position: both ends of a span
// count, so what begins there is active beside what ends there.
func (t *thread) at(time int64) (stack *frame, from position, standing bool) {
	at := t.entries.search(time)
	if e := t.entries.at(at); e != nil && e.time == time {
		return e.before, at, true
	}
	return t.until(at), at, false
}

// until is the stack in the time between two boundaries of which the later one is at a
// position.
func (t *thread) until(at position) *frame {
	if e := t.entries.at(at); e != nil && (!e.is(mended) || e.is(retroactive)) {
		return e.before
	}
	return t.before(at)
}

// standing yields the entries of one moment, from the first of them on.
func (t *thread) standing(time int64, from position) iter.Seq[*entry] {
	return func(yield func(*entry) bool) {
		for _, e := range t.entries.from(from) {
			if e.time != time || !yield(e) {
				return
			}
		}
	}
}

// held is how many boundaries the thread keeps, those below the window included.
func (t *thread) held() int { return t.entries.count + int(t.base.size()) }

// trim forgets the entries before floor. The scopes that they left open stay, as
// the base of what follows.
func (t *thread) trim(floor int64) { t.drop(t.entries.searchOldest(floor)) }

// drop forgets the entries before a position.
func (t *thread) drop(before position) {
	last := t.entries.previous(before)
	if last == nil {
		return
	}
	t.base = last.after()
	t.dropped = Dropped{Any: true, Time: last.time, Sequence: last.seq}
	t.entries.cut(before)
}

// close closes a scope that was opened before the first entry, by an exit that
// comes too late to be placed. It returns false when no such scope is open.
func (t *thread) close(scopeID string) bool {
	scope := t.base.find(scopeID)
	if scope == nil || !t.repair && scope != t.base {
		return false
	}
	was := t.base
	t.base = scope.below
	t.replay(position{}, was, false)
	return true
}

// rebase forgets all entries and leaves open what is open now, as if it had been
// since time at the latest.
func (t *thread) rebase(time int64) {
	t.drop(t.entries.end())
	for frame := t.base; frame != nil; frame = frame.below {
		frame.time = min(frame.time, time)
	}
}

// spans appends every span of the thread; what is open ends at end.
func (t *thread) spans(dst []ScopeInterval, g boundary.RankKey, end int64) []ScopeInterval {
	emit := func(f *frame, end int64, synthetic bool) {
		span := t.span(g, f)
		span.End, span.SyntheticEnd = max(end, f.time), synthetic
		dst = append(dst, span)
	}
	stack, last := t.base, int64(math.MinInt64)
	for _, e := range t.entries.from(position{}) {
		// What the boundary did not find was closed just before it.
		for frame := stack; frame != nil && e.before.at(frame.height) != frame; frame = frame.below {
			if e.time > frame.time || !e.is(pops) || frame.scopeID != e.scope.scopeID {
				emit(frame, max(last, e.time-1), true)
			}
		}
		if e.is(isExit) && e.is(pops) {
			emit(e.before, e.time, false)
		}
		stack, last = e.after(), e.time
	}
	for ; stack != nil; stack = stack.below {
		emit(stack, end, true)
	}
	return dst
}
