// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"runtime"
	"time"

	"go.opentelemetry.io/collector/consumer/consumertest"

	"github.com/phaseattr/phaseattr/benchmarks/internal/fleet"
	"github.com/phaseattr/phaseattr/benchmarks/internal/measure"
	"github.com/phaseattr/phaseattr/benchmarks/internal/pipeline"
	"github.com/phaseattr/phaseattr/cmd/phasegen/format"
	"github.com/phaseattr/phaseattr/cmd/phasegen/job"
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
	idle := fleet.Jobs(o.idleRanks, 1, job.Config{Start: begin, Step: 5 * time.Second, Reading: fleet.ReadGauges})
	steps := int(o.window / fleet.Step)
	full := fleet.New(len(idle), steps+steps/3, job.Config{Ranks: o.fullRanks, Start: begin})
	before := measure.Heap()
	for _, j := range idle {
		if err := consume(ctx, p, j, len(j.World)); err != nil {
			return err
		}
	}
	idleBytes := measure.Heap() - before
	for _, j := range idle {
		readings := fleet.Readings(j, begin.Add(5*time.Second), 1)[0] // at 5 times each
		gauges := fleet.Gauges{Job: j, Identity: fleet.OnResource, Labels: fleet.UsualLabels}
		for range 7 {
			if err := p.Metrics.ConsumeMetrics(ctx, format.NewBatch().Append(gauges, readings...).Metrics); err != nil {
				return err
			}
		}
	}
	lookedUpBytes := measure.Heap() - before

	before = measure.Heap()
	if err := consume(ctx, p, full, math.MaxInt); err != nil {
		return err
	}
	boundaryBytes := measure.Heap() - before
	boundaries := steps * o.fullRanks * fleet.BoundariesPerStep
	runtime.KeepAlive(p)
	runtime.KeepAlive(idle) // part of the heap before, too
	fmt.Fprintf(out, "heap of a boundary in the window: %.0f bytes (%d ranks, %v at %d a second)\n",
		float64(boundaryBytes)/float64(boundaries), o.fullRanks, o.window.Round(time.Second), fleet.BoundariesPerSecond)
	fmt.Fprintf(out, "heap of an idle rank: %.0f bytes (%d ranks); %.0f after lookups\n",
		float64(idleBytes)/float64(o.idleRanks), o.idleRanks, float64(lookedUpBytes)/float64(o.idleRanks))
	return nil
}

// consume passes the first batches of a job to the processor.
func consume(ctx context.Context, p *pipeline.Pipelines, j *job.Job, batches int) error {
	for _, batch := range fleet.Batches(j, 0) {
		if err := p.Logs.ConsumeLogs(ctx, batch); err != nil {
			return err
		}
		batches--
		if batches == 0 {
			break
		}
	}
	return nil
}
