// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"slices"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/boundary"
)

// history is what a writer and its reader both know of the boundaries so far. Fields of the
// next one that follow from it are not written.
type history struct {
	time, sequence int64
	// lastID is the scope ID written last.
	lastID string
	// threads are in the order in which they were first seen; thread is the index of the
	// current one.
	threads []thread
	thread  int
}

// thread is the history of a thread.
type thread struct {
	id   int64
	name string
	// open holds the scopes that have been entered and not left, the innermost last.
	open []scope
	// outer stands for the scope around them: only the ID is known, as that of the last
	// boundary's parent.
	outer scope
}

// scope holds the fields that an enter and its exit have in common.
type scope struct {
	id, parent string
	path       boundary.Path
	attributes []boundary.Attribute
}

func (s *scope) equal(t *scope) bool {
	return s.id == t.id && s.parent == t.parent && s.path == t.path && slices.Equal(s.attributes, t.attributes)
}

// addThread adds a thread, the current one from now on.
func (h *history) addThread(id int64, name string) {
	h.thread = len(h.threads)
	h.threads = slices.Grow(h.threads, 1)[:h.thread+1]
	h.threads[h.thread].id, h.threads[h.thread].name = id, name
}

// reset empties the history, for reuse. It keeps no text alive.
func (h *history) reset() {
	for i := range h.threads {
		open := h.threads[i].open
		clear(open)
		h.threads[i] = thread{open: open[:0]}
	}
	*h = history{threads: h.threads[:0]}
}

// innermost returns the scope that is expected to be left next, or to be the parent of the
// next one.
func (t *thread) innermost() *scope {
	if last := len(t.open) - 1; last >= 0 {
		return &t.open[last]
	}
	return &t.outer
}

// entered adds a scope.
func (t *thread) entered(s *scope) {
	t.outer.id = s.parent
	t.open = append(t.open, *s)
}

// left removes the innermost scope: s, if the boundaries are as expected.
func (t *thread) left(s *scope) {
	t.outer.id = s.parent
	if last := len(t.open) - 1; last >= 0 {
		t.open[last] = scope{}
		t.open = t.open[:last]
	}
}
