// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package jaeger

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/phaseattr/phaseattr/test/program"
)

// runs are the recorded runs. That of crash ends within two scopes.
func runs() []string { return []string{"single", "threads", "bursty", "crash", "rank0", "rank1"} }

// scope is a scope of a recorded run, or a span of it.
type scope struct {
	session, rank, job, path, parent string
	from, to                         int64
	synthetic                        bool
}

// scopes returns the scopes of a recorded run by their IDs.
func scopes(t *testing.T, run string) map[string]scope {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("..", "..", "testdata", "captures", run+".jsonl"))
	require.NoError(t, err)
	all := map[string]scope{}
	end := int64(0)
	for line := range bytes.Lines(content) {
		var record struct {
			Session  string `json:"session_id"`
			Rank     int    `json:"rank"`
			Job      string `json:"job_id"`
			Time     int64  `json:"timestamp_ns"`
			Metadata struct {
				Scope struct {
					Action string   `json:"action"`
					ID     string   `json:"scope_id"`
					Parent string   `json:"parent_scope_id"`
					Path   []string `json:"path"`
				} `json:"phase_scope"`
			} `json:"metadata"`
		}
		require.NoError(t, json.Unmarshal(line, &record))
		end = max(end, record.Time)
		entered := record.Metadata.Scope
		s := all[entered.ID]
		switch entered.Action {
		case "enter":
			s.session, s.rank, s.job = record.Session, strconv.Itoa(record.Rank), record.Job
			s.path, s.parent, s.from = strings.Join(entered.Path, " / "), entered.Parent, record.Time
		case "exit":
			s.to = record.Time
		default:
			continue
		}
		all[entered.ID] = s
	}
	for id, s := range all {
		if s.to == 0 {
			s.to, s.synthetic = end, true
			all[id] = s
		}
	}
	require.NotEmpty(t, all)
	return all
}

// TestJaegerShowsThePhases runs the example with all recorded runs.
func TestJaegerShowsThePhases(t *testing.T) {
	r := start(t)
	want := map[string]scope{}
	for _, run := range runs() {
		for id, s := range scopes(t, run) {
			want[id] = s
		}
		r.read(t, run)
	}
	program.Eventually(t, "all spans are stored", func() bool { return r.spans(t, "training").SpanCount() >= len(want) })

	t.Run("every scope is a span", func(t *testing.T) { r.checkSpans(t, want) })
	t.Run("a search by path finds the steps", func(t *testing.T) { r.checkSearch(t, want) })
	t.Run("the trainer's own spans have a path", func(t *testing.T) { r.checkTrainer(t, want) })
	t.Run("durations by phase", func(t *testing.T) { r.checkDurations(t, want) })
	t.Run("the picture", func(t *testing.T) { r.checkPicture(t) })
}

// checkSpans compares the spans in Jaeger with the scopes.
func (r *rig) checkSpans(t *testing.T, want map[string]scope) {
	spans := map[string]ptrace.Span{}
	eachSpan(r.spans(t, "training"), func(resource pcommon.Resource, span ptrace.Span) {
		service, _ := resource.Attributes().Get("service.name")
		assert.Equal(t, "training", service.Str())
		id := text(span, "phase_scope_id")
		require.NotContains(t, spans, id, "one span per scope")
		spans[id] = span
	})
	require.Len(t, spans, len(want))
	synthetic := 0
	for id, s := range want {
		span := spans[id]
		_, ended := span.Attributes().Get("synthetic_end")
		if ended {
			synthetic++
		}
		got := scope{
			session: text(span, "session_id"), rank: text(span, "rank"), job: text(span, "job_id"), path: text(span, "phase_path"),
			parent: s.parent, from: int64(span.StartTimestamp()), to: int64(span.EndTimestamp()), synthetic: ended,
		}
		assert.Equal(t, s, got, id)
		names := strings.Split(s.path, " / ")
		assert.Equal(t, names[len(names)-1], span.Name(), id)
		parent, trace := pcommon.SpanID{}, span.TraceID()
		if len(names) > 2 { // inside of train / step
			parent, trace = spans[s.parent].SpanID(), spans[s.parent].TraceID()
		}
		assert.Equal(t, parent, span.ParentSpanID(), "the parent of %s", id)
		assert.Equal(t, trace, span.TraceID(), "the trace of %s", id)
	}
	assert.Equal(t, 2, synthetic)
	t.Logf("%d scopes are spans in Jaeger, with their parents, times and paths; %d end with their process", len(want), synthetic)
}

// checkSearch searches for a path, as one does on Jaeger's page.
func (r *rig) checkSearch(t *testing.T, want map[string]scope) {
	const path = "train / step / forward"
	steps := map[string]bool{}
	for _, s := range want {
		if s.path == path {
			steps[s.parent] = true
		}
	}
	require.NotEmpty(t, steps)
	found := map[string]bool{}
	for _, span := range r.search(t, "training", map[string]string{"phase_path": path}) {
		if span.OperationName == "step" {
			found[span.tag("phase_scope_id").(string)] = true
		}
	}
	assert.Equal(t, steps, found)
	t.Logf("phase_path=%q finds the traces of %d steps", path, len(found))

	assert.Empty(t, r.search(t, "training", map[string]string{"session_id": "none", "phase_path": path}))
	one := r.search(t, "training", map[string]string{"rank": "1", "epoch": "0", "step": "3"})
	assert.Len(t, one, 6, "the trace of one step")
}

// checkTrainer sends spans of the trainer, one within each forward pass of a run, and
// searches for them by path.
func (r *rig) checkTrainer(t *testing.T, want map[string]scope) {
	session := ""
	for id := range scopes(t, "single") {
		session = want[id].session
		break
	}
	td := ptrace.NewTraces()
	rs := td.ResourceSpans().AppendEmpty()
	rs.Resource().Attributes().PutStr("service.name", "trainer")
	rs.Resource().Attributes().PutStr("session_id", session)
	rs.Resource().Attributes().PutInt("rank", 0)
	spans := rs.ScopeSpans().AppendEmpty().Spans()
	sent := map[string]int{}
	for _, s := range want {
		if s.session != session || strings.Count(s.path, " / ") < 2 {
			continue
		}
		span := spans.AppendEmpty()
		n := byte(spans.Len())
		span.SetTraceID(pcommon.TraceID{15: n})
		span.SetSpanID(pcommon.SpanID{7: n})
		span.SetName("kernel")
		span.SetStartTimestamp(pcommon.Timestamp(s.from))
		span.SetEndTimestamp(pcommon.Timestamp(s.from + (s.to-s.from)/4))
		sent[s.path]++
	}
	r.send(t, td)
	program.Eventually(t, "the trainer's spans are stored", func() bool { return r.spans(t, "trainer").SpanCount() >= spans.Len() })
	for path, n := range sent {
		found := r.search(t, "trainer", map[string]string{"phase_path": path})
		assert.Len(t, found, n, path)
	}
	t.Logf("spans of the trainer by phase_path: %v", sent)
}

// checkDurations compares the histograms of span_metrics with the scopes.
func (r *rig) checkDurations(t *testing.T, want map[string]scope) {
	type key struct{ job, path, rank string }
	counts, seconds := map[key]float64{}, map[key]float64{}
	for _, s := range want {
		k := key{s.job, s.path, s.rank}
		counts[k]++
		seconds[k] += float64(s.to-s.from) / 1e9
	}
	sample := regexp.MustCompile(`(?m)^phase_duration_seconds_(count|sum)\{([^}]*)\} (\S+)$`)
	label := regexp.MustCompile(`(\w+)="([^"]*)"`)
	gotCounts, gotSeconds := map[key]float64{}, map[key]float64{}
	program.Eventually(t, "the durations of all spans", func() bool {
		total := 0.0
		clear(gotCounts)
		for _, match := range sample.FindAllStringSubmatch(string(program.Get(t, r.exporter+"/metrics")), -1) {
			labels := map[string]string{}
			for _, pair := range label.FindAllStringSubmatch(match[2], -1) {
				labels[pair[1]] = pair[2]
			}
			value, err := strconv.ParseFloat(match[3], 64)
			require.NoError(t, err)
			k := key{labels["job_id"], labels["phase_path"], labels["rank"]}
			if match[1] == "sum" {
				gotSeconds[k] = value
				continue
			}
			gotCounts[k] = value
			total += value
		}
		return int(total) >= len(want)
	})
	assert.Equal(t, counts, gotCounts)
	assert.InDeltaMapValues(t, seconds, gotSeconds, 1e-6)
	var table strings.Builder
	for _, path := range []string{"train / step", "train / step / load_batch", "train / step / forward", "train / step / backward", "train / step / backward / all_reduce", "train / step / optimizer_step"} {
		k := key{"job-7", path, "1"}
		fmt.Fprintf(&table, "%-38s %3.0f %7.1f ms %5.1f%%\n", path, counts[k], 1e3*seconds[k]/counts[k], 100*seconds[k]/seconds[key{"job-7", "train / step", "1"}])
	}
	t.Logf("phases of rank 1: count, mean duration, share of the step\n%s", table.String())
}

func eachSpan(td ptrace.Traces, do func(pcommon.Resource, ptrace.Span)) {
	for _, rs := range td.ResourceSpans().All() {
		for _, ss := range rs.ScopeSpans().All() {
			for _, span := range ss.Spans().All() {
				do(rs.Resource(), span)
			}
		}
	}
}

// text returns an attribute of a span as text.
func text(span ptrace.Span, key string) string {
	if value, ok := span.Attributes().Get(key); ok {
		return value.AsString()
	}
	return ""
}
