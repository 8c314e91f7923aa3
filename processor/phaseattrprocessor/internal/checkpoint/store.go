// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

// Package checkpoint keeps the index in a storage, so that it outlives the process.
//
// What a call adds to the index is written to a journal before the call returns, one
// record per write. Now and then a snapshot is written of each rank that has changed,
// and the journal is deleted: the storage never holds more than two snapshots' worth of
// the index.
package checkpoint

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"go.opentelemetry.io/collector/extension/xextension/storage"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/replay"
)

// defaultMinJournal, in bytes, is quickly read and little beside the index of a few
// ranks.
const defaultMinJournal = 4 << 20

// Operation is a kind of use of the storage, as named when it fails.
type Operation string

// The operations. The set is closed: it is an attribute of the processor's own
// metrics.
const (
	// Open: opening the storage and reading all of it.
	Open Operation = "open"
	// Write: writing, deleting and closing.
	Write Operation = "write"
	// Read: decoding a record; it is quarantined.
	Read Operation = "read"
)

// openFunc opens the storage of a name.
type openFunc = func(ctx context.Context, name string) (storage.Client, error)

// Options configure a Store. All fields are required.
type Options struct {
	// Open opens the storage of a name. Two names are used.
	Open func(ctx context.Context, name string) (storage.Client, error)
	// Index is the index to store. A new Store needs a new Index: ranks that an index
	// already holds when the Store is made are not stored.
	Index *replay.Index

	// Restorer returns what restores the journal, and the presences of the snapshots. It is
	// used for one attempt.
	Restorer func() Restorer

	// Failed is called after each failure, those of retries included, with the number of
	// failures, which exceeds 1 only for Read. The storage is down from the first failure of
	// Open or Write until Recovered is called, once, when everything that could not be
	// written has been. Both are called with no lock held, from the goroutine that used the
	// storage: the caller of Start, Write or Forget, the background loop, or the goroutine
	// of Close. Calls may be concurrent, and must not call Close.
	Failed    func(ctx context.Context, op Operation, times int, err error)
	Recovered func(ctx context.Context)
}

// Store keeps an index in a storage, from Start to Close; a new run takes a new Store. A
// nil Store stores nothing. Write, Forget, Entry and Bytes may be called concurrently.
// What fails is reported to Failed and tried again: the index does not depend on it.
type Store struct {
	options Options
	// minJournal is the length in bytes below which the journal is not compacted.
	minJournal int64
	// entries holds *Entry.
	entries sync.Pool
	// order is the largest order of a presence so far.
	order atomic.Uint64
	// opened is true once the storage has been opened, degraded while the journal is not
	// written: from a failure until the storage has caught up. down is true from a failure
	// until Recovered is called.
	opened, degraded, down atomic.Bool

	wake chan struct{}
	// stop ends the background loop; nil before Start.
	stop    context.CancelFunc
	loop    sync.WaitGroup
	closing sync.Once
	// closed is closed when Close is done, with closeErr as its result.
	closed   chan struct{}
	closeErr error

	// turn is held, by sending to it, by the goroutine that calls use. It may take
	// callTimeout to get, unlike mu, which is never held during a call.
	turn chan struct{}
	// ledger and client belong to the use at hand. client is nil while it is closed.
	ledger ledger
	client storage.Client

	// mu guards what follows.
	mu sync.Mutex
	// hung is closed when the use that hangs has ended; nil when none does.
	hung <-chan struct{}
	// pending is the next write to the journal.
	pending *pendingWrite
	contents
	// tombstones are entries about forgotten ranks, for the next record of the journal.
	tombstones []byte
}

// New returns a Store. It costs nothing until Start.
func New(options Options) *Store {
	s := &Store{
		options:    options,
		minJournal: defaultMinJournal,
		wake:       make(chan struct{}, 1),
		closed:     make(chan struct{}),
		turn:       make(chan struct{}, 1),
		pending:    &pendingWrite{record: unsealed()},
		contents:   newContents(),
	}
	s.degraded.Store(true)
	s.entries.New = func() any { return &Entry{codec: &codec{}, order: &s.order} }
	return s
}

// Start restores the index and starts the background loop. It must be called once at
// most and not together with Close. A storage that fails is tried again in the
// background; an error means that it can never be used.
func (s *Store) Start(ctx context.Context) error {
	if s == nil {
		return nil
	}
	err := s.recover(ctx)
	if errors.Is(err, errAbandoned) {
		err = s.recover(ctx) // with the next generation
	}
	if errors.Is(err, errNoWalk) {
		return errors.Join(err, s.Close(ctx))
	}
	ctx, s.stop = context.WithCancel(context.WithoutCancel(ctx))
	s.loop.Go(func() { s.run(ctx) })
	return nil
}

// Close ends the background loop, writes what has not been written, and closes the
// storage. It may be called without Start and more than once. It returns at the end of
// ctx even if a call to the storage hangs; the goroutine of such a call, and the one that
// waits for it to close the storage, end when the extension returns.
func (s *Store) Close(ctx context.Context) error {
	if s == nil {
		return nil
	}
	s.closing.Do(func() {
		if s.stop != nil {
			s.stop()
		}
		go func() {
			defer close(s.closed)
			s.closeErr = s.close(ctx)
		}()
	})
	select {
	case <-s.closed:
		return s.closeErr
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *Store) close(ctx context.Context) error {
	s.loop.Wait()
	var err error
	if s.opened.Load() && s.degraded.Load() {
		err = s.recover(ctx)
	}
	s.degraded.Store(true)
	ctx = context.WithoutCancel(ctx)
	closeErr := s.use(ctx, callTimeout, s.closeClients)
	if closeErr != nil {
		s.options.Failed(ctx, Write, 1, closeErr)
	}
	if errors.Is(closeErr, errHung) {
		go func() {
			if hung := s.hanging(); hung != nil {
				<-hung
			}
			_ = s.closeClients(ctx)
		}()
	}
	return errors.Join(err, closeErr)
}

// Bytes returns the size of the journal and the snapshots.
func (s *Store) Bytes() int64 {
	if s == nil {
		return 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.journalBytes + s.snapshotBytes
}

// failed reports that the storage is down.
func (s *Store) failed(ctx context.Context, op Operation, err error) {
	s.options.Failed(ctx, op, 1, err)
	s.down.Store(true)
	s.reportRecovery(ctx) // another goroutine may have recovered meanwhile
}

// reportRecovery reports that the storage is no longer down, if so.
func (s *Store) reportRecovery(ctx context.Context) {
	if !s.degraded.Load() && s.down.CompareAndSwap(true, false) {
		s.options.Recovered(ctx)
	}
}
