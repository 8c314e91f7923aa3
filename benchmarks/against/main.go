// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

// Against runs two builds of peers in turn on one machine, and compares their ratios.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/phaseattr/phaseattr/benchmarks/internal/measure"
)

func main() {
	runs := flag.Int("runs", 5, "number of runs of each build")
	flag.Usage = func() {
		fmt.Fprintln(os.Stderr, "usage: against [-runs N] OLD NEW [ARGUMENT...]")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() < 2 {
		flag.Usage()
		os.Exit(2)
	}
	if err := run(os.Stdout, flag.Arg(0), flag.Arg(1), flag.Args()[2:], *runs); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// comparison is the ratios of one workload, by run.
type comparison struct {
	workload string
	old, new []float64
}

func run(out io.Writer, oldBuild, newBuild string, args []string, runs int) error {
	args = append(slices.Clip(args), "-ratios")
	var all []*comparison
	for i := range runs {
		fmt.Fprintf(os.Stderr, "run %d of %d\n", i+1, runs)
		for _, isOld := range []bool{i%2 == 0, i%2 != 0} { // each is first in every other run
			build := newBuild
			if isOld {
				build = oldBuild
			}
			text, err := output(build, args)
			if err != nil {
				return err
			}
			if all, err = add(all, text, isOld); err != nil {
				return fmt.Errorf("read the ratios of %s: %w", build, err)
			}
		}
	}
	return printTable(out, all)
}

func output(build string, args []string) (string, error) {
	var printed, failed bytes.Buffer
	command := exec.Command(build, args...) //nolint:gosec // the caller names the builds
	command.Stdout, command.Stderr = &printed, &failed
	if err := command.Run(); err != nil {
		return "", fmt.Errorf("run %s: %w: %s", build, err, failed.String())
	}
	return printed.String(), nil
}

// add adds the ratios that a build has printed: lines of a workload, a tab and its ratio.
func add(all []*comparison, text string, isOld bool) ([]*comparison, error) {
	for line := range strings.Lines(text) {
		workload, figure, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		ratio, err := strconv.ParseFloat(figure, 64)
		if err != nil {
			return nil, err
		}
		i := slices.IndexFunc(all, func(c *comparison) bool { return c.workload == workload })
		if i < 0 {
			i = len(all)
			all = append(all, &comparison{workload: workload})
		}
		if isOld {
			all[i].old = append(all[i].old, ratio)
		} else {
			all[i].new = append(all[i].new, ratio)
		}
	}
	return all, nil
}

func printTable(out io.Writer, all []*comparison) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "phase_attr to the floor\told\tnew\tnew to old\tlowest\thighest\t")
	for _, c := range all {
		if len(c.old) != len(c.new) {
			return fmt.Errorf("%s: %d ratios of the old build, %d of the new one", c.workload, len(c.old), len(c.new))
		}
		quotients := make([]float64, len(c.old))
		for i := range quotients {
			quotients[i] = c.new[i] / c.old[i]
		}
		fmt.Fprintf(w, "%s\t%.2f\t%.2f\t%.2f\t%.2f\t%.2f\t\n", c.workload, measure.Middle(c.old), measure.Middle(c.new),
			measure.Middle(quotients), slices.Min(quotients), slices.Max(quotients))
	}
	return w.Flush()
}
