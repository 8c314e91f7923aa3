// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package training

import (
	"fmt"
	"strconv"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

// A batch holds the telemetry of each rank for some seconds.
const (
	// collections is the number of points per gauge in a batch.
	collections = 5
	// collectionInterval is the time between them.
	collectionInterval = time.Second
	// logsPerRank and spansPerRank are the numbers of records in a batch.
	logsPerRank, spansPerRank = 125, 125
)

// gauges are the default GPU metrics of DCGM's exporter and the memory metrics of a
// training program.
var gauges = []string{
	"DCGM_FI_DEV_SM_CLOCK", "DCGM_FI_DEV_MEM_CLOCK", "DCGM_FI_DEV_MEMORY_TEMP", "DCGM_FI_DEV_GPU_TEMP",
	"DCGM_FI_DEV_POWER_USAGE", "DCGM_FI_DEV_PCIE_REPLAY_COUNTER", "DCGM_FI_DEV_GPU_UTIL", "DCGM_FI_DEV_MEM_COPY_UTIL",
	"DCGM_FI_DEV_ENC_UTIL", "DCGM_FI_DEV_DEC_UTIL", "DCGM_FI_DEV_XID_ERRORS", "DCGM_FI_DEV_FB_FREE",
	"DCGM_FI_DEV_FB_USED", "DCGM_FI_DEV_FB_RESERVED", "DCGM_FI_DEV_NVLINK_BANDWIDTH_TOTAL",
	"DCGM_FI_DEV_VGPU_LICENSE_STATUS", "DCGM_FI_PROF_GR_ENGINE_ACTIVE", "DCGM_FI_PROF_PIPE_TENSOR_ACTIVE",
	"DCGM_FI_PROF_DRAM_ACTIVE", "DCGM_FI_PROF_PCIE_TX_BYTES", "DCGM_FI_PROF_PCIE_RX_BYTES",
	"stormlog.allocator.allocated", "stormlog.allocator.reserved", "stormlog.device.used", "stormlog.device.free",
}

// Identity is the way in which gauges name their rank.
type Identity int

const (
	// OnResource: each rank is a resource that names the session and the rank.
	OnResource Identity = iota
	// OnPoints: all ranks are one resource, and the points name the session and the rank.
	OnPoints
	// ByDevice: all ranks are one resource, and the points name the host and the device
	// only.
	ByDevice
)

// labelsOfExporter is the number of labels that DCGM's exporter writes.
const labelsOfExporter = 7

// Metrics returns the gauges of ranks, last read at the given time, with the labels that
// DCGM's exporter writes.
func Metrics(ranks []Rank, last time.Time, identity Identity) pmetric.Metrics {
	return MetricsWithLabels(ranks, last, identity, labelsOfExporter)
}

// MetricsWithLabels is Metrics with 2, 5, 7 or 8 labels on each point. The host and the
// GPU are always among them.
func MetricsWithLabels(ranks []Rank, last time.Time, identity Identity, labels int) pmetric.Metrics {
	md := pmetric.NewMetrics()
	if identity == OnResource {
		for i := range ranks {
			addGauges(md, ranks[i:i+1], last, identity, labels)
		}
		return md
	}
	addGauges(md, ranks, last, identity, labels)
	return md
}

func addGauges(md pmetric.Metrics, ranks []Rank, last time.Time, identity Identity, labels int) {
	resource := md.ResourceMetrics().AppendEmpty()
	if identity == OnResource {
		ranks[0].describe(resource.Resource().Attributes(), true)
	} else {
		resource.Resource().Attributes().PutStr("service.name", "dcgm-exporter")
		resource.Resource().Attributes().PutStr("service.instance.id", "localhost:9400")
		resource.Resource().Attributes().PutStr("k8s.pod.ip", ranks[0].PodIP())
	}
	scope := resource.ScopeMetrics().AppendEmpty()
	scope.Scope().SetName("gpu")
	for i, name := range gauges {
		metric := scope.Metrics().AppendEmpty()
		metric.SetName(name)
		points := metric.SetEmptyGauge().DataPoints()
		for c := range collections {
			for _, rank := range ranks {
				dp := points.AppendEmpty()
				at := rank.within(last.Add(-time.Duration(collections-1-c) * collectionInterval))
				dp.SetTimestamp(timestamp(at))
				dp.SetIntValue(int64(1000*i + c))
				rank.label(dp.Attributes(), labels)
				if identity == OnPoints {
					dp.Attributes().PutStr("session_id", rank.Session())
					dp.Attributes().PutInt("rank", int64(rank.Number))
				}
			}
		}
	}
}

// label adds labels of DCGM's exporter to a point, and one of Kubernetes with 8 labels.
func (r Rank) label(attrs pcommon.Map, labels int) {
	for _, l := range []struct {
		atLeast    int // labels on the point for this one to be among them
		key, value string
	}{
		{2, "gpu", strconv.Itoa(r.GPU())},
		{5, "UUID", fmt.Sprintf("GPU-6f2a94d1-3c0e-4b7f-%04x-%012x", r.Job, r.Number)},
		{7, "pci_bus_id", fmt.Sprintf("00000000:%02X:00.0", 0x18+r.GPU())},
		{5, "device", fmt.Sprintf("nvidia%d", r.GPU())},
		{5, "modelName", "NVIDIA H100 80GB HBM3"},
		{2, "Hostname", r.Host()},
		{7, "DCGM_FI_DRIVER_VERSION", "550.90.07"},
		{8, "container", "trainer"},
	} {
		if l.atLeast <= labels {
			attrs.PutStr(l.key, l.value)
		}
	}
}

// Logs returns the log records of ranks up to a time.
func Logs(ranks []Rank, last time.Time) plog.Logs {
	ld := plog.NewLogs()
	for _, rank := range ranks {
		resource := ld.ResourceLogs().AppendEmpty()
		rank.describe(resource.Resource().Attributes(), true)
		scope := resource.ScopeLogs().AppendEmpty()
		scope.Scope().SetName("trainer.loop")
		for i := range logsPerRank {
			record := scope.LogRecords().AppendEmpty()
			at := rank.within(last.Add(-time.Duration(logsPerRank-1-i) * 41 * time.Millisecond))
			record.SetTimestamp(timestamp(at))
			record.SetObservedTimestamp(timestamp(at))
			record.SetSeverityNumber(plog.SeverityNumberInfo)
			record.SetSeverityText("INFO")
			record.Body().SetStr("loss scaled, gradients within bounds")
			attrs := record.Attributes()
			attrs.PutStr("code.file.path", "/workspace/trainer/loop.py")
			attrs.PutStr("code.function.name", "train_one_step")
			attrs.PutInt("code.line.number", int64(200+i))
			attrs.PutStr("thread.name", "MainThread")
			attrs.PutInt("process.pid", rank.PID())
		}
	}
	return ld
}

// Traces returns the spans of ranks up to a time. Each span lies within a phase.
func Traces(ranks []Rank, last time.Time) ptrace.Traces {
	td := ptrace.NewTraces()
	for _, rank := range ranks {
		resource := td.ResourceSpans().AppendEmpty()
		rank.describe(resource.Resource().Attributes(), true)
		scope := resource.ScopeSpans().AppendEmpty()
		scope.Scope().SetName("torch.profiler")
		for i := range spansPerRank {
			span := scope.Spans().AppendEmpty()
			middle := rank.within(last.Add(-time.Duration(spansPerRank-1-i) * 41 * time.Millisecond))
			span.SetName("aten::linear")
			span.SetTraceID([16]byte{1, byte(rank.Job), byte(rank.Number >> 8), byte(rank.Number)}) //nolint:gosec // overflow is harmless
			span.SetSpanID([8]byte{1, byte(i)})
			span.SetStartTimestamp(timestamp(middle.Add(-time.Duration(i) * 31 * time.Microsecond)))
			span.SetEndTimestamp(timestamp(middle.Add(time.Duration(i) * 31 * time.Microsecond)))
			attrs := span.Attributes()
			attrs.PutStr("gpu.stream", "7")
			attrs.PutStr("op.kind", "kernel")
			attrs.PutInt("op.correlation_id", int64(100_000+i))
			attrs.PutStr("op.shape", "[8, 4096, 4096]")
		}
	}
	return td
}
