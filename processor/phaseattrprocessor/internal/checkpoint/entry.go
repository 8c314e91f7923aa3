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

// Registration holds what the first event says of a rank: its process and where it runs.
type Registration struct {
	// At is the time of the rank's first event to arrive, in nanoseconds since the Unix
	// epoch.
	At int64
	// Claim is the process's; empty when it is not known.
	Claim    string
	Identity association.Identity
	// order numbers the registrations from 1: it tells a rank from a forgotten one of the
	// same key. It is 0 for a rank that has not been registered.
	order uint64
}

// The kinds of items of an entry, beside boundaries.
const (
	kindRank byte = iota + 1 // the following items are about another rank
	kindRegistration
	kindEvent
	kindStop
	kindForgotten
)

// Entry is what one call adds to the index, for the journal. It must not be used
// concurrently. A nil Entry records nothing.
type Entry struct {
	writer        *writer
	registrations *atomic.Uint64 // the Store's
	// rank is that of the last item, ranks are those of all, with repetitions; registered
	// holds the registrations among the items.
	rank       boundary.RankKey
	ranks      []boundary.RankKey
	registered map[boundary.RankKey]Registration
}

func newEntry(registrations *atomic.Uint64) *Entry {
	return &Entry{writer: newWriter(), registrations: registrations, registered: map[boundary.RankKey]Registration{}}
}

// reset empties the entry. It keeps no text alive.
func (e *Entry) reset() {
	e.writer.reset()
	clear(e.ranks)
	e.rank, e.ranks = boundary.RankKey{}, e.ranks[:0]
	clear(e.registered)
}

// about writes which rank the next item is about.
func (e *Entry) about(rank boundary.RankKey) {
	if len(e.ranks) > 0 && rank == e.rank {
		return
	}
	e.rank = rank
	e.ranks = append(e.ranks, rank)
	e.writer.byte(kindRank)
	e.writer.rank(rank)
}

// Registered records that a rank was registered in the index.
func (e *Entry) Registered(rank boundary.RankKey, registration *Registration) {
	if e == nil {
		return
	}
	e.about(rank)
	registration.order = e.registrations.Add(1)
	e.registered[rank] = *registration
	e.writer.byte(kindRegistration)
	e.writer.registration(registration)
}

// Observed records an event of a rank that is not a boundary, at a time in nanoseconds
// since the Unix epoch. A stop ends the session.
func (e *Entry) Observed(rank boundary.RankKey, at int64, stop bool) {
	if e == nil {
		return
	}
	e.about(rank)
	kind := kindEvent
	if stop {
		kind = kindStop
	}
	e.writer.byte(kind)
	e.writer.at(at)
}

// Added records a boundary.
func (e *Entry) Added(rank boundary.RankKey, b *boundary.Boundary) {
	if e == nil {
		return
	}
	e.about(rank)
	e.writer.boundary(b)
}

// forgotten records that a rank was forgotten after a registration.
func (e *Entry) forgotten(rank boundary.RankKey, order uint64) {
	e.about(rank)
	e.writer.byte(kindForgotten)
	e.writer.uint(order)
}

// appendTo appends the entry to the payload of a record.
func (e *Entry) appendTo(record []byte) []byte {
	size := len(e.writer.data)
	record = slices.Grow(record, binary.MaxVarintLen32+size)
	return append(binary.AppendUvarint(record, uint64(size)), e.writer.data...)
}
