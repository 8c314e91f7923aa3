// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"fmt"
	"runtime"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/processor"
	"go.opentelemetry.io/collector/processor/processortest"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/ending"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/metadata"
)

// scrapeOfNode is a scrape of 8 GPUs, with 40 gauges each.
func scrapeOfNode(at pcommon.Timestamp) pmetric.Metrics {
	md := pmetric.NewMetrics()
	scope := md.ResourceMetrics().AppendEmpty().ScopeMetrics().AppendEmpty()
	for i := range 40 {
		metric := scope.Metrics().AppendEmpty()
		metric.SetName(fmt.Sprintf("DCGM_FI_DEV_%d", i))
		points := metric.SetEmptyGauge().DataPoints()
		for gpu := range 8 {
			dp := points.AppendEmpty()
			dp.SetTimestamp(at)
			dp.SetIntValue(1)
			index := strconv.Itoa(gpu)
			dp.Attributes().EnsureCapacity(12)
			for key, value := range map[string]string{
				"gpu": index, "UUID": "GPU-6f8b3c1e-5d0a-4a7e-9a51-0c2f7be4d1" + index, "pci_bus_id": "00000000:1" + index + ":00.0",
				"device": "nvidia" + index, "modelName": "NVIDIA H100 80GB HBM3", "Hostname": "node", "DCGM_FI_DRIVER_VERSION": "570.133.20",
			} {
				dp.Attributes().PutStr(key, value)
			}
		}
	}
	return md
}

// BenchmarkEndSeries passes scrapes of a node whose GPUs change their phase with every
// scrape, or with none, in each mode of metrics. A unit is a data point.
func BenchmarkEndSeries(b *testing.B) {
	for _, mode := range []struct {
		name string
		edit func(*Config)
	}{
		{"off", func(*Config) {}},
		{"end_series", endSeries},
		{"info", infoMode},
	} {
		for _, changes := range []bool{false, true} {
			b.Run(fmt.Sprintf("%s/changes=%t", mode.name, changes), func(b *testing.B) {
				cfg := createDefaultConfig().(*Config)
				cfg.Grace.Period, cfg.Window = 0, cfg.SessionTimeout // the whole run
				mode.edit(cfg)
				logs, metrics := benchPipelines(b, cfg)
				ld := plog.NewLogs()
				into := ld.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty().LogRecords()
				phases := 800
				for gpu := range 8 {
					w := (&program{session: "run", rank: int64(gpu)}).worker(1)
					for i := range phases {
						for _, e := range []object{w.enter(float64(i), "a"+strconv.Itoa(i%2)), w.exit(float64(i) + 0.9)} {
							require.NoError(b, into.AppendEmpty().Body().SetEmptyMap().FromRaw(with(e, object{"host": "node", "device_id": int64(gpu)})))
						}
					}
				}
				require.NoError(b, logs.ConsumeLogs(b.Context(), ld))
				b.ReportAllocs()
				points := 0
				for i := 0; b.Loop(); i++ {
					b.StopTimer()
					at := 1.5
					if changes {
						at = float64(i%phases) + 0.5
					}
					md := scrapeOfNode(timestamp(at))
					points += md.DataPointCount()
					b.StartTimer()
					require.NoError(b, metrics.ConsumeMetrics(b.Context(), md))
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(points), "ns/point")
			})
		}
	}
}

func benchPipelines(b *testing.B, cfg *Config) (processor.Logs, processor.Metrics) {
	b.Helper()
	factory, set := NewFactory(), processortest.NewNopSettings(metadata.Type)
	logs, err := factory.CreateLogs(b.Context(), set, cfg, consumertest.NewNop())
	require.NoError(b, err)
	metrics, err := factory.CreateMetrics(b.Context(), set, cfg, consumertest.NewNop())
	require.NoError(b, err)
	require.NoError(b, logs.Start(b.Context(), nil))
	require.NoError(b, metrics.Start(b.Context(), nil))
	b.Cleanup(func() {
		require.NoError(b, logs.Shutdown(b.Context()))
		require.NoError(b, metrics.Shutdown(b.Context()))
	})
	return logs, metrics
}

// BenchmarkStreams fills a tracker and reports the heap of a stream.
func BenchmarkStreams(b *testing.B) {
	const n = 200_000
	heap := func() uint64 {
		runtime.GC()
		var stats runtime.MemStats
		runtime.ReadMemStats(&stats)
		return stats.HeapAlloc
	}
	for b.Loop() {
		before := heap()
		tracker := ending.New(ending.NewHasher([]string{"phase_path"}), n, createDefaultConfig().(*Config).Window)
		attributes := pcommon.NewMap()
		attributes.PutStr("phase_path", "train / step / forward")
		batch := tracker.Begin()
		for stream := range uint64(n) {
			batch.Observe(stream*0x9e3779b97f4a7c15, 1, stream/40, attributes)
			if stream%1000 == 0 { // a batch has some
				batch.End()
				batch = tracker.Begin()
			}
		}
		batch.End()
		batch = nil
		b.ReportMetric(float64(heap()-before)/n, "B/stream")
		runtime.KeepAlive(tracker)
	}
}
