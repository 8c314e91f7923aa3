// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

// Peers compares what it costs to add two attributes to telemetry: by phase_attr, by
// other processors, and by two bare calls.
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

	"github.com/phaseattr/phaseattr/benchmarks/internal/training"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor"
)

const (
	copyOnly   = "copy only"
	floorName  = "two PutStr"
	phaseAttr  = "phase_attr"
	kubernetes = "k8s_attributes"

	// What phase_attr knows.
	jobs        = 10
	ranksPerJob = 1000
	window      = 5 * time.Minute

	// distinctBatches is how many batches of a kind there are, each of other times.
	distinctBatches = 8
)

// begin is when all jobs began, end is when their newest boundaries were.
var (
	begin = time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC)
	end   = begin.Add(window)
)

type options struct {
	rounds  int
	gateway bool
	only    string
	scaling bool
	// profiles is where the scaling's profiles go; empty when there are to be none.
	profiles string
}

func main() {
	var o options
	flag.IntVar(&o.rounds, "rounds", 21, "rounds that each contender is measured in")
	flag.BoolVar(&o.scaling, "scaling", false, "measure how the throughput grows with the processors instead")
	flag.StringVar(&o.profiles, "profiles", "", "with -scaling, write a mutex and a block profile of phase_attr to this directory")
	flag.StringVar(&o.only, "only", "", "measure only the batches whose name contains this")
	flag.BoolVar(&o.gateway, "gateway", true, "measure the gateway's batch too, for which 12 million boundaries are taken in")
	flag.Parse()
	if err := run(context.Background(), o); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) (err error) {
	// What the garbage collector does beside the work is part of its cost. On one
	// processor none of it is done by others for nothing.
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
	t := newTable()
	for _, w := range workloads {
		if err := t.measure(w, o); err != nil {
			return err
		}
	}
	if err := ours.shutdown(ctx); err != nil {
		return err
	}
	if o.gateway {
		if err := gateway(ctx, ranks, peers, t, o); err != nil {
			return err
		}
	}
	return t.print(os.Stdout)
}

// nodeWorkloads are the batches of the ranks of one node. The first one is what
// the ratio to the floor is of.
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

// gateway measures the batch of all ranks of one job.
func gateway(ctx context.Context, ranks []training.Rank, peers []*pipelines, t *table, o options) (err error) {
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
	o.rounds = min(o.rounds, 5) // each takes long
	return t.measure(w, o)
}

// distinct makes batches of different times, the newest of which are those of the
// newest boundaries.
func distinct[T any](newBatch func(last time.Time) T) []T {
	var batches []T
	for i := range distinctBatches {
		batches = append(batches, newBatch(end.Add(-time.Second-time.Duration(i)*1375*time.Millisecond)))
	}
	return batches
}

// startFilled starts phase_attr and lets it take in the boundaries of a whole window of
// the first so many ranks, and those of the newest step of all others.
func startFilled(ctx context.Context, ranks []training.Rank, whole int) (*pipelines, error) {
	p, err := start(ctx, phaseattrprocessor.NewFactory(), map[string]any{
		"window":         window.String(),
		"max_boundaries": 20_000_000,
	})
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
			return nil, fmt.Errorf("take in boundaries: %w", err)
		}
	}
	return p, nil
}
