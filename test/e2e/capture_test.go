// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

// captureNames are the recorded runs in testdata/captures.
var captureNames = []string{"single", "threads", "bursty", "crash", "rank0", "rank1"}

// capture is a recorded run with the attributions of the reference implementation.
type capture struct {
	name      string
	session   string
	rank      int64
	events    []map[string]any
	reference map[int64]*attribution // by time, which is unique within a run
	scopes    []scope
}

// attribution is a result of the reference implementation; nil if there is none.
type attribution struct {
	Resolution string   `json:"phase_resolution"`
	Path       *string  `json:"phase_path"`
	Paths      []string `json:"phase_paths"`
	ScopeID    string   `json:"scope_id"`
	ThreadID   int64    `json:"thread_id"`
	Source     string   `json:"phase_source"`
}

// scope is one entered phase.
type scope struct {
	id       string
	thread   int64
	depth    int
	path     string
	from, to int64
}

func captureFile(name, kind string) string {
	return filepath.Join("..", "..", "testdata", "captures", name+kind)
}

func loadCaptures(t *testing.T) []*capture {
	t.Helper()
	var captures []*capture
	for _, name := range captureNames {
		captures = append(captures, loadCapture(t, name))
	}
	return captures
}

func loadCapture(t *testing.T, name string) *capture {
	t.Helper()
	c := &capture{name: name, reference: map[int64]*attribution{}}
	eachLine(t, captureFile(name, ".jsonl"), func(line []byte) {
		c.events = append(c.events, decodeEvent(t, line))
	})
	require.NotEmpty(t, c.events)
	c.session = c.events[0]["session_id"].(string)
	c.rank = c.events[0]["rank"].(int64)

	eachLine(t, captureFile(name, ".expected.jsonl"), func(line []byte) {
		var expected struct {
			Time        int64 `json:"timestamp_ns"`
			Attribution *attribution
		}
		require.NoError(t, json.Unmarshal(line, &expected))
		c.reference[expected.Time] = expected.Attribution
	})
	require.Len(t, c.reference, len(c.events))
	c.findScopes(t)
	return c
}

func eachLine(t *testing.T, file string, do func(line []byte)) {
	t.Helper()
	content, err := os.ReadFile(file)
	require.NoError(t, err)
	for line := range bytes.Lines(content) {
		do(line)
	}
}

// decodeEvent reads a line of a run. Integers remain integers.
func decodeEvent(t *testing.T, line []byte) map[string]any {
	t.Helper()
	decoder := json.NewDecoder(bytes.NewReader(line))
	decoder.UseNumber()
	var event map[string]any
	require.NoError(t, decoder.Decode(&event))
	return numbers(t, event).(map[string]any)
}

func numbers(t *testing.T, value any) any {
	t.Helper()
	switch v := value.(type) {
	case map[string]any:
		for name, field := range v {
			v[name] = numbers(t, field)
		}
	case []any:
		for i, item := range v {
			v[i] = numbers(t, item)
		}
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return n
		}
		f, err := v.Float64()
		require.NoError(t, err)
		return f
	}
	return value
}

// findScopes pairs the enters and exits of the run by scope ID. A scope without an exit
// ends with the run.
func (c *capture) findScopes(t *testing.T) {
	t.Helper()
	end := slices.Max(c.times())
	open := map[string]int{}
	for _, event := range c.byTime() {
		s, ok := event["metadata"].(map[string]any)["phase_scope"].(map[string]any)
		if !ok {
			continue
		}
		id, at := s["scope_id"].(string), event["timestamp_ns"].(int64)
		if s["action"] == "exit" {
			require.Contains(t, open, id)
			c.scopes[open[id]].to = at
			continue
		}
		var path []string
		for _, part := range s["path"].([]any) {
			path = append(path, part.(string))
		}
		open[id] = len(c.scopes)
		c.scopes = append(c.scopes, scope{
			id: id, thread: s["thread_id"].(int64), depth: len(path), path: strings.Join(path, " / "), from: at, to: end,
		})
	}
	require.NotEmpty(t, c.scopes)
}

func (c *capture) times() []int64 {
	times := make([]int64, len(c.events))
	for i, event := range c.events {
		times[i] = event["timestamp_ns"].(int64)
	}
	return times
}

func (c *capture) byTime() []map[string]any {
	return slices.SortedFunc(slices.Values(c.events), func(a, b map[string]any) int {
		return int(a["timestamp_ns"].(int64) - b["timestamp_ns"].(int64))
	})
}

// annotation returns what the processor writes by default for an attribution.
func (a *attribution) annotation() annotation {
	switch {
	case a == nil:
		return annotation{}
	case a.Path == nil:
		return annotation{"phase_resolution": a.Resolution}
	}
	return annotation{"phase_resolution": a.Resolution, "phase_path": *a.Path}
}

// during returns the annotation of an interval from one event to a later one, from the
// answers of the threads. It reports whether a scope contains the interval.
func (c *capture) during(from, to int64) (_ annotation, contained bool) {
	threads := map[int64][]scope{}
	for _, s := range c.scopes {
		if s.from < to && from < s.to {
			threads[s.thread] = append(threads[s.thread], s)
		}
	}
	var answers []annotation
	for _, scopes := range threads {
		answer, within := ofThread(scopes, from, to)
		contained = contained || within
		if len(answer) > 0 {
			answers = append(answers, answer)
		}
	}
	switch len(answers) {
	case 0:
		return annotation{}, contained
	case 1:
		return answers[0], contained
	}
	return annotation{"phase_resolution": "ambiguous"}, contained
}

// ofThread returns the annotation of an interval by the scopes of a thread in it: the
// deepest one that contains it, else the deepest path that takes up half of it. It reports
// whether a scope contains it.
func ofThread(scopes []scope, from, to int64) (_ annotation, contained bool) {
	depth := 0
	var path string
	for _, s := range scopes {
		if s.from <= from && to <= s.to && s.depth > depth {
			depth, path = s.depth, s.path
		}
	}
	if depth > 0 {
		return annotation{"phase_resolution": "unique", "phase_path": path}, true
	}
	covered, depths := map[string]int64{}, map[string]int{}
	inPhase := int64(0)
	for _, s := range scopes {
		part := min(s.to, to) - max(s.from, from)
		covered[s.path] += part
		depths[s.path] = s.depth
		if s.depth == 1 {
			inPhase += part
		}
	}
	for candidate, part := range covered {
		if 2*part >= to-from && depths[candidate] > depth {
			depth, path = depths[candidate], candidate
		}
	}
	switch {
	case depth > 0:
		return annotation{"phase_resolution": "unique", "phase_path": path}, false
	case 2*inPhase < to-from:
		return annotation{}, false
	}
	return annotation{"phase_resolution": "ambiguous"}, false
}

// describe sets the attributes of the run on a resource.
func (c *capture) describe(resource pcommon.Resource) {
	resource.Attributes().PutStr("session_id", c.session)
	resource.Attributes().PutInt("rank", c.rank)
}

// logs returns events of the run as log records in one batch.
func (c *capture) logs(t *testing.T, events []map[string]any) plog.Logs {
	t.Helper()
	ld := plog.NewLogs()
	records := ld.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty().LogRecords()
	for _, event := range events {
		record := records.AppendEmpty()
		record.SetTimestamp(pcommon.Timestamp(event["timestamp_ns"].(int64)))
		require.NoError(t, record.Attributes().FromRaw(event))
	}
	return ld
}

// expectedLogs returns the annotations of the run's events according to the reference.
func (c *capture) expectedLogs() annotations {
	want := annotations{}
	for at, reference := range c.reference {
		want[key{session: c.session, from: at, to: at}] = reference.annotation()
	}
	return want
}

// metrics returns the gauges of the run.
func (c *capture) metrics(t *testing.T) []pmetric.Metrics {
	t.Helper()
	return read(t, captureFile(c.name, ".metrics.jsonl"), (&pmetric.JSONUnmarshaler{}).UnmarshalMetrics)
}

// expectedMetrics returns, for each data point, the annotation of the event at the same
// time.
func (c *capture) expectedMetrics(t *testing.T) annotations {
	t.Helper()
	want := metricAnnotations(t, c.metrics(t))
	require.NotEmpty(t, want)
	for k := range want {
		reference, ok := c.reference[k.from]
		require.True(t, ok, "no event at %d", k.from)
		want[k] = reference.annotation()
	}
	return want
}

// traces returns, in one batch, spans from events of the run to themselves and to nearby
// and distant later ones, with their wanted annotations and the number of those that lie
// within a phase.
func (c *capture) traces(t *testing.T) (td ptrace.Traces, want annotations, contained int) {
	t.Helper()
	td, want = ptrace.NewTraces(), annotations{}
	resource := td.ResourceSpans().AppendEmpty()
	c.describe(resource.Resource())
	spans := resource.ScopeSpans().AppendEmpty().Spans()
	times := slices.Sorted(slices.Values(c.times()))
	for _, stride := range []int{0, 1, 2, 4, 8, 16, 64} {
		for i := range len(times) - stride {
			from, to := times[i], times[i+stride]
			expected := c.reference[from].annotation()
			if from < to {
				var within bool
				if expected, within = c.during(from, to); within {
					contained++
				}
			}
			want[key{session: c.session, from: from, to: to}] = expected
			span := spans.AppendEmpty()
			span.SetStartTimestamp(pcommon.Timestamp(from))
			span.SetEndTimestamp(pcommon.Timestamp(to))
		}
	}
	require.NotZero(t, contained)
	require.Less(t, contained, len(want))
	return td, want, contained
}
