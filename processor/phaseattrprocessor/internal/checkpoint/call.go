// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
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

// calls makes the calls to a storage extension, one at a time. Each has a deadline that
// holds for its caller even when the extension ignores the context: the call runs in a
// goroutine of its own, which ends when the extension returns. Until then every further
// call fails at once. A calls must not be used concurrently.
type calls struct {
	// hung is closed once the last call that missed its deadline has returned; nil when
	// none has.
	hung <-chan struct{}
	// returned is called when such a call has returned.
	returned func()
}

func (c *calls) idle() bool {
	select {
	case <-c.hung:
		c.hung = nil
	default:
	}
	return c.hung == nil
}

// call returns the error of op, or errHung when op does not return before the timeout or
// the end of ctx. What op has written to must not be read then. late, unless nil, is
// called after such an op has returned.
func (c *calls) call(ctx context.Context, timeout time.Duration, op func(context.Context) error, late func()) error {
	if !c.idle() {
		return errHung
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		err = op(ctx)
	}()
	select {
	case <-done:
		return err
	case <-ctx.Done():
	}
	c.after(done, late)
	return fmt.Errorf("%w: %w", errHung, ctx.Err())
}

// after calls f, unless nil, once a call that hangs is done. Until f returns, no other call
// is made.
func (c *calls) after(done <-chan struct{}, f func()) {
	hung := make(chan struct{})
	c.hung = hung
	go func() {
		<-done
		if f != nil {
			f()
		}
		close(hung)
		c.returned()
	}()
}

// client is an open storage. A nil client is closed.
type client struct {
	calls  *calls
	client storage.Client
}

// open opens a storage. If that takes too long, the storage is closed as soon as it is
// open.
func (c *calls) open(ctx context.Context, open openFunc, name string) (*client, error) {
	opened := &client{calls: c}
	err := c.call(ctx, openTimeout, func(ctx context.Context) (err error) {
		opened.client, err = open(ctx, name)
		return err
	}, func() {
		if opened.client != nil {
			_ = opened.client.Close(context.WithoutCancel(ctx))
		}
	})
	if err != nil {
		return nil, err
	}
	return opened, nil
}

// batch executes operations in order. It goes on after the end of ctx, since a batch is
// the work of many callers; callTimeout bounds it.
func (c *client) batch(ctx context.Context, ops ...*storage.Operation) error {
	if c == nil {
		return errClosed
	}
	return c.calls.call(context.WithoutCancel(ctx), callTimeout, func(ctx context.Context) error {
		return c.client.Batch(ctx, ops...)
	}, nil)
}

// readAll returns all that is stored.
func (c *client) readAll(ctx context.Context) (map[string][]byte, error) {
	walker, ok := c.client.(storage.Walker)
	if !ok {
		return nil, errNoWalk
	}
	all := map[string][]byte{}
	err := c.calls.call(ctx, openTimeout, func(ctx context.Context) error {
		return walker.Walk(ctx, func(key string, value []byte) ([]*storage.Operation, error) {
			all[strings.Clone(key)] = bytes.Clone(value)
			return nil, nil
		})
	}, nil)
	if err != nil {
		return nil, err
	}
	return all, nil
}

// close closes the storage, or has it closed once the call that hangs has returned.
func (c *client) close(ctx context.Context) error {
	if c == nil {
		return nil
	}
	ctx = context.WithoutCancel(ctx)
	if !c.calls.idle() {
		c.calls.after(c.calls.hung, func() { _ = c.client.Close(ctx) })
		return errHung
	}
	return c.calls.call(ctx, callTimeout, c.client.Close, nil)
}
