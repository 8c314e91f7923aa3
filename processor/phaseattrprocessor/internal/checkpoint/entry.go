// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"encoding/binary"
	"slices"
	"sync/atomic"

	"github.com/phaseattr/phaseattr/internal/boundary"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/replay"
)

// The kinds of items of an entry, beside boundaries. 2 to 4 are those of version 2.
const (
	kindRank      byte = 1 // the following items are about another rank
	kindForgotten byte = 5
	kindProcess   byte = 6 // the following items are about another process of the rank
	kindPresence  byte = 7
	kindEvent     byte = 8
	kindInterval  byte = 9
)

// Entry is what one call adds to the index, for the journal. It must not be used
// concurrently. A nil Entry records nothing. What it records is what a Restorer repeats.
type Entry struct {
	codec *codec
	// order is the Store's.
	order *atomic.Uint64
	// sender is that of the last item; ranks are those of all, with repetitions; presences
	// are among the items.
	sender    Sender
	ranks     []boundary.RankKey
	presences []Presence
}

// reset empties the entry. It keeps no text alive.
func (e *Entry) reset() {
	e.codec.reset()
	clear(e.ranks)
	clear(e.presences)
	e.sender, e.ranks, e.presences = Sender{}, e.ranks[:0], e.presences[:0]
}

// begin begins an item. It reports false for a nil Entry.
func (e *Entry) begin(sender *Sender, kind byte) bool {
	if e == nil {
		return false
	}
	if len(e.ranks) == 0 || *sender != e.sender {
		e.by(sender)
	}
	if kind != isBoundary { // which has flags instead
		e.codec.data = append(e.codec.data, kind)
	}
	return true
}

// by writes the sender of the following items.
func (e *Entry) by(sender *Sender) {
	if len(e.ranks) == 0 || sender.Rank != e.sender.Rank {
		e.sender = Sender{Rank: sender.Rank}
		e.sender.Rank.Tenant = ""
		e.ranks = append(e.ranks, sender.Rank)
		e.codec.data = append(e.codec.data, kindRank)
		e.codec.rank(&e.sender.Rank)
	}
	if *sender != e.sender {
		e.sender = *sender
		e.codec.data = append(e.codec.data, kindProcess)
		e.codec.name(&e.sender.Process, &e.sender.Rank.Tenant)
	}
}

// Presence records a presence that the index did not know. The Store keeps its texts.
func (e *Entry) Presence(p *Presence) {
	if e.begin(&p.Sender, kindPresence) {
		p.order = e.order.Add(1)
		e.presences = append(e.presences, *p)
		e.codec.identity(p)
	}
}

// Event records an event that is not a boundary.
func (e *Entry) Event(sender *Sender, event *replay.Event) {
	if e.begin(sender, kindEvent) {
		e.codec.event(event)
	}
}

// Boundary records a boundary.
func (e *Entry) Boundary(sender *Sender, b *boundary.Boundary) {
	if e.begin(sender, isBoundary) {
		e.codec.boundary(b)
	}
}

// Interval records an interval.
func (e *Entry) Interval(sender *Sender, i *boundary.Interval) {
	if e.begin(sender, kindInterval) {
		e.codec.interval(i)
	}
}

// appendTo appends the entry to the payload of a record.
func (e *Entry) appendTo(record []byte) []byte {
	size := len(e.codec.data)
	record = slices.Grow(record, binary.MaxVarintLen32+size)
	return append(binary.AppendUvarint(record, uint64(size)), e.codec.data...)
}
