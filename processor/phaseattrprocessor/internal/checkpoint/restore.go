// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"go.opentelemetry.io/collector/extension/xextension/storage"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/boundary"
)

// maxUnreadable is how many records that cannot be read are kept aside.
const maxUnreadable = 16

var errNoWalk = errors.New("the storage cannot list what it holds")

// restore opens the storage and puts back what it holds of groups that the index does
// not know.
func (s *Store) restore(ctx context.Context) error {
	client, r, err := s.open(ctx)
	if err != nil {
		s.options.Failed(ctx, Open, 1, err)
		return err
	}
	if r.unreadable > 0 {
		s.options.Failed(ctx, Read, r.unreadable, r.cause)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.client = client
	for group, g := range s.groups { // what was stored elsewhere is not stored here
		if _, ok := r.groups[group]; !ok {
			r.groups[group] = &stored{group: group, introduction: g.introduction, missing: true}
		}
	}
	s.contents = r.contents
	return nil
}

// open opens the storage and reads what it holds.
func (s *Store) open(ctx context.Context) (client storage.Client, r *restoration, err error) {
	if s.ledger == nil {
		if s.ledger, err = openLedger(ctx, s.options.Open); err != nil {
			return nil, nil, err
		}
	}
	if s.isSpoiled() {
		err = s.ledger.next(ctx)
		if err != nil {
			return nil, nil, err
		}
	}
	if client, err = s.ledger.open(ctx, s.options.Open); err == nil {
		err = guard(func() (err error) {
			r, err = s.read(ctx, client)
			return err
		})
	}
	if err == nil {
		err = s.prove(ctx, client)
	}
	switch {
	case errors.Is(err, errSpoiled): // what it left locked stays so
		err = errors.Join(err, s.ledger.next(ctx))
	case err != nil && client != nil:
		err = errors.Join(err, guard(func() error { return client.Close(ctx) }))
	}
	return client, r, err
}

// prove writes to the storage, which may end the process if its file is damaged. One
// that cannot be written now may be later.
func (s *Store) prove(ctx context.Context, client storage.Client) error {
	err := guard(func() error { return client.Set(ctx, proofKey, nil) })
	if errors.Is(err, errSpoiled) {
		return err
	}
	if err = errors.Join(err, s.ledger.proven(ctx)); err != nil {
		s.options.Failed(ctx, Write, 1, err)
	}
	return nil
}

// isSpoiled tells, once, whether the storage has panicked since it was opened.
func (s *Store) isSpoiled() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	spoiled := s.spoiled
	s.spoiled = false
	return spoiled
}

// restoration is what comes of reading a storage.
type restoration struct {
	store  *Store
	client storage.Client
	// contents is what is stored of the groups that are put back; others are those that
	// are not put back, if so.
	contents
	others map[boundary.RankKey]bool
	// through is the record of the journal that a group's snapshot is as of, heard when
	// the group's last event arrived.
	through map[boundary.RankKey]uint64
	heard   map[boundary.RankKey]time.Time
	// aside are the keys of the records that are kept aside.
	aside      []string
	unreadable int
	cause      error
}

func newRestoration(s *Store, client storage.Client) *restoration {
	return &restoration{
		store:    s,
		client:   client,
		contents: newContents(),
		others:   map[boundary.RankKey]bool{},
		through:  map[boundary.RankKey]uint64{},
		heard:    map[boundary.RankKey]time.Time{},
	}
}

func (s *Store) read(ctx context.Context, client storage.Client) (*restoration, error) {
	walker, ok := client.(storage.Walker)
	if !ok {
		return nil, errNoWalk
	}
	r := newRestoration(s, client)
	var journal, snapshots []string
	err := walker.Walk(ctx, func(key string, _ []byte) ([]*storage.Operation, error) {
		switch {
		case strings.HasPrefix(key, journalPrefix):
			journal = append(journal, strings.Clone(key))
		case strings.HasPrefix(key, snapshotPrefix):
			snapshots = append(snapshots, strings.Clone(key))
		case strings.HasPrefix(key, unreadablePrefix):
			r.aside = append(r.aside, strings.Clone(key))
		}
		return nil, nil
	})
	if err != nil {
		return nil, err
	}
	slices.Sort(snapshots)
	slices.Sort(journal)
	if err := r.each(ctx, snapshotPrefix, snapshots, r.snapshot); err != nil {
		return nil, err
	}
	r.introduce()
	if err := r.each(ctx, journalPrefix, journal, r.record); err != nil {
		return nil, err
	}
	for group, at := range r.heard {
		s.options.Index.SetLastArrival(group, at)
	}
	r.first = r.last + 1
	if len(journal) > 0 {
		if n, ok := number(journalPrefix, journal[0]); ok {
			r.first = n
		}
	}
	return r, nil
}

// introduce introduces the groups that are put back, in the order in which they came:
// who comes later ends who has its seat.
func (r *restoration) introduce() {
	groups := slices.SortedFunc(maps.Keys(r.groups), func(a, b boundary.RankKey) int {
		return cmp.Compare(r.groups[a].introduction.order, r.groups[b].introduction.order)
	})
	for _, group := range groups {
		r.introduceOne(group, &r.groups[group].introduction)
	}
}

func (r *restoration) introduceOne(group boundary.RankKey, in *Registration) {
	if in.order == 0 { // its next event introduces it
		return
	}
	if in.order > r.store.introductions.Load() {
		r.store.introductions.Store(in.order)
	}
	r.store.options.Register(group, in)
}

// each reads the records under some keys. What cannot be read is set aside.
func (r *restoration) each(
	ctx context.Context, prefix string, keys []string, take func(key string, number uint64, payload []byte) error,
) error {
	const atATime = 64
	for batch := range slices.Chunk(keys, atATime) {
		ops := make([]*storage.Operation, len(batch))
		for i, key := range batch {
			ops[i] = storage.GetOperation(key)
		}
		if err := r.client.Batch(ctx, ops...); err != nil {
			return err
		}
		var moves []*storage.Operation
		for _, op := range ops {
			n, ok := number(prefix, op.Key)
			payload, err := unseal(op.Key, op.Value)
			switch {
			case !ok:
				err = errMalformed
			case err == nil:
				err = take(op.Key, n, payload)
			}
			if err != nil {
				moves = append(moves, r.setAside(op, err)...)
			}
		}
		if len(moves) > 0 {
			if err := r.client.Batch(ctx, moves...); err != nil {
				return err
			}
		}
	}
	return nil
}

// setAside keeps a record that cannot be read for whoever wants to know why.
func (r *restoration) setAside(op *storage.Operation, cause error) []*storage.Operation {
	r.unreadable++
	r.cause = cause
	moves := []*storage.Operation{storage.DeleteOperation(op.Key)}
	if len(r.aside) < maxUnreadable && op.Value != nil {
		name := unreadablePrefix + op.Key
		r.aside = append(r.aside, name)
		moves = append(moves, storage.SetOperation(name, op.Value))
	}
	return moves
}

// snapshot puts back a group.
func (r *restoration) snapshot(name string, n uint64, payload []byte) error {
	reader := newReader(payload)
	through, in, snapshot := reader.snapshot()
	if reader.err != nil {
		return reader.err
	}
	r.snapshots = max(r.snapshots, n)
	r.last = max(r.last, through)
	group := snapshot.Rank
	if !r.store.options.Index.Restore(&snapshot) {
		r.deletes = append(r.deletes, name)
		return nil
	}
	size := int64(headerBytes + len(payload))
	r.groups[group] = &stored{group: group, introduction: in, snapshot: n, bytes: size}
	r.snapshotBytes += size
	r.through[group] = through
	return nil
}

// record takes in again what a record of the journal holds.
func (r *restoration) record(_ string, n uint64, payload []byte) error {
	r.last = max(r.last, n)
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

func (r *restoration) entry(entry *reader, n uint64) {
	heard := time.Unix(0, entry.int())
	var group boundary.RankKey
	takes := false
	for !entry.done() {
		kind := entry.byte()
		if kind&isBoundary != 0 {
			b := entry.boundary(kind)
			if takes && entry.err == nil {
				r.store.options.Index.Repeat(group, &b)
				r.stored(group).until = n
			}
			continue
		}
		switch kind {
		case kindGroup:
			group = entry.group()
			if takes = entry.err == nil && r.takes(group, n); takes {
				r.heard[group] = heard
			}
		case kindBegin:
			in := entry.introduction()
			if takes && entry.err == nil {
				r.stored(group).introduction = in
				r.introduceOne(group, &in)
			}
		case kindEvent, kindStop:
			if at := entry.at(); takes && entry.err == nil {
				r.store.options.Index.Ingest().Observe(group, at, kind == kindStop)
				r.stored(group).until = n
			}
		case kindForget:
			if order := entry.uint(); takes && entry.err == nil {
				r.forget(group, order)
			}
		default:
			entry.fail()
		}
	}
}

// takes tells whether what a record of the journal says of a group is new to the
// index.
func (r *restoration) takes(group boundary.RankKey, n uint64) bool {
	if _, ok := r.groups[group]; !ok {
		other, seen := r.others[group]
		if !seen {
			other = r.store.options.Index.Has(group) // it has come while the storage was away
			r.others[group] = other
		}
		return !other
	}
	return n > r.through[group]
}

// forget lets go of a group that has been forgotten since it was introduced.
func (r *restoration) forget(group boundary.RankKey, order uint64) {
	g, ok := r.groups[group]
	if !ok || g.introduction.order > order {
		return
	}
	r.remove(group)
	delete(r.through, group)
	delete(r.heard, group)
	r.store.options.Forget(group)
}
