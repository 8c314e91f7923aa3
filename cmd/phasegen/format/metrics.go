// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package format

import (
	"fmt"
	"strconv"

	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/phaseattr/phaseattr/cmd/phasegen/job"
)

// model is the GPU of every node.
const (
	model    = "NVIDIA H100 80GB HBM3"
	memoryMB = 81_559
)

// metric is a gauge, or an UpDownCounter. Its value depends on the utilization of the GPU,
// from 0 to 1.
type metric struct {
	name, unit, help string
	upDown           bool
	value            func(load float64) float64
}

func utilization(load float64) float64 { return float64(int(100 * load)) }
func usedMB(load float64) float64      { return float64(int(memoryMB * (0.45 + 0.4*load))) }
func watts(load float64) float64       { return 90 + 600*load }

// DCGM is the metrics of dcgm-exporter, as the prometheus receiver reads them.
type DCGM struct{}

// dcgmMetrics have type and help as in the exporter's default-counters.csv.
func dcgmMetrics() []metric {
	return []metric{
		{"DCGM_FI_DEV_GPU_UTIL", "", "GPU utilization (in %).", false, utilization},
		{"DCGM_FI_DEV_FB_USED", "", "Framebuffer memory used (in MiB).", false, usedMB},
		{"DCGM_FI_DEV_POWER_USAGE", "", "Power draw (in W).", false, watts},
	}
}

// Append implements [Format].
func (DCGM) Append(b *Batch, e *job.Event) {
	if e.Kind != job.DeviceReading {
		return
	}
	for _, m := range dcgmMetrics() {
		p := b.newPoint(metricSource{host: e.Rank.Host}, m, e.At, func(attrs pcommon.Map) {
			attrs.PutStr("service.name", "dcgm-exporter")
			attrs.PutStr("service.instance.id", e.Rank.Host+":9400")
		})
		p.SetDoubleValue(m.value(e.Load))
		for _, l := range dcgmLabels(e.Rank) {
			p.Attributes().PutStr(l.name, l.value)
		}
	}
}

type label struct{ name, value string }

// dcgmLabels returns the labels of dcgm-exporter, in its order.
func dcgmLabels(r *job.Rank) []label {
	return []label{
		{"gpu", strconv.Itoa(r.GPU)},
		{"UUID", r.UUID},
		{"pci_bus_id", r.PCI},
		{"device", fmt.Sprintf("nvidia%d", r.GPU)},
		{"modelName", model},
		{"Hostname", r.Host},
	}
}

// HardwareGPU is the metrics hw.* of OpenTelemetry's semantic conventions.
type HardwareGPU struct{}

func hardwareMetrics() []metric {
	return []metric{
		{"hw.gpu.utilization", "1", "Fraction of time spent in a specific task.", false, func(load float64) float64 { return load }},
		{"hw.gpu.memory.usage", "By", "GPU memory used.", true, func(load float64) float64 { return usedMB(load) * (1 << 20) }},
		{"hw.power", "W", "Instantaneous power consumed by the component.", false, watts},
	}
}

// Append implements [Format].
func (HardwareGPU) Append(b *Batch, e *job.Event) {
	if e.Kind != job.DeviceReading {
		return
	}
	for _, m := range hardwareMetrics() {
		p := b.newPoint(metricSource{host: e.Rank.Host}, m, e.At, func(attrs pcommon.Map) {
			attrs.PutStr("host.name", e.Rank.Host)
		})
		p.SetDoubleValue(m.value(e.Load))
		attrs := p.Attributes()
		attrs.PutStr("hw.id", strconv.Itoa(e.Rank.GPU))
		attrs.PutStr("hw.type", "gpu")
		attrs.PutStr("hw.name", model)
		attrs.PutStr("hw.vendor", "NVIDIA")
		attrs.PutStr("hw.serial_number", e.Rank.UUID)
	}
}

// Process is the metrics process.* of OpenTelemetry's semantic conventions, as a host
// agent writes them.
type Process struct{}

func processMetrics() []metric {
	return []metric{
		{"process.cpu.utilization", "1", "Share of the CPU time.", false, func(load float64) float64 { return 1 - load/2 }},
		{"process.memory.usage", "By", "The amount of physical memory in use.", true, func(load float64) float64 { return (4 + load) * (1 << 30) }},
	}
}

// Append implements [Format].
func (Process) Append(b *Batch, e *job.Event) {
	if e.Kind != job.ProcessReading {
		return
	}
	for _, m := range processMetrics() {
		p := b.newPoint(metricSource{e.Rank.Host, e.Process.PID}, m, e.At, func(attrs pcommon.Map) {
			attrs.PutStr("host.name", e.Rank.Host)
			attrs.PutInt("process.pid", int64(e.Process.PID))
			attrs.PutStr("process.executable.name", "python3")
		})
		p.SetDoubleValue(m.value(e.Load))
	}
}
