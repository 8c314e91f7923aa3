// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/collector/extension/xextension/storage"

	"github.com/phaseattr/phaseattr/internal/boundary"
)

// pendingWrite is one write to the journal on behalf of all callers that came while the
// one before it was being written.
type pendingWrite struct {
	record []byte // not sealed yet
	ranks  []*storedRank

	// flushed is true once one of the callers has written it, with err as the result. They
	// belong to the one that uses the storage.
	flushed bool
	err     error
}

// Entry returns an empty entry for Write.
func (s *Store) Entry() *Entry {
	if s == nil {
		return nil
	}
	e := s.entries.Get().(*Entry)
	arrival := time.Now().UnixNano()
	e.codec.int(&arrival)
	return e
}

// Write writes an entry to the journal, together with those of other callers. It
// returns when the entry has been written or could not be, which takes at most callTimeout
// for the write under way and as long again for its own. The entry must not be used
// afterwards.
func (s *Store) Write(ctx context.Context, e *Entry) {
	if s == nil || e == nil {
		return
	}
	if pending := s.enqueue(e); pending != nil {
		_ = s.flush(ctx, pending) // it has been reported
	}
	e.reset()
	s.entries.Put(e)
}

// Forget deletes ranks that the index has forgotten.
func (s *Store) Forget(ctx context.Context, ranks []boundary.RankKey) {
	if s == nil || len(ranks) == 0 {
		return
	}
	s.mu.Lock()
	for _, rank := range ranks {
		s.drop(rank)
	}
	pending := s.pending
	s.mu.Unlock()
	if !s.degraded.Load() {
		_ = s.flush(ctx, pending) // it has been reported
	}
}

// drop removes a rank, and has the next write delete its records. A rank that is back in
// the index may have been written already: it stays. It is called with mu held.
func (s *Store) drop(rank boundary.RankKey) {
	stored, ok := s.ranks[rank]
	if !ok || s.options.Index.Has(rank) {
		return
	}
	s.remove(stored)
	if stored.snapshot != 0 || stored.lastRecord != 0 {
		e := s.Entry()
		e.begin(&Sender{Rank: rank}, kindForgotten)
		e.codec.uint(&stored.order)
		s.tombstones = e.appendTo(s.tombstones)
	}
}

// enqueue adds an entry to the next write. It returns nil when there is none because the
// store is degraded or the entry empty.
func (s *Store) enqueue(e *Entry) *pendingWrite {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range e.presences {
		s.describe(e.presences[i].Sender.Rank).add(&e.presences[i])
	}
	degraded := s.degraded.Load()
	for _, rank := range e.ranks {
		if stored := s.describe(rank); degraded {
			stored.dirty = true
		} else {
			s.pending.ranks = append(s.pending.ranks, stored)
		}
	}
	if degraded || len(e.ranks) == 0 {
		return nil
	}
	s.pending.record = e.appendTo(s.pending.record)
	return s.pending
}

// flush writes a pending write, unless another of its callers has done so, and returns
// the result. The caller that writes it reports the error.
func (s *Store) flush(ctx context.Context, pending *pendingWrite) error {
	var failed atomic.Bool
	err := s.use(context.WithoutCancel(ctx), callTimeout, func(ctx context.Context) error {
		if !pending.flushed {
			pending.flushed, pending.err = true, s.writeRecord(ctx, pending)
			failed.Store(pending.err != nil)
		}
		return pending.err
	})
	if errors.Is(err, errHung) {
		s.degraded.Store(true)
		failed.Store(true)
	}
	if failed.Load() {
		s.failed(ctx, Write, err)
	} else if s.compactionDue() {
		s.wakeUp()
	}
	return err
}

// writeRecord writes a record of the journal, and before it the cleanup. It is called in a
// use.
func (s *Store) writeRecord(ctx context.Context, pending *pendingWrite) error {
	s.mu.Lock()
	number, tombstones, cleanup := s.last+1, s.tombstones, s.cleanup
	s.pending, s.tombstones, s.cleanup = &pendingWrite{record: unsealed()}, nil, nil
	s.mu.Unlock()

	// A forgotten rank may be back in the same record.
	record := slices.Insert(pending.record, headerBytes, tombstones...)
	ops := slices.Clip(cleanup)
	if len(record) > headerBytes {
		name := key(journalPrefix, number)
		ops = append(ops, storage.SetOperation(name, seal(name, record)))
	}
	if len(ops) == 0 {
		return nil
	}
	err := s.batch(ctx, ops...)

	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.degraded.Store(true)
		s.tombstones, s.cleanup = append(tombstones, s.tombstones...), append(cleanup, s.cleanup...)
	} else if len(record) > headerBytes {
		s.last = number
		s.journalBytes += int64(len(record))
	}
	for _, stored := range pending.ranks {
		if err != nil {
			stored.dirty = true
		} else {
			stored.lastRecord = number
		}
	}
	return err
}
