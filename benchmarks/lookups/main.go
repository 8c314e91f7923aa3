// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

// Lookups runs the benchmark of the index's lookups, and makes a table and a plot of the
// result.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"text/tabwriter"

	"golang.org/x/perf/benchfmt"

	"github.com/phaseattr/phaseattr/benchmarks/internal/measure"
	"github.com/phaseattr/phaseattr/benchmarks/internal/plot"
)

// The parameters that the benchmark varies, in the order of the table.
const (
	byRanks     = "ranks"
	byScattered = "scattered"
	byThreads   = "threads"
	byDepth     = "depth"
	byWindow    = "window"
)

var titles = []struct{ vary, title string }{
	{byRanks, "ranks, 125 lookups in a row of each, as in a batch"},
	{byScattered, "ranks, each lookup of another one"},
	{byThreads, "threads of a rank"},
	{byDepth, "open scopes of a thread"},
	{byWindow, "boundaries in the window of one thread"},
}

func main() {
	count := flag.Int("count", 5, "number of measurements per figure")
	benchtime := flag.String("benchtime", "200ms", "duration of a measurement")
	chart := flag.String("plot", "../docs/lookups.svg", "file for the plot")
	flag.Parse()
	if err := run(os.Stdout, *count, *benchtime, *chart); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(out io.Writer, count int, benchtime, chart string) error {
	benchmark := exec.Command("go", "test", "-run", "^$", "-bench", "^BenchmarkLookup$", //nolint:gosec // the caller's flags
		"-count", strconv.Itoa(count), "-benchtime", benchtime, "./processor/phaseattrprocessor/internal/replay")
	benchmark.Dir = ".."
	benchmark.Stderr = os.Stderr
	printed, err := benchmark.StdoutPipe()
	if err != nil {
		return err
	}
	if err = benchmark.Start(); err != nil {
		return fmt.Errorf("run the benchmark: %w", err)
	}
	r, err := read(io.TeeReader(printed, os.Stderr))
	if err = errors.Join(err, benchmark.Wait()); err != nil {
		return fmt.Errorf("run the benchmark: %w", err)
	}
	if err := r.print(out); err != nil {
		return err
	}
	return r.draw(chart)
}

// results are the figures of the benchmark, by parameter and value.
type results struct {
	// sizes are the values of each parameter, in the order of measurement.
	sizes map[string][]int
	lines map[string]map[int][]line
}

// line is one measurement of a lookup: processor and wall-clock time, in seconds, and
// allocations.
type line struct{ processor, wall, allocs float64 }

func read(printed io.Reader) (*results, error) {
	r := &results{sizes: map[string][]int{}, lines: map[string]map[int][]line{}}
	for reader := benchfmt.NewReader(printed, "go test"); reader.Scan(); {
		result, ok := reader.Result().(*benchfmt.Result)
		if !ok {
			continue
		}
		var vary string
		var n int
		_, parts := result.Name.Parts()
		for _, part := range parts {
			if _, err := fmt.Sscanf(string(part), "/n=%d", &n); err == nil {
				continue
			}
			_, _ = fmt.Sscanf(string(part), "/vary=%s", &vary)
		}
		var l line
		for unit, figure := range map[string]*float64{"cpu-sec/op": &l.processor, "sec/op": &l.wall, "allocs/lookup": &l.allocs} {
			value, ok := result.Value(unit)
			if !ok {
				return nil, fmt.Errorf("%s has no %s", result.Name, unit)
			}
			*figure = value
		}
		if r.lines[vary] == nil {
			r.lines[vary] = map[int][]line{}
		}
		if r.lines[vary][n] == nil {
			r.sizes[vary] = append(r.sizes[vary], n)
		}
		r.lines[vary][n] = append(r.lines[vary][n], l)
	}
	return r, nil
}

func nanoseconds(seconds float64) float64 { return 1e9 * seconds }

func (r *results) processor(vary string, n int) float64 {
	return nanoseconds(measure.Median(r.lines[vary][n], func(l line) float64 { return l.processor }))
}

func (r *results) print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "per lookup, with a concurrent writer\tto the first\tns\twall-clock ns\tallocs\t")
	for _, t := range titles {
		fmt.Fprintf(w, "\t\t\t\t\t\n%s\t\t\t\t\t\n", t.title)
		for _, n := range r.sizes[t.vary] {
			lines := r.lines[t.vary][n]
			own := r.processor(t.vary, n)
			fmt.Fprintf(w, "%d\t%.2f\t%.0f\t%.0f\t%.0f\t\n", n, own/r.processor(t.vary, r.sizes[t.vary][0]), own,
				nanoseconds(measure.Median(lines, func(l line) float64 { return l.wall })),
				measure.Median(lines, func(l line) float64 { return l.allocs }))
		}
	}
	return w.Flush()
}

func (r *results) draw(file string) error {
	chart := plot.Chart{Title: "Cost of a lookup", X: "number", Y: "ns"}
	for _, c := range []struct{ vary, name string }{
		{byWindow, "boundaries in the window"}, {byRanks, "ranks, as in batches"}, {byScattered, "ranks, scattered"},
	} {
		curve := plot.Curve{Name: c.name}
		for _, n := range r.sizes[c.vary] {
			curve.Points = append(curve.Points, plot.Point{X: float64(n), Y: r.processor(c.vary, n)})
		}
		chart.Curves = append(chart.Curves, curve)
	}
	return chart.Write(file)
}
