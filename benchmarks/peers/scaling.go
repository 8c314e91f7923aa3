// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/metrics"
	"runtime/pprof"
	"slices"
	"sync"
	"sync/atomic"
	"text/tabwriter"
	"time"

	"github.com/phaseattr/phaseattr/benchmarks/internal/fleet"
	"github.com/phaseattr/phaseattr/benchmarks/internal/measure"
	"github.com/phaseattr/phaseattr/cmd/phasegen/format"
)

// stint is how long a contender works at a time when its throughput is measured. It spans
// many garbage collections.
const stint = 1500 * time.Millisecond

// throughput is the result of one stint.
type throughput struct {
	// records is the number of records per second.
	records float64
	// cost is the processor time per record, in nanoseconds.
	cost float64
	// waiting is the share of the goroutines' time spent waiting for locks.
	waiting float64
}

// scaling compares how the throughput of contenders grows with the cores. One goroutine
// per core sends metrics, logs and spans through the pipelines of one configuration.
func scaling(ctx context.Context, node *node, contenders []*pipelines, o options, out io.Writer) error {
	cores := []int{1, runtime.NumCPU()}
	results := make([][][]throughput, len(contenders)) // by contender, number of cores and round
	for i := range results {
		results[i] = make([][]throughput, len(cores))
	}
	for range o.rounds {
		for i, contender := range contenders {
			for j, n := range cores {
				t, err := together(ctx, contender, node, n)
				if err != nil {
					return err
				}
				results[i][j] = append(results[i][j], t)
			}
		}
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "records per second, with the copies\t1 core\t%d cores\tspeedup\tprocessor time to 1 core\twaiting for locks\t\n", cores[1])
	for i, contender := range contenders {
		records := func(t throughput) float64 { return t.records }
		speedups, costs := make([]float64, o.rounds), make([]float64, o.rounds)
		for round := range speedups {
			alone, together := results[i][0][round], results[i][1][round]
			speedups[round], costs[round] = together.records/alone.records, together.cost/alone.cost
		}
		fmt.Fprintf(w, "%s\t%.0f\t%.0f\t%.2f\t%.2f\t%.3f%%\t\n", contender.name,
			measure.Median(results[i][0], records), measure.Median(results[i][1], records),
			measure.Middle(speedups), measure.Middle(costs),
			100*measure.Median(results[i][1], func(t throughput) float64 { return t.waiting }))
	}
	if err := w.Flush(); err != nil || o.profiles == "" {
		return err
	}
	return profile(ctx, contenders[0], node, o)
}

// profile writes mutex.pprof and block.pprof of a contender.
func profile(ctx context.Context, p *pipelines, node *node, o options) error {
	defer runtime.SetMutexProfileFraction(runtime.SetMutexProfileFraction(1))
	runtime.SetBlockProfileRate(1)
	defer runtime.SetBlockProfileRate(0)
	for range o.rounds {
		if _, err := together(ctx, p, node, runtime.NumCPU()); err != nil {
			return err
		}
	}
	for _, name := range []string{"mutex", "block"} {
		file, err := os.Create(filepath.Join(o.profiles, name+".pprof")) //nolint:gosec // the user names the directory
		if err != nil {
			return fmt.Errorf("create a profile: %w", err)
		}
		if err := errors.Join(pprof.Lookup(name).WriteTo(file, 0), file.Close()); err != nil {
			return fmt.Errorf("write a profile: %w", err)
		}
	}
	return nil
}

// together measures n goroutines on n cores.
func together(ctx context.Context, p *pipelines, node *node, n int) (throughput, error) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(n))
	var gauges, records []*format.Batch
	for i := range distinctBatches {
		gauges = append(gauges, format.NewBatch().
			Append(fleet.Gauges{Job: node.job, Identity: fleet.OnResource, Labels: fleet.UsualLabels}, node.gauges[i]...))
		records = append(records, format.NewBatch().
			Append(fleet.Logs{Job: node.job}, node.records[i]...).Append(fleet.Traces{Job: node.job}, node.records[i]...))
	}
	var sent atomic.Int64
	errs := make([]error, n)
	runtime.GC() // the garbage of the previous stint is not part of this one
	used, err := measure.ProcessorTime()
	if err != nil {
		return throughput{}, err
	}
	waited, start := lockWait(), time.Now()
	var wg sync.WaitGroup
	for g := range n {
		wg.Go(func() {
			for i := g; time.Since(start) < stint && errs[g] == nil; i++ {
				at := i % distinctBatches
				switch i % 3 {
				case 0:
					sent.Add(int64(gauges[at].Metrics.DataPointCount()))
					errs[g] = p.metrics.ConsumeMetrics(ctx, metricsSignal.clone(gauges[at].Metrics))
				case 1:
					sent.Add(int64(records[at].Logs.LogRecordCount()))
					errs[g] = p.logs.ConsumeLogs(ctx, logsSignal.clone(records[at].Logs))
				case 2:
					sent.Add(int64(records[at].Traces.SpanCount()))
					errs[g] = p.traces.ConsumeTraces(ctx, tracesSignal.clone(records[at].Traces))
				}
			}
		})
	}
	wg.Wait()
	took := time.Since(start).Seconds()
	if i := slices.IndexFunc(errs, func(err error) bool { return err != nil }); i >= 0 {
		return throughput{}, fmt.Errorf("%s: %w", p.name, errs[i])
	}
	all := float64(sent.Load())
	end, err := measure.ProcessorTime()
	return throughput{
		records: all / took, cost: float64(end-used) / all, waiting: (lockWait() - waited) / took / float64(n),
	}, err
}

// lockWait returns the seconds that goroutines have spent waiting for locks.
func lockWait() float64 {
	sample := []metrics.Sample{{Name: "/sync/mutex/wait/total:seconds"}}
	metrics.Read(sample)
	return sample[0].Value.Float64()
}
