// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"go.opentelemetry.io/collector/extension/xextension/storage"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/boundary"
)

// maxQuarantined bounds the records that cannot be read and are kept nevertheless.
const maxQuarantined = 16

// restore opens the storage and restores the ranks that the index does not know. It reads
// everything before it changes the index, so that it can be repeated when it fails. It is
// called with the turn held.
func (s *Store) restore(ctx context.Context) (r *restoration, err error) {
	if s.ledger == nil {
		if s.ledger, err = openLedger(ctx, &s.calls, s.options.Open); err != nil {
			return nil, err
		}
	}
	client, all, err := s.ledger.open(ctx, s.options.Open)
	if err != nil {
		return nil, err
	}
	r = newRestoration(s)
	r.restore(all)
	s.client = client
	s.mu.Lock()
	defer s.mu.Unlock()
	for rank, stored := range s.ranks { // the storage lacks what came before it was open
		if _, ok := r.ranks[rank]; !ok {
			r.ranks[rank] = &storedRank{rank: rank, registration: stored.registration, dirty: true}
		}
	}
	s.contents = r.contents
	return r, nil
}

// restoration restores an index from all that a storage holds.
type restoration struct {
	store *Store
	// contents describes the restored ranks. skipped holds the other ranks of the journal,
	// as true when the index knew them before.
	contents
	skipped map[boundary.RankKey]bool
	// through is the last record that a rank's snapshot covers, lastArrival when the rank's
	// last event arrived.
	through     map[boundary.RankKey]uint64
	lastArrival map[boundary.RankKey]time.Time
	// quarantined and unreadable count records; cause is the last one's error.
	quarantined, unreadable int
	cause                   error
}

func newRestoration(s *Store) *restoration {
	return &restoration{
		store:       s,
		contents:    newContents(),
		skipped:     map[boundary.RankKey]bool{},
		through:     map[boundary.RankKey]uint64{},
		lastArrival: map[boundary.RankKey]time.Time{},
	}
}

func (r *restoration) restore(all []keyValue) {
	slices.SortFunc(all, func(a, b keyValue) int { return cmp.Compare(a.key, b.key) })
	for i := range all {
		if strings.HasPrefix(all[i].key, quarantinePrefix) {
			r.quarantined++
		}
	}
	r.each(all, snapshotPrefix, &r.snapshots, r.snapshot)
	r.registerAll()
	r.each(all, journalPrefix, &r.last, r.record)
	if r.first == 0 {
		r.first = r.last + 1
	}
	for rank, at := range r.lastArrival {
		r.store.options.Index.SetLastArrival(rank, at)
	}
}

// each reads the records under a prefix and sets the largest number. What cannot be read
// is quarantined.
func (r *restoration) each(
	all []keyValue, prefix string, largest *uint64, read func(key string, number uint64, payload []byte) error,
) {
	for i := range all {
		kv := &all[i]
		if !strings.HasPrefix(kv.key, prefix) {
			continue
		}
		n, ok := number(prefix, kv.key)
		if !ok {
			r.quarantine(kv, errMalformed)
			continue
		}
		*largest = max(*largest, n) // a damaged record has its number too
		payload, err := unseal(kv.key, kv.value)
		if err == nil {
			err = read(kv.key, n, payload)
		}
		if err != nil {
			r.quarantine(kv, err)
		}
	}
}

// quarantine moves a record that cannot be read to where it can be examined.
func (r *restoration) quarantine(kv *keyValue, cause error) {
	r.unreadable++
	r.cause = cause
	r.cleanup = append(r.cleanup, storage.DeleteOperation(kv.key))
	if r.quarantined < maxQuarantined && len(kv.value) > 0 {
		r.quarantined++
		r.cleanup = append(r.cleanup, storage.SetOperation(quarantinePrefix+kv.key, kv.value))
	}
}

// registerAll registers the ranks of the snapshots in their original order, since a later
// session ends an earlier one that has the same claim.
func (r *restoration) registerAll() {
	ranks := slices.SortedFunc(maps.Keys(r.ranks), func(a, b boundary.RankKey) int {
		return cmp.Compare(r.ranks[a].registration.order, r.ranks[b].registration.order)
	})
	for _, rank := range ranks {
		r.register(rank, &r.ranks[rank].registration)
	}
}

func (r *restoration) register(rank boundary.RankKey, registration *Registration) {
	if registration.order == 0 { // its next event registers it
		return
	}
	if registration.order > r.store.registrations.Load() {
		r.store.registrations.Store(registration.order)
	}
	r.store.options.Register(rank, registration)
}

// snapshot restores a rank from its snapshot.
func (r *restoration) snapshot(name string, n uint64, payload []byte) error {
	reader := newReader(payload)
	through, registration, snapshot := reader.snapshot()
	if reader.err != nil {
		return reader.err
	}
	r.last = max(r.last, through)
	rank := snapshot.Rank
	if !r.store.options.Index.Restore(&snapshot) {
		r.cleanup = append(r.cleanup, storage.DeleteOperation(name))
		return nil
	}
	size := int64(headerBytes + len(payload))
	r.ranks[rank] = &storedRank{rank: rank, registration: registration, snapshot: n, bytes: size}
	r.snapshotBytes += size
	r.through[rank] = through
	return nil
}

// record repeats a record of the journal.
func (r *restoration) record(_ string, n uint64, payload []byte) error {
	if r.first == 0 {
		r.first = n
	}
	r.journalBytes += int64(headerBytes + len(payload))
	record := newReader(payload)
	for !record.done() {
		entry := newReader(record.bytes(record.count()))
		r.entry(entry, n)
		if entry.err != nil {
			return entry.err
		}
	}
	return record.err
}

// entry repeats an entry of record n.
func (r *restoration) entry(entry *reader, n uint64) {
	arrival := time.Unix(0, entry.int())
	ingest := r.store.options.Index.Reingest()
	defer ingest.Flush()
	var rank boundary.RankKey
	applies := false // to the rank
	for !entry.done() {
		kind := entry.byte()
		if kind&isBoundary != 0 {
			b := entry.boundary(kind)
			if applies && entry.err == nil {
				ingest.Add(rank, &b)
				r.stored(rank).lastRecord = n
			}
			continue
		}
		switch kind {
		case kindRank:
			rank = entry.rank()
			if applies = entry.err == nil && r.applies(rank, n); applies {
				r.lastArrival[rank] = arrival
			}
		case kindRegistration:
			registration := entry.registration()
			if applies && entry.err == nil {
				r.stored(rank).registration = registration
				r.register(rank, &registration)
			}
		case kindEvent, kindStop:
			if at := entry.at(); applies && entry.err == nil {
				ingest.Observe(rank, at, kind == kindStop)
				r.stored(rank).lastRecord = n
			}
		case kindForgotten:
			if order := entry.uint(); applies && entry.err == nil {
				r.forget(rank, order)
			}
		default:
			entry.fail()
		}
	}
}

// applies reports whether record n adds to what has been restored of a rank.
func (r *restoration) applies(rank boundary.RankKey, n uint64) bool {
	if _, ok := r.ranks[rank]; ok {
		return n > r.through[rank]
	}
	known, ok := r.skipped[rank]
	if !ok {
		known = r.store.options.Index.Has(rank) // its events came before the storage was open
		r.skipped[rank] = known
	}
	return !known
}

// forget forgets a rank, unless it has been registered again.
func (r *restoration) forget(rank boundary.RankKey, order uint64) {
	stored, ok := r.ranks[rank]
	if !ok || stored.registration.order > order {
		return
	}
	r.remove(rank)
	delete(r.through, rank)
	delete(r.lastArrival, rank)
	r.store.options.Forget(rank)
}
