// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"context"
	"errors"
	"time"

	"go.opentelemetry.io/collector/extension/xextension/storage"
)

// A storage that has failed is tried again after minRetry, and then after twice as long
// each time, up to maxRetry.
const (
	minRetry = time.Second
	maxRetry = time.Minute
)

// probeKey is written to find out whether the storage can be written.
const probeKey = "proof"

func (s *Store) wakeUp() {
	select {
	case s.wake <- struct{}{}:
	default: // it has been woken already
	}
}

// run is the background loop: it compacts a long journal and recovers from failures.
func (s *Store) run(ctx context.Context) {
	delay := minRetry
	retry := time.NewTimer(delay)
	defer retry.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
		case <-retry.C:
		}
		// Failures have been reported.
		if s.degraded.Load() {
			_ = s.recover(ctx)
		} else if s.compactionDue() {
			_ = s.compact(ctx)
		}
		if delay = min(2*delay, maxRetry); !s.degraded.Load() {
			delay = minRetry
		}
		retry.Reset(delay)
	}
}

// compactionDue reports whether the journal is long enough to be compacted.
func (s *Store) compactionDue() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.journalBytes > max(s.minJournal, s.snapshotBytes)
}

// recover opens the storage if necessary and writes what it lacks. It must not be called
// concurrently.
func (s *Store) recover(ctx context.Context) error {
	if !s.opened.Load() {
		if err := s.use(ctx, openTimeout, s.restore); err != nil {
			s.failed(ctx, Open, err)
			return err
		}
	}
	if err := s.use(context.WithoutCancel(ctx), callTimeout, s.probe); err != nil {
		s.failed(ctx, Write, err)
		return err
	}
	// From now on the journal is written again, so that nothing is lost while the snapshots
	// are written.
	s.mu.Lock()
	s.degraded.Store(false)
	dirty := false
	for _, stored := range s.ranks {
		dirty = dirty || stored.dirty
	}
	pending := s.pending
	s.mu.Unlock()
	err := s.flush(ctx, pending)
	if err == nil && dirty {
		err = s.compact(ctx)
	}
	if err == nil {
		s.reportRecovery(ctx)
	}
	return err
}

// probe writes to the storage. Once that has returned, the generation has not ended the
// process.
func (s *Store) probe(ctx context.Context) error {
	err := s.batch(ctx, storage.SetOperation(probeKey, nil))
	if s.ledger.attempts > 0 {
		err = errors.Join(err, s.ledger.write(ctx, s.ledger.generation, 0))
	}
	return err
}
