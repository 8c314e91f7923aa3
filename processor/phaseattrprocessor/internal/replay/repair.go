// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import "github.com/phaseattr/phaseattr/internal/boundary"

// repaired returns the stack that a boundary should have found, where its predecessors
// left another one. A boundary names its parent and its path, so it shows what was lost
// before it: scopes that are still open but must have ended are closed, and a parent whose
// enter was lost is inferred.
func (t *thread) repaired(e *entry, at position, left *frame) *frame {
	e.set(retroactive, false)
	t.setInfers(e, false)
	right := t.expected(e, at, left)
	if right != left && !e.is(counted) {
		e.set(counted, true)
		t.process.repairs++
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
		return t.withEnter(e, at, stack, parent)
	}
	depth := e.scope.path.Depth()
	if depth == 1 {
		return t.withEnter(e, at, stack, nil)
	}
	// The parent's enter was lost too. Scopes that this one cannot be in have ended, also
	// one at the parent's own path, since it is not the parent.
	ancestor := stack
	for ancestor != nil && (ancestor.path.Depth() >= depth-1 || !ancestor.path.Contains(e.scope.path)) {
		ancestor = ancestor.below
	}
	if e.scope.parentID == "" {
		return t.withEnter(e, at, stack, ancestor)
	}
	sincePrevious := ancestor == stack && !e.is(isExit) && t.oneMissing(e, at)
	return t.infer(e, at, ancestor, e.scope.parentID, e.scope.path.Parent(), sincePrevious)
}

// withParent returns the frame that an exit closes. When the frame was inferred, its
// parent is known only now: the frame is then put on it.
func (t *thread) withParent(e *entry, at position, scope *frame) *frame {
	if !scope.is(inferred) || e.scope.parentID == "" || scope.below.find(e.scope.parentID) != nil {
		return scope
	}
	moved := *scope
	moved.set(ownsPath, false)
	moved.time = e.time // until then it was where it was
	t.setInfers(e, true)
	moved.push(t.infer(e, at, scope.below, e.scope.parentID, e.scope.path.Parent(), false))
	return &moved
}

// withEnter returns the stack for a boundary whose parent is on top. For an exit whose
// enter was lost, it infers the scope that the exit closes, if it is certain since when
// that was open.
func (t *thread) withEnter(e *entry, at position, stack, parent *frame) *frame {
	if !e.is(isExit) || parent != stack || !t.oneMissing(e, at) {
		return parent
	}
	return t.infer(e, at, parent, e.scope.scopeID, e.scope.path, true)
}

// oneMissing reports whether exactly one boundary is missing between a boundary and its
// predecessor on the thread: an emitter numbers all its boundaries consecutively.
func (t *thread) oneMissing(e *entry, at position) bool {
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

// infer returns a frame for a scope whose enter was lost. It begins at the boundary that
// shows it or, with sincePrevious, right after the predecessor of that one: programs open
// a scope soon after the last boundary, not soon before the next one.
func (t *thread) infer(e *entry, at position, below *frame, scopeID string, path boundary.Path, sincePrevious bool) *frame {
	f := &frame{
		seq: e.seq - 1, time: e.time, scopeID: scopeID, path: path, flags: inferred,
		detail: e.scope.detail, weight: weightOf(frameBytes),
	}
	t.setInfers(e, true)
	if scopeID != e.scope.scopeID && len(e.scope.ownAttributes()) > 0 {
		f.detail = &detail{threadName: t.nameIn(e.scope)} // a boundary has the attributes of its own scope
	}
	if sincePrevious {
		e.set(retroactive, true)
		f.time = min(t.previous(at).Time+1, e.time)
	}
	f.push(below)
	return f
}

// setInfers notes whether a boundary has made a frame, which it is charged for.
func (t *thread) setInfers(e *entry, made bool) {
	t.bytes -= e.charged()
	e.set(infers, made)
	t.bytes += e.charged()
}
