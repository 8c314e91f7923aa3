// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"cmp"
	"strings"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/boundary"
)

// entry is one boundary on its thread's timeline.
type entry struct {
	time, seq int64
	// scope is what the boundary tells of its scope. An enter's is the frame that it
	// pushes on the stack; an exit's may be that of its enter.
	scope *frame
	// before is the stack that this boundary found, once what must already have
	// ended was closed: its top frame, nil when empty.
	before *frame
	flags
}

const (
	isExit flags = 1 << iota
	// pops: this exit closes the frame that it found on top.
	pops
	// mended: this boundary found another stack than its predecessor left.
	mended
	// retroactive: what was mended before this boundary was so ever since the
	// boundary before it.
	retroactive
	// counted: this boundary did not find the stack that it should have found, and that
	// has been counted.
	counted
)

// after is the stack that this boundary leaves.
func (e *entry) after() *frame {
	switch {
	case !e.is(isExit):
		return e.scope
	case e.is(pops):
		return e.before.below
	}
	return e.before
}

// compare orders the boundaries of a thread: by time, sequence and scope ID, an
// enter before the exit of the same scope.
func (e *entry) compare(b *boundary.Boundary) int {
	return cmp.Or(
		cmp.Compare(e.time, b.Time),
		cmp.Compare(e.seq, b.Sequence),
		strings.Compare(e.scope.scopeID, b.ScopeID),
		cmp.Compare(e.action(), b.Action),
	)
}

func (e *entry) action() boundary.Action {
	if e.is(isExit) {
		return boundary.Exit
	}
	return boundary.Enter
}
