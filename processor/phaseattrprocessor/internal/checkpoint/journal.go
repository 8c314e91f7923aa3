// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"context"
	"slices"
	"time"

	"go.opentelemetry.io/collector/extension/xextension/storage"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/boundary"
)

// tombstone is a forgotten rank, and its last registration.
type tombstone struct {
	rank  boundary.RankKey
	order uint64
}

// pendingWrite is one write to the journal on behalf of all callers that came while the
// one before it was being written.
type pendingWrite struct {
	record []byte // not sealed yet
	ranks  []boundary.RankKey

	// flushed is true once one of the callers has written it, with err as the result. The
	// holder of the turn uses them.
	flushed bool
	err     error
}

// Entry returns an empty entry for Write.
func (s *Store) Entry() *Entry {
	if s == nil {
		return nil
	}
	e := s.entries.Get().(*Entry)
	e.writer.int(time.Now().UnixNano())
	return e
}

// putBack makes an entry available to Entry again.
func (s *Store) putBack(e *Entry) {
	e.reset()
	s.entries.Put(e)
}

// Write writes an entry to the journal, together with those of other callers. It
// returns when the entry has been written or could not be, which takes at most callTimeout
// for the write under way and as long again for its own. The entry must not be used
// afterwards.
func (s *Store) Write(ctx context.Context, e *Entry) {
	if s == nil || e == nil {
		return
	}
	defer s.putBack(e)
	if len(e.ranks) == 0 {
		return
	}
	if pending := s.enqueue(e); pending != nil {
		_ = s.flush(ctx, pending) // it has been reported
	}
}

// Forget deletes ranks that the index has forgotten.
func (s *Store) Forget(ctx context.Context, ranks []boundary.RankKey) {
	if s == nil || len(ranks) == 0 {
		return
	}
	s.mu.Lock()
	for _, rank := range ranks {
		// A rank that is back may have been written already: it stays.
		if !s.options.Index.Has(rank) {
			s.drop(rank)
		}
	}
	var pending *pendingWrite
	if !s.degraded {
		pending = s.nextWrite()
	}
	s.mu.Unlock()
	if pending != nil {
		_ = s.flush(ctx, pending) // it has been reported
	}
}

// drop removes a rank, and has the next write delete its records. It is called with mu
// held.
func (s *Store) drop(rank boundary.RankKey) {
	stored, ok := s.ranks[rank]
	if !ok {
		return
	}
	s.remove(rank)
	if stored.snapshot != 0 || stored.lastRecord != 0 {
		s.tombstones = append(s.tombstones, tombstone{rank, stored.registration.order})
	}
}

// enqueue adds an entry to the next write. It returns nil when there is none because the
// store is degraded.
func (s *Store) enqueue(e *Entry) *pendingWrite {
	s.mu.Lock()
	defer s.mu.Unlock()
	var pending *pendingWrite
	if !s.degraded {
		pending = s.nextWrite()
		pending.record = e.appendTo(pending.record)
	}
	for _, rank := range e.ranks {
		stored := s.stored(rank)
		if registration, ok := e.registered[rank]; ok {
			stored.registration = registration
		}
		if pending == nil {
			stored.dirty = true
		} else {
			pending.ranks = append(pending.ranks, stored.rank)
		}
	}
	return pending
}

// nextWrite returns the write that can be added to. It is called with mu held.
func (s *Store) nextWrite() *pendingWrite {
	if s.pending == nil {
		s.pending = &pendingWrite{record: unsealed()}
	}
	return s.pending
}

// flush writes a pending write, unless another of its callers has done so, and returns
// the result. The caller that writes it reports the error.
func (s *Store) flush(ctx context.Context, pending *pendingWrite) error {
	failed := false
	err := s.withTurn(func() error {
		if !pending.flushed {
			pending.flushed, pending.err = true, s.writeRecord(ctx, pending)
			failed = pending.err != nil
		}
		return pending.err
	})
	if failed {
		s.failed(ctx, Write, err)
	}
	return err
}

// writeRecord writes a record of the journal, and before it the cleanup. It is called with
// the turn held.
func (s *Store) writeRecord(ctx context.Context, pending *pendingWrite) error {
	s.mu.Lock()
	s.pending = nil
	number, tombstones, ops := s.last+1, s.tombstones, s.cleanup
	s.tombstones, s.cleanup = nil, nil
	s.mu.Unlock()

	name := key(journalPrefix, number)
	// A forgotten rank may be back in the same record.
	record := slices.Insert(pending.record, headerBytes, s.encode(tombstones)...)
	cleanup := len(ops)
	if len(record) > headerBytes {
		ops = append(ops, storage.SetOperation(name, seal(name, record)))
	}
	if len(ops) == 0 {
		return nil
	}
	err := s.client.batch(ctx, ops...)

	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.degraded = true
		s.tombstones, s.cleanup = append(tombstones, s.tombstones...), append(ops[:cleanup:cleanup], s.cleanup...)
		for _, rank := range pending.ranks {
			s.markDirty(rank)
		}
		return err
	}
	if len(record) > headerBytes {
		s.last = number
		s.journalBytes += int64(len(record))
	}
	for _, rank := range pending.ranks {
		if stored, ok := s.ranks[rank]; ok {
			stored.lastRecord = number
		}
	}
	if s.compactionDue() {
		s.wakeUp()
	}
	return nil
}

// encode returns the part of a record that holds tombstones.
func (s *Store) encode(tombstones []tombstone) []byte {
	if len(tombstones) == 0 {
		return nil
	}
	e := s.Entry()
	defer s.putBack(e)
	for _, t := range tombstones {
		e.forgotten(t.rank, t.order)
	}
	return e.appendTo(nil)
}
