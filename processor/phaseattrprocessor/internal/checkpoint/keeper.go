// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"context"
	"time"
)

// A storage that has failed is tried again after minRetry, and then after twice as long
// each time, up to maxRetry.
const (
	minRetry = time.Second
	maxRetry = time.Minute
)

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
			s.tidy(ctx)
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

// tidy writes snapshots if the journal is too long. It may have been woken by what was
// written while it last did.
func (s *Store) tidy(ctx context.Context) {
	s.mu.Lock()
	due := !s.broken && s.isLong() // what is broken is healed
	s.mu.Unlock()
	if due {
		s.compact(ctx)
	}
}

// isLong tells whether the journal is worth snapshots. The caller holds mu.
func (s *Store) isLong() bool { return s.journalBytes > max(s.minJournal, s.snapshotBytes) }

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
