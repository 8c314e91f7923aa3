// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"context"

	"go.uber.org/zap"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/grace"
)

// pipeline is the way of a batch of one signal through an instance: its records are
// answered, the resources that are too early to be answered are held, and the rest
// goes on at once.
type pipeline[T any] struct {
	*instance
	signal signal
	// resources counts the resources of a batch, records its records, bytes its size.
	resources func(T) int
	records   func(T) int
	bytes     func(T) int
	// join moves all of a batch to the end of another.
	join func(from, to T)
	// answer answers the records of a batch, and takes out the resources that a holds,
	// which it returns.
	answer func(a *asker, batch T) (held T)
	// next passes a batch on.
	next func(context.Context, T) error
}

func (p *pipeline[T]) consume(ctx context.Context, batch T) error {
	var held T
	done, waits := p.ask(p.signal, p.queue != nil, func(a *asker) { held = p.answer(a, batch) })
	p.tally.answered(ctx, p.signal, &done)
	if len(waits) > 0 {
		if err := p.hold(ctx, waits, held); err != nil {
			p.join(held, batch)
			return err // nothing has gone on: the caller may send it all again
		}
		if p.resources(batch) == 0 {
			return nil
		}
	}
	return p.next(ctx, batch)
}

func (p *pipeline[T]) hold(ctx context.Context, waits []grace.Wait, held T) error {
	release := func(ctx context.Context) { p.release(ctx, held) }
	return p.queue.Hold(ctx, waits, int64(p.bytes(held)), release)
}

// release answers what was held from what is known by now, and passes it on. There
// is no caller left to take an error.
func (p *pipeline[T]) release(ctx context.Context, held T) {
	done, _ := p.ask(p.signal, false, func(a *asker) { p.answer(a, held) })
	p.tally.answered(ctx, p.signal, &done)
	records := p.records(held)
	if err := p.next(ctx, held); err != nil {
		p.tally.lost(ctx, p.signal, records)
		p.logger.Error("What was held for its boundaries could not be passed on",
			zap.Stringer("signal", p.signal), zap.Int("records", records), zap.Error(err))
	}
}
