// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.opentelemetry.io/collector/extension/xextension/storage"
)

const (
	// callTimeout is how long callers wait for a call to the storage.
	callTimeout = 5 * time.Second
	// openTimeout is the same for opening and for reading all that is stored, which take
	// long where the storage is large: an extension may compact it first.
	openTimeout = 30 * time.Second
)

var (
	errClosed = errors.New("the storage is not open")
	errHung   = errors.New("a call to the storage has not returned")
	errNoWalk = errors.New("the storage cannot list its keys")
)

// use calls f while no other goroutine uses the storage, and returns its error. An
// extension may ignore the context, so f runs in a goroutine of its own: use returns
// errHung when f does not return before the timeout or the end of ctx. f goes on then, and
// until it returns every other use fails at once.
func (s *Store) use(ctx context.Context, timeout time.Duration, f func(context.Context) error) error {
	s.turn <- struct{}{}
	defer func() { <-s.turn }()
	if s.hanging() != nil {
		return errHung
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		err = f(ctx)
	}()
	select {
	case <-done:
		return err
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hung = done
	go func() {
		<-done
		s.wakeUp()
	}()
	return fmt.Errorf("%w: %w", errHung, ctx.Err())
}

// hanging returns a channel that is closed when the use that hangs has ended; nil when
// none hangs.
func (s *Store) hanging() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.hung:
		s.hung = nil
	default:
	}
	return s.hung
}

// batch executes operations in order. It is called in a use.
func (s *Store) batch(ctx context.Context, ops ...*storage.Operation) error {
	if s.client == nil {
		return errClosed
	}
	return s.client.Batch(ctx, ops...)
}

// closeClients closes what is open. It is called in a use.
func (s *Store) closeClients(ctx context.Context) error {
	clients := []storage.Client{s.client, s.ledger.client}
	s.client, s.ledger.client = nil, nil
	var errs []error
	for _, client := range clients {
		if client != nil {
			errs = append(errs, client.Close(ctx))
		}
	}
	return errors.Join(errs...)
}
