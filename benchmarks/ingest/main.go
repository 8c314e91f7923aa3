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

	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/phaseattr/phaseattr/benchmarks/internal/measure"
	"github.com/phaseattr/phaseattr/benchmarks/internal/pipeline"
	"github.com/phaseattr/phaseattr/benchmarks/internal/training"
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
	// above is the name of the contestant that does all that this one does but one thing.
	above string
	late  bool
	// config is that of the processor; nil for none.
	config    map[string]any
	storage   bool
	unmarshal bool
}

const (
	making        = "make and marshal"
	unmarshal     = "unmarshal"
	unmarshalLate = "unmarshal, 1% late"
	inOrder       = "take in"
)

func contestants(window time.Duration) []contestant {
	drop := map[string]any{"window": window.String(), "boundaries": "drop"}
	keep := map[string]any{"window": window.String()}
	return []contestant{
		{name: making},
		{name: unmarshal, above: making, unmarshal: true},
		{name: unmarshalLate, above: unmarshal, unmarshal: true, late: true},
		{name: inOrder, above: unmarshal, unmarshal: true, config: drop},
		{name: "take in, 1% late", above: unmarshalLate, unmarshal: true, config: drop, late: true},
		{name: "take in, with storage", above: unmarshal, unmarshal: true, config: drop, storage: true},
		{name: "take in, 1% late, with storage", above: unmarshalLate, unmarshal: true, config: drop, late: true, storage: true},
		{name: "take in and answer", above: unmarshal, unmarshal: true, config: keep},
	}
}

// takingIn prints what each contestant takes beyond the one that it builds on.
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
	records := 0.0
	at := map[string]int{}
	for i, c := range all {
		s := newStream(begin, 0, 0)
		records = float64(s.next().LogRecordCount())
		s = newStream(begin, 0, 0)
		if c.late {
			s = newStream(begin, lateShare, training.Steps(o.window)-1)
		}
		work, stop, err := c.start(ctx, s, filepath.Join(folder, strconv.Itoa(i)))
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		defer func() { err = errors.Join(err, stop()) }()
		for range training.Steps(o.window) { // until the window is full
			if err := work(); err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
		}
		at[c.name] = i
		contenders = append(contenders, measure.Contender{Name: c.name, Run: work})
	}
	fmt.Fprintf(os.Stderr, "measuring in %d rounds\n", o.rounds)
	costs, err := measure.Rounds(contenders, o.rounds)
	if err != nil {
		return err
	}

	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "per boundary\tto unmarshalling\tns\tbytes\tallocs\t")
	ratio := 0.0
	for i, c := range all {
		if c.above == "" || c.name == unmarshalLate {
			continue
		}
		var own []measure.Cost
		var ratios []float64
		for round := range costs[i] {
			cost := costs[i][round].Minus(costs[at[c.above]][round])
			unmarshalling := costs[at[unmarshal]][round].Minus(costs[at[making]][round])
			own = append(own, cost)
			ratios = append(ratios, float64(cost.Time)/float64(unmarshalling.Time))
		}
		toUnmarshalling := measure.Median(ratios, func(r float64) float64 { return r })
		if c.name == inOrder {
			ratio = toUnmarshalling
		}
		fmt.Fprintf(w, "%s\t%.2f\t%.0f\t%.0f\t%.2f\t\n", c.name, toUnmarshalling,
			measure.Median(own, func(c measure.Cost) float64 { return float64(c.Time) })/records,
			measure.Median(own, func(c measure.Cost) float64 { return c.Bytes })/records,
			measure.Median(own, func(c measure.Cost) float64 { return c.Allocs })/records)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "\nratio to unmarshalling: %.2f\n", ratio)
	return err
}

// start returns the work of a contestant on one batch after the other, and what stops it.
func (c *contestant) start(ctx context.Context, s *stream, folder string) (work, stop func() error, err error) {
	stop = func() error { return nil }
	consume := func(plog.Logs) error { return nil }
	if c.config != nil {
		o := pipeline.Options{Config: c.config, Next: consumertest.NewNop()}
		if c.storage {
			if err := os.Mkdir(folder, 0o700); err != nil {
				return nil, nil, err
			}
			o.Storage = folder
		}
		p, err := pipeline.Start(ctx, o)
		if err != nil {
			return nil, nil, err
		}
		stop = func() error { return p.Shutdown(ctx) }
		consume = func(batch plog.Logs) error { return p.Logs.ConsumeLogs(ctx, batch) }
	}
	var marshaler plog.ProtoMarshaler
	var unmarshaler plog.ProtoUnmarshaler
	work = func() error {
		data, err := marshaler.MarshalLogs(s.next())
		if err != nil || !c.unmarshal {
			return err
		}
		batch, err := unmarshaler.UnmarshalLogs(data)
		if err != nil {
			return err
		}
		return consume(batch)
	}
	return work, stop, consume(s.begin())
}
