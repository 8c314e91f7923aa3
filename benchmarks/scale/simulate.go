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

	"github.com/phaseattr/phaseattr/benchmarks/internal/measure"
	"github.com/phaseattr/phaseattr/benchmarks/internal/pipeline"
	"github.com/phaseattr/phaseattr/benchmarks/internal/training"
)

const (
	// window is the window of the processor.
	window = time.Minute
	// stride is the number of training steps in a step of this job, whose ranks emit
	// boundaries in the first one only.
	stride = 12
	// ranksPerJob is the number of ranks of a session.
	ranksPerJob = 1000
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

// simulation is a number of ranks of which each steps once in six seconds.
type simulation struct {
	pipelines *pipeline.Pipelines
	recorder  *training.Recorder
	ranks     []training.Rank
}

func simulate(ctx context.Context, count int) (_ figures, err error) {
	f := figures{ranks: count}
	s := simulation{recorder: training.NewRecorder()}
	for i := range count {
		s.ranks = append(s.ranks, training.NewRank(i/ranksPerJob, i%ranksPerJob, begin))
	}
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

	for _, rank := range s.ranks {
		err = s.pipelines.Logs.ConsumeLogs(ctx, pipeline.Clone(s.recorder.Begin(rank)))
		if err != nil {
			return f, err
		}
	}
	idle := float64(measure.Heap())
	f.rankBytes = (idle - empty) / float64(count)

	steps, boundaries := training.Steps(window)/stride, 0
	for step := range steps + 2 { // until the windows are full and have moved on
		boundaries, err = s.step(s.ranks, step, func(batch plog.Logs) error { return s.pipelines.Logs.ConsumeLogs(ctx, batch) })
		if err != nil {
			return f, err
		}
	}
	f.heap = float64(measure.Heap())
	f.boundaryBytes = (f.heap - idle) / float64(steps*boundaries)

	if f.collection, err = f.timed(func() error { runtime.GC(); return nil }); err != nil {
		return f, err
	}
	err = s.measureBoundaries(ctx, steps+2, &f)
	if err != nil {
		return f, err
	}
	err = s.measurePoints(ctx, steps+1, &f) // the newest step of all ranks
	return f, err
}

// step consumes the boundaries of a step of the ranks and returns their number.
func (s *simulation) step(ranks []training.Rank, step int, consume func(plog.Logs) error) (int, error) {
	boundaries := 0
	for _, rank := range ranks {
		batch := pipeline.Clone(s.recorder.Step(rank, step*stride))
		boundaries += batch.LogRecordCount()
		if err := consume(batch); err != nil {
			return 0, err
		}
	}
	return boundaries, nil
}

// measureBoundaries ingests more steps of some ranks, evenly spaced.
func (s *simulation) measureBoundaries(ctx context.Context, step int, f *figures) error {
	var ranks []training.Rank
	for i := 0; i < len(s.ranks); i += (len(s.ranks) + sampled - 1) / sampled {
		ranks = append(ranks, s.ranks[i])
	}
	boundaries := 0
	work := func(consume func(plog.Logs) error) (float64, error) {
		return f.timed(func() (err error) {
			boundaries, err = s.step(ranks, step, consume)
			return err
		})
	}
	none := func(plog.Logs) error { return nil }
	if _, err := work(none); err != nil { // so that the measured runs reuse memory
		return err
	}
	var err error
	f.boundary, err = middle(func() (float64, error) {
		generating, failed := work(none)
		if failed != nil {
			return 0, failed
		}
		ingesting, failed := work(func(batch plog.Logs) error { return s.pipelines.Logs.ConsumeLogs(ctx, batch) })
		step++
		return (ingesting - generating) / float64(boundaries), failed
	})
	if err != nil {
		return err
	}

	data, err := new(plog.ProtoMarshaler).MarshalLogs(s.recorder.Step(s.ranks[0], step*stride+1))
	if err != nil {
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
		return took / times / float64(boundaries/len(ranks)), failed
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

// measurePoints annotates the data points of some nodes.
func (s *simulation) measurePoints(ctx context.Context, step int, f *figures) error {
	random := rand.New(rand.NewPCG(1, 2))
	last := begin.Add(time.Duration(step) * window / time.Duration(training.Steps(window)/stride))
	var all []pmetric.Metrics
	for range (1 + rounds) * batches {
		node := random.IntN(len(s.ranks)/training.GPUsPerNode) * training.GPUsPerNode
		all = append(all, training.Metrics(s.ranks[node:node+training.GPUsPerNode], last, training.OnResource))
	}
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
