// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"cmp"
	"strings"

	"github.com/phaseattr/phaseattr/internal/boundary"
)

// entry is one boundary on its thread's timeline.
type entry struct {
	time, seq int64
	// scope is what the boundary says of its scope. An enter's is the frame that it pushes
	// on the stack; an exit's may be that of its enter.
	scope *frame
	// before is the stack that the boundary found, once the scopes that must have ended
	// were closed: its top frame, nil when it was empty.
	before *frame
	flags
	// bytes is what the entry was charged.
	bytes uint32
}

const (
	isExit flags = 1 << iota
	// pops: the exit closes the frame that it found on top.
	pops
	// foundRepaired: the boundary found another stack than its predecessor left.
	foundRepaired
	// retroactive: the repaired stack stood ever since the predecessor.
	retroactive
	// counted: the boundary did not find the stack that it should have, which has been
	// counted.
	counted
	// unplayed: the entry has not been run yet.
	unplayed
	// infers: the boundary made a frame of what was lost.
	infers
	// paysPath: the boundary was charged for its path.
	paysPath
)

// after is the stack that the boundary leaves.
func (e *entry) after() *frame {
	switch {
	case !e.is(isExit):
		return e.scope
	case e.is(pops):
		return e.before.below
	}
	return e.before
}

func (e *entry) action() boundary.Action {
	if e.is(isExit) {
		return boundary.Exit
	}
	return boundary.Enter
}

// entryKey identifies a boundary on its thread and orders it: by time, sequence and scope ID,
// an enter before the exit of the same scope.
type entryKey struct {
	time, seq int64
	scopeID   string
	action    boundary.Action
}

func (e *entry) key() entryKey { return entryKey{e.time, e.seq, e.scope.scopeID, e.action()} }

func keyOf(b *boundary.Boundary) entryKey {
	return entryKey{b.Time, b.Sequence, b.ScopeID, b.Action}
}

func (k entryKey) compare(other entryKey) int {
	return cmp.Or(
		cmp.Compare(k.time, other.time),
		cmp.Compare(k.seq, other.seq),
		strings.Compare(k.scopeID, other.scopeID),
		cmp.Compare(k.action, other.action),
	)
}

// flags are the flags of an entry or of a frame.
type flags uint8

func (f flags) is(flag flags) bool { return f&flag != 0 }

func (f *flags) set(flag flags, on bool) {
	if on {
		*f |= flag
	} else {
		*f &^= flag
	}
}
