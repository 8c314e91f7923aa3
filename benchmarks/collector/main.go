// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

// Collector measures a whole collector, from OTLP to OTLP, with phase_attr, with the
// attributes processor, and without any processor.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
	"time"

	"github.com/phaseattr/phaseattr/benchmarks/internal/measure"
)

type options struct {
	binary string
	rounds int
	// each is the duration of the load in a round, senders its concurrency.
	each    time.Duration
	senders int
	ranks   int
	steps   int
}

func main() {
	var o options
	flag.StringVar(&o.binary, "binary", "../bin/otelcol-bench", "path of the collector")
	flag.IntVar(&o.rounds, "rounds", 7, "number of rounds")
	flag.DurationVar(&o.each, "each", 3*time.Second, "duration of the load on a collector in a round")
	flag.IntVar(&o.senders, "senders", 4, "number of concurrent requests")
	flag.IntVar(&o.ranks, "ranks", 10_000, "number of ranks")
	flag.IntVar(&o.steps, "steps", 10, "number of steps of each rank, with 20 boundaries each")
	flag.Parse()
	if err := run(context.Background(), os.Stdout, o); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// variants are the processors to compare, as in the configuration. The first one is the
// baseline.
var variants = []struct{ name, config, use string }{
	{"no processor", "{}", ""},
	{"attributes", `{attributes: {actions: [` +
		`{key: phase_resolution, value: unique, action: upsert}, ` +
		`{key: phase_path, value: train / step / forward, action: upsert}]}}`, "attributes"},
	{"phase_attr", "{phase_attr: {}}", "phase_attr"},
}

// load is the result of loading a collector.
type load struct {
	// processor is its processor time, elapsed the wall-clock time.
	processor, elapsed time.Duration
	records            int
}

func (l load) perMillion() float64 { return l.processor.Seconds() * 1e6 / float64(l.records) }

// subject is a running collector and its results.
type subject struct {
	name       string
	collector  *collector
	boundaries load
	// resident is the resident memory in bytes after all boundaries.
	resident int
	rounds   []load
}

func run(ctx context.Context, out io.Writer, o options) (err error) {
	sink, err := startSink()
	if err != nil {
		return err
	}
	defer sink.stop()
	t := newTelemetry(o.ranks, o.steps)
	var all []*subject
	for _, v := range variants {
		c, failed := startCollector(ctx, o.binary, v.config, v.use, sink.address)
		if failed != nil {
			return failed
		}
		defer func() { err = errors.Join(err, c.stop()) }()
		n := &subject{name: v.name, collector: c}
		all = append(all, n)
		fmt.Fprintf(os.Stderr, "%s: sending boundaries of %d ranks\n", v.name, o.ranks)
		if n.boundaries, err = c.under(func() (int, error) { return t.sendBoundaries(ctx, c) }); err != nil {
			return fmt.Errorf("%s: %w", v.name, err)
		}
		if n.resident, err = c.resident(); err != nil {
			return err
		}
	}

	batches, err := t.metrics()
	if err != nil {
		return err
	}
	for round := range o.rounds {
		fmt.Fprintf(os.Stderr, "round %d of %d\n", round+1, o.rounds)
		for i := range all {
			n := all[(i+round)%len(all)]
			l, err := n.collector.under(func() (int, error) { return sendFor(ctx, n.collector, batches, o) })
			if err != nil {
				return fmt.Errorf("%s: %w", n.name, err)
			}
			n.rounds = append(n.rounds, l)
			if err := sink.check(n.name); err != nil {
				return err
			}
		}
	}
	return printTable(out, all, o)
}

func printTable(out io.Writer, all []*subject, o options) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "processor\tprocessor time to none\ts a million points\tpoints a second\ts a million boundaries\tMiB at %d ranks\t\n", o.ranks)
	for _, n := range all {
		var ratios []float64
		for round, l := range n.rounds {
			ratios = append(ratios, l.perMillion()/all[0].rounds[round].perMillion())
		}
		fmt.Fprintf(w, "%s\t%.2f\t%.2f\t%.0f\t%.2f\t%d\t\n", n.name,
			measure.Middle(ratios),
			measure.Median(n.rounds, load.perMillion),
			measure.Median(n.rounds, func(l load) float64 { return float64(l.records) / l.elapsed.Seconds() }),
			n.boundaries.perMillion(), n.resident>>20)
	}
	return w.Flush()
}
