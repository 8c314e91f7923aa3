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

// forgotten is a group that was forgotten, by its introduction.
type forgotten struct {
	group boundary.RankKey
	order uint64
}

// flight is one write to the journal, and those who wait for it.
type flight struct {
	record []byte // not sealed yet
	groups []boundary.RankKey
	flown  bool
}

// Entry returns an empty entry, for Write.
func (s *Store) Entry() *Entry {
	if s == nil {
		return nil
	}
	e := s.entries.Get().(*Entry)
	e.writer.int(time.Now().UnixNano())
	return e
}

// done takes an entry back.
func (s *Store) done(e *Entry) {
	e.reset()
	s.entries.Put(e)
}

// Write writes an entry to the journal, together with those of other callers. It
// returns when it has been written, or cannot be. The entry is not to be used after.
func (s *Store) Write(ctx context.Context, e *Entry) {
	if s == nil || e == nil {
		return
	}
	defer s.done(e)
	if len(e.groups) == 0 {
		return
	}
	if f := s.board(e); f != nil {
		s.fly(ctx, f)
	}
}

// Forget takes note of groups that the index has forgotten.
func (s *Store) Forget(ctx context.Context, groups []boundary.RankKey) {
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
func (s *Store) drop(group boundary.RankKey) {
	g, ok := s.groups[group]
	if !ok {
		return
	}
	s.remove(group)
	if g.snapshot != 0 || g.until != 0 {
		s.forgotten = append(s.forgotten, forgotten{group, g.introduction.order})
	}
}

// board puts an entry on the next flight. It returns nil when none goes.
func (s *Store) board(e *Entry) *flight {
	s.mu.Lock()
	defer s.mu.Unlock()
	var f *flight
	if !s.broken {
		f = s.nextFlight()
		f.record = e.appendTo(f.record)
	}
	for _, group := range e.groups {
		g := s.stored(group)
		if in, ok := e.began[group]; ok {
			g.introduction = in
		}
		if f == nil {
			g.missing = true
		} else {
			f.groups = append(f.groups, g.group)
		}
	}
	return f
}

// nextFlight is the one that can be boarded. The caller holds mu.
func (s *Store) nextFlight() *flight {
	if s.next == nil {
		s.next = &flight{record: unsealed()}
	}
	return s.next
}

// miss takes note of groups of which something is not written. The caller holds mu.
func (s *Store) miss(groups []boundary.RankKey) {
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
	if len(f.record) == headerBytes && len(forgotten) == 0 && len(deletes) == 0 {
		return
	}

	name := key(journalPrefix, last)
	// Who was forgotten may be back in the same record.
	record := seal(name, slices.Insert(f.record, headerBytes, s.farewell(forgotten)...))
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
			g.until = last
		}
	}
	if s.isLong() {
		s.wakeUp()
	}
}

// farewell is an entry that says that groups have been forgotten.
func (s *Store) farewell(groups []forgotten) []byte {
	if len(groups) == 0 {
		return nil
	}
	e := s.Entry()
	defer s.done(e)
	for _, g := range groups {
		e.forgot(g.group, g.order)
	}
	return e.appendTo(nil)
}
