// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/phaseattr/phaseattr/benchmarks/internal/measure"
)

// table is the result: per record, what each contender took beyond the copy that it
// worked on.
type table struct {
	rows []row
	// ratio is that of phase_attr to the floor, of the first workload.
	ratio float64
}

// row is a line of the table. The copy's is what the copy itself took.
type row struct {
	workload, contender      string
	ns, bytes, allocs, ratio float64
}

func newTable() *table { return &table{} }

// measure adds the rows of a workload.
func (t *table) measure(w *workload, o options) error {
	if !strings.Contains(w.name, o.only) {
		return nil
	}
	fmt.Fprintf(os.Stderr, "measuring %s, %d records\n", w.name, w.records)
	costs, err := measure.Rounds(w.contenders, o.rounds, w.batches)
	if err != nil {
		return err
	}
	records := float64(w.records)
	copied, floor := costs[0], net(costs[1], costs[0])
	for i, contender := range w.contenders {
		own := copied
		if i > 0 {
			own = net(costs[i], copied)
		}
		r := row{
			workload: w.name, contender: contender.Name,
			ns:     measure.Median(own, func(c measure.Cost) float64 { return float64(c.Time) }) / records,
			bytes:  measure.Median(own, func(c measure.Cost) float64 { return c.Bytes }) / records,
			allocs: measure.Median(own, func(c measure.Cost) float64 { return c.Allocs }) / records,
			ratio:  medianRatio(own, floor),
		}
		if contender.Name == phaseAttr && t.ratio == 0 {
			t.ratio = r.ratio
		}
		t.rows = append(t.rows, r)
	}
	return nil
}

// net is what a contender took beyond the copy, by round.
func net(costs, copied []measure.Cost) []measure.Cost {
	own := make([]measure.Cost, len(costs))
	for i := range costs {
		own[i] = costs[i].Minus(copied[i])
	}
	return own
}

// medianRatio is the middle one of the rounds' ratios of two times.
func medianRatio(own, floor []measure.Cost) float64 {
	ratios := make([]float64, len(own))
	for i := range own {
		ratios[i] = float64(own[i].Time) / float64(floor[i].Time)
	}
	return measure.Middle(ratios)
}

func (t *table) print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "per record, net of the copy\tns\tbytes\tallocs\tto floor\t")
	last := ""
	for _, r := range t.rows {
		if r.workload != last {
			fmt.Fprintf(w, "\t\t\t\t\t\n%s\t\t\t\t\t\n", r.workload)
			last = r.workload
		}
		if r.contender == copyOnly {
			fmt.Fprintf(w, "%s (the copy itself)\t%.1f\t%.1f\t%.3f\t\t\n", r.contender, r.ns, r.bytes, r.allocs)
			continue
		}
		fmt.Fprintf(w, "%s\t%.1f\t%.1f\t%.3f\t%.2f\t\n", r.contender, r.ns, r.bytes, r.allocs, r.ratio)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "\nratio to floor: %.2f\n", t.ratio)
	return err
}
