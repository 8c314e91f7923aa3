// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
)

// fieldCase is a case of testdata/field; the README there describes the format.
type fieldCase struct {
	Steps  []fieldStep
	Expect []fieldExpectation

	directory string
}

// fieldStep does one thing: FileLog appends a file's lines to the input of file_log, Logs
// and Metrics post its records over OTLP, Sleep pauses.
type fieldStep struct {
	FileLog string `json:"file_log"`
	Logs    string
	Metrics string
	Sleep   float64 // in seconds

	As    string  // where file_log reads the lines, if not under the name of the file
	Lines *[2]int // the lines to take, if not all: from the first up to before the second
	Each  bool    // posts each record in a request of its own
	Wait  *bool   // whether to wait until all log records have come out. Default: true.
}

// fieldExpectation is about all points that Point or InOrder selects.
type fieldExpectation struct {
	Point map[string]any   // at least one point must be selected
	Want  map[string]any   // the attributes that each must have, or with nil, not have
	Any   []map[string]any // of which each must have one
	Count *int             // of the selected points

	InOrder map[string]any `json:"in_order"` // whose times must not decrease
}

// fieldRecord is a data point or a log record of an input.
type fieldRecord struct {
	Name      string // of a metric
	Type      string // of a metric: gauge (the default), counter or updown
	EventName string `json:"event_name"`
	Time      int64  `json:"t"`
	Start     int64
	Value     json.Number
	Attrs     map[string]any
	Resource  map[string]any
}

// TestFieldCases runs the cases of testdata/field, each in a collector of its own.
func TestFieldCases(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("testdata", "field", "*", "case.json"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		directory := filepath.Dir(file)
		t.Run(filepath.Base(directory), func(t *testing.T) {
			t.Parallel()
			loadFieldCase(t, directory).run(t)
		})
	}
}

func loadFieldCase(t *testing.T, directory string) *fieldCase {
	t.Helper()
	directory, err := filepath.Abs(directory)
	require.NoError(t, err)
	c := &fieldCase{directory: directory}
	content, err := os.ReadFile(c.path("case.json"))
	require.NoError(t, err)
	decodeStrictly(t, content, c)
	require.NotEmpty(t, c.Expect)
	return c
}

// decodeStrictly refuses unknown fields, so that a misspelled expectation cannot pass.
func decodeStrictly(t *testing.T, content []byte, into any) {
	t.Helper()
	decoder := json.NewDecoder(bytes.NewReader(content))
	decoder.UseNumber()
	decoder.DisallowUnknownFields()
	require.NoError(t, decoder.Decode(into), "%s", content)
}

func (fc *fieldCase) path(name string) string { return filepath.Join(fc.directory, name) }

func (fc *fieldCase) run(t *testing.T) {
	t.Helper()
	input := t.TempDir()
	configs := []string{"field.yaml"}
	if _, err := os.Stat(fc.path("config.yaml")); err == nil {
		configs = append(configs, fc.path("config.yaml"))
	}
	c := start(t, []string{"INPUT=" + input}, configs...)
	logs, points := 0, 0
	for _, step := range fc.Steps {
		switch {
		case step.Sleep > 0:
			<-time.After(time.Duration(step.Sleep * float64(time.Second)))
		case step.FileLog != "":
			logs += step.appendLines(t, fc, input)
			step.awaitLogs(t, c, logs)
		case step.Logs != "":
			logs += step.post(t, fc, c, step.Logs, logsOf)
			step.awaitLogs(t, c, logs)
		case step.Metrics != "":
			points += step.post(t, fc, c, step.Metrics, metricsOf)
		default:
			require.Fail(t, "a step without an action")
		}
	}
	c.eventually(t, fmt.Sprint(points, " data points"), func() bool { return len(selectPoints(t, c, nil)) >= points })
	c.stop(t)
	for _, e := range fc.Expect {
		e.check(t, c)
	}
}

// lines returns the lines of a file that the step takes.
func (s *fieldStep) lines(t *testing.T, fc *fieldCase, name string) [][]byte {
	t.Helper()
	var lines [][]byte
	eachLine(t, fc.path(name), func(line []byte) { lines = append(lines, line) })
	if s.Lines != nil {
		lines = lines[s.Lines[0]:s.Lines[1]]
	}
	return lines
}

// appendLines returns how many lines it has appended.
func (s *fieldStep) appendLines(t *testing.T, fc *fieldCase, input string) int {
	t.Helper()
	name := s.As
	if name == "" {
		name = s.FileLog
	}
	target := filepath.Join(input, name)
	require.NoError(t, os.MkdirAll(filepath.Dir(target), 0o700))
	file, err := os.OpenFile(target, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(t, err)
	defer file.Close()
	lines := s.lines(t, fc, s.FileLog)
	_, err = file.Write(bytes.Join(lines, nil))
	require.NoError(t, err)
	return len(lines)
}

// post returns how many records it has sent.
func (s *fieldStep) post(t *testing.T, fc *fieldCase, c *collector, name string, batchOf func(*testing.T, []fieldRecord) any) int {
	t.Helper()
	var all []fieldRecord
	for _, line := range s.lines(t, fc, name) {
		var record fieldRecord
		decodeStrictly(t, line, &record)
		all = append(all, record)
	}
	size := len(all)
	if s.Each {
		size = 1
	}
	for batch := range slices.Chunk(all, size) {
		c.send(t, batchOf(t, batch))
	}
	return len(all)
}

func (s *fieldStep) awaitLogs(t *testing.T, c *collector, sent int) {
	t.Helper()
	if s.Wait != nil && !*s.Wait {
		return
	}
	c.eventually(t, fmt.Sprint(sent, " log records"), func() bool {
		received := 0
		eachLogRecord(c.logs(t, "logs"), func(pcommon.Map, plog.LogRecord) { received++ })
		return received >= sent
	})
}

func logsOf(t *testing.T, records []fieldRecord) any {
	t.Helper()
	ld := plog.NewLogs()
	for _, r := range records {
		resource := ld.ResourceLogs().AppendEmpty()
		fill(t, resource.Resource().Attributes(), r.Resource)
		record := resource.ScopeLogs().AppendEmpty().LogRecords().AppendEmpty()
		record.SetTimestamp(pcommon.Timestamp(r.Time))
		record.SetEventName(r.EventName)
		fill(t, record.Attributes(), r.Attrs)
	}
	return ld
}

func metricsOf(t *testing.T, records []fieldRecord) any {
	t.Helper()
	md := pmetric.NewMetrics()
	for _, r := range records {
		resource := md.ResourceMetrics().AppendEmpty()
		fill(t, resource.Resource().Attributes(), r.Resource)
		metric := resource.ScopeMetrics().AppendEmpty().Metrics().AppendEmpty()
		metric.SetName(r.Name)
		dp := r.emptyPoint(t, metric)
		dp.SetStartTimestamp(pcommon.Timestamp(r.Start))
		dp.SetTimestamp(pcommon.Timestamp(r.Time))
		value, err := r.Value.Float64()
		require.NoError(t, err)
		dp.SetDoubleValue(value)
		fill(t, dp.Attributes(), r.Attrs)
	}
	return md
}

// emptyPoint adds a point to a metric of the record's type.
func (r *fieldRecord) emptyPoint(t *testing.T, metric pmetric.Metric) pmetric.NumberDataPoint {
	t.Helper()
	switch r.Type {
	case "", "gauge":
		return metric.SetEmptyGauge().DataPoints().AppendEmpty()
	case "counter", "updown":
		sum := metric.SetEmptySum()
		sum.SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
		sum.SetIsMonotonic(r.Type == "counter")
		return sum.DataPoints().AppendEmpty()
	}
	require.Fail(t, "unknown type", r.Type)
	return pmetric.NumberDataPoint{}
}

func fill(t *testing.T, attributes pcommon.Map, fields map[string]any) {
	t.Helper()
	require.NoError(t, attributes.FromRaw(numbers(t, fields).(map[string]any)))
}

// fieldPoint is a data point that came out.
type fieldPoint struct {
	about map[string]any // the name, the time, and the attributes of the resource, the scope and the point
	own   map[string]any // the attributes of the point
}

// selectPoints returns the points that have these values, in the order in which they came out.
func selectPoints(t *testing.T, c *collector, values map[string]any) []fieldPoint {
	t.Helper()
	var selected []fieldPoint
	for _, md := range c.metrics(t, "metrics") {
		for _, rm := range md.ResourceMetrics().All() {
			for _, sm := range rm.ScopeMetrics().All() {
				for _, m := range sm.Metrics().All() {
					for _, dp := range numberPoints(m).All() {
						p := fieldPoint{about: map[string]any{}, own: dp.Attributes().AsRaw()}
						maps.Copy(p.about, rm.Resource().Attributes().AsRaw())
						maps.Copy(p.about, sm.Scope().Attributes().AsRaw())
						maps.Copy(p.about, p.own)
						p.about["name"], p.about["t"] = m.Name(), int64(dp.Timestamp())
						if hasAll(p.about, values) {
							selected = append(selected, p)
						}
					}
				}
			}
		}
	}
	return selected
}

func numberPoints(metric pmetric.Metric) pmetric.NumberDataPointSlice {
	if metric.Type() == pmetric.MetricTypeSum {
		return metric.Sum().DataPoints()
	}
	return metric.Gauge().DataPoints()
}

// hasAll reports whether the attributes have all values; nil stands for an absent one.
func hasAll(attributes, values map[string]any) bool {
	for name, value := range values {
		if got := attributes[name]; !assert.ObjectsAreEqual(value, got) {
			return false
		}
	}
	return true
}

func (e *fieldExpectation) check(t *testing.T, c *collector) {
	t.Helper()
	if e.InOrder != nil {
		checkOrder(t, selectPoints(t, c, normalized(t, e.InOrder)))
		return
	}
	require.NotNil(t, e.Point, "an expectation without a selection")
	points := selectPoints(t, c, normalized(t, e.Point))
	about := describe(e.Point)
	if e.Count != nil {
		assert.Len(t, points, *e.Count, about)
	}
	accepted := e.Any
	if e.Want != nil {
		require.Empty(t, e.Any, "want and any in one expectation")
		accepted = append(accepted, e.Want)
	}
	if len(accepted) == 0 {
		require.NotNil(t, e.Count, "an expectation of nothing")
		return
	}
	assert.NotEmpty(t, points, about)
	for _, p := range points {
		matches := func(want map[string]any) bool { return hasAll(p.own, normalized(t, want)) }
		if !slices.ContainsFunc(accepted, matches) {
			t.Errorf("%s:\n  got  %s\n  want %s", about, describe(phaseAttributes(p.own)), describe(accepted...))
		}
	}
}

func checkOrder(t *testing.T, points []fieldPoint) {
	t.Helper()
	assert.NotEmpty(t, points)
	behind, newest := 0, int64(0)
	for _, p := range points {
		at := p.about["t"].(int64)
		if at < newest {
			behind++
		}
		newest = max(newest, at)
	}
	assert.Zero(t, behind, "points of %d that came out after a later one", len(points))
}

// normalized returns a copy with the types of attributes.
func normalized(t *testing.T, values map[string]any) map[string]any {
	t.Helper()
	return numbers(t, maps.Clone(values)).(map[string]any)
}

func phaseAttributes(attributes map[string]any) map[string]any {
	found := maps.Clone(attributes)
	maps.DeleteFunc(found, func(name string, _ any) bool { return !strings.HasPrefix(name, "phase_") })
	return found
}

// describe shows values as JSON.
func describe(values ...map[string]any) string {
	var shown []string
	for _, v := range values {
		text, err := json.Marshal(v)
		if err != nil {
			return err.Error()
		}
		shown = append(shown, string(text))
	}
	return strings.Join(shown, " or ")
}
