// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"time"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/association"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/boundary"
)

// Introduction is what is known of a group apart from its events: the process that
// it is of, and where it is.
type Introduction struct {
	// Seat is the process's; empty when it is not known.
	Seat     string
	Identity association.Identity
}

// The kinds of what an entry holds.
const (
	kindGroup byte = iota + 1 // what follows is of another group
	kindBegin
	kindEvent
	kindStop
	kindEnter
	kindExit
	kindForget
)

// Entry is what one call brought to the index, for the journal. It is for one
// goroutine. A nil Entry takes note of nothing.
type Entry struct {
	writer *writer
	group  boundary.Group
	// groups are those that the entry is about, began the introductions in it.
	groups []boundary.Group
	began  map[boundary.Group]Introduction
}

func newEntry() *Entry {
	return &Entry{writer: newWriter(), began: map[boundary.Group]Introduction{}}
}

// reset empties the entry, for events that arrive now.
func (e *Entry) reset(now time.Time) {
	e.writer.reset()
	e.groups = e.groups[:0]
	clear(e.began)
	e.writer.int(now.UnixNano())
}

func (e *Entry) of(group boundary.Group) {
	if len(e.groups) > 0 && group == e.group {
		return
	}
	e.group = group
	e.groups = append(e.groups, group)
	e.writer.byte(kindGroup)
	e.writer.group(group)
}

// Began takes note of a group that was introduced to the index.
func (e *Entry) Began(group boundary.Group, in *Introduction, at int64) {
	if e == nil {
		return
	}
	e.of(group)
	e.began[group] = *in
	e.writer.byte(kindBegin)
	e.writer.at(at)
	e.writer.introduction(in)
}

// Observed takes note of an event of a group that is no boundary.
func (e *Entry) Observed(group boundary.Group, at int64, stop bool) {
	if e == nil {
		return
	}
	e.of(group)
	e.writer.byte(kindEvent)
	if stop {
		e.writer.data[len(e.writer.data)-1] = kindStop
	}
	e.writer.at(at)
}

// Added takes note of a boundary.
func (e *Entry) Added(group boundary.Group, b *boundary.Boundary) {
	if e == nil {
		return
	}
	e.of(group)
	e.writer.byte(kindEnter + byte(b.Action))
	e.writer.boundary(b)
}

// forgot takes note of a group that is not known any more.
func (e *Entry) forgot(group boundary.Group) {
	e.of(group)
	e.writer.byte(kindForget)
}
