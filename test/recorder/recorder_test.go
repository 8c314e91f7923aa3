// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

// Package recordertest runs what package recorder emits through the processor.
package recordertest

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/processor/processortest"
	"go.opentelemetry.io/otel/log"
	"go.opentelemetry.io/otel/log/embedded"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor"
	"github.com/phaseattr/phaseattr/recorder"
)

// provider is a logger provider whose records become pdata.
type provider struct {
	embedded.LoggerProvider

	logger *logger
}

func (p provider) Logger(string, ...log.LoggerOption) log.Logger { return p.logger }

type logger struct {
	embedded.Logger

	mu   sync.Mutex
	logs plog.LogRecordSlice
}

func (*logger) Enabled(context.Context, log.EnabledParameters) bool { return true }

func (l *logger) Emit(_ context.Context, record log.Record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	lr := l.logs.AppendEmpty()
	lr.SetEventName(record.EventName())
	lr.SetTimestamp(pcommon.NewTimestampFromTime(record.Timestamp()))
	lr.SetSeverityNumber(plog.SeverityNumber(record.Severity()))
	setValue(lr.Body(), record.Body())
	record.WalkAttributes(func(kv log.KeyValue) bool {
		setValue(lr.Attributes().PutEmpty(kv.Key), kv.Value)
		return true
	})
}

func setValue(to pcommon.Value, from log.Value) {
	switch from.Kind() {
	case log.KindBool:
		to.SetBool(from.AsBool())
	case log.KindFloat64:
		to.SetDouble(from.AsFloat64())
	case log.KindInt64:
		to.SetInt(from.AsInt64())
	case log.KindString:
		to.SetStr(from.AsString())
	case log.KindSlice:
		items := to.SetEmptySlice()
		for _, item := range from.AsSlice() {
			setValue(items.AppendEmpty(), item)
		}
	case log.KindMap:
		fields := to.SetEmptyMap()
		for _, kv := range from.AsMap() {
			setValue(fields.PutEmpty(kv.Key), kv.Value)
		}
	}
}

func TestProcessorReadsRecorder(t *testing.T) {
	logs := plog.NewLogs()
	emitted := &logger{logs: logs.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty().LogRecords()}
	rec := recorder.New(recorder.WithLoggerProvider(provider{logger: emitted}), recorder.WithRank(3), recorder.WithProcess("n1", 42))
	rec.Start(t.Context())
	ctx, train := rec.Enter(t.Context(), "train")
	ctx, step := rec.Enter(ctx, "step", log.Int("step", 7))
	inStep := time.Now()
	_, forward := rec.Enter(ctx, "forward")
	inForward := time.Now()
	require.NoError(t, forward.Close())
	require.NoError(t, step.Close())
	require.NoError(t, train.Close())
	rec.Stop(t.Context())
	stopped := time.Now()

	tests := []struct {
		name  string
		attrs map[string]any
		at    time.Time
		want  any
	}{
		{"by session and rank", map[string]any{"session_id": rec.SessionID(), "rank": 3}, inForward, "train / step / forward"},
		{"by host and process", map[string]any{"host.name": "n1", "process.pid": 42}, inForward, "train / step / forward"},
		{"between two phases", map[string]any{"session_id": rec.SessionID(), "rank": 3}, inStep, "train / step"},
		{"after the end", map[string]any{"session_id": rec.SessionID(), "rank": 3}, stopped, nil},
		{"of another rank", map[string]any{"session_id": rec.SessionID(), "rank": 4}, inForward, nil},
	}
	metrics := pmetric.NewMetrics()
	points := metrics.ResourceMetrics().AppendEmpty().ScopeMetrics().AppendEmpty().Metrics().AppendEmpty().SetEmptyGauge().DataPoints()
	for _, tt := range tests {
		point := points.AppendEmpty()
		require.NoError(t, point.Attributes().FromRaw(tt.attrs))
		point.Attributes().PutStr("case", tt.name)
		point.SetTimestamp(pcommon.NewTimestampFromTime(tt.at))
	}
	sink := process(t, logs, metrics)

	// The point of a rank that is unknown waits, and comes in a batch of its own.
	got := map[any]any{}
	for _, metrics := range sink.AllMetrics() {
		points := metrics.ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().At(0).Gauge().DataPoints()
		for _, point := range points.All() {
			attrs := point.Attributes().AsRaw()
			got[attrs["case"]] = attrs["phase_path"]
		}
	}
	for _, tt := range tests {
		assert.Contains(t, got, tt.name)
		assert.Equal(t, tt.want, got[tt.name], tt.name)
	}
}

// process gives the processor records, and metrics after them.
func process(t *testing.T, logs plog.Logs, metrics pmetric.Metrics) *consumertest.MetricsSink {
	t.Helper()
	factory := phaseattrprocessor.NewFactory()
	cfg := factory.CreateDefaultConfig()
	set := processortest.NewNopSettings(factory.Type())
	sink := new(consumertest.MetricsSink)
	toLogs, err := factory.CreateLogs(t.Context(), set, cfg, consumertest.NewNop())
	require.NoError(t, err)
	toMetrics, err := factory.CreateMetrics(t.Context(), set, cfg, sink)
	require.NoError(t, err)
	require.NoError(t, toLogs.Start(t.Context(), componenttest.NewNopHost()))
	require.NoError(t, toMetrics.Start(t.Context(), componenttest.NewNopHost()))
	require.NoError(t, toLogs.ConsumeLogs(t.Context(), logs))
	require.NoError(t, toMetrics.ConsumeMetrics(t.Context(), metrics))
	require.NoError(t, toMetrics.Shutdown(context.WithoutCancel(t.Context()))) // forwards what is held
	require.NoError(t, toLogs.Shutdown(context.WithoutCancel(t.Context())))
	require.NotEmpty(t, sink.AllMetrics())
	return sink
}
