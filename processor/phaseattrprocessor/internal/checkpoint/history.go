// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"slices"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/boundary"
)

// history is what a writer and its reader both know of the boundaries so far. What it
// tells of the next one need not be written.
type history struct {
	time, sequence int64
	// last is the last scope ID that was written.
	last string
	// threads are those that there have been, in their order; thread is the last one.
	threads []thread
	thread  int
}

// thread is the history of a thread.
type thread struct {
	id   int64
	name string
	// open are the scopes that were entered and not left. Around them is the parent of
	// the last one; only its ID is known.
	open   []scope
	around scope
}

// scope is what an enter and its exit have in common.
type scope struct {
	id, parent string
	path       boundary.Path
	attributes []boundary.Attribute
}

func (s *scope) equal(t *scope) bool {
	return s.id == t.id && s.parent == t.parent && s.path == t.path && slices.Equal(s.attributes, t.attributes)
}

// meet takes note of a new thread.
func (h *history) meet(id int64, name string) {
	h.thread = len(h.threads)
	h.threads = slices.Grow(h.threads, 1)[:h.thread+1]
	h.threads[h.thread].id, h.threads[h.thread].name = id, name
}

// forget begins anew. It holds on to no text.
func (h *history) forget() {
	for i := range h.threads {
		open := h.threads[i].open
		clear(open)
		h.threads[i] = thread{open: open[:0]}
	}
	*h = history{threads: h.threads[:0]}
}

// innermost is the scope that is likely to be left next, or to be what the next one is
// entered in.
func (t *thread) innermost() *scope {
	if last := len(t.open) - 1; last >= 0 {
		return &t.open[last]
	}
	return &t.around
}

// entered takes note of a scope that was entered.
func (t *thread) entered(s *scope) {
	t.around.id = s.parent
	t.open = append(t.open, *s)
}

// left takes note of a scope that was left, as if it were the innermost.
func (t *thread) left(s *scope) {
	t.around.id = s.parent
	if last := len(t.open) - 1; last >= 0 {
		t.open[last] = scope{}
		t.open = t.open[:last]
	}
}
