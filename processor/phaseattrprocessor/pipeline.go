// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"context"
	"errors"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/processor/processorhelper"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/ending"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/hold"
)

// pipeline is the processor in one pipeline. A batch goes through consume, which is
// handed the helper's consumer; that calls process, and then the next component.
type pipeline[T any] struct {
	*shared
	signal    signal
	telemetry telemetry[T]
	// send passes a batch to the next component.
	send func(context.Context, T) error

	// engine is set while the pipeline runs, held if telemetry may wait.
	engine *engine
	held   *hold.Pipeline[T]
	ended  bool
	// ender ends series; nil if they are not ended. informer is nil if the phase is written to
	// the data points.
	ender    *ender
	informer *informer
}

func (p *pipeline[T]) options() []processorhelper.Option {
	return []processorhelper.Option{
		processorhelper.WithCapabilities(consumer.Capabilities{MutatesData: true}),
		processorhelper.WithStart(p.start),
		processorhelper.WithShutdown(p.shutdown),
	}
}

func (p *pipeline[T]) start(ctx context.Context, host component.Host) (err error) {
	if p.ended {
		return errors.New("the processor has been shut down")
	}
	if p.engine, err = p.shared.start(ctx, host); err != nil {
		return err
	}
	p.recorder.beginSignal(ctx, p.config, p.signal)
	if p.signal == signalMetrics && p.config.Metrics.ends() {
		p.ender = newEnder(p.config)
		p.engine.track(p.ender.tracker)
		if p.config.Metrics.Mode == ModeInfo {
			p.informer = newInformer(p.config, p.ender, p.engine.association)
		}
	}
	if p.config.Grace.Period > 0 {
		p.held = hold.NewPipeline(p.engine.buffer, hold.Destination[T](p))
	}
	return nil
}

// shutdown forwards what waits. It may be called without a start, and more than once.
func (p *pipeline[T]) shutdown(ctx context.Context) (err error) {
	if p.ended {
		return nil
	}
	p.ended = true
	if p.held != nil {
		err = p.held.Close(ctx)
	}
	p.release(ctx)
	return err
}

// transaction is the way of one batch. It goes with the batch, as its context, from
// consume to process and back.
type transaction[T any] struct {
	context.Context
	// reservation and parts are what process has held of the batch, if anything.
	reservation *hold.Reservation
	parts       []T
	// stats are those of the rest, if there is any. They count once it has been taken.
	stats *batchStats
	// moves are the streams that have moved to other series with the batch.
	moves []ending.Move
}

// transactionKey is the key of a transaction in its own values.
type transactionKey struct{}

// Value implements context.Context.
func (tx *transaction[T]) Value(key any) any {
	if key == (transactionKey{}) {
		return tx
	}
	return tx.Context.Value(key)
}

// transactionOf returns the transaction that a context comes from.
func transactionOf[T any](ctx context.Context) *transaction[T] {
	return ctx.Value(transactionKey{}).(*transaction[T])
}

// consume hands a batch to the helper. What process has held waits once the rest has been
// taken by the next component, and the rest counts then; else the caller gets all of it
// back, and may send it again.
func (p *pipeline[T]) consume(ctx context.Context, b T, helper func(context.Context, T) error) error {
	tx := &transaction[T]{Context: ctx}
	passed := false
	defer func() { // also after a panic of the next component, from which a receiver may recover
		if tx.stats != nil {
			if passed {
				p.recorder.annotated(ctx, p.signal, tx.stats)
			}
			p.engine.stats.Put(tx.stats)
		}
		if !passed && p.ender != nil {
			p.ender.tracker.Undo(tx.moves)
		}
		if !passed && p.informer != nil {
			p.informer.retract(any(b).(pmetric.Metrics))
		}
		switch {
		case tx.reservation == nil:
		case passed:
			p.held.Commit(ctx, tx.reservation, tx.parts)
		default:
			p.held.Cancel(tx.reservation)
			p.rejoin(b, tx.parts)
		}
	}()
	err := helper(tx, b) //nolint:contextcheck // tx is the caller's context
	passed = err == nil
	return err
}

func (p *pipeline[T]) rejoin(b T, parts []T) {
	for _, part := range parts {
		p.telemetry.append(b, part)
	}
}

// process ingests a batch, takes out of it what has to wait, and annotates the rest.
func (p *pipeline[T]) process(ctx context.Context, b T) (T, error) {
	if p.engine == nil || p.telemetry.isEmpty(b) {
		return b, nil
	}
	a := p.engine.annotator(ctx, p.signal)
	defer p.engine.done(a)
	switch b := any(b).(type) {
	case plog.Logs:
		a.stats.events = p.engine.ingest(ctx, b, a.phases)
		a.phases.Again()
	case ptrace.Traces:
		a.stats.events = p.engine.ingestSpans(ctx, b, a.phases)
		a.phases.Again()
	}
	a.decide(p.telemetry.items(b))
	if p.held != nil {
		if err := p.hold(ctx, a, b); err != nil {
			return b, err
		}
	}
	tx := transactionOf[T](ctx)
	tx.moves = p.annotate(a, b)
	tx.stats = p.engine.stats.Get().(*batchStats)
	*tx.stats = a.stats
	if p.telemetry.isEmpty(b) {
		return b, processorhelper.ErrSkipProcessingData
	}
	return b, nil
}

// hold takes out of a batch what has to wait, once there is room for it.
func (p *pipeline[T]) hold(ctx context.Context, a *annotator, b T) error {
	var unknowns *hold.Unknown
	if p.signal == signalMetrics {
		unknowns = p.engine.unknowns
	}
	plan := a.plan(p.config.Grace.Period, p.held.Queue, unknowns)
	if plan == nil {
		return nil
	}
	parts := make([]T, len(plan.parts))
	for i := range parts {
		parts[i] = p.telemetry.empty()
	}
	c := cursor(a.decisions)
	p.telemetry.partition(b, &c, parts)
	for i, part := range parts {
		plan.parts[i].Bytes = heapBytes(p.telemetry, part)
	}
	reservation, err := p.held.Reserve(ctx, plan.parts)
	switch {
	case err == nil:
		tx := transactionOf[T](ctx)
		tx.reservation, tx.parts = reservation, parts
		for i, part := range parts {
			p.recorder.waited(ctx, p.signal, plan.reasons[i], p.telemetry.count(part))
		}
	case errors.Is(err, hold.ErrClosed): // nothing waits any longer
		p.rejoin(b, parts)
	default:
		p.rejoin(b, parts)
		return err
	}
	// What waits is decided again, and counted, once it goes on.
	a.restart()
	a.decide(p.telemetry.items(b))
	return nil
}

// annotate writes the phases of a batch that has been decided. It returns the streams that
// have moved to other series.
func (p *pipeline[T]) annotate(a *annotator, b T) (moves []ending.Move) {
	md, ok := any(b).(pmetric.Metrics)
	switch {
	case p.informer != nil:
		moves = p.informer.annotate(a, md)
	case ok && p.config.Split.Enabled:
		a.annotateSplit(metrics{p.config}, md)
	default:
		a.annotate()
	}
	if p.ender != nil && p.informer == nil {
		moves = p.ender.end(md, &a.stats)
	}
	a.stats.tried = a.finder.Tried
	return moves
}

var _ hold.Destination[plog.Logs] = (*pipeline[plog.Logs])(nil)

func (p *pipeline[T]) Join(ctx context.Context, parts []T) (T, int) {
	b := parts[0]
	p.rejoin(b, parts[1:])
	a := p.engine.annotator(ctx, p.signal)
	defer p.engine.done(a)
	a.decide(p.telemetry.items(b))
	a.giveUp()
	p.annotate(a, b)
	p.recorder.annotated(ctx, p.signal, &a.stats)
	return b, p.telemetry.count(b)
}

func (p *pipeline[T]) Send(ctx context.Context, b T) error { return p.send(ctx, b) }

func (p *pipeline[T]) Sent(ctx context.Context, items int) {
	p.recorder.telemetry.ProcessorPhaseAttrForwardedItems.Add(ctx, int64(items), p.recorder.signals[p.signal])
}

func (p *pipeline[T]) Retry(ctx context.Context, items int, err error) {
	p.recorder.retrying(ctx, p.signal, items, err)
}

func (p *pipeline[T]) Lost(ctx context.Context, items int, err error) {
	p.recorder.lost(ctx, p.signal, items, err)
}
