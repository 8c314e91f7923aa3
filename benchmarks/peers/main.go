// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

// Peers compares the cost of adding two attributes to telemetry: with phase_attr, with
// other processors, and with two bare calls.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime"
	"time"

	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/phaseattr/phaseattr/benchmarks/internal/pipeline"
	"github.com/phaseattr/phaseattr/benchmarks/internal/training"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor"
)

const (
	copyOnly   = "copy only"
	floorName  = "two PutStr"
	phaseAttr  = "phase_attr"
	kubernetes = "k8s_attributes"

	// The ranks whose boundaries phase_attr has ingested.
	jobs        = 10
	ranksPerJob = 1000
	window      = 5 * time.Minute

	// distinctBatches is the number of batches of a kind, each with different times.
	distinctBatches = 8
)

// begin is the start of all jobs, end the time of their newest boundaries.
var (
	begin = time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC)
	end   = begin.Add(window)
)

type options struct {
	rounds  int
	gateway bool
	only    string
	scaling bool
	// ratios prints the ratios of phase_attr only, for bench-against.
	ratios bool
	// profiles is the directory for profiles of -scaling; empty disables them.
	profiles string
}

func main() {
	var o options
	flag.IntVar(&o.rounds, "rounds", 21, "number of rounds")
	flag.BoolVar(&o.scaling, "scaling", false, "measure how the throughput grows with the cores instead")
	flag.StringVar(&o.profiles, "profiles", "", "directory for a mutex and a block profile of phase_attr, with -scaling")
	flag.StringVar(&o.only, "only", "", "measure only the workloads whose name contains this")
	flag.BoolVar(&o.ratios, "ratios", false, "print the ratios of phase_attr only, one a line")
	flag.BoolVar(&o.gateway, "gateway", true, "also measure the batch of a gateway, which takes 12 million boundaries")
	flag.Parse()
	if err := run(context.Background(), o); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) (err error) {
	// The garbage collector is part of the cost. On one core it cannot run unaccounted on
	// another one.
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))

	var ranks []training.Rank
	for job := range jobs {
		for n := range ranksPerJob {
			ranks = append(ranks, training.NewRank(job, n, begin))
		}
	}
	cluster := startCluster(ranks)
	defer cluster.close()
	peers, err := startPeers(ctx, cluster)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, shutdown(ctx, peers)) }()

	node := ranks[:training.GPUsPerNode]
	ours, err := startFilled(ctx, ranks, len(node))
	if err != nil {
		return err
	}
	contenders := append([]*pipelines{ours}, peers...)
	if o.scaling {
		return errors.Join(scaling(ctx, node, contenders, o, os.Stdout), ours.shutdown(ctx))
	}
	workloads, err := nodeWorkloads(ctx, node, contenders)
	if err != nil {
		return err
	}
	var r results
	for _, w := range workloads {
		if err := r.add(w, o); err != nil {
			return err
		}
	}
	for _, c := range bestCases() {
		w, err := c.workload(ctx, node, ours)
		if err != nil {
			return err
		}
		if err := r.addBest(c, w, o); err != nil {
			return err
		}
	}
	if err := ours.shutdown(ctx); err != nil {
		return err
	}
	if o.gateway {
		if err := gateway(ctx, ranks, peers, &r, o); err != nil {
			return err
		}
	}
	if o.ratios {
		return r.printRatios(os.Stdout)
	}
	return r.print(os.Stdout)
}

// nodeWorkloads returns the workloads of one node's ranks. `ratio to floor` is taken from
// the first one.
func nodeWorkloads(ctx context.Context, node []training.Rank, contenders []*pipelines) ([]*workload, error) {
	var all []*workload
	for _, form := range []struct {
		name     string
		identity training.Identity
	}{
		{"node's gauges, rank on the resource", training.OnResource},
		{"node's gauges, rank on the points", training.OnPoints},
		{"node's gauges, host and GPU on the points", training.ByDevice},
	} {
		batches := distinct(func(last time.Time) pmetric.Metrics { return training.Metrics(node, last, form.identity) })
		w, err := newWorkload(ctx, form.name, metricsSignal, batches, node, contenders)
		if err != nil {
			return nil, err
		}
		all = append(all, w)
	}
	batches := distinct(func(last time.Time) plog.Logs { return training.Logs(node, last) })
	w, err := newWorkload(ctx, "node's logs", logsSignal, batches, node, contenders)
	if err != nil {
		return nil, err
	}
	spans := distinct(func(last time.Time) ptrace.Traces { return training.Traces(node, last) })
	x, err := newWorkload(ctx, "node's spans", tracesSignal, spans, node, contenders)
	return append(all, w, x), err
}

// gateway measures one batch with all ranks of a job.
func gateway(ctx context.Context, ranks []training.Rank, peers []*pipelines, r *results, o options) (err error) {
	job := ranks[:ranksPerJob]
	ours, err := startFilled(ctx, ranks, len(job))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, ours.shutdown(ctx)) }()
	batches := []pmetric.Metrics{training.Metrics(job, end.Add(-time.Second), training.OnResource)}
	w, err := newWorkload(ctx, "gateway's gauges, rank on the resource", metricsSignal, batches, job,
		append([]*pipelines{ours}, peers...))
	if err != nil {
		return err
	}
	o.rounds = min(o.rounds, 5) // each one takes long
	return r.add(w, o)
}

// distinct returns batches of different times, the first one close to the newest
// boundaries.
func distinct[T any](newBatch func(last time.Time) T) []T {
	var batches []T
	for i := range distinctBatches {
		batches = append(batches, newBatch(end.Add(-time.Second-time.Duration(i)*1375*time.Millisecond)))
	}
	return batches
}

// startFilled starts phase_attr and sends it the boundaries of a whole window of the first
// ranks, as many as whole says, and those of the newest step of all others.
func startFilled(ctx context.Context, ranks []training.Rank, whole int) (*pipelines, error) {
	factory := phaseattrprocessor.NewFactory()
	maxBoundaries, err := pipeline.Key(factory, "max_boundaries")
	if err != nil {
		return nil, err
	}
	p, err := start(ctx, factory, map[string]any{"window": window.String(), maxBoundaries: 20_000_000})
	if err != nil {
		return nil, err
	}
	recorder := training.NewRecorder()
	for i, rank := range ranks {
		steps := training.Steps(window)
		from := steps - 1
		if i < whole {
			from = 0
		}
		err := p.logs.ConsumeLogs(ctx, recorder.Begin(rank))
		for step := from; step < steps && err == nil; step++ {
			err = p.logs.ConsumeLogs(ctx, recorder.Step(rank, step))
		}
		if err != nil {
			return nil, fmt.Errorf("ingest boundaries: %w", err)
		}
	}
	return p, nil
}
