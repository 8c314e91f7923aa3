// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"context"
	"slices"

	"go.opentelemetry.io/collector/extension/xextension/storage"
)

const (
	// batchBytes is about how much is written at a time: the journal waits for it.
	batchBytes = 1 << 20
	// batchOperations is the largest number of operations in a batch.
	batchOperations = 512
)

// compact writes a snapshot of each rank that is dirty or in the journal, and deletes
// the journal up to where it was. It ends early, with an error, at the end of ctx.
func (s *Store) compact(ctx context.Context) error {
	s.mu.Lock()
	until, bytes := s.last, s.journalBytes
	var ranks []*storedRank
	for _, stored := range s.ranks {
		if stored.dirty || stored.lastRecord != 0 {
			ranks = append(ranks, stored)
		}
	}
	s.mu.Unlock()
	w := &codec{}
	for len(ranks) > 0 {
		n, err := s.writeSnapshots(ctx, w, ranks)
		if err != nil {
			return err
		}
		ranks = ranks[n:]
	}
	return s.truncateJournal(ctx, until, bytes)
}

// write writes a batch. If that fails, the store is degraded.
func (s *Store) write(ctx context.Context, ops []*storage.Operation) error {
	if ctx.Err() != nil { // the store is being closed
		s.degraded.Store(true)
		return ctx.Err()
	}
	err := s.use(context.WithoutCancel(ctx), callTimeout, func(ctx context.Context) error { return s.batch(ctx, ops...) })
	if err != nil {
		s.degraded.Store(true)
		s.failed(ctx, Write, err)
	}
	return err
}

// snapshotJob is a snapshot that is being written.
type snapshotJob struct {
	stored *storedRank
	// through is the last record of the journal that it covers.
	through uint64
	bytes   int64
	// known are the rank's presences, kept those of them that the index still has.
	known, kept []Presence
}

// writeSnapshots writes the snapshots of the first ranks, as many as fit into a batch,
// and returns how many ranks that were.
func (s *Store) writeSnapshots(ctx context.Context, w *codec, ranks []*storedRank) (n int, err error) {
	var ops []*storage.Operation
	var jobs []snapshotJob
	for size := int64(0); n < len(ranks) && size < batchBytes && len(ops) < batchOperations; n++ {
		job := s.newJob(ranks[n])
		state, ok := s.options.Index.Snapshot(job.stored.rank)
		if !ok {
			s.mu.Lock()
			s.drop(job.stored.rank)
			s.mu.Unlock()
			continue
		}
		job.kept = slices.DeleteFunc(slices.Clone(job.known), func(p Presence) bool { return !has(&state, p.Print) })
		w.reset()
		w.snapshot(&snapshot{job.through, state, job.kept})
		name := key(snapshotPrefix, job.stored.snapshot)
		record := seal(name, append(unsealed(), w.data...))
		ops = append(ops, storage.SetOperation(name, record))
		job.bytes = int64(len(record))
		size += job.bytes
		jobs = append(jobs, job)
	}
	if len(ops) > 0 {
		err = s.write(ctx, ops)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range jobs {
		s.finish(&jobs[i], err)
	}
	return n, err
}

// newJob returns the job of writing a snapshot of a rank. It covers the journal so far,
// since an entry is in the index before it is written.
func (s *Store) newJob(stored *storedRank) snapshotJob {
	s.mu.Lock()
	defer s.mu.Unlock()
	if stored.snapshot == 0 {
		// It stays the rank's if the job fails, so that there is never a second snapshot: one
		// that has failed may have been written.
		s.snapshots++
		stored.snapshot = s.snapshots
	}
	stored.dirty = false
	return snapshotJob{stored: stored, through: s.last, known: stored.presences}
}

// finish updates the contents after a job. It is called with mu held.
func (s *Store) finish(job *snapshotJob, err error) {
	stored := job.stored
	switch {
	case s.ranks[stored.rank] != stored: // it has been forgotten meanwhile
		s.cleanup = append(s.cleanup, storage.DeleteOperation(key(snapshotPrefix, stored.snapshot)))
	case err != nil:
		stored.dirty = true
	default:
		s.snapshotBytes += job.bytes - stored.bytes
		stored.bytes = job.bytes
		stored.presences = append(job.kept, stored.presences[len(job.known):]...)
		if stored.lastRecord <= job.through {
			stored.lastRecord = 0
		}
	}
}

// truncateJournal deletes the records of the journal up to number until, which are bytes
// long in all.
func (s *Store) truncateJournal(ctx context.Context, until uint64, bytes int64) error {
	for first := s.first; first <= until; {
		var ops []*storage.Operation
		for ; first <= until && len(ops) < batchOperations; first++ {
			ops = append(ops, storage.DeleteOperation(key(journalPrefix, first)))
		}
		if err := s.write(ctx, ops); err != nil {
			return err
		}
		s.first = first
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.journalBytes -= bytes
	return nil
}
