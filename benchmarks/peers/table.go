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

// results are the rows of both tables: the cost per record of each contender, net of the
// copy that it worked on.
type results struct {
	rows []row
	best []bestRow
}

// row is a line of the table of all contenders. The copy's own row is not net of the copy.
type row struct {
	workload, contender      string
	ns, bytes, allocs, ratio float64
}

// bestRow is a line of the table against the best floor.
type bestRow struct {
	of         bestCase
	floor, own row
}

// add measures a workload against the floor.
func (r *results) add(w *workload, o options) error {
	rows, err := w.measure(o)
	r.rows = append(r.rows, rows...)
	return err
}

// addBest measures a workload against the best floor.
func (r *results) addBest(c bestCase, w *workload, o options) error {
	rows, err := w.measure(o)
	if err == nil && len(rows) > 0 {
		r.best = append(r.best, bestRow{of: c, floor: rows[1], own: rows[2]})
	}
	return err
}

// measure returns a row per contender, in their order, or none if the options exclude the
// workload.
func (w *workload) measure(o options) ([]row, error) {
	if !strings.Contains(w.name, o.only) {
		return nil, nil
	}
	fmt.Fprintf(os.Stderr, "measuring %s, %d records\n", w.name, w.records)
	costs, err := measure.Rounds(w.contenders, o.rounds, w.batches)
	if err != nil {
		return nil, err
	}
	records := float64(w.records)
	copied, floor := costs[0], net(costs[1], costs[0])
	rows := make([]row, len(w.contenders))
	for i, contender := range w.contenders {
		own := copied
		if i > 0 {
			own = net(costs[i], copied)
		}
		rows[i] = row{
			workload: w.name, contender: contender.Name,
			ns:     measure.Median(own, func(c measure.Cost) float64 { return float64(c.Time) }) / records,
			bytes:  measure.Median(own, func(c measure.Cost) float64 { return c.Bytes }) / records,
			allocs: measure.Median(own, func(c measure.Cost) float64 { return c.Allocs }) / records,
			ratio:  medianRatio(own, floor),
		}
	}
	return rows, nil
}

// net returns the cost of a contender beyond the copy, by round.
func net(costs, copied []measure.Cost) []measure.Cost {
	own := make([]measure.Cost, len(costs))
	for i := range costs {
		own[i] = costs[i].Minus(copied[i])
	}
	return own
}

// medianRatio returns the median of the rounds' ratios of two times.
func medianRatio(own, floor []measure.Cost) float64 {
	ratios := make([]float64, len(own))
	for i := range own {
		ratios[i] = float64(own[i].Time) / float64(floor[i].Time)
	}
	return measure.Middle(ratios)
}

// ratio returns the ratio of phase_attr to the floor in the first workload measured.
func (r *results) ratio() float64 {
	for _, row := range r.rows {
		if row.contender == phaseAttr {
			return row.ratio
		}
	}
	return 0
}

// bestRatio returns the ratio of phase_attr to the best floor in the case that stands for
// the others.
func (r *results) bestRatio() float64 {
	for _, row := range r.best {
		if row.of.identity == bestRatioIdentity && row.of.labels == bestRatioLabels {
			return row.own.ratio
		}
	}
	return 0
}

func (r *results) print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "per record, net of the copy\tns\tbytes\tallocs\tto floor\t")
	last := ""
	for _, row := range r.rows {
		if row.workload != last {
			fmt.Fprintf(w, "\t\t\t\t\t\n%s\t\t\t\t\t\n", row.workload)
			last = row.workload
		}
		if row.contender == copyOnly {
			fmt.Fprintf(w, "%s (the copy itself)\t%.1f\t%.1f\t%.3f\t\t\n", row.contender, row.ns, row.bytes, row.allocs)
			continue
		}
		fmt.Fprintf(w, "%s\t%.1f\t%.1f\t%.3f\t%.2f\t\n", row.contender, row.ns, row.bytes, row.allocs, row.ratio)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(out)
	if err := r.printBest(out); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "\nratio to best floor: %.2f\nratio to floor: %.2f\n", r.bestRatio(), r.ratio())
	return err
}

func (r *results) printBest(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "attributes on a point, net of the copy\tbest floor, ns\tbytes\tphase_attr, ns\tbytes\tto best floor\t")
	last := ""
	for _, row := range r.best {
		if row.of.title != last {
			fmt.Fprintf(w, "\t\t\t\t\t\t\n%s\t\t\t\t\t\t\n", row.of.title)
			last = row.of.title
		}
		fmt.Fprintf(w, "%d\t%.1f\t%.1f\t%.1f\t%.1f\t%.2f\t\n", row.of.labels,
			row.floor.ns, row.floor.bytes, row.own.ns, row.own.bytes, row.own.ratio)
	}
	return w.Flush()
}

// printRatios prints the ratios of phase_attr only, one a line with a tab before it.
func (r *results) printRatios(out io.Writer) error {
	w := &strings.Builder{}
	for _, row := range r.rows {
		if row.contender == phaseAttr {
			fmt.Fprintf(w, "%s\t%.4f\n", row.workload, row.ratio)
		}
	}
	for _, row := range r.best {
		fmt.Fprintf(w, "%s\t%.4f\n", row.of.name(), row.own.ratio)
	}
	_, err := io.WriteString(out, w.String())
	return err
}
