// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
)

// memoryMetric is the gauge that the table summarizes.
const memoryMetric = "stormlog.allocator.allocated"

// Rows for telemetry without a phase_path.
const (
	ambiguous = "(ambiguous)"
	noPhase   = "(no phase)"
)

// summary collects the phases of a run from its enriched telemetry.
type summary struct {
	records int
	points  int
	// phases are in the order of their first occurrence.
	phases []*phase
}

type phase struct {
	path    string
	scopes  map[string]struct{}
	records int
	memory  stats
}

// stats summarize samples in bytes.
type stats struct {
	n             int
	min, sum, max float64
}

func (s *stats) add(value float64) {
	if s.n == 0 {
		s.min, s.max = value, value
	}
	s.min, s.max = min(s.min, value), max(s.max, value)
	s.sum += value
	s.n++
}

func (s *summary) find(path string) int {
	return slices.IndexFunc(s.phases, func(p *phase) bool { return p.path == path })
}

func (s *summary) phase(path string) *phase {
	if i := s.find(path); i >= 0 {
		return s.phases[i]
	}
	p := &phase{path: path, scopes: map[string]struct{}{}}
	s.phases = append(s.phases, p)
	return p
}

// phaseOf returns the phase in a record's attributes.
func phaseOf(attributes pcommon.Map) string {
	if path, ok := attributes.Get("phase_path"); ok {
		return path.Str()
	}
	if _, ok := attributes.Get("phase_resolution"); ok {
		return ambiguous
	}
	return noPhase
}

func (s *summary) addLogs(ld plog.Logs) {
	for _, resource := range ld.ResourceLogs().All() {
		for _, scope := range resource.ScopeLogs().All() {
			for _, record := range scope.LogRecords().All() {
				s.records++
				if path, scopeID, ok := entered(record.Attributes()); ok {
					s.phase(path).scopes[scopeID] = struct{}{}
				}
				s.phase(phaseOf(record.Attributes())).records++
			}
		}
	}
}

// entered returns the path and the scope ID of a phase_enter event.
func entered(attributes pcommon.Map) (path, scopeID string, ok bool) {
	raw := attributes.AsRaw()
	if raw["event_type"] != "phase_enter" {
		return "", "", false
	}
	metadata, _ := raw["metadata"].(map[string]any)
	scope, _ := metadata["phase_scope"].(map[string]any)
	parts, ok := scope["path"].([]any)
	names := make([]string, len(parts))
	for i, part := range parts {
		names[i] = fmt.Sprint(part)
	}
	return strings.Join(names, " / "), fmt.Sprint(scope["scope_id"]), ok
}

func (s *summary) addMetrics(md pmetric.Metrics) {
	s.points += md.DataPointCount()
	for _, resource := range md.ResourceMetrics().All() {
		for _, scope := range resource.ScopeMetrics().All() {
			for _, metric := range scope.Metrics().All() {
				if metric.Name() != memoryMetric || metric.Type() != pmetric.MetricTypeGauge {
					continue
				}
				for _, point := range metric.Gauge().DataPoints().All() {
					s.phase(phaseOf(point.Attributes())).memory.add(number(point))
				}
			}
		}
	}
}

func number(point pmetric.NumberDataPoint) float64 {
	if point.ValueType() == pmetric.NumberDataPointValueTypeInt {
		return float64(point.IntValue())
	}
	return point.DoubleValue()
}

// render prints a row per phase, then the telemetry without one.
func (s *summary) render(w io.Writer) {
	rows := [][]string{{"phase_path", "scopes", "records", "points", "min", "mean", "max"}}
	for _, p := range s.phases {
		if p.path != ambiguous && p.path != noPhase {
			rows = append(rows, p.row())
		}
	}
	for _, path := range []string{ambiguous, noPhase} {
		if i := s.find(path); i >= 0 {
			rows = append(rows, s.phases[i].row())
		}
	}
	table(w, rows)
}

func (p *phase) row() []string {
	row := []string{p.path, strconv.Itoa(len(p.scopes)), strconv.Itoa(p.records), strconv.Itoa(p.memory.n)}
	if p.memory.n == 0 {
		return append(row, "-", "-", "-")
	}
	mean := p.memory.sum / float64(p.memory.n)
	return append(row, mib(p.memory.min), mib(mean), mib(p.memory.max))
}

func mib(bytes float64) string { return strconv.FormatFloat(bytes/(1<<20), 'f', 2, 64) }

// table left-aligns the first column and right-aligns the others.
func table(w io.Writer, rows [][]string) {
	var widths []int
	for _, row := range rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], len([]rune(cell)))
		}
	}
	for _, row := range rows {
		for i, cell := range row {
			if i == 0 {
				fmt.Fprintf(w, "%-*s", widths[i], cell)
			} else {
				fmt.Fprintf(w, "  %*s", widths[i], cell)
			}
		}
		fmt.Fprintln(w)
	}
}
