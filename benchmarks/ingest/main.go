// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

// Ingest measures what it costs phase_attr to take in phase boundaries, against what it
// costs to unmarshal the same records from OTLP, and what it then keeps of them.
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

	"github.com/phaseattr/phaseattr/benchmarks/internal/measure"
)

// lateShare is how many of the records come late, where some do.
const lateShare = 0.01

var begin = time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC)

type options struct {
	rounds int
	window time.Duration
	// fullRanks and idleRanks are those that the heap is measured with.
	fullRanks, idleRanks int
}

func main() {
	var o options
	flag.IntVar(&o.rounds, "rounds", 31, "rounds that each contender is measured in")
	flag.DurationVar(&o.window, "window", 5*time.Minute, "how much event time is kept")
	flag.IntVar(&o.fullRanks, "full", 80, "ranks with a full window that the heap is measured with")
	flag.IntVar(&o.idleRanks, "idle", 10_000, "idle ranks that the heap is measured with")
	flag.Parse()
	if err := run(context.Background(), o, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options, out io.Writer) error {
	if err := takingIn(ctx, o, out); err != nil {
		return err
	}
	fmt.Fprintln(out)
	return keeping(ctx, o, out)
}

// contestant takes in a stream of its own.
type contestant struct {
	name string
	// late is whether some records come late.
	late bool
	// config is that of the processor; nil for none.
	config  map[string]any
	storage bool
}

const (
	unmarshal     = "unmarshal"
	unmarshalLate = "unmarshal, 1% late"
	inOrder       = "take in"
)

func contestants(window time.Duration) []contestant {
	drop := map[string]any{"window": window.String(), "boundaries": "drop"}
	keep := map[string]any{"window": window.String()}
	return []contestant{
		{name: unmarshal},
		{name: unmarshalLate, late: true},
		{name: inOrder, config: drop},
		{name: "take in, 1% late", config: drop, late: true},
		{name: "take in, with storage", config: drop, storage: true},
		{name: "take in, 1% late, with storage", config: drop, late: true, storage: true},
		{name: "take in and answer", config: keep},
	}
}

// takingIn prints what each contestant takes beyond unmarshalling.
func takingIn(ctx context.Context, o options, out io.Writer) (err error) {
	// What the garbage collector does beside the work is part of its cost. On one
	// processor none of it is done by others for nothing.
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	folder, err := os.MkdirTemp("", "ingest")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)

	all := contestants(o.window)
	var contenders []measure.Contender
	for i := range all {
		intake, failed := all[i].start(ctx, o.window, filepath.Join(folder, strconv.Itoa(i)))
		if failed != nil {
			return fmt.Errorf("%s: %w", all[i].name, failed)
		}
		defer func() { err = errors.Join(err, intake.stop()) }()
		contenders = append(contenders, measure.Contender{Name: all[i].name, Prepare: intake.prepare, Run: intake.work})
	}
	records := float64(newStream(begin, 0, 0).next().LogRecordCount())
	fmt.Fprintf(os.Stderr, "measuring in %d rounds\n", o.rounds)
	costs, err := measure.Rounds(contenders, o.rounds, batchesInARow)
	if err != nil {
		return err
	}

	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "per boundary\tto unmarshalling\tns\tbytes\tallocs\t")
	ratio := 0.0
	for i, c := range all {
		var own []measure.Cost
		var ratios []float64
		for round, cost := range costs[i] {
			unmarshalling := costs[0][round]
			if c.late {
				unmarshalling = costs[1][round]
			}
			if c.config != nil {
				cost = cost.Minus(unmarshalling)
			}
			own = append(own, cost)
			ratios = append(ratios, float64(cost.Time)/float64(unmarshalling.Time))
		}
		toUnmarshalling := measure.Middle(ratios)
		if c.name == inOrder {
			ratio = toUnmarshalling
		}
		fmt.Fprintf(w, "%s\t%.2f\t%.0f\t%.0f\t%.2f\t\n", c.name, toUnmarshalling,
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
