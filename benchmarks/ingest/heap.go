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

// keeping prints what an idle group and a boundary take of the heap: the group with
// its places by host, process and device, and with the moments that it was last asked
// about; the boundaries in windows that have been full for a while.
func keeping(ctx context.Context, o options, out io.Writer) (err error) {
	p, err := pipeline.Start(ctx, pipeline.Options{
		Config: map[string]any{"window": o.window.String(), "max_boundaries": 100_000_000, "grace_period": 0},
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
	known := measure.Heap() - before
	for i := range idle {
		for range 7 { // of 5 moments each
			if err := p.Metrics.ConsumeMetrics(ctx, training.Metrics(idle[i:i+1], begin, training.OnResource)); err != nil {
				return err
			}
		}
	}
	asked := measure.Heap() - before

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
	held := measure.Heap() - before
	runtime.KeepAlive(p)
	fmt.Fprintf(out, "heap of a boundary in the window: %.0f bytes (%d groups, %v at %d a second)\n",
		float64(held)/float64(boundaries), len(full), o.window.Round(time.Second), training.BoundariesPerSecond)
	fmt.Fprintf(out, "heap of an idle group: %.0f bytes (%d groups); %.0f once it was asked about\n",
		float64(known)/float64(len(idle)), len(idle), float64(asked)/float64(len(idle)))
	return nil
}
