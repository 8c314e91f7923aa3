// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"math"
	"slices"
	"strings"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/boundary"
)

// thread is the timeline of one thread: its boundaries in order, each with the
// stack that it found. It is guarded by its group.
type thread struct {
	id     int64
	repair bool
	// base is the stack before the first entry: what was open before the window.
	base    *node
	entries []entry
	// before the first entry there was this boundary.
	dropped Dropped
	// mends counts the boundaries that did not find the stack that they should have.
	mends int64
}

// entry repeats the boundary's time, so that a search stays in one array.
type entry struct {
	time int64
	*node
}

// add puts a boundary where it belongs and replays what comes after it. It returns
// false when the boundary is there already.
func (t *thread) add(b *boundary.Boundary) bool {
	n := newNode(b)
	// Most come in order, behind the newest.
	at := len(t.entries)
	if at > 0 && t.entries[at-1].compare(n) >= 0 {
		var found bool
		at, found = slices.BinarySearchFunc(t.entries, n, func(e entry, n *node) int { return e.compare(n) })
		if found {
			return false
		}
	}
	was := t.before(at)
	n.keep(b, was, t.detail(at))
	t.entries = slices.Insert(t.entries, at, entry{n.time, n})
	t.replay(at, was, true)
	return true
}

// newNode returns a node of a boundary, whose texts it borrows.
func newNode(b *boundary.Boundary) *node {
	n := &node{seq: b.Sequence, time: b.Time, scopeID: b.ScopeID, parentID: b.ParentScopeID, path: b.Path}
	n.set(isExit, b.Action == boundary.Exit)
	return n
}

// keep gives the node of a boundary texts of its own, or those that its neighbors hold
// already: an exit names the scope of an earlier enter, an enter its parent. below is
// the stack that it finds, beside the detail of the boundary before it.
func (n *node) keep(b *boundary.Boundary, below *node, beside *detail) {
	n.scopeID, n.parentID = below.text(b.ScopeID), below.text(b.ParentScopeID)
	if beside != nil && len(beside.attributes) == 0 && len(b.Attributes) == 0 && beside.threadName == b.ThreadName {
		n.detail = beside
		return
	}
	n.detail = &detail{threadName: strings.Clone(b.ThreadName), attributes: b.Attributes}
}

// text returns a scope ID as one of the top two frames of a stack holds it, or else a
// copy.
func (n *node) text(id string) string {
	for frame, i := n, 0; frame != nil && i < 2; frame, i = frame.before, i+1 {
		if frame.scopeID == id {
			return frame.scopeID
		}
	}
	return strings.Clone(id)
}

// detail is that of what comes before position at; nil when there is nothing.
func (t *thread) detail(at int) *detail {
	switch {
	case at > 0:
		return t.entries[at-1].detail
	case t.base != nil:
		return t.base.detail
	}
	return nil
}

// before is the stack that the boundaries before position at leave.
func (t *thread) before(at int) *node {
	if at == 0 {
		return t.base
	}
	return t.entries[at-1].after()
}

// top is the stack that all boundaries leave.
func (t *thread) top() *node { return t.before(len(t.entries)) }

// replay runs the boundaries from position at on, until all that follows is as it
// was. was is the stack that the last replay left before that position; fresh is
// true when the boundary there is new.
func (t *thread) replay(at int, was *node, fresh bool) {
	now := t.before(at)
	var changed beneath
	for i := at; i < len(t.entries); i++ {
		// The second entry is always run: what it mends depends on its predecessor.
		if i > at+1 && now == was && !changed.has(now) {
			return
		}
		n := t.entries[i].node
		if i > at || !fresh {
			was = changed.after(n)
		}
		below := n.before
		t.run(n, i, now)
		if !n.is(isExit) && (i > at || !fresh) && (n.before != below || changed.has(n.before)) {
			changed.note(n, below)
		}
		now = n.after()
	}
}

// beneath notes, for one replay, the frames on whose stack something has changed,
// with the frame that each lay on before.
type beneath map[*node]*node

func (b *beneath) note(n, below *node) {
	if *b == nil {
		*b = beneath{}
	}
	(*b)[n] = below
}

func (b beneath) has(n *node) bool {
	_, ok := b[n]
	return ok
}

// after is the stack that boundary n, not yet run again, left in the last replay.
func (b beneath) after(n *node) *node {
	if n.is(isExit) && n.is(pops) {
		if below, ok := b[n.before]; ok {
			return below
		}
	}
	return n.after()
}

// run lets boundary n, at position i, find the stack that its predecessors left.
func (t *thread) run(n *node, i int, stack *node) {
	if t.repair {
		stack = t.mend(n, i, stack)
	}
	if !n.is(isExit) {
		n.push(stack)
		return
	}
	n.before = stack
	n.set(pops, stack != nil && stack.scopeID == n.scopeID)
}

// at returns the stack at a moment and the entries that stand at that very moment:
// both ends of a span count, so what begins there is active beside what ends there.
func (t *thread) at(time int64) (stack *node, standing []entry) {
	i := t.search(time)
	if i == len(t.entries) {
		return t.top(), nil
	}
	n := t.entries[i].node
	if n.time == time {
		j := i + 1
		for j < len(t.entries) && t.entries[j].time == time {
			j++
		}
		return n.before, t.entries[i:j]
	}
	if n.is(retroactive) {
		return n.before, nil
	}
	return t.before(i), nil
}

// search returns the position of the first entry that is not before time. Most
// questions are about the newest boundaries, so it widens its reach from there.
func (t *thread) search(time int64) int {
	high := len(t.entries)
	low := high
	for step := 1; low > 0 && t.entries[low-1].time >= time; step *= 2 {
		high = low - 1
		low = max(high-step, 0)
	}
	for low < high {
		mid := int(uint(low+high) / 2)
		if t.entries[mid].time < time {
			low = mid + 1
		} else {
			high = mid
		}
	}
	return low
}

// held is how many boundaries the thread keeps, those below the window included.
func (t *thread) held() int { return len(t.entries) + int(t.base.size()) }

// trim forgets the entries before floor. The scopes that they left open stay, as
// the base of what follows.
func (t *thread) trim(floor int64) {
	n := 0
	for n < len(t.entries) && t.entries[n].time < floor {
		n++
	}
	t.drop(n)
}

// drop forgets the first n entries.
func (t *thread) drop(n int) {
	if n == 0 {
		return
	}
	t.base = t.before(n)
	last := t.entries[n-1]
	t.dropped = Dropped{Any: true, Time: last.time, Sequence: last.seq}
	clear(t.entries[:n])
	t.entries = t.entries[n:]
}

// close closes a scope that was opened before the first entry, by an exit that
// comes too late to be placed. It returns false when no such scope is open.
func (t *thread) close(scopeID string) bool {
	scope := t.base.find(scopeID)
	if scope == nil || !t.repair && scope != t.base {
		return false
	}
	was := t.base
	t.base = scope.before
	if len(t.entries) > 0 {
		t.replay(0, was, false)
	}
	return true
}

// rebase forgets all entries and leaves open what is open now, as if it had been
// since time at the latest.
func (t *thread) rebase(time int64) {
	t.drop(len(t.entries))
	for frame := t.base; frame != nil; frame = frame.before {
		frame.time = min(frame.time, time)
	}
}

// spans appends every span of the timeline; what is open ends at end.
func (t *thread) spans(dst []Span, g boundary.Group, end int64) []Span {
	emit := func(n *node, end int64, synthetic bool) {
		span := n.span(g, t.id)
		span.End, span.SyntheticEnd = max(end, n.time), synthetic
		dst = append(dst, span)
	}
	stack, last := t.base, int64(math.MinInt64)
	for _, e := range t.entries {
		// What the boundary did not find was closed just before it.
		for frame := stack; frame != nil && e.before.frame(frame.height) != frame; frame = frame.before {
			if e.time > frame.time || !e.is(pops) || frame.scopeID != e.scopeID {
				emit(frame, max(last, e.time-1), true)
			}
		}
		if e.is(isExit) && e.is(pops) {
			emit(e.before, e.time, false)
		}
		stack, last = e.after(), e.time
	}
	for ; stack != nil; stack = stack.before {
		emit(stack, end, true)
	}
	return dst
}
