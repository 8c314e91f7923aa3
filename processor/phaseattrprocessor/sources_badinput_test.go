// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"encoding/binary"
	"strings"
	"testing"

	"github.com/open-telemetry/opentelemetry-collector-contrib/pkg/pdatatest/ptracetest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
)

// trainerSpans returns a batch of a program, and the span slice to fill.
func trainerSpans() (ptrace.Traces, ptrace.SpanSlice) {
	td := ptrace.NewTraces()
	resource := td.ResourceSpans().AppendEmpty()
	resource.Resource().Attributes().PutStr("session_id", "run")
	resource.Resource().Attributes().PutInt("rank", 0)
	resource.Resource().Attributes().PutStr("host.name", "node")
	resource.Resource().Attributes().PutInt("process.pid", 7)
	return td, resource.ScopeSpans().AppendEmpty().Spans()
}

func spanID(n uint64) (id pcommon.SpanID) {
	binary.BigEndian.PutUint64(id[:], n)
	return id
}

// addSpan adds a span from one second of the run to another; parent 0 is none.
func addSpan(spans ptrace.SpanSlice, id, parent uint64, name string, from, to float64) ptrace.Span {
	span := spans.AppendEmpty()
	span.SetName(name)
	span.SetSpanID(spanID(id))
	if parent > 0 {
		span.SetParentSpanID(spanID(parent))
	}
	span.SetStartTimestamp(timestamp(from))
	span.SetEndTimestamp(timestamp(to))
	return span
}

// addPending adds a pending span, which announces one that has an ID and no parent.
func addPending(spans ptrace.SpanSlice, id, announced uint64, name string, at float64) ptrace.Span {
	span := addSpan(spans, id, announced, name, at, at)
	span.Attributes().PutStr("logfire.span_type", "pending_span")
	span.Attributes().PutStr("logfire.pending_parent_id", "0000000000000000")
	return span
}

// rejections returns how many boundaries a source has rejected, by reason.
func (p *pipelines) rejections(t *testing.T, source string) map[string]int64 {
	t.Helper()
	m, err := p.telemetry.GetMetric("otelcol_processor_phase_attr_boundaries")
	require.NoError(t, err)
	counts := map[string]int64{}
	for _, point := range m.Data.(metricdata.Sum[int64]).DataPoints {
		if feed, ok := point.Attributes.Value("feed"); ok && feed.AsString() == source {
			reason, _ := point.Attributes.Value("reason")
			counts[reason.AsString()] += point.Value
		}
	}
	return counts
}

func TestSpansThatCannotBePhasesPassAndAreCounted(t *testing.T) {
	for _, tc := range []struct {
		name, reason string
		edit         func(ptrace.Span)
	}{
		{"a name of a megabyte", "too_long", func(s ptrace.Span) { s.SetName(strings.Repeat("x", 1<<20)) }},
		{"a blank name", "name", func(s ptrace.Span) { s.SetName(" ") }},
		{"a name that is no text", "invalid_text", func(s ptrace.Span) { s.SetName("\xff") }},
		{"no end", "timestamp", func(s ptrace.Span) { s.SetEndTimestamp(0) }},
		{"no start", "timestamp", func(s ptrace.Span) { s.SetStartTimestamp(0) }},
		{"picoseconds", "timestamp", func(s ptrace.Span) { s.SetEndTimestamp(1 << 63) }},
		{"an end before its start", "inverted", func(s ptrace.Span) { s.SetEndTimestamp(s.StartTimestamp() - 1) }},
		{"no duration", "no_duration", func(s ptrace.Span) { s.SetEndTimestamp(s.StartTimestamp()) }},
		{"no ID", "scope_id", func(s ptrace.Span) { s.SetSpanID(pcommon.SpanID{}) }},
		{"a session of a megabyte", "too_long", func(s ptrace.Span) { s.Attributes().PutStr("session_id", strings.Repeat("x", 1<<20)) }},
		{"a rank that is no number", "rank", func(s ptrace.Span) { s.Attributes().PutStr("rank", "first") }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := startPipelines(t, withSources(t, "[{preset: otel}]"))
			td, spans := trainerSpans()
			tc.edit(addSpan(spans, 1, 0, "step", 1, 2))
			before := ptrace.NewTraces()
			td.CopyTo(before)
			require.NoError(t, ptracetest.CompareTraces(before, p.passTraces(t, td)))
			assert.Equal(t, map[string]int64{tc.reason: 1}, p.rejections(t, "otel"))
		})
	}
}

// Microseconds or seconds as nanoseconds are times in 1970: of another time than the rest.
func TestSpansOfAClockInTheWrongUnitDoNotSpoilOthers(t *testing.T) {
	p := startPipelines(t, withSources(t, "[{preset: otel}]"))
	td, spans := trainerSpans()
	addSpan(spans, 1, 0, "step", 10_001, 10_003)
	wrong := addSpan(spans, 2, 0, "wrong", 10_001, 10_002)
	wrong.SetStartTimestamp(wrong.StartTimestamp() / 1000)
	wrong.SetEndTimestamp(wrong.EndTimestamp() / 1000)
	addSpan(spans, 3, 0, "next", 10_003, 10_004)
	p.passTraces(t, td)
	assert.Equal(t, "step", p.path(t, &program{session: "run"}, 10_002))
	assert.Equal(t, "next", p.path(t, &program{session: "run"}, 10_003.5))
}

func TestParentsThatNeverComeOrAreEachOthersAreNoPath(t *testing.T) {
	p := startPipelines(t, withSources(t, "[{preset: otel}]"))
	td, spans := trainerSpans()
	addSpan(spans, 1, 2, "one", 1, 4)
	addSpan(spans, 2, 1, "two", 1, 4)
	addSpan(spans, 3, 3, "itself", 5, 6)
	addSpan(spans, 4, 99, "orphan", 7, 8)
	addSpan(spans, 5, 0, "root", 9, 10)
	out := p.passTraces(t, td)
	assert.Equal(t, 5, out.SpanCount())
	for _, unknown := range []int{0, 1, 3} {
		assert.NotContains(t, attributesOfTraces(out)[unknown], "phase_resolution")
	}
	assert.Equal(t, int64(3), seriesOf(t, p.telemetry, "answers")["reason=incomplete_path,resolution=none,signal=traces"])
	assert.Equal(t, "root", p.path(t, &program{session: "run"}, 9.5))
}

func TestASpanMayHaveAHundredThousandChildren(t *testing.T) {
	p := startPipelines(t, withSources(t, "[{preset: otel}]"), func(cfg *Config) { cfg.Limits.MaxBoundariesPerRank = 1000 })
	const children = 100_000
	td, spans := trainerSpans()
	addSpan(spans, 1, 0, "step", 0, 101)
	for i := range uint64(children) {
		addSpan(spans, i+2, 1, "child", float64(i)/1000, float64(i+1)/1000)
	}
	assert.Equal(t, children+1, p.passTraces(t, td).SpanCount())
	m, err := p.telemetry.GetMetric("otelcol_processor_phase_attr_window_boundaries")
	require.NoError(t, err)
	assert.LessOrEqual(t, m.Data.(metricdata.Sum[int64]).DataPoints[0].Value, int64(1000))
}

// The own path of a span may lack its beginning, as that of other telemetry may.
func TestASpanWhosePathIsNotWholeIsCountedAsSuch(t *testing.T) {
	p := startPipelines(t, withSources(t, "[{preset: otel}]"))
	td, spans := trainerSpans()
	addSpan(spans, 2, 1, "forward", 1, 4)
	addSpan(spans, 3, 2, "matmul", 1, 2)
	out := attributesOfTraces(p.passTraces(t, td))
	assert.NotContains(t, out[0], "phase_resolution")
	assert.Equal(t, "forward / matmul", out[1]["phase_path"])
	answers := seriesOf(t, p.telemetry, "answers")
	assert.Equal(t, int64(1), answers["reason=incomplete_path,resolution=none,signal=traces"])
	assert.Equal(t, int64(1), answers["reason=incomplete_path,resolution=unique,signal=traces"])
}

// Spans of programs that no source claims change nothing, however many they are.
func TestForeignSpansAreNeverPhases(t *testing.T) {
	p := startPipelines(t, withSources(t, "[{preset: megatron}, {preset: nemo_rl}, {preset: torchtitan}, {preset: otel}]"))
	for range 100 {
		td := ptrace.NewTraces()
		resource := td.ResourceSpans().AppendEmpty()
		resource.Resource().Attributes().PutStr("service.name", "frontend")
		resource.Resource().Attributes().PutStr("service.instance.id", "frontend-1")
		spans := resource.ScopeSpans().AppendEmpty()
		spans.Scope().SetName("http")
		for i := range uint64(1000) {
			addSpan(spans.Spans(), i+1, i, "GET /", 1, 2)
		}
		before := ptrace.NewTraces()
		td.CopyTo(before)
		require.NoError(t, ptracetest.CompareTraces(before, p.passTraces(t, td)))
	}
	m, err := p.telemetry.GetMetric("otelcol_processor_phase_attr_ranks")
	require.NoError(t, err)
	assert.Zero(t, m.Data.(metricdata.Sum[int64]).DataPoints[0].Value)
}
