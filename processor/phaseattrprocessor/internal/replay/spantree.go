// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"math/rand/v2"
	"slices"
)

// spanTree has spans in order. Most come in that order, and the newest are a list of their own,
// so that few of them change the tree. The zero spanTree is empty.
type spanTree struct {
	root *span
	// last is the last one of the root, nil without any; recent are those after it.
	last   *span
	recent []*span
	// earliestRecent and latestRecent are their earliest and latest ends, if there are any.
	earliestRecent, latestRecent int64
}

// maxRecent is how many spans are put into the tree at once.
const maxRecent = 16

func (t *spanTree) isEmpty() bool { return t.root == nil && len(t.recent) == 0 }

// insert inserts a span.
func (t *spanTree) insert(s *span) {
	if !t.isRecent(s) {
		s.priority = rand.Uint32()
		t.root = t.root.insert(s)
		return
	}
	if len(t.recent) == maxRecent {
		t.root, t.last = join(t.root, treeOf(t.recent)), t.recent[maxRecent-1]
		clear(t.recent)
		t.recent = t.recent[:0]
		if !t.isRecent(s) {
			t.insert(s)
			return
		}
	}
	if t.recent == nil {
		t.recent = make([]*span, 0, maxRecent)
	}
	if len(t.recent) == 0 {
		t.earliestRecent, t.latestRecent = s.end, s.end
	}
	t.earliestRecent, t.latestRecent = min(t.earliestRecent, s.end), max(t.latestRecent, s.end)
	at := len(t.recent)
	for at > 0 && s.before(t.recent[at-1]) {
		at--
	}
	t.recent = slices.Insert(t.recent, at, s)
}

// isRecent reports whether the place of a span is after those of the root.
func (t *spanTree) isRecent(s *span) bool { return t.last == nil || t.last.before(s) }

// remove removes a span that is in the tree.
func (t *spanTree) remove(s *span) {
	if t.isRecent(s) {
		t.removeRecent(slices.Index(t.recent, s))
		return
	}
	t.root = t.root.remove(s)
	t.removed(s)
}

func (t *spanTree) removeRecent(at int) {
	t.recent = slices.Delete(t.recent, at, at+1)
	for i, s := range t.recent {
		if i == 0 {
			t.earliestRecent, t.latestRecent = s.end, s.end
		}
		t.earliestRecent, t.latestRecent = min(t.earliestRecent, s.end), max(t.latestRecent, s.end)
	}
}

// removed notes that a span has been removed from the root.
func (t *spanTree) removed(s *span) {
	if s == t.last {
		t.last, _ = t.root.around(forever)
	}
}

// earliestEnd returns the earliest end, forever without any span.
func (t *spanTree) earliestEnd() int64 {
	end := int64(forever)
	if t.root != nil {
		end = t.root.earliestEnd
	}
	if len(t.recent) > 0 {
		end = min(end, t.earliestRecent)
	}
	return end
}

// removeFirstToEnd removes a span that ends first from a tree that is not empty, and returns it.
func (t *spanTree) removeFirstToEnd() (first *span) {
	if t.root != nil && (len(t.recent) == 0 || t.root.earliestEnd <= t.earliestRecent) {
		t.root, first = t.root.removeFirstToEnd()
		t.removed(first)
		return first
	}
	at := slices.IndexFunc(t.recent, func(s *span) bool { return s.end == t.earliestRecent })
	first = t.recent[at]
	t.removeRecent(at)
	return first
}

// newest returns the last span, nil when there is none.
func (t *spanTree) newest() *span {
	if n := len(t.recent); n > 0 {
		return t.recent[n-1]
	}
	return t.last
}

// overlapping calls f for the spans that have started by one moment and end after another, in
// order, until f returns false. It reports false then.
func (t *spanTree) overlapping(startedBy, endAfter int64, f func(*span) bool) bool {
	if !t.root.overlapping(startedBy, endAfter, f) {
		return false
	}
	if len(t.recent) == 0 || t.latestRecent <= endAfter {
		return true
	}
	for _, s := range t.recent {
		if s.start > startedBy {
			break
		}
		if s.end > endAfter && !f(s) {
			return false
		}
	}
	return true
}

// around returns the last span that has started by a moment, and the first one that starts
// after it; nil when there is none.
func (t *spanTree) around(at int64) (last, next *span) {
	last, next = t.root.around(at)
	for _, s := range t.recent {
		if s.start > at {
			if next == nil {
				next = s
			}
			break
		}
		last = s
	}
	return last, next
}

// each calls f for the spans in order.
func (t *spanTree) each(f func(*span)) {
	t.root.each(f)
	for _, s := range t.recent {
		f(s)
	}
}

// The root is a treap: ordered, and a heap of random priorities. Each node knows the earliest
// and the latest end below it, so that the spans of a moment, and those that have left the
// window, are found without looking at others.

// treeOf returns a tree of at most maxRecent spans, which are in order.
func treeOf(spans []*span) *span {
	var right [maxRecent]*span // from the root on, the nodes to the right
	n := 0
	for _, s := range spans {
		s.priority, s.left, s.right = rand.Uint32(), nil, nil
		for ; n > 0 && right[n-1].priority < s.priority; n-- {
			s.left = right[n-1]
			s.left.update()
		}
		if n > 0 {
			right[n-1].right = s
		}
		right[n] = s
		n++
	}
	for i := n - 1; i >= 0; i-- {
		right[i].update()
	}
	return right[0]
}

// insert inserts a span into a tree and returns the tree.
func (sp *span) insert(s *span) *span {
	switch {
	case sp == nil:
		s.left, s.right = nil, nil
		s.update()
		return s
	case s.priority > sp.priority:
		s.left, s.right = sp.split(s)
		s.update()
		return s
	case s.before(sp):
		sp.left = sp.left.insert(s)
	default:
		sp.right = sp.right.insert(s)
	}
	sp.update()
	return sp
}

// split divides a tree into the spans before another one and those after it.
func (sp *span) split(by *span) (before, after *span) {
	if sp == nil {
		return nil, nil
	}
	if sp.before(by) {
		sp.right, after = sp.right.split(by)
		sp.update()
		return sp, after
	}
	before, sp.left = sp.left.split(by)
	sp.update()
	return before, sp
}

// remove removes a span from a tree and returns the tree.
func (sp *span) remove(s *span) *span {
	switch {
	case sp == nil:
		return nil
	case sp == s:
		joined := join(s.left, s.right)
		s.left, s.right = nil, nil
		return joined
	case s.before(sp):
		sp.left = sp.left.remove(s)
	default:
		sp.right = sp.right.remove(s)
	}
	sp.update()
	return sp
}

// join joins two trees, of which the first one's spans are before the other's.
func join(before, after *span) *span {
	switch {
	case before == nil:
		return after
	case after == nil:
		return before
	case before.priority > after.priority:
		before.right = join(before.right, after)
		before.update()
		return before
	}
	after.left = join(before, after.left)
	after.update()
	return after
}

// overlapping calls f for the spans of a tree that have started by one moment and end after
// another, in order, until f returns false. It reports false then.
func (sp *span) overlapping(startedBy, endAfter int64, f func(*span) bool) bool {
	if sp == nil || sp.latestEnd <= endAfter {
		return true
	}
	if !sp.left.overlapping(startedBy, endAfter, f) {
		return false
	}
	if sp.start > startedBy {
		return true
	}
	if sp.end > endAfter && !f(sp) {
		return false
	}
	return sp.right.overlapping(startedBy, endAfter, f)
}

// around returns the last span of a tree that has started by a moment, and the first one
// that starts after it; nil when there is none.
func (sp *span) around(at int64) (last, next *span) {
	for sp != nil {
		if sp.start <= at {
			last, sp = sp, sp.right
		} else {
			next, sp = sp, sp.left
		}
	}
	return last, next
}

// removeFirstToEnd removes a span that ends first from a tree that is not empty, and returns
// both.
func (sp *span) removeFirstToEnd() (tree, first *span) {
	switch {
	case sp.end == sp.earliestEnd:
		tree = join(sp.left, sp.right)
		sp.left, sp.right = nil, nil
		return tree, sp
	case sp.left != nil && sp.left.earliestEnd == sp.earliestEnd:
		sp.left, first = sp.left.removeFirstToEnd()
	default:
		sp.right, first = sp.right.removeFirstToEnd()
	}
	sp.update()
	return sp, first
}

// each calls f for the spans of a tree in order.
func (sp *span) each(f func(*span)) {
	if sp != nil {
		sp.left.each(f)
		f(sp)
		sp.right.each(f)
	}
}
