// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/phaseattr/phaseattr/internal/boundary"
)

// lookupsKept is how many lookups a stream remembers, firstLookups for how many there is room
// at first: the only lookups of an idle rank may be those of its own records.
const lookupsKept, firstLookups = 24, 4

// lookupLog remembers the latest lookups in a stream, so that the results which a late
// boundary would have changed can be counted.
type lookupLog struct {
	// newest is the newest time looked up; never before there is one.
	newest atomic.Int64

	// mu guards what follows.
	mu     sync.Mutex
	recent []lookup
	next   int32
	// room is the number of lookups for which there is memory.
	room atomic.Int32
}

// lookup is a time looked up and the number of records that got the result.
type lookup struct {
	at      int64
	records int64
}

func (l *lookupLog) note(at, records int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if at > l.newest.Load() {
		l.newest.Store(at)
	}
	if room := cap(l.recent); len(l.recent) == room && room < lookupsKept { // append would take more
		room = firstLookups
		if l.recent != nil {
			room = lookupsKept
		}
		l.recent = append(make([]lookup, 0, room), l.recent...)
		l.room.Store(int32(room))
	}
	if len(l.recent) < lookupsKept {
		l.recent = append(l.recent, lookup{at, records})
		return
	}
	l.recent[l.next] = lookup{at, records}
	l.next = (l.next + 1) % lookupsKept
}

// since returns the lookups whose results a boundary at a time may change: nil when it is
// newer than all.
func (l *lookupLog) since(time int64) []lookup {
	if l.newest.Load() < time {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.recent)
}

// pathAt is the path of the innermost scope at a time.
func (t *thread) pathAt(time int64) boundary.Path {
	stack, first, simultaneous := t.stackAt(time)
	if simultaneous {
		for e := range t.simultaneous(time, first) {
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
