// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

// Package checkpoint keeps the index in a storage, so that it outlives the process.
//
// What a call brings to the index is written to a journal before the call returns,
// one record per write. Now and then every group that has changed since is written
// as a snapshot of its own, and the journal starts anew: what is stored is at most
// the index twice and a journal that is no longer than it.
package checkpoint

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"go.opentelemetry.io/collector/extension/xextension/storage"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/boundary"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/replay"
)

// defaultMinJournal is a length that is soon read, and a small part of what the index
// of a few groups takes.
const defaultMinJournal = 4 << 20

// Operation is what was asked of the storage when it failed.
type Operation string

// The operations. The set is closed: it is an attribute of the processor's own
// metrics.
const (
	// Open: the storage could not be opened, or not be read as a whole.
	Open Operation = "open"
	// Write: something could not be written.
	Write Operation = "write"
	// Read: a record could not be read; it was set aside.
	Read Operation = "read"
)

// opener opens a storage of a name.
type opener = func(ctx context.Context, name string) (storage.Client, error)

// Options say what is stored where.
type Options struct {
	// Open opens a storage of a name. There are two.
	Open func(ctx context.Context, name string) (storage.Client, error)
	// Index is what is kept.
	Index *replay.Index
	// Register introduces a group that is restored.
	Register func(group boundary.RankKey, in *Registration)
	// Forget lets go of a group that had been forgotten.
	Forget func(group boundary.RankKey)
	// Failed is told what failed, and how often.
	Failed func(ctx context.Context, op Operation, times int, err error)
}

// Store keeps an index in a storage. A nil Store keeps nothing. Its methods may be
// called from many goroutines. What fails is told to Failed and tried again: the
// index does not depend on it.
type Store struct {
	options Options
	entries sync.Pool
	stop    chan struct{}
	wake    chan struct{}
	keeper  sync.WaitGroup
	// introductions counts those of groups.
	introductions atomic.Uint64

	// minJournal is how long a journal is, in bytes, before it is worth snapshots.
	minJournal int64
	// ledger is nil until it could be opened. Only who opens the storage uses it.
	ledger *ledger

	// writing is held while the journal is written.
	writing sync.Mutex

	// mu guards what follows. It is never held during a call to the storage.
	mu sync.Mutex
	// client is nil while the storage cannot be opened; spoiled is true when it is so
	// because it panicked.
	client  storage.Client
	spoiled bool
	// broken is true from a write that failed until all has been written since.
	broken bool
	// next is what the next write to the journal holds.
	next *flight
	contents
	// forgotten are the groups that the journal is to be told of as such.
	forgotten []forgotten
}

// New returns a store that is not open yet.
func New(options Options) *Store {
	s := &Store{
		options:    options,
		minJournal: defaultMinJournal,
		stop:       make(chan struct{}),
		wake:       make(chan struct{}, 1),
		contents:   newContents(),
		broken:     true,
	}
	s.entries.New = func() any { return newEntry(&s.introductions) }
	return s
}

// Start restores the index. What runs in the background ends with Close. An error says
// that the storage is of no use, now or later.
func (s *Store) Start(ctx context.Context) error {
	if s == nil {
		return nil
	}
	for range 2 { // where one generation is given up, the next one can be opened
		if err := s.heal(ctx); errors.Is(err, errNoWalk) {
			s.Close(ctx)
			return err
		}
		if !s.isBroken() {
			break
		}
	}
	s.keeper.Go(s.keep)
	return nil
}

// Close writes what has not been written, as far as the storage lets it.
func (s *Store) Close(ctx context.Context) {
	if s == nil {
		return
	}
	close(s.stop)
	s.keeper.Wait()
	s.mu.Lock()
	broken, client := s.broken, s.client
	s.mu.Unlock()
	if broken && client != nil {
		_ = s.heal(ctx) // it has been told
	}
	s.mu.Lock()
	client = s.client
	s.client, s.broken = nil, true
	s.mu.Unlock()
	for _, client := range []storage.Client{client, s.ledger.storage()} {
		if client == nil {
			continue
		}
		if err := guard(func() error { return client.Close(ctx) }); err != nil {
			s.options.Failed(ctx, Write, 1, err)
		}
	}
}

// Bytes is how much is stored.
func (s *Store) Bytes() int64 {
	if s == nil {
		return 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.journalBytes + s.snapshotBytes
}
