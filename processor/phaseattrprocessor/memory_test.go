// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

// putAttributes adds attributes of usual names and values.
func putAttributes(attributes pcommon.Map, n int) {
	for i := range n {
		attributes.PutStr(fmt.Sprint("k8s.attribute.", i), strings.Repeat("v", 8+4*i%29))
	}
}

// dcgmPoints is a scrape of dcgm-exporter: metrics of eight devices of a host.
func dcgmPoints(metrics, devices, attributes int) pmetric.Metrics {
	md := pmetric.NewMetrics()
	resource := md.ResourceMetrics().AppendEmpty()
	resource.Resource().Attributes().PutStr("session_id", "s")
	resource.Resource().Attributes().PutStr("service.name", "dcgm-exporter")
	resource.Resource().Attributes().PutStr("service.instance.id", "node-17.cluster.example:9400")
	scope := resource.ScopeMetrics().AppendEmpty()
	scope.Scope().SetName("github.com/open-telemetry/opentelemetry-collector-contrib/receiver/prometheusreceiver")
	for i := range metrics {
		metric := scope.Metrics().AppendEmpty()
		metric.SetName(fmt.Sprint("DCGM_FI_DEV_GPU_UTIL_", i))
		metric.SetDescription("GPU utilization (in %).")
		gauge := metric.SetEmptyGauge()
		for device := range devices {
			dp := gauge.DataPoints().AppendEmpty()
			dp.SetTimestamp(100)
			dp.SetDoubleValue(float64(device))
			putAttributes(dp.Attributes(), attributes)
		}
	}
	return md
}

// histograms are delta histograms with ten buckets.
func histograms(points, attributes int) pmetric.Metrics {
	md := dcgmPoints(1, 0, 0)
	metric := md.ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().At(0)
	metric.SetEmptyHistogram().SetAggregationTemporality(pmetric.AggregationTemporalityDelta)
	for range points {
		dp := metric.Histogram().DataPoints().AppendEmpty()
		dp.SetStartTimestamp(90)
		dp.SetTimestamp(100)
		dp.ExplicitBounds().FromRaw([]float64{1, 2, 3, 4, 5, 6, 7, 8, 9})
		dp.BucketCounts().FromRaw([]uint64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10})
		putAttributes(dp.Attributes(), attributes)
	}
	return md
}

func logRecords(records, attributes int, body func(pcommon.Value)) plog.Logs {
	ld := plog.NewLogs()
	resource := ld.ResourceLogs().AppendEmpty()
	resource.Resource().Attributes().PutStr("session_id", "s")
	putAttributes(resource.Resource().Attributes(), 5)
	scope := resource.ScopeLogs().AppendEmpty()
	for range records {
		record := scope.LogRecords().AppendEmpty()
		record.SetTimestamp(100)
		record.SetSeverityText("INFO")
		body(record.Body())
		putAttributes(record.Attributes(), attributes)
	}
	return ld
}

func spansWith(spans, attributes, events int) ptrace.Traces {
	td := ptrace.NewTraces()
	resource := td.ResourceSpans().AppendEmpty()
	resource.Resource().Attributes().PutStr("session_id", "s")
	putAttributes(resource.Resource().Attributes(), 5)
	scope := resource.ScopeSpans().AppendEmpty()
	for range spans {
		span := scope.Spans().AppendEmpty()
		span.SetName("aten::_scaled_dot_product_flash_attention")
		span.SetTraceID([16]byte{1})
		span.SetSpanID([8]byte{1})
		span.SetStartTimestamp(90)
		span.SetEndTimestamp(100)
		putAttributes(span.Attributes(), attributes)
		for range events {
			event := span.Events().AppendEmpty()
			event.SetName("exception")
			putAttributes(event.Attributes(), 3)
		}
	}
	return td
}

// heap is what is in use after a garbage collection.
func heap() int64 {
	var stats runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}

// What waits is charged what it takes on the heap, so that grace::max_bytes bounds that.
func TestWaitingTelemetryIsChargedWhatItTakesOnTheHeap(t *testing.T) {
	metricsOf := func(md pmetric.Metrics) func(*testing.T, *pipelines) {
		data, err := (&pmetric.ProtoMarshaler{}).MarshalMetrics(md)
		require.NoError(t, err)
		return func(t *testing.T, p *pipelines) {
			received, err := (&pmetric.ProtoUnmarshaler{}).UnmarshalMetrics(data)
			require.NoError(t, err)
			require.NoError(t, p.metrics.ConsumeMetrics(t.Context(), received))
		}
	}
	logsOf := func(ld plog.Logs) func(*testing.T, *pipelines) {
		data, err := (&plog.ProtoMarshaler{}).MarshalLogs(ld)
		require.NoError(t, err)
		return func(t *testing.T, p *pipelines) {
			received, err := (&plog.ProtoUnmarshaler{}).UnmarshalLogs(data)
			require.NoError(t, err)
			require.NoError(t, p.logs.ConsumeLogs(t.Context(), received))
		}
	}
	tracesOf := func(td ptrace.Traces) func(*testing.T, *pipelines) {
		data, err := (&ptrace.ProtoMarshaler{}).MarshalTraces(td)
		require.NoError(t, err)
		return func(t *testing.T, p *pipelines) {
			received, err := (&ptrace.ProtoUnmarshaler{}).UnmarshalTraces(data)
			require.NoError(t, err)
			require.NoError(t, p.traces.ConsumeTraces(t.Context(), received))
		}
	}
	text := func(body pcommon.Value) { body.SetStr(strings.Repeat("a log line ", 10)) }
	object := func(body pcommon.Value) { putAttributes(body.SetEmptyMap(), 12) }
	nested := func(body pcommon.Value) { putAttributes(body.SetEmptyMap().PutEmptyMap("metadata"), 12) }
	for name, tc := range map[string]struct {
		items int
		send  func(*testing.T, *pipelines)
	}{
		"a scrape of eight devices":  {160, metricsOf(dcgmPoints(20, 8, 8))},
		"points with two attributes": {160, metricsOf(dcgmPoints(20, 8, 2))},
		"points of one device":       {20, metricsOf(dcgmPoints(20, 1, 8))},
		"histogram points":           {100, metricsOf(histograms(100, 5))},
		"one point":                  {1, metricsOf(dcgmPoints(1, 1, 5))},
		"log lines":                  {100, logsOf(logRecords(100, 3, text))},
		"one log line":               {1, logsOf(logRecords(1, 3, text))},
		"records with a map body":    {100, logsOf(logRecords(100, 0, object))},
		"records with a nested body": {100, logsOf(logRecords(100, 0, nested))},
		"spans":                      {100, tracesOf(spansWith(100, 6, 0))},
		"spans with events":          {100, tracesOf(spansWith(100, 6, 2))},
		"one span":                   {1, tracesOf(spansWith(1, 6, 0))},
	} {
		t.Run(name, func(t *testing.T) {
			p := startPipelines(t, func(cfg *Config) { cfg.Grace.Period = 5 * time.Minute })
			p.events(t, 10, "train")
			before := heap()
			for range 1 + 4000/tc.items {
				tc.send(t, p)
			}
			measured := heap() - before
			estimated := valueOf(t, p.telemetry, "otelcol_processor_phase_attr_waiting_bytes", "processor", "phase_attr")
			ratio := float64(estimated) / float64(measured)
			t.Logf("%s: estimated %d, measured %d bytes an item: %.2f", name, estimated/4000, measured/4000, ratio)
			assert.Greater(t, ratio, 0.8)
			assert.Less(t, ratio, 1.4)
			p.shutdown(t)
		})
	}
}

// What the index says that it takes includes what is known of where the ranks are.
func TestIndexIsChargedWhatItTakesOnTheHeap(t *testing.T) {
	for name, place := range map[string]func(rank int) object{
		"events that name a host, a process and a device": func(rank int) object {
			return object{"host": fmt.Sprint("node-", rank/8), "pid": int64(4000 + rank), "device_id": int64(rank % 8), "job_id": "job-1"}
		},
		"events of pods": func(rank int) object {
			return object{
				"host": fmt.Sprint("node-", rank/8, ".cluster.example"), "pid": int64(1), "device_id": int64(rank % 8), "job_id": "job-1",
				"k8s.pod.uid": fmt.Sprintf("7d0a3e7c-55f6-4f0a-8b07-%012d", rank), "k8s.pod.name": fmt.Sprint("trainer-", rank),
				"k8s.namespace.name": "training", "container.id": fmt.Sprintf("%064d", rank), "gpu.uuid": fmt.Sprintf("GPU-7d0a3e7c-55f6-4f0a-8b07-%012d", rank),
			}
		},
		"events that say nothing": func(int) object { return object{} },
	} {
		t.Run(name, func(t *testing.T) {
			p := startPipelines(t)
			before := heap()
			for rank := range 4000 {
				run := &program{session: "run", rank: int64(rank)}
				e := run.worker(1).enter(1, "train")
				for key, value := range place(rank) {
					e[key] = value
				}
				require.NoError(t, p.logs.ConsumeLogs(t.Context(), records(t, e)))
				p.logsSink.Reset()
			}
			measured := heap() - before
			account := valueOf(t, p.telemetry, "otelcol_processor_phase_attr_index_bytes", "processor", "phase_attr")
			ratio := float64(account) / float64(measured)
			t.Logf("%s: account %d, heap %d bytes a rank: %.2f", name, account/4000, measured/4000, ratio)
			assert.InDelta(t, 1, ratio, 0.25)
			p.shutdown(t)
		})
	}
}
