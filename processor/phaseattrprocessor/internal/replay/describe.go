// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"slices"
	"strings"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/boundary"
)

// newEntry returns the entry of a boundary that belongs at a position and finds a stack
// there. Most exits tell nothing of their scope that its enter has not told.
func (t *thread) newEntry(b *boundary.Boundary, stack *frame, at position) entry {
	e := entry{time: b.Time, seq: b.Sequence}
	if b.Action == boundary.Exit {
		e.flags = isExit
		scope := stack.near(b.ScopeID)
		if scope != nil && scope.parentID == b.ParentScopeID && scope.path == b.Path && t.same(scope.detail, b) {
			e.scope = scope
			return e
		}
	}
	e.scope = t.newFrame(b, stack, at)
	return e
}

// newFrame returns the frame of a boundary's scope. What it has in common with its
// neighbors is theirs: a program names its scopes anew all the time.
func (t *thread) newFrame(b *boundary.Boundary, stack *frame, at position) *frame {
	return &frame{
		seq: b.Sequence, time: b.Time, path: b.Path, detail: t.newDetail(b, at),
		scopeID: stack.text(b.ScopeID), parentID: stack.text(b.ParentScopeID),
	}
}

func (t *thread) newDetail(b *boundary.Boundary, at position) *detail {
	if t.held() == 0 {
		t.name = strings.Clone(b.ThreadName)
	}
	if t.same(nil, b) {
		return nil
	}
	beside := t.base
	if previous := t.entries.previous(at); previous != nil {
		beside = previous.scope
	}
	if beside != nil && beside.detail != nil && t.same(beside.detail, b) {
		return beside.detail
	}
	return &detail{threadName: strings.Clone(b.ThreadName), attributes: b.Attributes}
}

// same tells whether a detail is that of a boundary.
func (t *thread) same(d *detail, b *boundary.Boundary) bool {
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

// span describes the scope of a frame, but for its end.
func (t *thread) span(g boundary.RankKey, f *frame) ScopeInterval {
	return ScopeInterval{
		Rank: g, ThreadID: t.id, ThreadName: t.nameIn(f),
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

// boundary is what an entry was made of.
func (t *thread) boundary(e *entry) boundary.Boundary {
	b := t.enter(e.scope)
	b.Time, b.Sequence, b.Action = e.time, e.seq, e.action()
	return b
}
