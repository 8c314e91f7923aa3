// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package phaseattrprocessor

import (
	"context"
	"runtime"
	"runtime/debug"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/processor"
	"go.opentelemetry.io/collector/processor/processortest"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/metadata"
)

// benchmarked returns the pipelines of a configuration, which discard what comes out.
func benchmarked(b *testing.B, edit func(*Config)) (processor.Traces, processor.Logs) {
	b.Helper()
	cfg := createDefaultConfig().(*Config)
	edit(cfg)
	require.NoError(b, cfg.Validate())
	factory, set := NewFactory(), processortest.NewNopSettings(metadata.Type)
	traces, err := factory.CreateTraces(b.Context(), set, cfg, consumertest.NewNop())
	require.NoError(b, err)
	logs, err := factory.CreateLogs(b.Context(), set, cfg, consumertest.NewNop())
	require.NoError(b, err)
	require.NoError(b, traces.Start(b.Context(), componenttest.NewNopHost()))
	require.NoError(b, logs.Start(b.Context(), componenttest.NewNopHost()))
	b.Cleanup(func() {
		require.NoError(b, traces.Shutdown(context.Background()))
		require.NoError(b, logs.Shutdown(context.Background()))
	})
	return traces, logs
}

// benchmarkedItems is how many items a batch has.
const benchmarkedItems = 1000

// allPresets are the sources that look at what passes.
const allPresets = "[{preset: stormlog}, {preset: megatron}, {preset: nemo_rl}, {preset: torchtitan}, {preset: otel}]"

func sourcesOf(b *testing.B) map[string]func(*Config) {
	b.Helper()
	return map[string]func(*Config){"stormlog": func(*Config) {}, "all presets": withSources(b, allPresets)}
}

// BenchmarkForeignSpan measures a span that no source claims, of ten in a scope.
func BenchmarkForeignSpan(b *testing.B) {
	for name, edit := range sourcesOf(b) {
		b.Run(name, func(b *testing.B) {
			traces, _ := benchmarked(b, edit)
			td := ptrace.NewTraces()
			for i := range uint64(benchmarkedItems) {
				if i%10 == 0 {
					resource := td.ResourceSpans().AppendEmpty()
					foreignResource(resource.Resource().Attributes())
					resource.ScopeSpans().AppendEmpty().Scope().SetName("io.opentelemetry.http")
				}
				spans := td.ResourceSpans().At(td.ResourceSpans().Len() - 1).ScopeSpans().At(0).Spans()
				span := addSpan(spans, i+1, 0, "GET /cart/{id}", 1, 2)
				span.Attributes().PutStr("http.method", "GET")
				span.Attributes().PutInt("http.status_code", 200)
				span.Attributes().PutStr("http.route", "/cart/{id}")
			}
			b.ReportAllocs()
			begun := processorTime(b)
			for b.Loop() {
				if err := traces.ConsumeTraces(b.Context(), td); err != nil {
					b.Fatal(err)
				}
			}
			reportPerItem(b, processorTime(b)-begun)
		})
	}
}

// BenchmarkForeignRecord measures a log record that no source claims, of ten in a scope.
func BenchmarkForeignRecord(b *testing.B) {
	for name, edit := range sourcesOf(b) {
		b.Run(name, func(b *testing.B) {
			_, logs := benchmarked(b, edit)
			ld := plog.NewLogs()
			for i := range benchmarkedItems {
				if i%10 == 0 {
					resource := ld.ResourceLogs().AppendEmpty()
					foreignResource(resource.Resource().Attributes())
					resource.ScopeLogs().AppendEmpty()
				}
				record := ld.ResourceLogs().At(ld.ResourceLogs().Len() - 1).ScopeLogs().At(0).LogRecords().AppendEmpty()
				record.SetTimestamp(timestamp(1))
				record.Body().SetStr("request served")
				record.Attributes().PutStr("http.method", "GET")
				record.Attributes().PutInt("http.status_code", 200)
				record.Attributes().PutStr("http.route", "/cart/{id}")
			}
			b.ReportAllocs()
			begun := processorTime(b)
			for b.Loop() {
				if err := logs.ConsumeLogs(b.Context(), ld); err != nil {
					b.Fatal(err)
				}
			}
			reportPerItem(b, processorTime(b)-begun)
		})
	}
}

func foreignResource(attributes pcommon.Map) {
	for _, key := range []string{"service.name", "service.instance.id", "service.version", "k8s.namespace.name", "k8s.deployment.name", "telemetry.sdk.name"} {
		attributes.PutStr(key, "frontend")
	}
}

// reportPerItem reports processor time for each of the items of a benchmark's batches.
func reportPerItem(b *testing.B, used time.Duration) {
	b.Helper()
	b.ReportMetric(float64(used)/float64(b.N*benchmarkedItems), "cpu-ns/item")
}

// BenchmarkIngestSpans measures taking in spans that are phases, without annotating them, against
// unmarshaling them.
func BenchmarkIngestSpans(b *testing.B) {
	batch := func(first float64) ptrace.Traces {
		td, slice := trainerSpans()
		for i := range uint64(benchmarkedItems) {
			at := first + float64(i)/100
			span := addSpan(slice, i+1+uint64(first*1000), 0, "step", at, at+0.009)
			span.Attributes().PutInt("step", int64(i))
		}
		return td
	}
	b.Run("unmarshal", func(b *testing.B) {
		encoded, err := (&ptrace.ProtoMarshaler{}).MarshalTraces(batch(0))
		require.NoError(b, err)
		b.ReportAllocs()
		begun := processorTime(b)
		for b.Loop() {
			if _, err := (&ptrace.ProtoUnmarshaler{}).UnmarshalTraces(encoded); err != nil {
				b.Fatal(err)
			}
		}
		reportPerItem(b, processorTime(b)-begun)
	})
	b.Run("ingest", func(b *testing.B) {
		traces, _ := benchmarked(b, withSources(b, "[{preset: otel, spans: {path: {from: name}}}]"))
		engine := traces.(*tracesProcessor).pipeline.engine
		b.ReportAllocs()
		// Garbage is collected between the batches: what there is comes from making them.
		defer debug.SetGCPercent(debug.SetGCPercent(-1))
		var used time.Duration
		for first := 0.0; b.Loop(); first += 10 {
			b.StopTimer()
			td := batch(first)
			if int(first)%1000 == 0 {
				runtime.GC()
			}
			b.StartTimer()
			begun := processorTime(b)
			phases := engine.sources.Reader("")
			engine.ingestSpans(b.Context(), td, phases)
			engine.sources.Done(phases)
			used += processorTime(b) - begun
		}
		reportPerItem(b, used)
	})
}
