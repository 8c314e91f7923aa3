// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"slices"
	"strings"

	"github.com/phaseattr/phaseattr/internal/boundary"
)

// newEntry returns the entry of a boundary that belongs at a position and finds a stack
// there.
func (t *thread) newEntry(b *boundary.Boundary, stack *frame, at position) entry {
	e := entry{time: b.Time, seq: b.Sequence}
	if b.Action == boundary.Exit {
		e.flags = isExit
		if e.scope = t.sameScope(b, stack); e.scope != nil {
			t.charge(&e, true)
			return e
		}
	}
	e.scope = t.newFrame(b, stack, at)
	t.charge(&e, false)
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
	if scope := t.sameScope(&b, stack); scope != nil && scope != e.scope {
		freed := min(uint32(e.scope.bytes()), e.bytes) //nolint:gosec // bounded
		t.bytes -= int(freed)
		e.bytes -= freed
		e.scope = scope
	}
}

// newFrame returns the frame of a boundary's scope. It shares texts and details with its
// neighbors, since a program repeats them all the time.
func (t *thread) newFrame(b *boundary.Boundary, stack *frame, at position) *frame {
	detail, detailed := t.newDetail(b, at)
	scopeID, own := stack.text(b.ScopeID)
	parentID, parents := stack.text(b.ParentScopeID)
	return &frame{
		seq: b.Sequence, time: b.Time, path: b.Path, detail: detail, scopeID: scopeID, parentID: parentID,
		weight: weightOf(frameBytes + detailed + own + parents),
	}
}

// newDetail returns the detail of a boundary, and what it takes if it is new.
func (t *thread) newDetail(b *boundary.Boundary, at position) (_ *detail, bytes int) {
	if t.size() == 0 {
		t.name = strings.Clone(b.ThreadName)
	}
	if t.hasDetail(b, nil) {
		return nil, 0
	}
	neighbor := t.base
	if previous := t.entries.previous(at); previous != nil {
		neighbor = previous.scope
	}
	if neighbor != nil && neighbor.detail != nil && t.hasDetail(b, neighbor.detail) {
		return neighbor.detail, 0
	}
	d := &detail{threadName: t.name, attributes: b.Attributes}
	if bytes = detailBytes + attributeBytes(b.Attributes); b.ThreadName != t.name {
		d.threadName = strings.Clone(b.ThreadName)
		bytes += textBytes(b.ThreadName)
	}
	return d, bytes
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
func (t *thread) interval(rank boundary.RankKey, f *frame) (scope ScopeInterval) {
	t.describe(&scope, &rank, f)
	return scope
}

// describe sets a zero ScopeInterval to the scope of a frame. It is large, and most lookups
// need one, so it is not built elsewhere and copied.
func (t *thread) describe(scope *ScopeInterval, rank *boundary.RankKey, f *frame) {
	scope.Rank, scope.ThreadID, scope.ThreadName = *rank, t.id, t.nameIn(f)
	scope.ScopeID, scope.Path, scope.Start, scope.Sequence = f.scopeID, f.path, f.time, f.seq
	scope.Inferred = f.is(inferred)
	if f.is(attributed) {
		scope.Attributes = f.attributes()
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
