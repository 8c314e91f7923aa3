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
	"slices"
	"time"

	"github.com/phaseattr/phaseattr/benchmarks/internal/fleet"
	"github.com/phaseattr/phaseattr/benchmarks/internal/pipeline"
	"github.com/phaseattr/phaseattr/cmd/phasegen/job"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor"
)

const (
	copyOnly   = "copy only"
	floorName  = "two PutStr"
	phaseAttr  = "phase_attr"
	kubernetes = "k8s_attributes"

	// ranks is the number of ranks whose boundaries phase_attr has ingested, besides those of
	// the node that is measured.
	ranks  = 10_000
	window = 5 * time.Minute

	// distinctBatches is the number of batches of a kind, each with different times.
	distinctBatches = 8
	// behind is how far the newest record is behind the newest boundaries.
	behind = time.Second
)

// begin is the start of the window, end the time of the newest boundaries.
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

	jobs := fleet.Jobs(ranks, 1, job.Config{Start: end.Add(-fleet.Step)})
	node := newNode(len(jobs))
	cluster := startCluster(append(slices.Clip(jobs), node.job))
	defer cluster.close()
	peers, err := startPeers(ctx, cluster)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, shutdown(ctx, peers)) }()

	ours, err := startFilled(ctx, node.job, jobs)
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
		if err := gateway(ctx, jobs, peers, &r, o); err != nil {
			return err
		}
	}
	if o.ratios {
		return r.printRatios(os.Stdout)
	}
	return r.print(os.Stdout)
}

// node is a node whose ranks have run for a window, with the readings that its telemetry
// consists of, in batches.
type node struct {
	job             *job.Job
	gauges, records [][]*job.Event
}

func newNode(number int) *node {
	n := &node{}
	readings := func(interval time.Duration) [][]*job.Event {
		n.job = newWhole(number, fleet.GPUsPerNode, interval) // whatever the interval, its boundaries are the same
		return fleet.Readings(n.job, end.Add(-behind), distinctBatches)
	}
	n.gauges, n.records = readings(fleet.ReadGauges), readings(fleet.ReadRecords)
	return n
}

// newWhole returns a job that has run for a window.
func newWhole(number, ranks int, reading time.Duration) *job.Job {
	return fleet.New(number, int(window/fleet.Step), job.Config{Ranks: ranks, Start: begin, Reading: reading})
}

// nodeWorkloads returns the workloads of one node's ranks. `ratio to floor` is taken from
// the first one.
func nodeWorkloads(ctx context.Context, n *node, contenders []*pipelines) ([]*workload, error) {
	var all []*workload
	for _, form := range []struct {
		name     string
		identity fleet.Identity
	}{
		{"node's gauges, rank on the resource", fleet.OnResource},
		{"node's gauges, rank on the points", fleet.OnPoints},
		{"node's gauges, host and GPU on the points", fleet.ByDevice},
	} {
		gauges := fleet.Gauges{Job: n.job, Identity: form.identity, Labels: fleet.UsualLabels}
		w, err := newWorkload(ctx, form.name, metricsSignal, n.job, n.gauges, gauges, contenders)
		if err != nil {
			return nil, err
		}
		all = append(all, w)
	}
	w, err := newWorkload(ctx, "node's logs", logsSignal, n.job, n.records, fleet.Logs{Job: n.job}, contenders)
	if err != nil {
		return nil, err
	}
	x, err := newWorkload(ctx, "node's spans", tracesSignal, n.job, n.records, fleet.Traces{Job: n.job}, contenders)
	return append(all, w, x), err
}

// gateway measures one batch with all ranks of the first job, which has run for a window.
func gateway(ctx context.Context, jobs []*job.Job, peers []*pipelines, r *results, o options) (err error) {
	whole := newWhole(0, fleet.RanksPerJob, fleet.ReadGauges)
	ours, err := startFilled(ctx, whole, jobs[1:])
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, ours.shutdown(ctx)) }()
	gauges := fleet.Gauges{Job: whole, Identity: fleet.OnResource, Labels: fleet.UsualLabels}
	w, err := newWorkload(ctx, "gateway's gauges, rank on the resource", metricsSignal, whole,
		fleet.Readings(whole, end.Add(-behind), 1), gauges, append([]*pipelines{ours}, peers...))
	if err != nil {
		return err
	}
	o.rounds = min(o.rounds, 5) // each one takes long
	return r.add(w, o)
}

// startFilled starts phase_attr and sends it the boundaries of the jobs.
func startFilled(ctx context.Context, whole *job.Job, others []*job.Job) (*pipelines, error) {
	factory := phaseattrprocessor.NewFactory()
	maxBoundaries, err := pipeline.Key(factory, "max_boundaries")
	if err != nil {
		return nil, err
	}
	p, err := start(ctx, factory, map[string]any{"window": window.String(), maxBoundaries: 20_000_000})
	if err != nil {
		return nil, err
	}
	for _, j := range append([]*job.Job{whole}, others...) {
		for _, batch := range fleet.Batches(j, 0) {
			if err := p.logs.ConsumeLogs(ctx, batch); err != nil {
				return nil, fmt.Errorf("ingest boundaries: %w", err)
			}
		}
	}
	return p, nil
}
