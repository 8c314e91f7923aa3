// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"bytes"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

// fields are those of an event, or of its phase_scope.
type fields = map[string]any

// malformedBoundaries returns ways to make a boundary invalid, each with the reason that
// the collector counts.
func malformedBoundaries() []malformedBoundary {
	missing := func(name string) func(event, scope fields) {
		return func(event, scope fields) {
			delete(event, name)
			delete(scope, name)
		}
	}
	inEvent := func(name string, value any) func(event, scope fields) {
		return func(event, _ fields) { event[name] = value }
	}
	inScope := func(name string, value any) func(event, scope fields) {
		return func(_, scope fields) { scope[name] = value }
	}
	const megabyte = 1 << 20
	return []malformedBoundary{
		{"session_id", "without session", missing("session_id")},
		{"session_id", "null session", inEvent("session_id", nil)},
		{"session_id", "session is a list", inEvent("session_id", []any{"run"})},
		{"rank", "null rank", inEvent("rank", nil)},
		{"rank", "rank is a bool", inEvent("rank", true)},
		{"rank", "rank is a fraction", inEvent("rank", 0.5)},
		{"rank", "rank is a word", inEvent("rank", "first")},
		{"rank", "rank is a list", inEvent("rank", []any{0})},
		{"timestamp", "without time", missing("timestamp_ns")},
		{"timestamp", "null time", inEvent("timestamp_ns", nil)},
		{"timestamp", "time is a bool", inEvent("timestamp_ns", true)},
		{"timestamp", "time is a fraction", inEvent("timestamp_ns", 1.5)},
		{"timestamp", "time is a date", inEvent("timestamp_ns", "2026-01-01")},
		{"phase_scope", "without metadata", missing("metadata")},
		{"phase_scope", "empty metadata", inEvent("metadata", fields{})},
		{"phase_scope", "metadata is text", inEvent("metadata", "phase_scope")},
		{"phase_scope", "phase_scope is a list", inEvent("metadata", fields{"phase_scope": []any{}})},
		{"phase_scope", "phase_scope is null", inEvent("metadata", fields{"phase_scope": nil})},
		{"action", "empty phase_scope", inEvent("metadata", fields{"phase_scope": fields{}})},
		{"action", "without action", missing("action")},
		{"action", "action is a number", inScope("action", 1)},
		{"action", "unknown action", inScope("action", "leave")},
		{"action", "exit in an enter event", inScope("action", "exit")},
		{"action", "enter in an exit event", inEvent("event_type", "phase_exit")},
		{"name", "without name", missing("name")},
		{"name", "blank name", inScope("name", " \t\n")},
		{"name", "name is a number", inScope("name", 1)},
		{"path", "without path", missing("path")},
		{"path", "path is text", inScope("path", "train")},
		{"path", "empty path", inScope("path", []any{})},
		{"path", "path of nothing but empty text", inScope("path", []any{"", ""})},
		{"path", "path without text", inScope("path", []any{1, nil, true, fields{}})},
		{"scope_id", "without scope ID", missing("scope_id")},
		{"scope_id", "null scope ID", inScope("scope_id", nil)},
		{"scope_id", "scope ID is a number", inScope("scope_id", 1)},
		{"parent_scope_id", "parent scope ID is a number", inScope("parent_scope_id", 1)},
		{"thread", "without thread ID", missing("thread_id")},
		{"thread", "thread ID is a word", inScope("thread_id", "main")},
		{"thread", "thread ID is a fraction", inScope("thread_id", 0.5)},
		{"thread", "without thread name", missing("thread_name")},
		{"thread", "thread name is a number", inScope("thread_name", 1)},
		{"sequence", "without sequence", missing("sequence")},
		{"sequence", "sequence is a word", inScope("sequence", "first")},
		{"sequence", "sequence is bytes", inScope("sequence", []byte{0, 255})},
		{"too_long", "session of 1 MB", inEvent("session_id", strings.Repeat("s", megabyte))},
		{"too_long", "name of 1 MB", inScope("name", strings.Repeat("n", megabyte))},
		{"too_long", "path with a name of 1 MB", inScope("path", []any{strings.Repeat("p", megabyte)})},
		{"too_long", "scope ID of 1 MB", inScope("scope_id", strings.Repeat("i", megabyte))},
		{"too_deep", "path of 100,000 parts", inScope("path", slices.Repeat([]any{"p"}, 100_000))},
		{"too_deep", "path of 1,000,000 parts", inScope("path", slices.Repeat([]any{"p"}, 1_000_000))},
	}
}

type malformedBoundary struct {
	reason, name string
	spoil        func(event, scope fields)
}

// TestBadInputPassesUnchanged sends malformed boundaries of every kind and telemetry that
// belongs to no rank: all of it passes unchanged, the boundaries are counted by reason,
// and the run that follows is not affected.
func TestBadInputPassesUnchanged(t *testing.T) {
	run := loadCapture(t, "single")
	c := start(t, nil)

	sent := map[string][]byte{} // by the name of the case
	send := func(name string, batch any) {
		nameBatch(batch, name)
		_, body, err := encode(batch)
		require.NoError(t, err)
		sent[name] = body
		c.send(t, batch)
	}
	foreign := maps.Clone(run.events[1]) // of another session
	foreign["session_id"], foreign["pid"] = "malformed", 1
	boundaries := malformedBoundaries()
	reasons := map[string]int{}
	for _, bad := range boundaries {
		send(bad.name, bad.logs(t, foreign))
		reasons[bad.reason]++
	}
	send("logs", logsWithoutRank(run))
	send("metrics", metricsWithoutRank(run))
	send("traces", tracesWithoutRank(run))
	for _, empty := range []any{plog.NewLogs(), pmetric.NewMetrics(), ptrace.NewTraces()} {
		c.send(t, empty)
	}
	const counter = "otelcol_processor_phase_attr_boundaries"
	assert.Equal(t, reasons, c.counts(t, counter, "reason"))
	assert.Equal(t, map[string]int{"rejected": len(boundaries)}, c.counts(t, counter, "outcome"))

	for _, bad := range boundaries { // of the run: they may be annotated, but must not get lost
		name := bad.name + ", in the run"
		send(name, bad.logs(t, run.events[1]))
		sent[name] = nil
	}
	c.send(t, run.logs(t, run.events))
	send("logs next to the run", logsWithoutRank(run))
	send("metrics next to the run", metricsWithoutRank(run))
	send("traces next to the run", tracesWithoutRank(run))
	c.stop(t)

	annotated := annotations{}
	check := func(batch any) {
		name := batchName(batch)
		if name == "" {
			annotated.add(logAnnotations(t, []plog.Logs{batch.(plog.Logs)}))
			return
		}
		_, body, err := encode(batch)
		require.NoError(t, err)
		want, ok := sent[name]
		assert.True(t, ok, "%s: received once", name)
		assert.True(t, want == nil || bytes.Equal(want, body), "%s: unchanged", name)
		delete(sent, name)
	}
	for _, ld := range c.logs(t, "logs") {
		check(ld)
	}
	for _, md := range c.metrics(t, "metrics") {
		check(md)
	}
	for _, td := range c.traces(t, "traces") {
		check(td)
	}
	assert.Empty(t, slices.Collect(maps.Keys(sent)), "cases that got lost")
	compare(t, "logs of the run", run.expectedLogs(), annotated)
	nothingElse(t, "logs of the run", annotated)
}

// logs returns a spoiled copy of a boundary, as a record without a timestamp.
func (bad *malformedBoundary) logs(t *testing.T, event fields) plog.Logs {
	t.Helper()
	clone := pcommon.NewMap()
	require.NoError(t, clone.FromRaw(event))
	spoiled := clone.AsRaw()
	bad.spoil(spoiled, spoiled["metadata"].(fields)["phase_scope"].(fields))
	ld := plog.NewLogs()
	record := ld.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty().LogRecords().AppendEmpty()
	require.NoError(t, record.Attributes().FromRaw(spoiled))
	return ld
}

// logsWithoutRank returns records that belong to no rank, at a time of the run, among
// empty resources and scopes.
func logsWithoutRank(run *capture) plog.Logs {
	at := pcommon.Timestamp(run.scopes[0].from)
	ld := plog.NewLogs()
	resource := ld.ResourceLogs().AppendEmpty()
	records := resource.ScopeLogs().AppendEmpty().LogRecords()
	records.AppendEmpty()
	record := records.AppendEmpty()
	record.SetTimestamp(at)
	record.Body().SetStr("without session")
	record.Attributes().PutStr("phase_path", "set by someone else")
	record.Attributes().PutEmpty("null")
	record = records.AppendEmpty()
	record.SetTimestamp(at)
	record.SetEventName("sample")
	record.Attributes().PutStr("session_id", run.session)
	record.Attributes().PutStr("rank", "not a rank")
	record = records.AppendEmpty()
	record.Body().SetStr("without time")
	record.Attributes().PutStr("session_id", run.session)
	resource.ScopeLogs().AppendEmpty()
	ld.ResourceLogs().AppendEmpty()
	return ld
}

// metricsWithoutRank returns data points that belong to no rank or have no time, and
// cumulative ones.
func metricsWithoutRank(run *capture) pmetric.Metrics {
	at := pcommon.Timestamp(run.scopes[0].from)
	md := pmetric.NewMetrics()
	resource := md.ResourceMetrics().AppendEmpty()
	metrics := resource.ScopeMetrics().AppendEmpty().Metrics()
	metrics.AppendEmpty().SetName("without data")
	points := metrics.AppendEmpty().SetEmptyGauge().DataPoints()
	points.AppendEmpty().SetTimestamp(at)
	dp := points.AppendEmpty()
	dp.SetTimestamp(at)
	dp.Attributes().PutStr("session_id", run.session)
	dp.Attributes().PutBool("rank", true)
	points.AppendEmpty().Attributes().PutStr("session_id", run.session)
	sum := metrics.AppendEmpty().SetEmptySum()
	sum.SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
	sum.SetIsMonotonic(true)
	dp = sum.DataPoints().AppendEmpty()
	dp.SetTimestamp(at)
	dp.Attributes().PutStr("session_id", run.session)
	quantiles := metrics.AppendEmpty().SetEmptySummary().DataPoints().AppendEmpty()
	quantiles.SetTimestamp(at)
	quantiles.Attributes().PutStr("session_id", run.session)
	resource.ScopeMetrics().AppendEmpty()
	md.ResourceMetrics().AppendEmpty()
	return md
}

// tracesWithoutRank returns spans that belong to no rank or have no times.
func tracesWithoutRank(run *capture) ptrace.Traces {
	at := pcommon.Timestamp(run.scopes[0].from)
	td := ptrace.NewTraces()
	resource := td.ResourceSpans().AppendEmpty()
	spans := resource.ScopeSpans().AppendEmpty().Spans()
	spans.AppendEmpty().Attributes().PutStr("session_id", run.session)
	span := spans.AppendEmpty()
	span.SetStartTimestamp(at)
	span.SetEndTimestamp(at + 1)
	span.Attributes().PutInt("session_id", 7)
	resource.ScopeSpans().AppendEmpty()
	td.ResourceSpans().AppendEmpty()
	return td
}

// nameBatch sets the name of a case on the first resource of its batch.
func nameBatch(batch any, name string) { firstResource(batch).PutStr("case", name) }

func batchName(batch any) string { return text(firstResource(batch), "case") }

func firstResource(batch any) pcommon.Map {
	switch batch := batch.(type) {
	case plog.Logs:
		return batch.ResourceLogs().At(0).Resource().Attributes()
	case pmetric.Metrics:
		return batch.ResourceMetrics().At(0).Resource().Attributes()
	default:
		return batch.(ptrace.Traces).ResourceSpans().At(0).Resource().Attributes()
	}
}
