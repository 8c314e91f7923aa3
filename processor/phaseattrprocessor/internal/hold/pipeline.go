// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package hold

import (
	"context"
	"fmt"
	"reflect"
	"time"

	"github.com/cenkalti/backoff/v5"
	"go.opentelemetry.io/collector/client"
	"go.opentelemetry.io/collector/consumer/consumererror"
)

// Destination is where a pipeline forwards what waited. Its methods are called by the
// pipeline's forwarder, one at a time. The destination owns a batch while it is sent, so
// its items are counted before.
type Destination[T any] interface {
	// Join makes one batch of the payloads that are forwarded together, in order, and
	// annotates it. It returns the number of its items.
	Join(ctx context.Context, payloads []T) (batch T, items int)
	// Send passes a batch to the next component.
	Send(ctx context.Context, batch T) error
	// Sent records that items were passed on.
	Sent(ctx context.Context, items int)
	// Retry records that items are going to be sent again.
	Retry(ctx context.Context, items int, err error)
	// Lost records that items could not be passed on, and are given up.
	Lost(ctx context.Context, items int, err error)
}

// Pipeline is the side of the buffer that one pipeline sees. It must be closed.
type Pipeline[T any] struct {
	*Queue
	destination Destination[T]
	// ended is closed when the forwarder has returned.
	ended chan struct{}
	// cancel ends the calls of the next component.
	cancel context.CancelCauseFunc
}

// NewPipeline adds a pipeline to the buffer, and starts its forwarder.
func NewPipeline[T any](b *Buffer, destination Destination[T]) *Pipeline[T] {
	ctx, cancel := context.WithCancelCause(context.Background())
	p := &Pipeline[T]{Queue: b.newQueue(), destination: destination, ended: make(chan struct{}), cancel: cancel}
	go p.forward(ctx)
	return p
}

// Commit lets the parts of a reservation wait, each with its payload. The buffer owns the
// payloads from then on, and forwards them with the client metadata of ctx.
func (p *Pipeline[T]) Commit(ctx context.Context, r *Reservation, payloads []T) {
	from := client.FromContext(ctx)
	for i, payload := range payloads {
		r.parts[i].payload, r.parts[i].client = payload, from
	}
	p.commit(r)
}

// Close forwards all that waits, and ends the forwarder. What fails is not sent again.
// When ctx is done before, the rest is lost, and Close returns without waiting for a next
// component that does not heed its context.
func (p *Pipeline[T]) Close(ctx context.Context) error {
	p.close()
	select {
	case <-p.ended:
		p.cancel(ErrClosed)
		return nil
	case <-ctx.Done():
	}
	p.cancel(context.Cause(ctx))
	return fmt.Errorf("telemetry that waited for its boundaries could not be forwarded: %w", context.Cause(ctx))
}

// forward sends what is released, until the pipeline is closed and nothing is left. It sends
// what was released together as one batch for each client in a row.
func (p *Pipeline[T]) forward(ctx context.Context) {
	defer close(p.ended)
	for parts := p.take(); len(parts) > 0; parts = p.take() {
		for len(parts) > 0 {
			n := 1
			for n < len(parts) && sameClient(&parts[n].client, &parts[0].client) {
				n++
			}
			p.send(client.NewContext(ctx, parts[0].client), parts[:n])
			parts = parts[n:]
		}
	}
}

// sameClient reports whether the next components are told the same about two senders,
// whatever connection they use.
func sameClient(a, b *client.Info) bool {
	return reflect.DeepEqual(a.Auth, b.Auth) && reflect.DeepEqual(a.Metadata, b.Metadata)
}

// send passes on parts as one batch.
func (p *Pipeline[T]) send(ctx context.Context, parts []*part) {
	payloads := make([]T, len(parts))
	for i, part := range parts {
		payloads[i] = part.payload.(T)
		part.payload = nil
	}
	batch, items := p.destination.Join(ctx, payloads)
	if err := p.attempt(ctx, batch, items); err != nil {
		p.destination.Lost(ctx, items, err)
	} else {
		p.destination.Sent(ctx, items)
	}
	p.forwarded(parts)
}

// attempt sends a batch until it is taken, refused for good, or the pipeline is closing.
// The batch keeps its room in the meantime, so callers are held up before memory is.
func (p *Pipeline[T]) attempt(ctx context.Context, batch T, items int) error {
	delays := backoff.NewExponentialBackOff()
	for ctx.Err() == nil {
		closing := p.isClosing()
		err := p.destination.Send(ctx, batch)
		if err == nil || closing || consumererror.IsPermanent(err) {
			return err
		}
		p.destination.Retry(ctx, items, err)
		select {
		case <-time.After(delays.NextBackOff()):
		case <-p.closing:
		case <-ctx.Done():
		}
	}
	return context.Cause(ctx)
}
