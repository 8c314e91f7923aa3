// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"time"

	"go.opentelemetry.io/collector/consumer/consumertest"

	"github.com/phaseattr/phaseattr/benchmarks/internal/measure"
	"github.com/phaseattr/phaseattr/benchmarks/internal/pipeline"
	"github.com/phaseattr/phaseattr/benchmarks/internal/training"
)

// measureHeap prints the heap size of an idle rank and of a boundary. The rank can be found
// by process and device, and is measured before and after lookups; the boundaries are in
// windows that have been full for a while.
func measureHeap(ctx context.Context, o options, out io.Writer) (err error) {
	p, err := pipeline.Start(ctx, pipeline.Options{
		Config: map[string]any{"window": o.window.String(), "limits": map[string]any{"max_boundaries": 100_000_000}, "grace": map[string]any{"period": 0}},
		Next:   consumertest.NewNop(),
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Shutdown(ctx)) }()
	recorder := training.NewRecorder()

	ranks := make([]training.Rank, o.idleRanks+o.fullRanks)
	for i := range ranks {
		ranks[i] = training.NewRank(i/1000, i%1000, begin)
	}
	before := measure.Heap()
	idle, full := ranks[:o.idleRanks], ranks[o.idleRanks:]
	for _, rank := range idle {
		if err := p.Logs.ConsumeLogs(ctx, recorder.Begin(rank)); err != nil {
			return err
		}
	}
	idleBytes := measure.Heap() - before
	for i := range idle {
		for range 7 { // with points at 5 times each
			if err := p.Metrics.ConsumeMetrics(ctx, training.Metrics(idle[i:i+1], begin, training.OnResource)); err != nil {
				return err
			}
		}
	}
	lookedUpBytes := measure.Heap() - before

	before = measure.Heap()
	boundaries := 0
	for _, rank := range full {
		if err := p.Logs.ConsumeLogs(ctx, recorder.Begin(rank)); err != nil {
			return err
		}
	}
	steps := training.Steps(o.window)
	for step := range steps + steps/3 {
		for _, rank := range full {
			batch := recorder.Step(rank, step)
			if step < steps {
				boundaries += batch.LogRecordCount()
			}
			if err := p.Logs.ConsumeLogs(ctx, batch); err != nil {
				return err
			}
		}
	}
	boundaryBytes := measure.Heap() - before
	runtime.KeepAlive(p)
	fmt.Fprintf(out, "heap of a boundary in the window: %.0f bytes (%d ranks, %v at %d a second)\n",
		float64(boundaryBytes)/float64(boundaries), len(full), o.window.Round(time.Second), training.BoundariesPerSecond)
	fmt.Fprintf(out, "heap of an idle rank: %.0f bytes (%d ranks); %.0f after lookups\n",
		float64(idleBytes)/float64(len(idle)), len(idle), float64(lookedUpBytes)/float64(len(idle)))
	return nil
}
