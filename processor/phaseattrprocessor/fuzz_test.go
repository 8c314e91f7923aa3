// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"bytes"
	"encoding/json"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/processor/processortest"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/metadata"
)

// FuzzProcessor sends arbitrary JSON records, one per line, through the three
// pipelines: as log records, and with the same fields as data points and spans.
// Nothing panics, and what goes in comes out, under split in parts.
func FuzzProcessor(f *testing.F) {
	// The seeds are short: what is found interesting is minimized by trying its parts.
	for i, name := range []string{"single", "crash", "threads"} {
		var lines bytes.Buffer
		for _, e := range readLines(f, name+".jsonl")[1:3] {
			for key := range e {
				if !slices.Contains([]string{"session_id", "rank", "timestamp_ns", "event_type", "metadata"}, key) {
					delete(e, key)
				}
			}
			e["session_id"] = "run"
			line, err := json.Marshal(e)
			require.NoError(f, err)
			lines.Write(append(line, '\n'))
		}
		f.Add(lines.Bytes(), uint64(i), i%2 == 0, i < 2)
	}
	for i, seed := range []string{
		``, "{}\nnull\n[]\n\x00", `{"session_id": "run", "event_type": "stop", "timestamp_ns": -9223372036854775808}`,
		`{"session_id": "run", "event_type": "phase_enter", "timestamp_ns": 9223372036854775807, "phase_scope": {"action": "enter", "name": "a", "path": ["a"], "scope_id": "1", "thread_id": 1, "thread_name": "", "sequence": 9223372036854775807}}`,
		`{"session_id": "run", "rank": "1", "event_type": "phase_exit", "timestamp_ns": 1, "phase_scope": {"action": "exit", "name": "a", "path": ["a", "a / b"], "scope_id": "2", "parent_scope_id": "1", "thread_id": 1, "thread_name": "", "sequence": -1}}`,
		`{"session_id": "run", "timestamp_ns": 1e18, "origin_thread_id": 1, "origin_phase_scope_id": "1", "phase_path": {"a": [null]}}`,
	} {
		f.Add([]byte(seed), uint64(i)<<8, i%2 == 0, true)
		f.Add([]byte(seed), uint64(i)<<8|1<<62, i%2 == 0, true)
	}

	f.Fuzz(func(t *testing.T, data []byte, layout uint64, repair, annotate bool) {
		if len(data) > 4096 {
			return // the longer the input, the longer it takes to minimize
		}
		factory, set := NewFactory(), processortest.NewNopSettings(metadata.Type)
		cfg := newConfig(t, everyAttribute, func(cfg *Config) {
			cfg.Repair = repair
			cfg.Split.Enabled = layout>>62 == 1
			cfg.ScopeAttributes = []string{"epoch"}
			cfg.Limits.MaxRanks, cfg.Limits.MaxThreadsPerRank, cfg.Limits.MaxOpenScopesPerThread = 4, 4, 8
			cfg.Limits.MaxBoundariesPerRank, cfg.Limits.MaxBoundaries = 16, 32
			if annotate {
				cfg.Cumulative = CumulativeAnnotate
			}
		})
		ld, md, td := plog.NewLogs(), pmetric.NewMetrics(), ptrace.NewTraces()
		for i, line := range bytes.Split(data, []byte("\n")) {
			e, err := decodeEvent(line)
			if err != nil || i > 100 {
				continue
			}
			// layout says where the fields of each record are, and what its times are.
			choice := layout>>(i%8*8) ^ uint64(i)
			at, _ := e["timestamp_ns"].(int64)
			from := at - int64(choice%7)*1000

			logs := ld.ResourceLogs().AppendEmpty()
			record := logs.ScopeLogs().AppendEmpty().LogRecords().AppendEmpty()
			record.SetTimestamp(asTimestamp(from))
			record.SetObservedTimestamp(asTimestamp(at))
			switch choice % 3 {
			case 0:
				require.NoError(t, record.Body().SetEmptyMap().FromRaw(e))
			case 1:
				require.NoError(t, record.Attributes().FromRaw(e))
			case 2:
				require.NoError(t, logs.Resource().Attributes().FromRaw(e))
			}

			metrics := md.ResourceMetrics().AppendEmpty()
			require.NoError(t, metrics.Resource().Attributes().FromRaw(e))
			kinds := append(metricTypes(pmetric.AggregationTemporality(choice%3)), gaugeType(), summaryType())
			dp := kinds[choice%5].add(metrics.ScopeMetrics().AppendEmpty().Metrics().AppendEmpty())
			dp.SetStartTimestamp(asTimestamp(from))
			dp.SetTimestamp(asTimestamp(at))

			span := td.ResourceSpans().AppendEmpty().ScopeSpans().AppendEmpty().Spans().AppendEmpty()
			require.NoError(t, span.Attributes().FromRaw(e))
			span.SetStartTimestamp(asTimestamp(from))
			span.SetEndTimestamp(asTimestamp(at))
		}
		records, points, spans := ld.LogRecordCount(), md.DataPointCount(), td.SpanCount()

		logsSink, metricsSink, tracesSink := new(consumertest.LogsSink), new(consumertest.MetricsSink), new(consumertest.TracesSink)
		logs, err := factory.CreateLogs(t.Context(), set, cfg, logsSink)
		require.NoError(t, err)
		metrics, err := factory.CreateMetrics(t.Context(), set, cfg, metricsSink)
		require.NoError(t, err)
		traces, err := factory.CreateTraces(t.Context(), set, cfg, tracesSink)
		require.NoError(t, err)
		for _, c := range []component.Component{logs, metrics, traces} {
			require.NoError(t, c.Start(t.Context(), componenttest.NewNopHost()))
			defer func() { require.NoError(t, c.Shutdown(t.Context())) }()
		}
		require.NoError(t, logs.ConsumeLogs(t.Context(), ld))
		require.NoError(t, metrics.ConsumeMetrics(t.Context(), md))
		require.NoError(t, traces.ConsumeTraces(t.Context(), td))
		assert.Equal(t, records, logsSink.LogRecordCount())
		if cfg.Split.Enabled {
			assert.GreaterOrEqual(t, metricsSink.DataPointCount(), points)
		} else {
			assert.Equal(t, points, metricsSink.DataPointCount())
		}
		assert.Equal(t, spans, tracesSink.SpanCount())
	})
}

// asTimestamp turns a negative time into one past all events.
func asTimestamp(at int64) pcommon.Timestamp { return pcommon.Timestamp(at) }
