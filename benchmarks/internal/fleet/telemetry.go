// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"fmt"
	"strconv"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/phaseattr/phaseattr/cmd/phasegen/job"
)

// The numbers of readings of a rank in a batch, as [Readings] returns them, that make it as
// large as usual.
const (
	ReadGauges  = interval / 5
	ReadRecords = interval / 125
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

// UsualLabels is the number of labels that DCGM's exporter writes.
const UsualLabels = 7

// Gauges returns the gauges of the GPUs and processes when they were read, with 2, 5, 7 or 8
// labels on each point. The host and the GPU are always among them.
func Gauges(j *job.Job, readings []*job.Event, identity Identity, labels int) pmetric.Metrics {
	md := pmetric.NewMetrics()
	if identity != OnResource {
		addGauges(md, j, readings, identity, labels)
		return md
	}
	for _, own := range byRank(readings) {
		addGauges(md, j, own, identity, labels)
	}
	return md
}

// byRank divides readings by rank.
func byRank(readings []*job.Event) [][]*job.Event {
	var all [][]*job.Event
	at := map[*job.Rank]int{}
	for _, e := range readings {
		if _, ok := at[e.Rank]; !ok {
			at[e.Rank] = len(all)
			all = append(all, nil)
		}
		all[at[e.Rank]] = append(all[at[e.Rank]], e)
	}
	return all
}

func addGauges(md pmetric.Metrics, j *job.Job, readings []*job.Event, identity Identity, labels int) {
	resource := md.ResourceMetrics().AppendEmpty()
	if identity == OnResource {
		describe(resource.Resource().Attributes(), j, readings[0].Process)
	} else {
		resource.Resource().Attributes().PutStr("service.name", "dcgm-exporter")
		resource.Resource().Attributes().PutStr("service.instance.id", "localhost:9400")
		resource.Resource().Attributes().PutStr("k8s.pod.ip", PodIP(j, readings[0].Rank))
	}
	scope := resource.ScopeMetrics().AppendEmpty()
	scope.Scope().SetName("gpu")
	for i, name := range gauges {
		metric := scope.Metrics().AppendEmpty()
		metric.SetName(name)
		points := metric.SetEmptyGauge().DataPoints()
		for n, e := range readings {
			dp := points.AppendEmpty()
			dp.SetTimestamp(pcommon.Timestamp(e.At)) //nolint:gosec // not negative
			dp.SetIntValue(int64(1000*i + n))
			label(dp.Attributes(), e.Rank, labels)
			if identity == OnPoints {
				dp.Attributes().PutStr("session_id", j.Session)
				dp.Attributes().PutInt("rank", int64(e.Rank.Number))
			}
		}
	}
}

// label adds labels of DCGM's exporter to a point, and one of Kubernetes with 8 labels.
func label(attrs pcommon.Map, r *job.Rank, labels int) {
	for _, l := range []struct {
		atLeast    int // labels on the point for this one to be among them
		key, value string
	}{
		{2, "gpu", strconv.Itoa(r.GPU)},
		{5, "UUID", r.UUID},
		{7, "pci_bus_id", r.PCI},
		{5, "device", fmt.Sprintf("nvidia%d", r.GPU)},
		{5, "modelName", "NVIDIA H100 80GB HBM3"},
		{2, "Hostname", r.Host},
		{7, "DCGM_FI_DRIVER_VERSION", "550.90.07"},
		{8, "container", "trainer"},
	} {
		if l.atLeast <= labels {
			attrs.PutStr(l.key, l.value)
		}
	}
}

// PodIP returns the address of the pod of a rank.
func PodIP(j *job.Job, r *job.Rank) string {
	n := j.FirstNode*GPUsPerNode + r.Number
	return fmt.Sprintf("10.%d.%d.%d", n>>16&255, n>>8&255, n&255)
}

// describe adds the resource attributes of a program's SDK and a node's agent.
func describe(resource pcommon.Map, j *job.Job, p *job.Process) {
	resource.PutStr("service.name", "trainer")
	resource.PutStr("service.instance.id", fmt.Sprintf("trainer-%d-%d", j.Seed, p.Number))
	resource.PutStr("host.name", p.Host)
	resource.PutInt("process.pid", int64(p.PID))
	resource.PutStr("k8s.pod.ip", PodIP(j, p.Rank))
	resource.PutStr("telemetry.sdk.language", "python")
	resource.PutStr("session_id", j.Session)
	resource.PutInt("rank", int64(p.Number))
}

// Logs returns a log record for each reading.
func Logs(j *job.Job, readings []*job.Event) plog.Logs {
	ld := plog.NewLogs()
	for _, own := range byRank(readings) {
		resource := ld.ResourceLogs().AppendEmpty()
		describe(resource.Resource().Attributes(), j, own[0].Process)
		scope := resource.ScopeLogs().AppendEmpty()
		scope.Scope().SetName("trainer.loop")
		for i, e := range own {
			record := scope.LogRecords().AppendEmpty()
			record.SetTimestamp(pcommon.Timestamp(e.At))         //nolint:gosec // not negative
			record.SetObservedTimestamp(pcommon.Timestamp(e.At)) //nolint:gosec // not negative
			record.SetSeverityNumber(plog.SeverityNumberInfo)
			record.SetSeverityText("INFO")
			record.Body().SetStr("loss scaled, gradients within bounds")
			attrs := record.Attributes()
			attrs.PutStr("code.file.path", "/workspace/trainer/loop.py")
			attrs.PutStr("code.function.name", "train_one_step")
			attrs.PutInt("code.line.number", int64(200+i))
			attrs.PutStr("thread.name", "MainThread")
			attrs.PutInt("process.pid", int64(e.Process.PID))
		}
	}
	return ld
}

// Traces returns a span that ends at each reading and lies within a phase.
func Traces(j *job.Job, readings []*job.Event) ptrace.Traces {
	td := ptrace.NewTraces()
	for _, own := range byRank(readings) {
		resource := td.ResourceSpans().AppendEmpty()
		describe(resource.Resource().Attributes(), j, own[0].Process)
		scope := resource.ScopeSpans().AppendEmpty()
		scope.Scope().SetName("torch.profiler")
		for i, e := range own {
			span := scope.Spans().AppendEmpty()
			span.SetName("aten::linear")
			span.SetTraceID([16]byte{1, byte(j.Seed), byte(e.Rank.Number >> 8), byte(e.Rank.Number)}) //nolint:gosec // overflow is harmless
			span.SetSpanID([8]byte{1, byte(i)})
			span.SetStartTimestamp(pcommon.Timestamp(e.At - (e.At-e.Previous)/2)) //nolint:gosec // not negative
			span.SetEndTimestamp(pcommon.Timestamp(e.At))                         //nolint:gosec // not negative
			attrs := span.Attributes()
			attrs.PutStr("gpu.stream", "7")
			attrs.PutStr("op.kind", "kernel")
			attrs.PutInt("op.correlation_id", int64(100_000+i))
			attrs.PutStr("op.shape", "[8, 4096, 4096]")
		}
	}
	return td
}
