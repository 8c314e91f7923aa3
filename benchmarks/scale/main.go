// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

// Scale lets phase_attr know more and more groups, up to those of a large cluster, and
// tells from what it measures what fleets need.
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
	sizes := flag.String("groups", "1000,3000,10000,30000,100000", "how many groups")
	chart := flag.String("plot", "../docs/scale.svg", "the file to draw the plot to")
	memory := flag.Int64("memory", 8<<30, "bytes that may be used")
	flag.Parse()
	if err := run(context.Background(), os.Stdout, *sizes, *chart, *memory); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer, sizes, chart string, memory int64) error {
	// What the garbage collector does beside the work is part of its cost.
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(memory))
	var all []figures
	for text := range strings.SplitSeq(sizes, ",") {
		groups, err := strconv.Atoi(text)
		if err != nil {
			return err
		}
		fmt.Fprintf(os.Stderr, "simulating %d groups\n", groups)
		f, err := simulate(ctx, groups)
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
	fmt.Fprintf(w, "groups\tto the first\tns a boundary\tto the first\tns a point\tbytes an idle group\tbytes a boundary\theap in MiB\tms a collection\t\n")
	for _, f := range all {
		fmt.Fprintf(w, "%d\t%.2f\t%.0f\t%.2f\t%.0f\t%.0f\t%.0f\t%.0f\t%.0f\t\n", f.groups,
			f.boundary/all[0].boundary, f.boundary, f.point/all[0].point, f.point,
			f.groupBytes, f.boundaryBytes, f.heap/(1<<20), f.collection/float64(time.Millisecond))
	}
	return w.Flush()
}

func draw(file string, all []figures) error {
	boundaries, points := plot.Curve{Name: "to take in a boundary"}, plot.Curve{Name: "to answer a data point"}
	for _, f := range all {
		boundaries.Points = append(boundaries.Points, plot.Point{X: float64(f.groups), Y: f.boundary})
		points.Points = append(points.Points, plot.Point{X: float64(f.groups), Y: f.point})
	}
	chart := plot.Chart{Title: "One process, many groups", X: "groups", Y: "ns", Curves: []plot.Curve{boundaries, points}}
	return chart.Write(file)
}
