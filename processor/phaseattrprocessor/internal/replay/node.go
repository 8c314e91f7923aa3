// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"cmp"
	"slices"
	"strings"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/boundary"
)

// node is one boundary on its thread's timeline. An enter is at the same time the
// frame that it pushes on the stack: before is the frame below it. Frames share
// what lies below them, so the stack of every moment costs nothing to keep.
type node struct {
	seq, time int64
	scopeID   string
	parentID  string
	path      boundary.Path
	// before is the stack that this boundary found, once what must already have
	// ended was closed: its top frame, nil when empty.
	before *node
	detail *detail
	// height is the number of frames on a stack that this enter is the top of.
	height uint32
	flags  flags
}

// detail is what is the same for nearly all boundaries of a thread.
type detail struct {
	threadName string
	attributes []boundary.Attribute
}

type flags uint8

const (
	isExit flags = 1 << iota
	// pops: this exit closes the frame that it found on top.
	pops
	// plain: this frame is deeper than all below it and was opened after them, so
	// it answers for the whole stack.
	plain
	// phantom: the enter of this frame was lost; a later boundary shows that it was.
	phantom
	// retroactive: what was mended before this boundary was so ever since the
	// boundary before it.
	retroactive
	// counted: this boundary did not find the stack that it should have found, and that
	// has been counted.
	counted
	// attributed: this frame has attributes, or one below it.
	attributed
)

func (n *node) is(f flags) bool { return n.flags&f != 0 }

func (n *node) set(f flags, on bool) {
	if on {
		n.flags |= f
	} else {
		n.flags &^= f
	}
}

// after is the stack that this boundary leaves.
func (n *node) after() *node {
	switch {
	case !n.is(isExit):
		return n
	case n.is(pops):
		return n.before.before
	}
	return n.before
}

// push puts the frame n on the stack whose top is below.
func (n *node) push(below *node) {
	n.before = below
	n.height = below.size() + 1
	n.set(attributed, len(n.detail.attributes) > 0 || below != nil && below.is(attributed))
	n.set(plain, below == nil || below.is(plain) && n.path.Depth() > below.path.Depth() && n.later(below))
}

// size is the number of frames on the stack whose top is n.
func (n *node) size() uint32 {
	if n == nil {
		return 0
	}
	return n.height
}

// later orders frames as Span.Later does.
func (n *node) later(than *node) bool {
	if n.seq != than.seq {
		return n.seq > than.seq
	}
	return n.scopeID > than.scopeID
}

// find returns the frame of a scope on the stack whose top is n, or nil.
func (n *node) find(scopeID string) *node {
	for n != nil && n.scopeID != scopeID {
		n = n.before
	}
	return n
}

// frame returns the frame at a height of the stack whose top is n, or nil.
func (n *node) frame(height uint32) *node {
	for n.size() > height {
		n = n.before
	}
	if n.size() < height {
		return nil
	}
	return n
}

// span describes the scope of a frame, but for its end.
func (n *node) span(g boundary.Group, threadID int64) Span {
	return Span{
		Group: g, ThreadID: threadID, ThreadName: n.detail.threadName,
		ScopeID: n.scopeID, Path: n.path, Start: n.time, Sequence: n.seq,
		Attributes: n.attributes(),
	}
}

// attributes are the frame's own and, where it lacks a key, those of the nearest
// frame below that has it.
func (n *node) attributes() []boundary.Attribute {
	if !n.is(attributed) {
		return nil
	}
	all := n.detail.attributes
	for frame := n.before; frame != nil && frame.is(attributed); frame = frame.before {
		for _, inherited := range frame.detail.attributes {
			if !slices.ContainsFunc(all, func(own boundary.Attribute) bool { return own.Key == inherited.Key }) {
				all = append(slices.Clip(all), inherited)
			}
		}
	}
	return all
}

// compare orders the boundaries of a thread: by time, sequence and scope ID, an
// enter before the exit of the same scope.
func (n *node) compare(other *node) int {
	return cmp.Or(
		cmp.Compare(n.time, other.time),
		cmp.Compare(n.seq, other.seq),
		strings.Compare(n.scopeID, other.scopeID),
		cmp.Compare(n.flags&isExit, other.flags&isExit),
	)
}
