// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import "github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/boundary"

// mend returns the stack that boundary n, at position i, should have found, when
// its predecessors left stack. A boundary names its parent and its path, so it
// shows what was lost before it: scopes that are still open but must have ended
// are closed, and a parent whose enter was lost is put there.
func (t *thread) mend(n *node, i int, stack *node) *node {
	n.set(retroactive, false)
	right := t.expected(n, i, stack)
	if right != stack && !n.is(counted) {
		n.set(counted, true)
		t.mends++
	}
	return right
}

func (t *thread) expected(n *node, i int, stack *node) *node {
	if n.is(isExit) {
		if scope := stack.find(n.scopeID); scope != nil {
			return t.withParent(n, i, scope)
		}
	}
	if parent := stack.parentOf(n); parent != nil {
		return t.lostEnter(n, i, stack, parent)
	}
	if n.path.Depth() == 1 {
		return t.lostEnter(n, i, stack, nil)
	}
	// The parent's enter was lost too. What n cannot lie in has ended: so has a
	// scope at the parent's own path, since it is not the parent.
	ancestor := stack
	for ancestor != nil && (ancestor.path.Depth() >= n.path.Depth()-1 || !ancestor.path.Contains(n.path)) {
		ancestor = ancestor.before
	}
	if n.parentID == "" {
		return t.lostEnter(n, i, stack, ancestor)
	}
	since := ancestor == stack && !n.is(isExit) && t.oneLost(n, i)
	return t.phantom(n, i, ancestor, n.parentID, n.path.Parent(), since)
}

// withParent returns the frame that exit n closes. When the frame's enter was lost, it
// is only now that its parent is known: the frame is then put upon it.
func (t *thread) withParent(n *node, i int, scope *node) *node {
	if !scope.is(phantom) || n.parentID == "" || scope.before.find(n.parentID) != nil {
		return scope
	}
	upon := *scope
	upon.time = n.time // until then it was where it was
	upon.push(t.phantom(n, i, scope.before, n.parentID, n.path.Parent(), false))
	return &upon
}

// parentOf returns the frame that n says it was opened in: by its scope ID, or, when
// n does not give one, by the path.
func (n *node) parentOf(child *node) *node {
	if child.parentID != "" {
		return n.find(child.parentID)
	}
	for n != nil && (n.path.Depth() != child.path.Depth()-1 || !n.path.Contains(child.path)) {
		n = n.before
	}
	return n
}

// lostEnter returns the stack for a boundary whose parent is on top. An exit whose
// enter was lost gets the scope that it closes, when it is certain since when it
// was open.
func (t *thread) lostEnter(n *node, i int, stack, parent *node) *node {
	if !n.is(isExit) || parent != stack || !t.oneLost(n, i) {
		return parent
	}
	return t.phantom(n, i, parent, n.scopeID, n.path, true)
}

// oneLost tells whether exactly one boundary is missing between n and its
// predecessor on the thread: the emitter numbers all its boundaries in one row.
func (t *thread) oneLost(n *node, i int) bool {
	previous := t.previous(i)
	return previous.Any && n.seq-previous.Sequence == 2
}

// previous is the boundary before the one at position i.
func (t *thread) previous(i int) Dropped {
	if i == 0 {
		return t.dropped
	}
	return Dropped{Any: true, Time: t.entries[i-1].time, Sequence: t.entries[i-1].seq}
}

// phantom returns a frame for a scope whose enter was lost. It began at n, or, when
// since is true, right after the predecessor of n: programs open a scope soon after
// the last boundary, not soon before the next one.
func (t *thread) phantom(n *node, i int, below *node, scopeID string, path boundary.Path, since bool) *node {
	frame := &node{
		seq: n.seq - 1, time: n.time, scopeID: scopeID, path: path, flags: phantom,
		detail: &detail{threadName: n.detail.threadName},
	}
	if scopeID == n.scopeID {
		frame.detail = n.detail // an exit tells the attributes of its own scope
	}
	if since {
		n.set(retroactive, true)
		frame.time = min(t.previous(i).Time+1, n.time)
	}
	frame.push(below)
	return frame
}
