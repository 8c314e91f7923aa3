// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

// Scale measures phase_attr with more and more ranks, up to those of a large cluster, and
// estimates what fleets need.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/phaseattr/phaseattr/benchmarks/internal/plot"
)

func main() {
	sizes := flag.String("ranks", "1000,3000,10000,30000,100000", "numbers of ranks")
	chart := flag.String("plot", "../docs/scale.svg", "file for the plot")
	memory := flag.Int64("memory", 8<<30, "memory limit in bytes")
	flag.Parse()
	if err := run(context.Background(), os.Stdout, *sizes, *chart, *memory); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer, sizes, chart string, memory int64) error {
	// The garbage collector is part of the cost.
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(memory))
	var all []figures
	for text := range strings.SplitSeq(sizes, ",") {
		ranks, err := strconv.Atoi(text)
		if err != nil {
			return err
		}
		fmt.Fprintf(os.Stderr, "simulating %d ranks\n", ranks)
		f, err := simulate(ctx, ranks)
		if err != nil {
			return err
		}
		all = append(all, f)
	}
	if err := printSimulation(out, all); err != nil {
		return err
	}
	fmt.Fprintln(out)
	if err := printFleets(out, all[len(all)-1]); err != nil {
		return err
	}
	return draw(chart, all)
}

func printSimulation(out io.Writer, all []figures) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "ranks\tto the first\tns a boundary\tto the first\tns a point\tbytes an idle rank\tbytes a boundary\theap in MiB\tms a collection\t\n")
	for _, f := range all {
		fmt.Fprintf(w, "%d\t%.2f\t%.0f\t%.2f\t%.0f\t%.0f\t%.0f\t%.0f\t%.0f\t\n", f.ranks,
			f.boundary/all[0].boundary, f.boundary, f.point/all[0].point, f.point,
			f.rankBytes, f.boundaryBytes, f.heap/(1<<20), f.collection/float64(time.Millisecond))
	}
	return w.Flush()
}

func draw(file string, all []figures) error {
	boundaries, points := plot.Curve{Name: "to ingest a boundary"}, plot.Curve{Name: "to annotate a data point"}
	for _, f := range all {
		boundaries.Points = append(boundaries.Points, plot.Point{X: float64(f.ranks), Y: f.boundary})
		points.Points = append(points.Points, plot.Point{X: float64(f.ranks), Y: f.point})
	}
	chart := plot.Chart{Title: "One process, many ranks", X: "ranks", Y: "ns", Curves: []plot.Curve{boundaries, points}}
	return chart.Write(file)
}
