// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"fmt"
	"strconv"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/phaseattr/phaseattr/cmd/phasegen/format"
	"github.com/phaseattr/phaseattr/cmd/phasegen/job"
)

// The intervals of readings that give each rank 5 points per gauge, and 125 log records or
// spans, in a batch.
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
	// OnPoints: the ranks of a node are one resource, and the points name the session and the rank.
	OnPoints
	// ByDevice: the ranks of a node are one resource, and the points name the host and the
	// device only.
	ByDevice
)

// UsualLabels is the number of labels that DCGM's exporter writes.
const UsualLabels = 7

// Gauges is the gauges of a GPU and its process. A point has 2, 5, 7 or 8 labels, the host and
// the GPU always among them.
type Gauges struct {
	Job      *job.Job
	Identity Identity
	Labels   int
}

// Append implements [format.Format].
func (g Gauges) Append(b *format.Batch, e *job.Event) {
	pid, resource := 0, g.exporter
	if g.Identity == OnResource {
		pid, resource = e.Process.PID, describe
	}
	for i, name := range gauges {
		dp := b.NewPoint(e.Rank.Host, pid, name, e.At, func(attrs pcommon.Map) { resource(attrs, g.Job, e.Process) })
		dp.SetIntValue(int64(1000*i) + e.At%1000)
		label(dp.Attributes(), e.Rank, g.Labels)
		if g.Identity == OnPoints {
			dp.Attributes().PutStr("session_id", g.Job.Session)
			dp.Attributes().PutInt("rank", int64(e.Rank.Number))
		}
	}
}

func (Gauges) exporter(resource pcommon.Map, j *job.Job, p *job.Process) {
	resource.PutStr("service.name", "dcgm-exporter")
	resource.PutStr("service.instance.id", "localhost:9400")
	resource.PutStr("k8s.pod.ip", PodIP(j, p.Rank))
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

// Logs is a log record for each reading.
type Logs struct{ Job *job.Job }

// Append implements [format.Format].
func (l Logs) Append(b *format.Batch, e *job.Event) {
	record := b.NewRecord(e.Process, func(attrs pcommon.Map) { describe(attrs, l.Job, e.Process) })
	record.SetTimestamp(pcommon.Timestamp(e.At))         //nolint:gosec // not negative
	record.SetObservedTimestamp(pcommon.Timestamp(e.At)) //nolint:gosec // not negative
	record.SetSeverityNumber(plog.SeverityNumberInfo)
	record.SetSeverityText("INFO")
	record.Body().SetStr("loss scaled, gradients within bounds")
	attrs := record.Attributes()
	attrs.PutStr("code.file.path", "/workspace/trainer/loop.py")
	attrs.PutStr("code.function.name", "train_one_step")
	attrs.PutInt("code.line.number", 200+e.At%100)
	attrs.PutStr("thread.name", "MainThread")
	attrs.PutInt("process.pid", int64(e.Process.PID))
}

// Traces is a span that ends at each reading and lies within a phase.
type Traces struct{ Job *job.Job }

// Append implements [format.Format].
func (t Traces) Append(b *format.Batch, e *job.Event) {
	span := b.NewSpan(e.Process, "torch.profiler", func(attrs pcommon.Map) { describe(attrs, t.Job, e.Process) })
	span.SetName("aten::linear")
	span.SetTraceID([16]byte{1, byte(t.Job.Seed), byte(e.Rank.Number >> 8), byte(e.Rank.Number)}) //nolint:gosec // overflow is harmless
	span.SetSpanID([8]byte{1, byte(e.At >> 16), byte(e.At >> 8), byte(e.At)})                     //nolint:gosec // overflow is harmless
	span.SetStartTimestamp(pcommon.Timestamp(e.At - (e.At-e.Previous)/2))                         //nolint:gosec // not negative
	span.SetEndTimestamp(pcommon.Timestamp(e.At))                                                 //nolint:gosec // not negative
	attrs := span.Attributes()
	attrs.PutStr("gpu.stream", "7")
	attrs.PutStr("op.kind", "kernel")
	attrs.PutInt("op.correlation_id", 100_000+e.At%100)
	attrs.PutStr("op.shape", "[8, 4096, 4096]")
}
