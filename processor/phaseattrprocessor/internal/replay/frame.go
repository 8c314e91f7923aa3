// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"slices"
	"strings"

	"github.com/phaseattr/phaseattr/internal/boundary"
)

// frame is a scope on a stack. Frames share what is below them, so that keeping the stack
// of every boundary costs nothing.
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
	// weight is what the frame and its texts take, in units of weightUnit.
	weight uint16
}

// detail is what only some scopes have.
type detail struct {
	threadName string
	attributes []boundary.Attribute
}

const (
	// decisive: the frame is deeper than all below it and was opened after them, so that
	// it decides the attribution of the whole stack.
	decisive flags = 1 << iota
	// inferred: the enter of the frame was lost; a later boundary shows that there was one.
	inferred
	// attributed: the frame or one below it has attributes.
	attributed
	// ownsPath: the frame is below the first entry of its thread, and charged for its path.
	ownsPath
)

// near returns the frame of a scope if it is one of the top two, or nil.
func (f *frame) near(scopeID string) *frame {
	for i := 0; f != nil && i < 2; f, i = f.below, i+1 {
		if f.scopeID == scopeID {
			return f
		}
	}
	return nil
}

// text returns the copy of a scope ID that one of the top two frames holds, or a new one,
// and what that takes.
func (f *frame) text(scopeID string) (text string, bytes int) {
	if known := f.near(scopeID); known != nil {
		return known.scopeID, 0
	}
	return strings.Clone(scopeID), textBytes(scopeID)
}

// push pushes the frame on the stack whose top is below.
func (f *frame) push(below *frame) {
	f.below = below
	f.height = below.size() + 1
	f.set(attributed, len(f.ownAttributes()) > 0 || below != nil && below.is(attributed))
	f.set(decisive, below == nil || below.is(decisive) && f.path.Depth() > below.path.Depth() && f.later(below))
}

// size is the number of frames on the stack whose top is f.
func (f *frame) size() uint32 {
	if f == nil {
		return 0
	}
	return f.height
}

// later orders frames as ScopeInterval.Later does.
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

// parentOf returns the frame that a scope was opened in, by the parent's scope ID that it
// names, or else by its path; nil when it is not on the stack.
func (f *frame) parentOf(child *frame) *frame {
	if child.parentID != "" {
		return f.find(child.parentID)
	}
	for f != nil && (f.path.Depth() != child.path.Depth()-1 || !f.path.Contains(child.path)) {
		f = f.below
	}
	return f
}

// attributes returns the frame's own attributes and, for keys that it lacks, those of the
// nearest frame below that has them.
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
