// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

// Captures measures resolving the phases of the records of recorded runs, which stormlog's
// own replay was measured with too.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"text/tabwriter"
	"time"

	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/phaseattr/phaseattr/benchmarks/internal/fleet"
	"github.com/phaseattr/phaseattr/benchmarks/internal/measure"
	"github.com/phaseattr/phaseattr/benchmarks/internal/pipeline"
	"github.com/phaseattr/phaseattr/cmd/phasegen/format"
	"github.com/phaseattr/phaseattr/cmd/phasegen/job"
)

// The cost of stormlog's replay per record, in microseconds: the range over the captures,
// and with manySpans in its index. It is written in Python and was measured separately.
const (
	referenceLeast, referenceMost = 13, 41
	referenceManySpans            = 584
	manySpans                     = 17_000
)

func main() {
	directory := flag.String("captures", "../testdata/captures", "directory of the recorded runs")
	rounds := flag.Int("rounds", 15, "number of rounds")
	flag.Parse()
	if err := run(context.Background(), os.Stdout, *directory, *rounds); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// recording is a recorded run: its events, and the records to resolve.
type recording struct {
	name             string
	events, records  plog.Logs
	least, reference float64 // microseconds of the reference per record
}

func run(ctx context.Context, out io.Writer, directory string, rounds int) error {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	var all []recording
	for _, name := range []string{"single", "threads", "bursty", "crash", "rank0", "rank1"} {
		r, err := read(directory, name)
		if err != nil {
			return err
		}
		all = append(all, r)
	}
	all = append(all, long())

	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "per record\trecords\treference to ours\tµs to ingest and resolve\tµs to resolve\tµs of the reference\t")
	for _, r := range all {
		fmt.Fprintf(os.Stderr, "measuring %s\n", r.name)
		whole, resolve, err := r.measure(ctx, rounds)
		if err != nil {
			return fmt.Errorf("%s: %w", r.name, err)
		}
		reference, ratio := fmt.Sprintf("%.0f", r.reference), fmt.Sprintf("%.0f", r.reference/resolve)
		if r.least < r.reference {
			reference, ratio = fmt.Sprintf("%.0f to %.0f", r.least, r.reference), fmt.Sprintf("%.0f to %.0f", r.least/resolve, r.reference/resolve)
		}
		fmt.Fprintf(w, "%s\t%d\t%s\t%.2f\t%.2f\t%s\t\n", r.name, r.records.LogRecordCount(), ratio, whole, resolve, reference)
	}
	return w.Flush()
}

// long returns a run with many spans, and records spread over it.
func long() recording {
	const steps, batches = 2 * manySpans / fleet.BoundariesPerStep, 10
	start := time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC)
	j := fleet.New(0, steps, job.Config{Ranks: 1, Start: start, Reading: fleet.ReadRecords})
	r := recording{
		name: fmt.Sprintf("%d spans", manySpans), events: plog.NewLogs(), records: plog.NewLogs(),
		least: referenceManySpans, reference: referenceManySpans,
	}
	for _, batch := range fleet.Batches(j, 0) {
		batch.ResourceLogs().MoveAndAppendTo(r.events.ResourceLogs())
	}
	for i := range batches {
		until := start.Add(fleet.Step * steps * time.Duration(i+1) / batches)
		format.NewBatch().Append(fleet.Logs{Job: j}, fleet.Readings(j, until, 1)[0]...).Logs.ResourceLogs().MoveAndAppendTo(r.records.ResourceLogs())
	}
	return r
}

// measure returns the microseconds per record to ingest and resolve all events, and to
// resolve the records once all events are ingested.
func (r *recording) measure(ctx context.Context, rounds int) (whole, resolve float64, err error) {
	known, err := start(ctx)
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, known.Shutdown(ctx)) }()
	err = known.Logs.ConsumeLogs(ctx, pipeline.Clone(r.events))
	if err != nil {
		return 0, 0, err
	}
	costs, err := measure.Rounds([]measure.Contender{
		{Name: "start", Run: func() error { return startAnd(ctx, pipeline.Clone(r.events), false) }},
		{Name: "ingest and resolve", Run: func() error { return startAnd(ctx, pipeline.Clone(r.events), true) }},
		{Name: "copy", Run: func() error { pipeline.Clone(r.records); return nil }},
		{Name: "resolve", Run: func() error { return known.Logs.ConsumeLogs(ctx, pipeline.Clone(r.records)) }},
	}, rounds, 1)
	if err != nil {
		return 0, 0, err
	}
	microseconds := func(more, less []measure.Cost, records plog.Logs) float64 {
		var net []measure.Cost
		for i := range more {
			net = append(net, more[i].Minus(less[i]))
		}
		return measure.Median(net, func(c measure.Cost) float64 { return float64(c.Time.Nanoseconds()) }) /
			float64(time.Microsecond) / float64(records.LogRecordCount())
	}
	return microseconds(costs[1], costs[0], r.events), microseconds(costs[3], costs[2], r.records), nil
}

func start(ctx context.Context) (*pipeline.Pipelines, error) {
	return pipeline.Start(ctx, pipeline.Options{
		Config: map[string]any{"window": time.Hour.String(), "grace": map[string]any{"period": 0}},
		Next:   consumertest.NewNop(),
	})
}

// startAnd starts a new processor, passes it the batch if consume is set, and stops it.
func startAnd(ctx context.Context, batch plog.Logs, consume bool) error {
	p, err := start(ctx)
	if err != nil {
		return err
	}
	if consume {
		err = p.Logs.ConsumeLogs(ctx, batch)
	}
	return errors.Join(err, p.Shutdown(ctx))
}
