// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"context"

	"go.opentelemetry.io/collector/extension/xextension/storage"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/boundary"
)

const (
	// batchBytes is how much is written at a time, about: writers to the journal wait
	// for it.
	batchBytes = 1 << 20
	// batchOperations is how many operations a batch has at most.
	batchOperations = 512
)

// compact writes a snapshot of every group that the journal is about, and lets go of
// the journal.
func (s *Store) compact(ctx context.Context) {
	s.mu.Lock()
	until, bytes := s.last, s.journalBytes
	var groups []boundary.RankKey
	for group, g := range s.groups {
		if g.missing || g.until != 0 {
			groups = append(groups, group)
		}
	}
	s.mu.Unlock()
	w := newWriter()
	for len(groups) > 0 {
		n, ok := s.writeSnapshots(ctx, w, groups)
		if !ok {
			return
		}
		groups = groups[n:]
	}
	s.cut(ctx, until, bytes)
}

// shot is a snapshot to be written.
type shot struct {
	group    boundary.RankKey
	snapshot uint64
	through  uint64
	bytes    int64
}

// writeSnapshots writes the snapshots of the first groups, as many as a batch holds,
// and returns how many.
func (s *Store) writeSnapshots(ctx context.Context, w *writer, groups []boundary.RankKey) (n int, ok bool) {
	var ops []*storage.Operation
	var shots []shot
	size := int64(0)
	for ; n < len(groups) && size < batchBytes && len(ops) < batchOperations; n++ {
		taken, in, ok := s.shoot(groups[n])
		if !ok {
			continue
		}
		snapshot, known := s.options.Index.Snapshot(groups[n])
		if !known {
			s.mu.Lock()
			s.drop(groups[n])
			s.mu.Unlock()
			continue
		}
		w.reset()
		w.snapshot(taken.through, &in, &snapshot)
		name := key(snapshotPrefix, taken.snapshot)
		record := seal(name, append(unsealed(), w.data...))
		ops = append(ops, storage.SetOperation(name, record))
		taken.bytes = int64(len(record))
		size += taken.bytes
		shots = append(shots, taken)
	}
	if len(ops) > 0 {
		if s.batch(ctx, ops) != nil {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.miss(groups[:n])
			return n, false
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, taken := range shots {
		s.landed(&taken)
	}
	return n, true
}

// shoot gets ready for a snapshot of a group: it is as of the last record of the
// journal, since what is written has been taken into the index before.
func (s *Store) shoot(group boundary.RankKey) (shot, Registration, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g, ok := s.groups[group]
	if !ok {
		return shot{}, Registration{}, false
	}
	number := g.snapshot
	if number == 0 {
		s.snapshots++
		number = s.snapshots
	}
	g.missing = false
	return shot{group: group, snapshot: number, through: s.last}, g.introduction, true
}

// landed takes note of a snapshot that has been written. The caller holds mu.
func (s *Store) landed(taken *shot) {
	g, ok := s.groups[taken.group]
	if !ok { // it has been forgotten meanwhile
		s.deletes = append(s.deletes, key(snapshotPrefix, taken.snapshot))
		return
	}
	s.snapshotBytes += taken.bytes - g.bytes
	g.snapshot, g.bytes = taken.snapshot, taken.bytes
	if g.until <= taken.through {
		g.until = 0
	}
}

// cut lets go of the journal up to a record, of so many bytes in all.
func (s *Store) cut(ctx context.Context, until uint64, bytes int64) {
	for first := s.firstRecord(); first <= until; {
		var ops []*storage.Operation
		for ; first <= until && len(ops) < batchOperations; first++ {
			ops = append(ops, storage.DeleteOperation(key(journalPrefix, first)))
		}
		if s.batch(ctx, ops) != nil {
			return
		}
		s.mu.Lock()
		s.first = first
		s.mu.Unlock()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.journalBytes -= bytes
}

func (s *Store) firstRecord() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.first
}
