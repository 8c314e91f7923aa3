// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"go.opentelemetry.io/collector/extension/xextension/storage"
)

// patience is how long a call to the storage may take.
const patience = 5 * time.Second

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
	if errors.Is(err, errSpoiled) {
		s.client, s.spoiled = nil, true // what it left locked stays so
	}
	return err
}

var (
	errClosed  = errors.New("the storage is not open")
	errSpoiled = errors.New("the storage is spoiled")
)

// guard calls a storage, which may panic, or touch a page of a file that is shorter
// than it says.
func guard(call func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if cause := recover(); cause != nil {
			err = fmt.Errorf("%w: panic: %v", errSpoiled, cause)
		}
	}()
	return call()
}
