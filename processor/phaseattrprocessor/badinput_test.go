// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"strings"
	"testing"

	"github.com/open-telemetry/opentelemetry-collector-contrib/pkg/pdatatest/plogtest"
	"github.com/open-telemetry/opentelemetry-collector-contrib/pkg/pdatatest/pmetrictest"
	"github.com/open-telemetry/opentelemetry-collector-contrib/pkg/pdatatest/ptracetest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/metric/metricdata/metricdatatest"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/metadatatest"
)

func TestMalformedBoundariesGoOnUntouchedAndAreCountedByReason(t *testing.T) {
	megabyte := strings.Repeat("x", 1<<20)
	deep := make([]any, 10_000)
	for i := range deep {
		deep[i] = "x"
	}
	field := func(key string, value any) func(object) { return func(e object) { e[key] = value } }
	without := func(key string) func(object) { return func(e object) { delete(e, key) } }
	scope := func(key string, value any) func(object) {
		return func(e object) { e["metadata"].(object)["phase_scope"].(object)[key] = value }
	}
	withoutScope := func(key string) func(object) {
		return func(e object) { delete(e["metadata"].(object)["phase_scope"].(object), key) }
	}
	for _, tc := range []struct {
		name   string
		edit   func(object)
		reason string
	}{
		{"no session", without("session_id"), "session_id"},
		{"null session", field("session_id", nil), "session_id"},
		{"session that is a list", field("session_id", []any{"run"}), "session_id"},
		{"session that is blank", field("session_id", "  "), "session_id"},
		{"session that is a map", field("session_id", object{"id": "run"}), "session_id"},
		{"session of a megabyte", field("session_id", megabyte), "too_long"},
		{"rank that is text", field("rank", "first"), "rank"},
		{"rank with a fraction", field("rank", 0.5), "rank"},
		{"rank that is a bool", field("rank", false), "rank"},
		{"null rank", field("rank", nil), "rank"},
		{"no time", without("timestamp_ns"), "timestamp"},
		{"null time", field("timestamp_ns", nil), "timestamp"},
		{"time that is text", field("timestamp_ns", "now"), "timestamp"},
		{"time with a fraction", field("timestamp_ns", 0.5), "timestamp"},
		{"time past all ints", field("timestamp_ns", 1e19), "timestamp"},
		{"no metadata", without("metadata"), "phase_scope"},
		{"null metadata", field("metadata", nil), "phase_scope"},
		{"metadata that is a list", field("metadata", []any{object{}}), "phase_scope"},
		{"empty metadata", field("metadata", object{}), "phase_scope"},
		{"null phase_scope", field("metadata", object{"phase_scope": nil}), "phase_scope"},
		{"phase_scope that is text", field("metadata", object{"phase_scope": "train"}), "phase_scope"},
		{"empty phase_scope", field("metadata", object{"phase_scope": object{}}), "action"},
		{"no action", withoutScope("action"), "action"},
		{"action that is a number", scope("action", int64(1)), "action"},
		{"action of another kind", scope("action", "pause"), "action"},
		{"action at odds with the event type", scope("action", "exit"), "action"},
		{"event type at odds with the action", field("event_type", "phase_exit"), "action"},
		{"no name", withoutScope("name"), "name"},
		{"name that is a number", scope("name", int64(1)), "name"},
		{"blank name", scope("name", " \t"), "name"},
		{"name of a megabyte", scope("name", megabyte), "too_long"},
		{"no path", withoutScope("path"), "path"},
		{"path that is text", scope("path", "train"), "path"},
		{"empty path", scope("path", []any{}), "path"},
		{"path of no names", scope("path", []any{"", int64(1), nil}), "path"},
		{"path of a megabyte", scope("path", []any{megabyte}), "too_long"},
		{"session that is not UTF-8", field("session_id", "run\xff"), "invalid_text"},
		{"name that is not UTF-8", scope("name", "train\xff"), "invalid_text"},
		{"name with a NUL", scope("name", "train\x00"), "invalid_text"},
		{"path that is not UTF-8", scope("path", []any{"train\xff"}), "invalid_text"},
		{"scope ID that is not UTF-8", scope("scope_id", "\xff"), "invalid_text"},
		{"parent with a NUL", scope("parent_scope_id", "a\x00"), "invalid_text"},
		{"thread name that is not UTF-8", scope("thread_name", "\xff"), "invalid_text"},
		{"path of 10,000 parts", scope("path", deep), "too_deep"},
		{"no scope ID", withoutScope("scope_id"), "scope_id"},
		{"scope ID that is a number", scope("scope_id", int64(1)), "scope_id"},
		{"scope ID of a megabyte", scope("scope_id", megabyte), "too_long"},
		{"parent that is a number", scope("parent_scope_id", int64(1)), "parent_scope_id"},
		{"parent of a megabyte", scope("parent_scope_id", megabyte), "too_long"},
		{"no thread ID", withoutScope("thread_id"), "thread"},
		{"thread ID that is text", scope("thread_id", "main"), "thread"},
		{"no thread name", withoutScope("thread_name"), "thread"},
		{"thread name that is a number", scope("thread_name", int64(1)), "thread"},
		{"thread name of a megabyte", scope("thread_name", megabyte), "too_long"},
		{"no sequence", withoutScope("sequence"), "sequence"},
		{"sequence that is a bool", scope("sequence", true), "sequence"},
		{"sequence with a fraction", scope("sequence", 1.5), "sequence"},
	} {
		for _, mode := range []BoundaryMode{BoundariesKeep, BoundariesDrop} {
			t.Run(tc.name+", "+string(mode), func(t *testing.T) {
				p := startPipelines(t, func(cfg *Config) { cfg.Boundaries = mode })
				e := (&program{session: "run"}).worker(1).enter(1, "train")
				tc.edit(e)
				p.passUntouched(t, records(t, e))

				assertCounts(t, p.telemetry, "boundaries", count(1, "outcome", "rejected", "reason", tc.reason))
				metadatatest.AssertEqualProcessorPhaseAttrWindowBoundaries(t, p.telemetry,
					[]metricdata.DataPoint[int64]{count(0)}, metricdatatest.IgnoreTimestamp())
			})
		}
	}
}

// passUntouched sends a batch through the logs pipeline and holds what comes out to
// a copy.
func (p *pipelines) passUntouched(t *testing.T, ld plog.Logs) {
	t.Helper()
	before := plog.NewLogs()
	ld.CopyTo(before)
	require.NoError(t, p.logs.ConsumeLogs(t.Context(), ld))
	require.Len(t, p.logsSink.AllLogs(), 1)
	require.NoError(t, plogtest.CompareLogs(before, p.logsSink.AllLogs()[0]))
}

// awkward are attributes of every type, one of which holds the group of no phase.
func awkward(t *testing.T, m pcommon.Map) {
	t.Helper()
	require.NoError(t, m.FromRaw(object{
		"": "", "null": nil, "bytes": []byte{0, 255}, "list": []any{nil, []any{}, object{}}, "map": object{"": nil},
		"text": "\xff\x00", "phase_path": "upstream", "metadata": nil, "phase_scope": "x", "rank": []any{},
		"event_type": nil, "timestamp_ns": object{},
	}))
}

func TestLogRecordsThatNameNoGroupGoOnUntouched(t *testing.T) {
	for name, fill := range map[string]func(*testing.T, plog.Logs){
		"empty batch":    func(*testing.T, plog.Logs) {},
		"empty resource": func(_ *testing.T, ld plog.Logs) { ld.ResourceLogs().AppendEmpty() },
		"empty scope":    func(_ *testing.T, ld plog.Logs) { ld.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty() },
		"empty record": func(_ *testing.T, ld plog.Logs) {
			ld.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty().LogRecords().AppendEmpty()
		},
		"awkward values everywhere": func(t *testing.T, ld plog.Logs) {
			resource := ld.ResourceLogs().AppendEmpty()
			awkward(t, resource.Resource().Attributes())
			scope := resource.ScopeLogs().AppendEmpty()
			awkward(t, scope.Scope().Attributes())
			record := scope.LogRecords().AppendEmpty()
			record.SetTimestamp(timestamp(1))
			awkward(t, record.Attributes())
			awkward(t, record.Body().SetEmptyMap())
		},
		"bodies of every type": func(t *testing.T, ld plog.Logs) {
			into := ld.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty().LogRecords()
			for _, raw := range []any{nil, "phase_enter", int64(1), 0.5, true, []byte("x"), []any{object{}}, object{}} {
				require.NoError(t, into.AppendEmpty().Body().FromRaw(raw))
			}
		},
		"sample without a session": func(t *testing.T, ld plog.Logs) {
			e := (&program{session: "run"}).event("sample", 1)
			delete(e, "session_id")
			records(t, e).CopyTo(ld)
		},
		"stop without a time": func(t *testing.T, ld plog.Logs) {
			e := (&program{session: "run"}).event("stop", 1)
			delete(e, "timestamp_ns")
			records(t, e).CopyTo(ld)
		},
		"text of a megabyte": func(_ *testing.T, ld plog.Logs) {
			record := ld.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty().LogRecords().AppendEmpty()
			record.Attributes().PutStr("session_id", strings.Repeat("s", 1<<20))
			record.SetEventName(strings.Repeat("e", 1<<20))
			record.SetTimestamp(timestamp(1))
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := startPipelines(t)
			ld := plog.NewLogs()
			fill(t, ld)
			p.passUntouched(t, ld)
		})
	}
}

func TestDataPointsThatNameNoGroupGoOnUntouched(t *testing.T) {
	for name, fill := range map[string]func(*testing.T, pmetric.Metrics){
		"empty batch": func(*testing.T, pmetric.Metrics) {},
		"empty resource, scope and metric": func(_ *testing.T, md pmetric.Metrics) {
			md.ResourceMetrics().AppendEmpty()
			md.ResourceMetrics().AppendEmpty().ScopeMetrics().AppendEmpty().Metrics().AppendEmpty()
		},
		"metrics without data points": func(_ *testing.T, md pmetric.Metrics) {
			metrics := md.ResourceMetrics().AppendEmpty().ScopeMetrics().AppendEmpty().Metrics()
			metrics.AppendEmpty().SetEmptyGauge()
			metrics.AppendEmpty().SetEmptySum()
			metrics.AppendEmpty().SetEmptyHistogram()
			metrics.AppendEmpty().SetEmptyExponentialHistogram()
			metrics.AppendEmpty().SetEmptySummary()
		},
		"awkward values everywhere": func(t *testing.T, md pmetric.Metrics) {
			resource := md.ResourceMetrics().AppendEmpty()
			awkward(t, resource.Resource().Attributes())
			scope := resource.ScopeMetrics().AppendEmpty()
			awkward(t, scope.Scope().Attributes())
			dp := scope.Metrics().AppendEmpty().SetEmptyGauge().DataPoints().AppendEmpty()
			dp.SetTimestamp(timestamp(1))
			awkward(t, dp.Attributes())
		},
		"session of a megabyte": func(_ *testing.T, md pmetric.Metrics) {
			(&program{session: strings.Repeat("s", 1<<20)}).gauge(1).CopyTo(md)
		},
		"group of which nothing is known": func(_ *testing.T, md pmetric.Metrics) {
			(&program{session: "other"}).gauge(1).CopyTo(md)
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := startPipelines(t, func(cfg *Config) { cfg.Cumulative = CumulativeAnnotate })
			p.feed(t)
			md, before := pmetric.NewMetrics(), pmetric.NewMetrics()
			fill(t, md)
			md.CopyTo(before)
			require.NoError(t, p.metrics.ConsumeMetrics(t.Context(), md))
			require.Len(t, p.metricsSink.AllMetrics(), 1)
			require.NoError(t, pmetrictest.CompareMetrics(before, p.metricsSink.AllMetrics()[0]))
		})
	}
}

func TestSpansThatNameNoGroupGoOnUntouched(t *testing.T) {
	for name, fill := range map[string]func(*testing.T, ptrace.Traces){
		"empty batch": func(*testing.T, ptrace.Traces) {},
		"empty resource, scope and span": func(_ *testing.T, td ptrace.Traces) {
			td.ResourceSpans().AppendEmpty()
			td.ResourceSpans().AppendEmpty().ScopeSpans().AppendEmpty()
			td.ResourceSpans().AppendEmpty().ScopeSpans().AppendEmpty().Spans().AppendEmpty()
		},
		"awkward values everywhere": func(t *testing.T, td ptrace.Traces) {
			resource := td.ResourceSpans().AppendEmpty()
			awkward(t, resource.Resource().Attributes())
			scope := resource.ScopeSpans().AppendEmpty()
			awkward(t, scope.Scope().Attributes())
			span := scope.Spans().AppendEmpty()
			span.SetStartTimestamp(timestamp(1))
			span.SetEndTimestamp(timestamp(2))
			awkward(t, span.Attributes())
		},
		"session of a megabyte": func(_ *testing.T, td ptrace.Traces) {
			(&program{session: strings.Repeat("s", 1<<20)}).spans(1, 2).CopyTo(td)
		},
		"group of which nothing is known": func(_ *testing.T, td ptrace.Traces) {
			(&program{session: "other"}).spans(1, 2).CopyTo(td)
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := startPipelines(t)
			p.feed(t)
			td, before := ptrace.NewTraces(), ptrace.NewTraces()
			fill(t, td)
			td.CopyTo(before)
			require.NoError(t, p.traces.ConsumeTraces(t.Context(), td))
			require.Len(t, p.tracesSink.AllTraces(), 1)
			require.NoError(t, ptracetest.CompareTraces(before, p.tracesSink.AllTraces()[0]))
		})
	}
}

func TestMalformedBoundariesDoNotDisturbTheirGroup(t *testing.T) {
	p := startPipelines(t)
	run := &program{session: "run"}
	w := run.worker(1)
	good := w.enter(1, "train")
	bad := w.enter(2, "bad")
	bad["metadata"].(object)["phase_scope"].(object)["thread_id"] = nil
	out := attributesOfLogs(p.passLogs(t, records(t, good, bad, run.event("sample", 3))))
	for _, attributes := range out {
		assert.Equal(t, "train", attributes["phase_path"])
	}
}
