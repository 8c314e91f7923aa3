// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
)

// The queries of the demo. The first two make the table.
const (
	meanQuery  = `avg by (phase_path) (avg_over_time(DCGM_FI_DEV_GPU_UTIL[5m]))`
	countQuery = `sum by (phase_path) (count_over_time(DCGM_FI_DEV_GPU_UTIL[5m]))`
	slowQuery  = `sum by (phase_rank) (count_over_time(DCGM_FI_DEV_GPU_UTIL{phase_path=~".*all_reduce"}[5m]))`
)

// describe says where to look and what should be seen.
func (o *options) describe(out io.Writer) error {
	link := func(query string) string {
		return "http://" + o.prometheus + "/query?" + url.Values{"g0.expr": {query}, "g0.tab": {"0"}, "g0.range_input": {"5m"}}.Encode()
	}
	_, err := fmt.Fprintf(out, `A job of %d ranks on %d nodes sends its phases and GPU metrics. Nothing of it is real.

GPU utilization by phase: high in forward and backward, low in load_batch
  %s
The slow rank: all others wait for it in all_reduce
  %s
Power by phase
  %s

Ctrl-C ends all; the logs are in %s. The utilization by phase follows in %s.
`, 8*o.nodes, o.nodes, link(meanQuery), link(slowQuery), link(`avg by (phase_path) (DCGM_FI_DEV_POWER_USAGE)`), o.out, o.after)
	return err
}

// row is a phase in the table.
type row struct {
	phase  string
	points float64
	mean   float64
}

// phases returns the utilization by phase, or false if there is none yet.
func (o *options) phases(ctx context.Context) ([]row, bool) {
	means, err := o.query(ctx, meanQuery)
	if err != nil {
		return nil, false
	}
	counts, err := o.query(ctx, countQuery)
	if err != nil {
		return nil, false
	}
	var rows []row
	annotated := false
	for phase, mean := range means {
		rows = append(rows, row{phase, counts[phase], mean})
		annotated = annotated || phase != ""
	}
	slices.SortFunc(rows, func(a, b row) int { return cmp.Compare(a.phase, b.phase) })
	return rows, annotated
}

// query returns the values of an instant query by phase.
func (o *options) query(ctx context.Context, query string) (map[string]float64, error) {
	values := map[string]float64{}
	err := o.get(ctx, "/api/v1/query?"+url.Values{"query": {query}}.Encode(), func(body io.Reader) error {
		var answer struct {
			Data struct {
				Result []struct {
					Metric map[string]string
					Value  [2]any
				}
			}
		}
		if err := json.NewDecoder(body).Decode(&answer); err != nil {
			return err
		}
		for _, series := range answer.Data.Result {
			text, _ := series.Value[1].(string)
			value, err := strconv.ParseFloat(text, 64)
			if err != nil {
				return err
			}
			values[series.Metric["phase_path"]] = value
		}
		return nil
	})
	return values, err
}

// width is that of the longest bar.
const width = 40

func printRows(out io.Writer, rows []row) error {
	total := 0.0
	for _, r := range rows {
		total += r.points
	}
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "\nphase\ttime\tGPU utilization")
	for _, r := range rows {
		fmt.Fprintf(t, "%s\t%.1f%%\t%5.1f%% %s\n", cmp.Or(r.phase, "(no phase)"), 100*r.points/total, r.mean,
			strings.Repeat("#", int(r.mean*width/100)))
	}
	return t.Flush()
}
