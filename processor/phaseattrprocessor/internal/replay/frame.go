// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"slices"
	"strings"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/boundary"
)

// frame is a scope on a stack. Frames share what lies below them, so the stack of
// every moment costs nothing to keep.
type frame struct {
	seq, time int64
	scopeID   string
	parentID  string
	path      boundary.Path
	// below is the next frame of the stack, nil when there is none.
	below *frame
	// detail is nil when the scope has no attributes, and its thread the usual name.
	detail *detail
	// height is the number of frames on the stack whose top this is.
	height uint32
	flags
}

// detail is what few scopes have.
type detail struct {
	threadName string
	attributes []boundary.Attribute
}

const (
	// plain: this frame is deeper than all below it and was opened after them, so
	// it answers for the whole stack.
	plain flags = 1 << iota
	// phantom: the enter of this frame was lost; a later boundary shows that it was.
	phantom
	// attributed: this frame has attributes, or one below it.
	attributed
)

// near returns the frame of a scope, if it is one of the top two; nil otherwise.
func (f *frame) near(scopeID string) *frame {
	for i := 0; f != nil && i < 2; f, i = f.below, i+1 {
		if f.scopeID == scopeID {
			return f
		}
	}
	return nil
}

// text returns a scope ID as one of the top two frames holds it, or else a copy.
func (f *frame) text(scopeID string) string {
	if known := f.near(scopeID); known != nil {
		return known.scopeID
	}
	return strings.Clone(scopeID)
}

// push puts the frame on the stack whose top is below.
func (f *frame) push(below *frame) {
	f.below = below
	f.height = below.size() + 1
	f.set(attributed, len(f.ownAttributes()) > 0 || below != nil && below.is(attributed))
	f.set(plain, below == nil || below.is(plain) && f.path.Depth() > below.path.Depth() && f.later(below))
}

// size is the number of frames on the stack whose top is f.
func (f *frame) size() uint32 {
	if f == nil {
		return 0
	}
	return f.height
}

// later orders frames as Span.Later does.
func (f *frame) later(than *frame) bool {
	if f.seq != than.seq {
		return f.seq > than.seq
	}
	return f.scopeID > than.scopeID
}

// find returns the frame of a scope on the stack whose top is f, or nil.
func (f *frame) find(scopeID string) *frame {
	for f != nil && f.scopeID != scopeID {
		f = f.below
	}
	return f
}

// parentOf returns the frame that a scope says it was opened in: by its scope ID, or,
// when it does not give one, by the path.
func (f *frame) parentOf(child *frame) *frame {
	if child.parentID != "" {
		return f.find(child.parentID)
	}
	for f != nil && (f.path.Depth() != child.path.Depth()-1 || !f.path.Contains(child.path)) {
		f = f.below
	}
	return f
}

// at returns the frame at a height of the stack whose top is f, or nil.
func (f *frame) at(height uint32) *frame {
	for f.size() > height {
		f = f.below
	}
	if f.size() < height {
		return nil
	}
	return f
}

// attributes are the frame's own and, where it lacks a key, those of the nearest
// frame below that has it.
func (f *frame) attributes() []boundary.Attribute {
	if !f.is(attributed) {
		return nil
	}
	all := f.ownAttributes()
	for frame := f.below; frame != nil && frame.is(attributed); frame = frame.below {
		for _, inherited := range frame.ownAttributes() {
			if !slices.ContainsFunc(all, func(own boundary.Attribute) bool { return own.Key == inherited.Key }) {
				all = append(slices.Clip(all), inherited)
			}
		}
	}
	return all
}

func (f *frame) ownAttributes() []boundary.Attribute {
	if f.detail == nil {
		return nil
	}
	return f.detail.attributes
}
