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
	"fmt"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/collector/extension/xextension/storage"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/boundary"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/replay"
)

const (
	// defaultMinJournal is a length that is soon read, and a small part of what the
	// index of a few groups takes.
	defaultMinJournal = 4 << 20
	// A storage that has failed is tried again after minRetry, and then after twice as
	// long each time, up to maxRetry.
	minRetry = time.Second
	maxRetry = time.Minute
	// patience is how long a call to the storage may take.
	patience = 5 * time.Second
)

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
	// Introduce introduces a group that is restored.
	Introduce func(group boundary.Group, in *Introduction)
	// Forget lets go of a group that had been forgotten.
	Forget func(group boundary.Group)
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
	// groups is what is stored of each group.
	groups map[boundary.Group]*stored
	// first and last are the numbers of the journal's records; snapshots the last one's.
	first, last, snapshots uint64
	// journalBytes and snapshotBytes are how long they are.
	journalBytes, snapshotBytes int64
	// forgotten are the groups that the journal is to be told of as such, deletes the
	// keys of the snapshots that are of no use any more.
	forgotten []forgotten
	deletes   []string
}

// stored is what is stored of a group.
type stored struct {
	introduction Introduction
	// snapshot is the number of the group's snapshot, 0 without one, bytes its length.
	snapshot uint64
	bytes    int64
	// since and until are the first and the last record of the journal about the group
	// that its snapshot is not as of; 0 when there is none.
	since, until uint64
	// missing is true when something of the group could not be written.
	missing bool
}

// forgotten is a group that was forgotten, by its introduction.
type forgotten struct {
	group boundary.Group
	order uint64
}

// flight is one write to the journal, and those who wait for it.
type flight struct {
	payload []byte
	groups  []boundary.Group
	flown   bool
}

// New returns a store that is not open yet.
func New(options Options) *Store {
	s := &Store{
		options:    options,
		minJournal: defaultMinJournal,
		stop:       make(chan struct{}),
		wake:       make(chan struct{}, 1),
		groups:     map[boundary.Group]*stored{},
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

// Entry returns an empty entry, for Write.
func (s *Store) Entry() *Entry {
	if s == nil {
		return nil
	}
	e := s.entries.Get().(*Entry)
	e.reset(time.Now())
	return e
}

// Write writes an entry to the journal, together with those of other callers. It
// returns when it has been written, or cannot be. The entry is not to be used after.
func (s *Store) Write(ctx context.Context, e *Entry) {
	if s == nil || e == nil {
		return
	}
	defer s.entries.Put(e)
	if len(e.groups) == 0 {
		return
	}
	if f := s.board(e); f != nil {
		s.fly(ctx, f)
	}
}

// Forget takes note of groups that the index has forgotten.
func (s *Store) Forget(ctx context.Context, groups []boundary.Group) {
	if s == nil {
		return
	}
	s.mu.Lock()
	for _, group := range groups {
		// One that is back may have been written as such already: it stays.
		if !s.options.Index.Has(group) {
			s.drop(group)
		}
	}
	var f *flight
	if !s.broken {
		f = s.nextFlight()
	}
	s.mu.Unlock()
	if f != nil {
		s.fly(ctx, f)
	}
}

// drop lets go of a group, and has what is stored of it deleted with the next flight.
// The caller holds mu.
func (s *Store) drop(group boundary.Group) {
	g, ok := s.groups[group]
	if !ok {
		return
	}
	delete(s.groups, group)
	if g.snapshot != 0 {
		s.deletes = append(s.deletes, key(snapshotPrefix, g.snapshot))
		s.snapshotBytes -= g.bytes
	}
	if g.snapshot != 0 || g.since != 0 {
		s.forgotten = append(s.forgotten, forgotten{group, g.introduction.order})
	}
}

// board puts an entry on the next flight. It returns nil when none goes.
func (s *Store) board(e *Entry) *flight {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, group := range e.groups {
		g := s.stored(group)
		if in, ok := e.began[group]; ok {
			g.introduction = in
		}
	}
	if s.broken {
		s.miss(e.groups)
		return nil
	}
	f := s.nextFlight()
	f.payload = e.appendTo(f.payload)
	for _, group := range e.groups {
		group.Session = strings.Clone(group.Session) // it may be part of a larger text
		f.groups = append(f.groups, group)
	}
	return f
}

// nextFlight is the one that can be boarded. The caller holds mu.
func (s *Store) nextFlight() *flight {
	if s.next == nil {
		s.next = &flight{}
	}
	return s.next
}

// stored returns what is stored of a group. The caller holds mu.
func (s *Store) stored(group boundary.Group) *stored {
	g, ok := s.groups[group]
	if !ok {
		g = &stored{}
		group.Session = strings.Clone(group.Session) // it may be part of a larger text
		s.groups[group] = g
	}
	return g
}

// miss takes note of groups of which something is not written. The caller holds mu.
func (s *Store) miss(groups []boundary.Group) {
	for _, group := range groups {
		if g, ok := s.groups[group]; ok {
			g.missing = true
		}
	}
}

// fly writes a flight, unless somebody who waited for it too has done so.
func (s *Store) fly(ctx context.Context, f *flight) {
	s.writing.Lock()
	defer s.writing.Unlock()
	if f.flown {
		return
	}
	f.flown = true
	s.mu.Lock()
	s.next = nil // nobody boards any more
	last, forgotten, deletes := s.last+1, s.forgotten, s.deletes
	s.forgotten, s.deletes = nil, nil
	s.mu.Unlock()
	if len(f.payload) == 0 && len(forgotten) == 0 && len(deletes) == 0 {
		return
	}

	name := key(journalPrefix, last)
	record := seal(name, s.farewell(forgotten), f.payload)
	ops := make([]*storage.Operation, 0, 1+len(deletes))
	ops = append(ops, storage.SetOperation(name, record))
	for _, key := range deletes {
		ops = append(ops, storage.DeleteOperation(key))
	}
	err := s.batch(ctx, ops)

	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.forgotten, s.deletes = append(forgotten, s.forgotten...), append(deletes, s.deletes...)
		s.miss(f.groups)
		return
	}
	s.last = last
	s.journalBytes += int64(len(record))
	for _, group := range f.groups {
		if g, ok := s.groups[group]; ok {
			g.written(last)
		}
	}
	if s.journalBytes > max(s.minJournal, s.snapshotBytes) {
		s.wakeUp()
	}
}

// farewell is an entry that says that groups have been forgotten.
func (s *Store) farewell(groups []forgotten) []byte {
	if len(groups) == 0 {
		return nil
	}
	e := s.Entry()
	defer s.entries.Put(e)
	for _, g := range groups {
		e.forgot(g.group, g.order)
	}
	return e.appendTo(nil)
}

// written takes note of a record of the journal about the group.
func (g *stored) written(record uint64) {
	if g.since == 0 {
		g.since = record
	}
	g.until = record
}

// batch hands operations to the storage. When that fails, nothing more is written
// until all has been written anew.
func (s *Store) batch(ctx context.Context, ops []*storage.Operation) error {
	s.mu.Lock()
	client := s.client
	s.mu.Unlock()
	if client == nil {
		return errClosed
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	err := guard(func() error { return client.Batch(ctx, ops...) })
	if err == nil {
		return nil
	}
	s.options.Failed(ctx, Write, 1, err)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken = true
	if errors.Is(err, errPanic) {
		s.client, s.spoiled = nil, true // what it left locked stays so
	}
	return err
}

var (
	errClosed = errors.New("the storage is not open")
	errPanic  = errors.New("the storage panicked")
)

// guard calls a storage, which may panic, or touch a page of a file that is shorter
// than it says.
func guard(call func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if cause := recover(); cause != nil {
			err = fmt.Errorf("%w: %v", errPanic, cause)
		}
	}()
	return call()
}

func (s *Store) wakeUp() {
	select {
	case s.wake <- struct{}{}:
	default: // it has been woken already
	}
}

// keep writes snapshots when the journal is long, and tries again what has failed.
func (s *Store) keep() {
	delay := minRetry
	retry := time.NewTimer(delay)
	defer retry.Stop()
	ctx := context.Background()
	for {
		select {
		case <-s.stop:
			return
		case <-s.wake:
			if !s.isBroken() { // else heal does
				s.compact(ctx)
			}
		case <-retry.C:
			if s.isBroken() {
				_ = s.heal(ctx) // it has been told
			}
			if delay = min(2*delay, maxRetry); !s.isBroken() {
				delay = minRetry
			}
			retry.Reset(delay)
		}
	}
}

func (s *Store) isBroken() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.broken
}

// heal opens the storage if need be, and writes what could not be written.
func (s *Store) heal(ctx context.Context) error {
	s.mu.Lock()
	client := s.client
	s.mu.Unlock()
	if client == nil {
		if err := s.restore(ctx); err != nil {
			return err
		}
	}
	// From now on the journal is written again, so that nothing is missed while the
	// snapshots are written.
	s.mu.Lock()
	s.broken = false
	missing := false
	for _, g := range s.groups {
		missing = missing || g.missing
	}
	f := s.nextFlight()
	s.mu.Unlock()
	s.fly(ctx, f)
	if missing {
		s.compact(ctx)
	}
	return nil
}
