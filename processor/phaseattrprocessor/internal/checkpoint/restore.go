// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"go.opentelemetry.io/collector/extension/xextension/storage"

	"github.com/phaseattr/phaseattr/internal/boundary"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/replay"
)

// maxQuarantined bounds the records that cannot be read and are kept nevertheless.
const maxQuarantined = 16

// Restorer repeats what entries have recorded, and restores what depends on the index
// beside it. It is called by Start, and by the background loop if the storage could not be
// opened then, and must not call the Store. It must not keep what the pointers refer to,
// except texts.
type Restorer interface {
	// Presence restores a presence. The index may have it already, from a snapshot. Its
	// Print is 0 if an earlier version stored it: the index does not have it then, and
	// Presence sets the Print. Presences come in the order in which they were recorded.
	Presence(p *Presence)
	Event(sender *Sender, e *replay.Event)
	Boundary(sender *Sender, b *boundary.Boundary)
	Interval(sender *Sender, i *boundary.Interval)
	// Flush ends the items of one entry.
	Flush()
	// Forget drops a restored rank that had been forgotten.
	Forget(rank boundary.RankKey)
}

// restore opens the storage, unless it is open, and restores the ranks that the index does
// not know. It reads everything before it changes the index, so that it can be repeated
// when it fails. It is called in a use.
func (s *Store) restore(ctx context.Context) error {
	if s.client != nil {
		return nil
	}
	if err := s.ledger.read(ctx, s.options.Open); err != nil {
		return err
	}
	client, all, err := s.ledger.open(ctx, s.options.Open)
	if err != nil {
		return err
	}
	r := newRestoration(s)
	r.restore(all)
	if r.unreadable > 0 {
		s.options.Failed(ctx, Read, r.unreadable, r.cause)
	}
	s.client = client
	s.mu.Lock()
	defer s.mu.Unlock()
	for rank, stored := range s.ranks { // the storage lacks what came before it was open
		if _, ok := r.ranks[rank]; !ok {
			r.ranks[rank] = stored
		}
	}
	s.contents = r.contents
	s.opened.Store(true)
	return nil
}

// restoration restores an index from all that a storage holds.
type restoration struct {
	store    *Store
	restorer Restorer
	contents
	// number and version are those of the record at hand.
	number  uint64
	version byte
	// sender is whose the item at hand is. stored describes its rank, once it has been looked
	// for; nil when the item is to be skipped.
	sender Sender
	stored *storedRank
	found  bool
	// arrival is that of the entry at hand.
	arrival int64
	// boundary is the last one; it is reused.
	boundary boundary.Boundary
	// quarantined and unreadable count records; cause is the last one's error.
	quarantined, unreadable int
	cause                   error
}

func newRestoration(s *Store) *restoration {
	return &restoration{store: s, restorer: s.options.Restorer(), contents: newContents()}
}

func (r *restoration) restore(all map[string][]byte) {
	for key := range all {
		if strings.HasPrefix(key, quarantinePrefix) {
			r.quarantined++
		}
	}
	r.each(all, snapshotPrefix, &r.snapshots, r.snapshot)
	r.restorePresences()
	r.each(all, journalPrefix, &r.last, r.record)
	if r.first == 0 {
		r.first = r.last + 1
	}
	for rank, stored := range r.ranks {
		if stored.arrival != 0 {
			r.store.options.Index.SetLastArrival(rank, time.Unix(0, stored.arrival))
		}
	}
}

// each reads the records under a prefix and sets the largest number. What cannot be read
// is quarantined.
func (r *restoration) each(all map[string][]byte, prefix string, largest *uint64, read func(*codec)) {
	for _, key := range slices.Sorted(maps.Keys(all)) {
		if !strings.HasPrefix(key, prefix) {
			continue
		}
		n, err := number(prefix, key)
		*largest = max(*largest, n) // a damaged record has its number too
		found, payload, damage := unseal(key, all[key])
		switch {
		case err != nil:
		case damage != nil:
			err = damage
		case found != version && found != version2:
			err = fmt.Errorf("%w (%d)", errVersion, found)
		default:
			r.number, r.version = n, found
			c := newReader(payload)
			read(c)
			err = c.err
		}
		if err != nil {
			r.quarantine(key, all[key], err)
		}
	}
}

// quarantine moves a record that cannot be read to where it can be examined.
func (r *restoration) quarantine(key string, record []byte, cause error) {
	r.unreadable++
	r.cause = cause
	r.cleanup = append(r.cleanup, storage.DeleteOperation(key))
	if r.quarantined < maxQuarantined && len(record) > 0 {
		r.quarantined++
		r.cleanup = append(r.cleanup, storage.SetOperation(quarantinePrefix+key, record))
	}
}

// snapshot restores a rank from its snapshot.
func (r *restoration) snapshot(c *codec) {
	size := int64(headerBytes + len(c.data))
	var s snapshot
	if r.version == version2 {
		c.snapshot2(&s)
	} else {
		c.snapshot(&s)
	}
	if c.more() {
		c.fail()
	}
	if c.err != nil {
		return
	}
	r.last = max(r.last, s.through)
	if !r.store.options.Index.Restore(&s.rank) {
		r.cleanup = append(r.cleanup, storage.DeleteOperation(key(snapshotPrefix, r.number)))
		return
	}
	stored := r.describe(s.rank.Rank)
	stored.snapshot, stored.bytes, stored.through = r.number, size, s.through
	for i := range s.presences {
		stored.add(&s.presences[i])
	}
	r.snapshotBytes += size
}

// restorePresences restores those of the snapshots, in their original order: a later one
// may end an earlier one.
func (r *restoration) restorePresences() {
	var all []*Presence
	for _, stored := range r.ranks {
		for i := range stored.presences {
			all = append(all, &stored.presences[i])
		}
	}
	slices.SortFunc(all, func(a, b *Presence) int { return cmp.Compare(a.order, b.order) })
	for _, p := range all {
		r.restorePresence(p)
	}
}

func (r *restoration) restorePresence(p *Presence) {
	r.store.order.Store(max(r.store.order.Load(), p.order))
	r.restorer.Presence(p)
}

// record repeats a record of the journal.
func (r *restoration) record(c *codec) {
	if r.first == 0 {
		r.first = r.number
	}
	r.journalBytes += int64(headerBytes + len(c.data))
	for c.more() {
		n := c.count(0)
		entry := newReader(c.data[:n])
		c.data = c.data[n:]
		r.entry(entry)
		if entry.err != nil {
			c.err = entry.err
			return
		}
	}
}

// entry repeats an entry.
func (r *restoration) entry(c *codec) {
	c.int(&r.arrival)
	r.sender, r.stored, r.found = Sender{}, nil, true
	for c.more() {
		if c.data[0]&isBoundary == 0 {
			r.item(c)
			continue
		}
		r.find()
		r.boundary = boundary.Boundary{}
		c.boundary(&r.boundary)
		if r.applies(c) {
			r.restorer.Boundary(&r.sender, &r.boundary)
		}
	}
	r.restorer.Flush()
}

// item repeats an item, except boundaries.
func (r *restoration) item(c *codec) {
	var kind byte
	c.byte(&kind)
	switch kind {
	case kindRank:
		r.sender = Sender{}
		c.rank(&r.sender.Rank)
		r.found = false
		return
	case kindProcess:
		c.name(&r.sender.Process, &r.sender.Rank.Tenant)
		return
	}
	if c.err == nil {
		r.find()
	}
	switch kind {
	case kindPresence:
		p := Presence{Sender: r.sender}
		c.identity(&p)
		r.presence(c, &p)
	case kindEvent:
		var e replay.Event
		c.event(&e)
		r.event(c, &e)
	case kindInterval:
		var i boundary.Interval
		c.interval(&i)
		if r.applies(c) {
			r.restorer.Interval(&r.sender, &i)
		}
	case kindForgotten:
		var order uint64
		c.uint(&order)
		r.forget(c, order)
	default:
		r.item2(c, kind)
	}
}

// applies reports whether the item that has been read adds to what has been restored.
func (r *restoration) applies(c *codec) bool { return c.err == nil && r.stored != nil }

func (r *restoration) presence(c *codec, p *Presence) {
	if r.applies(c) {
		if added := r.stored.add(p); added != nil {
			r.restorePresence(added)
		}
	}
}

func (r *restoration) event(c *codec, e *replay.Event) {
	if r.applies(c) {
		r.restorer.Event(&r.sender, e)
	}
}

// find finds the rank of the item at hand, once for all that follow one another, unless they
// are to be skipped.
func (r *restoration) find() {
	if r.found {
		return
	}
	r.found = true
	rank := r.sender.Rank
	stored, ok := r.ranks[rank]
	switch {
	case ok && r.number <= stored.through, // its snapshot has them
		!ok && r.store.options.Index.Has(rank): // its events came before the storage was open
		r.stored = nil
		return
	}
	r.stored = r.describe(rank)
	r.sender.Rank = r.stored.rank
	r.stored.lastRecord, r.stored.arrival = r.number, r.arrival
	if n := len(r.stored.presences); r.version == version2 && n > 0 {
		r.sender.Process = r.stored.presences[n-1].Sender.Process
	}
}

// forget forgets the rank at hand, unless it has come back since.
func (r *restoration) forget(c *codec, order uint64) {
	if r.applies(c) && r.stored.order <= order {
		r.remove(r.stored)
		r.stored = nil
		r.restorer.Forget(r.sender.Rank)
	}
}
