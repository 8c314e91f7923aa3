// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"encoding/binary"
	"slices"
	"sync/atomic"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/association"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/boundary"
)

// Registration is what is known of a group apart from its events: the process that
// it is of, and where it is.
type Registration struct {
	// At is the time of the group's first event to come.
	At int64
	// Claim is the process's; empty when it is not known.
	Claim     string
	Identity association.Identity
	// order ranks the introductions: it tells a group from one of its name that has been
	// forgotten. 0 is that of a group that has not been introduced.
	order uint64
}

// The kinds of what an entry holds, beside boundaries.
const (
	kindGroup byte = iota + 1 // what follows is of another group
	kindBegin
	kindEvent
	kindStop
	kindForget
)

// Entry is what one call brought to the index, for the journal. It is for one
// goroutine. A nil Entry takes note of nothing.
type Entry struct {
	writer *writer
	group  boundary.RankKey
	// introductions counts those of all groups.
	introductions *atomic.Uint64
	// groups are those that the entry is about, began the introductions in it.
	groups []boundary.RankKey
	began  map[boundary.RankKey]Registration
}

func newEntry(introductions *atomic.Uint64) *Entry {
	return &Entry{writer: newWriter(), introductions: introductions, began: map[boundary.RankKey]Registration{}}
}

// reset empties the entry, and lets go of the texts of its groups.
func (e *Entry) reset() {
	e.writer.reset()
	clear(e.groups)
	e.group, e.groups = boundary.RankKey{}, e.groups[:0]
	clear(e.began)
}

func (e *Entry) of(group boundary.RankKey) {
	if len(e.groups) > 0 && group == e.group {
		return
	}
	e.group = group
	e.groups = append(e.groups, group)
	e.writer.byte(kindGroup)
	e.writer.group(group)
}

// Registered takes note of a group that was introduced to the index.
func (e *Entry) Registered(group boundary.RankKey, in *Registration) {
	if e == nil {
		return
	}
	e.of(group)
	in.order = e.introductions.Add(1)
	e.began[group] = *in
	e.writer.byte(kindBegin)
	e.writer.introduction(in)
}

// Observed takes note of an event of a group that is no boundary.
func (e *Entry) Observed(group boundary.RankKey, at int64, stop bool) {
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
func (e *Entry) Added(group boundary.RankKey, b *boundary.Boundary) {
	if e == nil {
		return
	}
	e.of(group)
	e.writer.boundary(b)
}

// appendTo appends the entry to the payload of a record.
func (e *Entry) appendTo(record []byte) []byte {
	size := len(e.writer.data)
	record = slices.Grow(record, binary.MaxVarintLen32+size)
	return append(binary.AppendUvarint(record, uint64(size)), e.writer.data...)
}

// forgot takes note of a group that is not known any more, by its introduction.
func (e *Entry) forgot(group boundary.RankKey, order uint64) {
	e.of(group)
	e.writer.byte(kindForget)
	e.writer.uint(order)
}
