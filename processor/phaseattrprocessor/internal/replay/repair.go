// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import "github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/boundary"

// mend returns the stack that a boundary should have found, when its predecessors left
// another one. A boundary names its parent and its path, so it shows what was lost before
// it: scopes that are still open but must have ended are closed, and a parent whose
// enter was lost is put there.
func (t *thread) mend(e *entry, at position, left *frame) *frame {
	e.set(retroactive, false)
	right := t.expected(e, at, left)
	if right != left && !e.is(counted) {
		e.set(counted, true)
		t.mends++
	}
	return right
}

func (t *thread) expected(e *entry, at position, stack *frame) *frame {
	if e.is(isExit) {
		if scope := stack.find(e.scope.scopeID); scope != nil {
			return t.withParent(e, at, scope)
		}
	}
	if parent := stack.parentOf(e.scope); parent != nil {
		return t.lostEnter(e, at, stack, parent)
	}
	depth := e.scope.path.Depth()
	if depth == 1 {
		return t.lostEnter(e, at, stack, nil)
	}
	// The parent's enter was lost too. What the scope cannot lie in has ended: so has a
	// scope at the parent's own path, since it is not the parent.
	ancestor := stack
	for ancestor != nil && (ancestor.path.Depth() >= depth-1 || !ancestor.path.Contains(e.scope.path)) {
		ancestor = ancestor.below
	}
	if e.scope.parentID == "" {
		return t.lostEnter(e, at, stack, ancestor)
	}
	since := ancestor == stack && !e.is(isExit) && t.oneLost(e, at)
	return t.phantom(e, at, ancestor, e.scope.parentID, e.scope.path.Parent(), since)
}

// withParent returns the frame that an exit closes. When the frame's enter was lost, it
// is only now that its parent is known: the frame is then put upon it.
func (t *thread) withParent(e *entry, at position, scope *frame) *frame {
	if !scope.is(phantom) || e.scope.parentID == "" || scope.below.find(e.scope.parentID) != nil {
		return scope
	}
	upon := *scope
	upon.time = e.time // until then it was where it was
	upon.push(t.phantom(e, at, scope.below, e.scope.parentID, e.scope.path.Parent(), false))
	return &upon
}

// lostEnter returns the stack for a boundary whose parent is on top. An exit whose
// enter was lost gets the scope that it closes, when it is certain since when it
// was open.
func (t *thread) lostEnter(e *entry, at position, stack, parent *frame) *frame {
	if !e.is(isExit) || parent != stack || !t.oneLost(e, at) {
		return parent
	}
	return t.phantom(e, at, parent, e.scope.scopeID, e.scope.path, true)
}

// oneLost tells whether exactly one boundary is missing between a boundary and its
// predecessor on the thread: the emitter numbers all its boundaries in one row.
func (t *thread) oneLost(e *entry, at position) bool {
	previous := t.previous(at)
	return previous.Any && e.seq-previous.Sequence == 2
}

// previous is the boundary before a position.
func (t *thread) previous(at position) Dropped {
	if previous := t.entries.previous(at); previous != nil {
		return Dropped{Any: true, Time: previous.time, Sequence: previous.seq}
	}
	return t.dropped
}

// phantom returns a frame for a scope whose enter was lost. It began at the boundary that
// shows it, or, when since is true, right after the predecessor of that: programs open a
// scope soon after the last boundary, not soon before the next one.
func (t *thread) phantom(e *entry, at position, below *frame, scopeID string, path boundary.Path, since bool) *frame {
	f := &frame{
		seq: e.seq - 1, time: e.time, scopeID: scopeID, path: path, flags: phantom,
		detail: e.scope.detail,
	}
	if scopeID != e.scope.scopeID && len(e.scope.ownAttributes()) > 0 {
		f.detail = &detail{threadName: t.nameIn(e.scope)} // an exit tells the attributes of its own scope
	}
	if since {
		e.set(retroactive, true)
		f.time = min(t.previous(at).Time+1, e.time)
	}
	f.push(below)
	return f
}
