// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"time"

	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/phaseattr/phaseattr/benchmarks/internal/fleet"
	"github.com/phaseattr/phaseattr/benchmarks/internal/measure"
	"github.com/phaseattr/phaseattr/benchmarks/internal/pipeline"
	"github.com/phaseattr/phaseattr/cmd/phasegen/format"
	"github.com/phaseattr/phaseattr/cmd/phasegen/job"
)

const (
	// window is the window of the processor.
	window = time.Minute
	// step is the duration of a step.
	step = 6 * time.Second
	// full is the number of steps after which the windows are full and have moved on.
	full = int(window/step) + 2
	// batches is the number of batches of data points, of one node each, in a measurement.
	batches = 50
	// sampled is the number of ranks, at most, whose boundaries are measured: their
	// allocations must stay below the size of the live heap.
	sampled = 10_000
	// rounds is the number of measurements that a median is taken of.
	rounds = 7
)

var begin = time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC)

// figures are the results for a number of ranks. Times are user time in nanoseconds.
type figures struct {
	ranks int
	// unmarshal and boundary are for a boundary: to unmarshal and to ingest it; point is for
	// annotating a data point.
	unmarshal, boundary, point float64
	rankBytes, boundaryBytes   float64
	heap                       float64
	// collection is for one garbage collection.
	collection float64
}

// simulation is a number of jobs and the processor that their telemetry passes.
type simulation struct {
	pipelines *pipeline.Pipelines
	jobs      []*job.Job
}

func simulate(ctx context.Context, count int) (_ figures, err error) {
	f := figures{ranks: count}
	s := simulation{jobs: fleet.Jobs(count, full+1+rounds, job.Config{Start: begin, Step: step, Reading: fleet.ReadGauges})}
	empty := float64(measure.Heap())
	s.pipelines, err = pipeline.Start(ctx, pipeline.Options{
		Config: map[string]any{
			"window": window.String(), "boundaries": "drop",
			"limits": map[string]any{"max_ranks": count, "max_boundaries": 1_000_000_000},
		},
		Next: consumertest.NewNop(),
	})
	if err != nil {
		return f, err
	}
	defer func() { err = errors.Join(err, s.pipelines.Shutdown(ctx)) }()

	ingest := func(_ int, batch plog.Logs) error { return s.pipelines.Logs.ConsumeLogs(ctx, batch) }
	err = s.steps(0, 1, 1, ingest)
	if err != nil {
		return f, err
	}
	idle := float64(measure.Heap())
	f.rankBytes = (idle - empty) / float64(count)

	err = s.steps(1, 1+full, 1, ingest)
	if err != nil {
		return f, err
	}
	f.heap = float64(measure.Heap())
	f.boundaryBytes = (f.heap - idle) / float64(int(window/step)*count*fleet.BoundariesPerStep)

	if f.collection, err = f.timed(func() error { runtime.GC(); return nil }); err != nil {
		return f, err
	}
	err = s.measureBoundaries(ctx, &f)
	if err != nil {
		return f, err
	}
	err = s.measurePoints(ctx, &f)
	return f, err
}

// steps passes on the boundaries of a range of steps, one batch per rank and step, of every
// nth rank. Step 0 is the begin of the outermost phases.
func (s *simulation) steps(from, to, nth int, do func(step int, batch plog.Logs) error) error {
	for _, j := range s.jobs {
		batches := from * len(j.World)
		for rank, batch := range fleet.Batches(j, int64(from)) {
			step := batches / len(j.World)
			batches++
			if step == to {
				break
			}
			if rank.Number%nth != 0 {
				continue
			}
			if err := do(step, batch); err != nil {
				return err
			}
		}
	}
	return nil
}

// measureBoundaries ingests more steps of some ranks, evenly spaced.
func (s *simulation) measureBoundaries(ctx context.Context, f *figures) error {
	sent := make([][][]byte, 1+rounds) // by step
	nth := (f.ranks + sampled - 1) / sampled
	err := s.steps(1+full, 1+full+len(sent), nth, func(step int, batch plog.Logs) error {
		data, err := new(plog.ProtoMarshaler).MarshalLogs(batch)
		sent[step-1-full] = append(sent[step-1-full], data)
		return err
	})
	if err != nil {
		return err
	}
	next := func() (float64, error) {
		var batches []plog.Logs
		for _, data := range sent[0] {
			batch, failed := new(plog.ProtoUnmarshaler).UnmarshalLogs(data)
			if failed != nil {
				return 0, failed
			}
			batches = append(batches, batch)
		}
		sent = sent[1:]
		took, failed := f.timed(func() error {
			for _, batch := range batches {
				if bad := s.pipelines.Logs.ConsumeLogs(ctx, batch); bad != nil {
					return bad
				}
			}
			return nil
		})
		return took / float64(len(batches)*fleet.BoundariesPerStep), failed
	}
	data := sent[0][0]
	if _, err = next(); err != nil { // so that the measured steps reuse memory
		return err
	}
	if f.boundary, err = middle(next); err != nil {
		return err
	}

	const times = 2000
	f.unmarshal, err = middle(func() (float64, error) {
		took, failed := f.timed(func() error {
			for range times {
				if _, bad := new(plog.ProtoUnmarshaler).UnmarshalLogs(data); bad != nil {
					return bad
				}
			}
			return nil
		})
		return took / times / fleet.BoundariesPerStep, failed
	})
	return err
}

// middle returns the median of repeated measurements.
func middle(figure func() (float64, error)) (float64, error) {
	figures := make([]float64, rounds)
	for i := range figures {
		var err error
		if figures[i], err = figure(); err != nil {
			return 0, err
		}
	}
	return measure.Middle(figures), nil
}

// measurePoints annotates the data points of some nodes, the newest within the newest step of
// all ranks.
func (s *simulation) measurePoints(ctx context.Context, f *figures) error {
	random := rand.New(rand.NewPCG(1, 2))
	picked := make([]int, len(s.jobs)) // batches of each job
	for range (1 + rounds) * batches {
		picked[random.IntN(len(picked))]++
	}
	var all []pmetric.Metrics
	for i, j := range s.jobs {
		nodes := map[string][]*job.Event{}
		for _, e := range fleet.Readings(j, begin.Add(time.Duration(full)*step), 1)[0] {
			nodes[e.Rank.Host] = append(nodes[e.Rank.Host], e)
		}
		gauges := fleet.Gauges{Job: j, Identity: fleet.OnResource, Labels: fleet.UsualLabels}
		for range picked[i] {
			node := nodes[j.World[random.IntN(len(j.World))].Host]
			all = append(all, format.NewBatch().Append(gauges, node...).Metrics)
		}
	}
	random.Shuffle(len(all), func(i, k int) { all[i], all[k] = all[k], all[i] })
	annotate := func(some []pmetric.Metrics) error {
		for _, md := range some {
			if err := s.pipelines.Metrics.ConsumeMetrics(ctx, md); err != nil {
				return err
			}
		}
		return nil
	}
	// The first ones are not measured, so that the measured runs reuse memory.
	if err := annotate(all[:batches]); err != nil {
		return err
	}
	rest := all[batches:]
	var err error
	f.point, err = middle(func() (float64, error) {
		some := rest[:batches]
		rest = rest[batches:]
		took, failed := f.timed(func() error { return annotate(some) })
		return took / float64(batches*some[0].DataPointCount()), failed
	})
	if err != nil {
		return err
	}
	if path, ok := all[0].ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().At(0).Gauge().DataPoints().At(0).
		Attributes().Get("phase_path"); !ok {
		return fmt.Errorf("data point without a phase, phase_path is %q", path.AsString())
	}
	return nil
}

// timed returns the user time of some work, in nanoseconds: its own, without a garbage
// collection, and its share of the next one, which Go runs after allocating as much as is
// live.
func (f *figures) timed(work func() error) (float64, error) {
	runtime.GC() // so that freed memory is reused
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	start, err := measure.UserTime()
	if err != nil {
		return 0, err
	}
	err = work()
	if err != nil {
		return 0, err
	}
	end, err := measure.UserTime()
	runtime.ReadMemStats(&after)
	return float64(end-start) + float64(after.TotalAlloc-before.TotalAlloc)*f.collection/f.heap, err
}
