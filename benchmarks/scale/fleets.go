// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/phaseattr/phaseattr/benchmarks/internal/fleet"
)

// Assumptions about the fleets.
const (
	// fleetWindow is the default window.
	fleetWindow = 10 * time.Minute
	// pointsPerSecond is the rate of data points of a rank.
	pointsPerSecond = 25
	// headroom is the size of the heap to the live heap, with the default GOGC.
	headroom = 2
)

// jobs is a kind of job by the rate at which its ranks emit boundaries.
type jobs struct {
	name            string
	step            time.Duration
	boundariesAStep int
}

var kinds = []jobs{
	{"coarse phases, 6 s steps", 6 * time.Second, 10},
	{"32 microbatches in 6 s steps", 6 * time.Second, 138},
	{"small fast jobs, 150 ms steps", 150 * time.Millisecond, 10},
}

// printFleets estimates from the measurements what fleets need: the agent of a node, and
// all gateways together.
func printFleets(out io.Writer, f figures) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "ranks\tboundaries a second\tcores to unmarshal\tcores to ingest\tcores to annotate\tmemory in GiB\t")
	for _, kind := range kinds {
		fmt.Fprintf(w, "\t\t\t\t\t\t\n%s\t\t\t\t\t\t\n", kind.name)
		for _, ranks := range []float64{fleet.GPUsPerNode, 16_384, 100_000} {
			rate := ranks * float64(kind.boundariesAStep) / kind.step.Seconds()
			boundaries := rate * fleetWindow.Seconds()
			fmt.Fprintf(w, "%.0f\t%.0f\t%.4f\t%.4f\t%.4f\t%.3f\t\n", ranks, rate, rate*f.unmarshal/1e9, rate*f.boundary/1e9,
				ranks*pointsPerSecond*f.point/1e9, headroom*(ranks*f.rankBytes+boundaries*f.boundaryBytes)/(1<<30))
		}
	}
	return w.Flush()
}
