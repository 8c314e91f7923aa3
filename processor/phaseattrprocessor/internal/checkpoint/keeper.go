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
