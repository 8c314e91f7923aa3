// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

// Sources prints what sources cost: what they add to telemetry that none of them claims, and
// what ingesting a completed interval takes, compared to unmarshalling its span. Ingesting alone
// cannot be measured from outside the processor, so this runs benchmarks of its package, each in
// turn in every round.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/phaseattr/phaseattr/benchmarks/internal/measure"
)

// metric is the figure of a benchmark that is read.
const metric = "cpu-ns/item"

// comparison is two benchmarks: the second one does more than the first one, or something else.
type comparison struct{ name, first, second string }

var (
	foreign = []comparison{
		{"span", "ForeignSpan/stormlog", "ForeignSpan/all_presets"},
		{"log record", "ForeignRecord/stormlog", "ForeignRecord/all_presets"},
	}
	intervals = []comparison{{"span", "IngestSpans/unmarshal", "IngestSpans/ingest"}}
)

func main() {
	rounds := flag.Int("rounds", 21, "number of rounds")
	times := flag.Int("times", 200, "number of batches in a round")
	root := flag.String("root", "..", "root of the repository")
	flag.Parse()
	if err := run(os.Stdout, *root, *rounds, *times); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(out io.Writer, root string, rounds, times int) error {
	directory, err := os.MkdirTemp("", "sources")
	if err != nil {
		return err
	}
	defer os.RemoveAll(directory)
	binary := filepath.Join(directory, "processor.test")
	build := exec.Command("go", "test", "-c", "-o", binary, "./processor/phaseattrprocessor") //nolint:gosec // a file of our own
	build.Dir, build.Stderr = root, os.Stderr
	if err = build.Run(); err != nil {
		return fmt.Errorf("build the benchmarks: %w", err)
	}
	fmt.Fprintf(os.Stderr, "measuring in %d rounds\n", rounds)
	var all []figures
	for range rounds {
		read, failed := round(binary, times)
		if failed != nil {
			return failed
		}
		all = append(all, read)
	}
	return printTables(out, all)
}

// figures are those of a round, by the names of the benchmarks.
type figures map[string]float64

// round runs each benchmark once, on one core, so that the garbage collector is accounted for.
func round(binary string, times int) (figures, error) {
	var printed, failed bytes.Buffer
	command := exec.Command(binary, "-test.run=^$", "-test.bench=Foreign|IngestSpans", fmt.Sprintf("-test.benchtime=%dx", times)) //nolint:gosec // built by run
	command.Env = append(os.Environ(), "GOMAXPROCS=1")
	command.Stdout, command.Stderr = &printed, &failed
	if err := command.Run(); err != nil {
		return nil, fmt.Errorf("run the benchmarks: %w: %s%s", err, printed.String(), failed.String())
	}
	return parse(printed.String())
}

// parse reads the output of benchmarks.
func parse(text string) (figures, error) {
	read := figures{}
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		for i := 1; i < len(fields); i++ {
			if fields[i] != metric {
				continue
			}
			figure, err := strconv.ParseFloat(fields[i-1], 64)
			if err != nil {
				return nil, fmt.Errorf("read the figure of %s: %w", fields[0], err)
			}
			read[strings.TrimPrefix(fields[0], "Benchmark")] = figure
		}
	}
	for _, c := range append(foreign[:len(foreign):len(foreign)], intervals...) {
		if read[c.first] == 0 || read[c.second] == 0 {
			return nil, errors.New("no figures of " + c.first + " and " + c.second)
		}
	}
	return read, nil
}

func printTables(out io.Writer, all []figures) error {
	median := func(figure func(figures) float64) float64 { return measure.Median(all, figure) }
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "an item that no source claims\tonly stormlog, ns\tall presets, ns\tmore, ns\t")
	for _, c := range foreign {
		fmt.Fprintf(w, "%s\t%.0f\t%.0f\t%.0f\t\n", c.name,
			median(func(f figures) float64 { return f[c.first] }), median(func(f figures) float64 { return f[c.second] }),
			median(func(f figures) float64 { return f[c.second] - f[c.first] }))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(out)
	fmt.Fprintln(w, "a completed interval\tunmarshalling, ns\tingesting, ns\tto unmarshalling\t")
	for _, c := range intervals {
		fmt.Fprintf(w, "%s\t%.0f\t%.0f\t%.2f\t\n", c.name,
			median(func(f figures) float64 { return f[c.first] }), median(func(f figures) float64 { return f[c.second] }),
			median(func(f figures) float64 { return f[c.second] / f[c.first] }))
	}
	return w.Flush()
}
