// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"slices"
	"strings"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/boundary"
)

// newEntry returns the entry of a boundary that belongs at a position and finds a stack
// there.
func (t *thread) newEntry(b *boundary.Boundary, stack *frame, at position) entry {
	e := entry{time: b.Time, seq: b.Sequence}
	if b.Action == boundary.Exit {
		e.flags = isExit
		if e.scope = t.sameScope(b, stack); e.scope != nil {
			return e
		}
	}
	e.scope = t.newFrame(b, stack, at)
	return e
}

// sameScope returns the frame near the top of a stack that says of an exit's scope what
// the exit says, as most enters do, or nil.
func (t *thread) sameScope(b *boundary.Boundary, stack *frame) *frame {
	scope := stack.near(b.ScopeID)
	if scope == nil || scope.parentID != b.ParentScopeID || scope.path != b.Path || !t.hasDetail(b, scope.detail) {
		return nil
	}
	return scope
}

// shareScope lets an exit share the frame of its enter, which was not on the stack when
// the exit was added.
func (t *thread) shareScope(e *entry, stack *frame) {
	if !e.is(isExit) {
		return
	}
	b := t.boundary(e)
	if scope := t.sameScope(&b, stack); scope != nil {
		e.scope = scope
	}
}

// newFrame returns the frame of a boundary's scope. It shares texts and details with its
// neighbors, since a program repeats them all the time.
func (t *thread) newFrame(b *boundary.Boundary, stack *frame, at position) *frame {
	return &frame{
		seq: b.Sequence, time: b.Time, path: b.Path, detail: t.newDetail(b, at),
		scopeID: stack.text(b.ScopeID), parentID: stack.text(b.ParentScopeID),
	}
}

func (t *thread) newDetail(b *boundary.Boundary, at position) *detail {
	if t.size() == 0 {
		t.name = strings.Clone(b.ThreadName)
	}
	if t.hasDetail(b, nil) {
		return nil
	}
	neighbor := t.base
	if previous := t.entries.previous(at); previous != nil {
		neighbor = previous.scope
	}
	if neighbor != nil && neighbor.detail != nil && t.hasDetail(b, neighbor.detail) {
		return neighbor.detail
	}
	return &detail{threadName: strings.Clone(b.ThreadName), attributes: b.Attributes}
}

// hasDetail reports whether a boundary has a detail.
func (t *thread) hasDetail(b *boundary.Boundary, d *detail) bool {
	if d == nil {
		return t.name == b.ThreadName && len(b.Attributes) == 0
	}
	return d.threadName == b.ThreadName && slices.Equal(d.attributes, b.Attributes)
}

// nameIn is what the thread was called in a scope.
func (t *thread) nameIn(f *frame) string {
	if f.detail == nil {
		return t.name
	}
	return f.detail.threadName
}

// interval describes the scope of a frame.
func (t *thread) interval(rank boundary.RankKey, f *frame) ScopeInterval {
	return ScopeInterval{
		Rank: rank, ThreadID: t.id, ThreadName: t.nameIn(f),
		ScopeID: f.scopeID, Path: f.path, Start: f.time, Sequence: f.seq,
		Attributes: f.attributes(),
	}
}

// enter is the boundary that opened the scope of a frame.
func (t *thread) enter(f *frame) boundary.Boundary {
	return boundary.Boundary{
		Time: f.time, Sequence: f.seq, ThreadID: t.id, ThreadName: t.nameIn(f),
		ScopeID: f.scopeID, ParentScopeID: f.parentID, Path: f.path, Attributes: f.ownAttributes(),
	}
}

// boundary is the boundary of an entry.
func (t *thread) boundary(e *entry) boundary.Boundary {
	b := t.enter(e.scope)
	b.Time, b.Sequence, b.Action = e.time, e.seq, e.action()
	return b
}
