// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/boundary"
)

// answersKept is how many moments a group remembers having been asked about.
const answersKept = 24

// answerLog remembers the moments that a group was last asked about, so that a late
// boundary can tell how many answers it would have changed.
type answerLog struct {
	// newest is the newest of the moments; never before there is one.
	newest atomic.Int64

	// mu guards what follows.
	mu     sync.Mutex
	recent []answered
	next   int
}

// answered is a moment and the number of records that were answered for it.
type answered struct {
	at      int64
	records int64
}

func (l *answerLog) note(at, records int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if at > l.newest.Load() {
		l.newest.Store(at)
	}
	if l.recent == nil {
		l.recent = make([]answered, 0, answersKept) // to grow into it would take more
	}
	if len(l.recent) < answersKept {
		l.recent = append(l.recent, answered{at, records})
		return
	}
	l.recent[l.next] = answered{at, records}
	l.next = (l.next + 1) % answersKept
}

// touchedBy returns the moments whose answers a boundary at a time may change: none
// when it is newer than all.
func (l *answerLog) touchedBy(time int64) []answered {
	if l.newest.Load() < time {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.recent)
}

// outdated returns how many of the answers a change to the thread's timeline would
// have changed.
func (t *thread) outdated(asked []answered, change func()) int64 {
	if len(asked) == 0 {
		change()
		return 0
	}
	before := make([]boundary.Path, len(asked))
	for i, a := range asked {
		before[i] = t.pathAt(a.at)
	}
	change()
	changed := int64(0)
	for i, a := range asked {
		if t.pathAt(a.at) != before[i] {
			changed += a.records
		}
	}
	return changed
}

// pathAt is the path of the innermost scope at a moment.
func (t *thread) pathAt(time int64) boundary.Path {
	stack, from, standing := t.at(time)
	if standing {
		for e := range t.standing(time, from) {
			if !e.is(isExit) {
				stack = e.scope
			}
		}
	}
	if stack == nil {
		return boundary.Path{}
	}
	return stack.path
}
