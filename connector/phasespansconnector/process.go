// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phasespansconnector

import (
	"slices"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

// process is a process that enters and exits phases.
type process struct {
	key      processKey
	resource pcommon.Resource
	// newest is the time of its newest event, seen is when its last one arrived.
	newest int64
	seen   time.Time
	// threads has the open scopes of its threads that have any, outermost first.
	threads map[int64][]*openScope
}

// openScope is a scope that was entered and not exited.
type openScope struct {
	id string
	// unit is the scope that gives it its trace, as unitOf returns it.
	unit      string
	unitKnown bool
	entered   int64
	// span is what is known of its span.
	span ptrace.Span
}

// find returns the position of a scope in a stack, or -1.
func find(stack []*openScope, id string) int {
	return slices.IndexFunc(stack, func(s *openScope) bool { return s.id == id })
}

// truncate removes the scopes above the first n of a thread and returns them.
func (p *process) truncate(thread int64, n int) (removed []*openScope) {
	stack := p.threads[thread]
	removed = slices.Clone(stack[n:])
	clear(stack[n:])
	if n == 0 {
		delete(p.threads, thread)
	} else {
		p.threads[thread] = stack[:n]
	}
	return removed
}

// removeEntered removes the scopes that were entered by a time and returns them.
func (p *process) removeEntered(by int64) (removed []*openScope) {
	for thread, stack := range p.threads {
		later := slices.DeleteFunc(slices.Clone(stack), func(s *openScope) bool {
			if s.entered <= by {
				removed = append(removed, s)
			}
			return s.entered <= by
		})
		if len(later) == 0 {
			delete(p.threads, thread)
		} else {
			p.threads[thread] = later
		}
	}
	slices.SortStableFunc(removed, func(a, b *openScope) int { return int(a.entered - b.entered) }) // not in a map's order
	return removed
}
