// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package truth

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"text/tabwriter"
	"time"
)

// History counts data points by their time, to show what an incident did to them.
type History struct {
	// Every is the length of a period. With 0, nothing is counted.
	Every time.Duration

	periods map[int64]Report
}

// Add counts a data point.
func (h *History) Add(at int64, c Count) {
	if h.Every == 0 {
		return
	}
	if h.periods == nil {
		h.periods = map[int64]Report{}
	}
	period := at / int64(h.Every)
	if h.periods[period] == nil {
		h.periods[period] = Report{}
	}
	h.periods[period][c]++
}

// Write prints a line per period, with the time since the first one.
func (h *History) Write(out io.Writer) error {
	if len(h.periods) == 0 {
		return nil
	}
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "time\tpoints\tright\tambiguous\tnone\twrong\tunknown\t")
	periods := slices.Sorted(maps.Keys(h.periods))
	for _, period := range periods {
		r := h.periods[period]
		fmt.Fprintf(t, "%v\t%d\t", time.Duration(period-periods[0])*h.Every, r.Total())
		for _, v := range []Verdict{Right, Ambiguous, None, Wrong, Unknown} {
			fmt.Fprintf(t, "%.3f%%\t", 100*r.Share(v))
		}
		fmt.Fprintln(t)
	}
	fmt.Fprintln(t)
	return t.Flush()
}
