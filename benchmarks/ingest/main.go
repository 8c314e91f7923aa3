// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

// Ingest measures the cost of ingesting phase boundaries, relative to unmarshalling the same
// records from OTLP, and the memory that they take.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/phaseattr/phaseattr/benchmarks/internal/fleet"
	"github.com/phaseattr/phaseattr/benchmarks/internal/measure"
)

// lateShare is the share of late records, in the variants that have them.
const lateShare = 0.01

var begin = time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC)

type options struct {
	rounds int
	window time.Duration
	// fullRanks and idleRanks are the numbers of ranks for the heap measurement.
	fullRanks, idleRanks int
}

func main() {
	var o options
	flag.IntVar(&o.rounds, "rounds", 31, "number of rounds")
	flag.DurationVar(&o.window, "window", 5*time.Minute, "window of the processor")
	flag.IntVar(&o.fullRanks, "full", 80, "ranks with a full window, for the heap measurement")
	flag.IntVar(&o.idleRanks, "idle", 10_000, "idle ranks, for the heap measurement")
	flag.Parse()
	if err := run(context.Background(), o, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options, out io.Writer) error {
	if err := measureTime(ctx, o, out); err != nil {
		return err
	}
	fmt.Fprintln(out)
	return measureHeap(ctx, o, out)
}

// variant is a way to ingest a stream of boundaries.
type variant struct {
	name string
	// late delays some records.
	late bool
	// config is the configuration of the processor; nil means no processor.
	config  map[string]any
	storage bool
}

const (
	unmarshal     = "unmarshal"
	unmarshalLate = "unmarshal, 1% late"
	inOrder       = "ingest"
)

func variants(window time.Duration) []variant {
	drop := map[string]any{"window": window.String(), "boundaries": "drop"}
	keep := map[string]any{"window": window.String()}
	return []variant{
		{name: unmarshal},
		{name: unmarshalLate, late: true},
		{name: inOrder, config: drop},
		{name: "ingest, 1% late", config: drop, late: true},
		{name: "ingest, with storage", config: drop, storage: true},
		{name: "ingest, 1% late, with storage", config: drop, late: true, storage: true},
		{name: "ingest and annotate", config: keep},
	}
}

// measureTime prints the cost of each variant beyond unmarshalling.
func measureTime(ctx context.Context, o options, out io.Writer) (err error) {
	// The garbage collector is part of the cost. On one core it cannot run unaccounted on
	// another one.
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	directory, err := os.MkdirTemp("", "ingest")
	if err != nil {
		return err
	}
	defer os.RemoveAll(directory)

	all := variants(o.window)
	var contenders []measure.Contender
	for i := range all {
		n, failed := all[i].start(ctx, o.window, filepath.Join(directory, strconv.Itoa(i)))
		if failed != nil {
			return fmt.Errorf("%s: %w", all[i].name, failed)
		}
		defer func() {
			n.stream.stop()
			err = errors.Join(err, n.stop())
		}()
		contenders = append(contenders, measure.Contender{Name: all[i].name, Prepare: n.prepare, Run: n.work})
	}
	const records = fleet.GPUsPerNode * fleet.BoundariesPerStep
	fmt.Fprintf(os.Stderr, "measuring in %d rounds\n", o.rounds)
	costs, err := measure.Rounds(contenders, o.rounds, batchesInARow)
	if err != nil {
		return err
	}

	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "per boundary\tto unmarshalling\tns\tbytes\tallocs\t")
	ratio := 0.0
	for i, v := range all {
		var own []measure.Cost
		var ratios []float64
		for round, cost := range costs[i] {
			unmarshalling := costs[0][round]
			if v.late {
				unmarshalling = costs[1][round]
			}
			if v.config != nil {
				cost = cost.Minus(unmarshalling)
			}
			own = append(own, cost)
			ratios = append(ratios, float64(cost.Time)/float64(unmarshalling.Time))
		}
		toUnmarshalling := measure.Middle(ratios)
		if v.name == inOrder {
			ratio = toUnmarshalling
		}
		fmt.Fprintf(w, "%s\t%.2f\t%.0f\t%.0f\t%.2f\t\n", v.name, toUnmarshalling,
			measure.Median(own, func(c measure.Cost) float64 { return float64(c.Time) })/records,
			measure.Median(own, func(c measure.Cost) float64 { return c.Bytes })/records,
			measure.Median(own, func(c measure.Cost) float64 { return c.Allocs })/records)
	}
	err = w.Flush()
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "\nratio to unmarshalling: %.2f\n", ratio)
	return err
}
