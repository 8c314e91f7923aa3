// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package truth

import (
	"bufio"
	"bytes"
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"text/tabwriter"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
)

// Verdict is the result of comparing the annotation of a data point with the truth.
type Verdict string

// The verdicts, from best to worst.
const (
	// Right: the phase, or none outside of all phases.
	Right Verdict = "right"
	// Ambiguous: no phase, but the point says that there are several.
	Ambiguous Verdict = "ambiguous"
	// None: no phase, although there was one.
	None Verdict = "none"
	// Wrong: another phase.
	Wrong Verdict = "wrong"
	// Unknown: the truth does not know what the point names.
	Unknown Verdict = "unknown"
)

// Reasons for verdicts other than right, beside the causes of an [Interval].
const (
	// Cumulative: the point is that of an UpDownCounter, and cumulative sums have no phase
	// by default.
	Cumulative  = "cumulative sum"
	Skew        = "clock skew"
	Unexplained = "unexplained"
)

// Count is how many points had a verdict for a reason.
type Count struct {
	Verdict Verdict
	Reason  string
}

// Report counts data points by verdict and reason.
type Report map[Count]int

// Add counts a data point, whatever its time.
func (r Report) Add(_ int64, c Count) { r[c]++ }

// Total returns the number of points.
func (r Report) Total() int {
	total := 0
	for _, n := range r {
		total += n
	}
	return total
}

// Share returns the share of points with a verdict, from 0 to 1.
func (r Report) Share(v Verdict) float64 {
	n := 0
	for c, count := range r {
		if c.Verdict == v {
			n += count
		}
	}
	return float64(n) / float64(max(r.Total(), 1))
}

// Write prints the report as a table.
func (r Report) Write(out io.Writer) error {
	order := []Verdict{Right, Ambiguous, None, Wrong, Unknown}
	counts := slices.SortedFunc(maps.Keys(r), func(a, b Count) int {
		return cmp.Or(
			cmp.Compare(slices.Index(order, a.Verdict), slices.Index(order, b.Verdict)),
			cmp.Compare(r[b], r[a]), cmp.Compare(a.Reason, b.Reason))
	})
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "verdict\tpoints\tshare\treason")
	for _, c := range counts {
		fmt.Fprintf(t, "%s\t%d\t%.3f%%\t%s\n", c.Verdict, r[c], 100*float64(r[c])/float64(r.Total()), c.Reason)
	}
	fmt.Fprintf(t, "total\t%d\t\t\n", r.Total())
	return t.Flush()
}

// maxLine is the length of the longest line that [Check] reads.
const maxLine = 256 << 20

// Check reads OTLP JSON lines, as the file exporter writes them, and calls add with the time
// of each data point of a gauge or an UpDownCounter. Lines of other signals are skipped.
func (x *Index) Check(in io.Reader, add func(at int64, c Count)) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, maxLine)
	unmarshaler := pmetric.JSONUnmarshaler{}
	for n := 1; lines.Scan(); n++ {
		if len(bytes.TrimSpace(lines.Bytes())) == 0 {
			continue
		}
		md, err := unmarshaler.UnmarshalMetrics(lines.Bytes())
		if err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
		for _, resource := range md.ResourceMetrics().All() {
			for _, scope := range resource.ScopeMetrics().All() {
				for _, m := range scope.Metrics().All() {
					for _, p := range momentary(m).All() {
						add(int64(p.Timestamp()), x.verdict(m, p, resource.Resource().Attributes())) //nolint:gosec // times fit
					}
				}
			}
		}
	}
	return lines.Err()
}

// momentary returns the points of a metric whose values are those of a moment.
func momentary(m pmetric.Metric) pmetric.NumberDataPointSlice {
	switch m.Type() {
	case pmetric.MetricTypeGauge:
		return m.Gauge().DataPoints()
	case pmetric.MetricTypeSum:
		if !m.Sum().IsMonotonic() && m.Sum().AggregationTemporality() == pmetric.AggregationTemporalityCumulative {
			return m.Sum().DataPoints()
		}
	}
	return pmetric.NewNumberDataPointSlice()
}

func (x *Index) verdict(m pmetric.Metric, p pmetric.NumberDataPoint, resource pcommon.Map) Count {
	attribute := func(names ...string) string {
		for _, name := range names {
			for _, attrs := range []pcommon.Map{p.Attributes(), resource} {
				if value, ok := attrs.Get(name); ok {
					return value.AsString()
				}
			}
		}
		return ""
	}
	t := x.find(attribute)
	if t == nil {
		return Count{Verdict: Unknown}
	}
	count := t.verdict(int64(p.Timestamp()), attribute("phase_resolution"), attribute("phase_path")) //nolint:gosec // times fit
	if count.Verdict == None && m.Type() == pmetric.MetricTypeSum {
		count.Reason = Cumulative
	}
	return count
}

// verdict judges an annotation. At the boundary between two phases, both are right.
func (t *timeline) verdict(at int64, resolution, path string) Count {
	if resolution == "ambiguous" {
		return Count{Ambiguous, t.reason(at)}
	}
	if resolution == "" {
		path = ""
	}
	switch {
	case matches(t.at(at), path):
		return Count{Verdict: Right}
	case t.clockOffset != 0 && matches(t.at(at-t.clockOffset), path):
		return Count{verdictOf(path), Skew}
	}
	return Count{verdictOf(path), t.reason(at)}
}

// verdictOf returns the verdict on a path that is not right.
func verdictOf(path string) Verdict {
	if path == "" {
		return None
	}
	return Wrong
}

func matches(now []Interval, path string) bool {
	if len(now) == 0 {
		return path == ""
	}
	return slices.ContainsFunc(now, func(i Interval) bool { return i.Path == path })
}

// reason returns what happened to the boundaries around a time. A reader that misses the
// begin of a phase may conclude that it began earlier.
func (t *timeline) reason(at int64) string {
	now := t.at(at)
	for _, i := range now {
		if i.After != "" {
			return i.After
		}
	}
	if len(now) > 0 {
		for _, i := range t.at(now[len(now)-1].To) {
			if i.After == AfterLost || i.After == AfterLate {
				return i.After
			}
		}
	}
	return Unexplained
}
