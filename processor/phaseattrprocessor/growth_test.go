// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package phaseattrprocessor

import (
	"fmt"
	"math"
	"runtime"
	"runtime/debug"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/association"
)

// growth is what one sender can make large: how large it is at most here, and what is measured
// with n of it, after a preparation.
type growth struct {
	name    string
	largest int
	prepare func(b *testing.B, n int) (p *pipelines, measured func())
}

var growths = []growth{
	{"records in a request", 32_000, func(b *testing.B, n int) (*pipelines, func()) {
		p := startPipelines(b)
		ld := plog.NewLogs()
		for i := range n {
			sent{thread: int64(i % 64), id: i, parent: i - 64, at: int64(i)}.put(ld)
		}
		return p, func() { p.send(b, ld) }
	}},
	{"records in a request, in reverse", 32_000, func(b *testing.B, n int) (*pipelines, func()) {
		p := startPipelines(b)
		ld := plog.NewLogs()
		for i := range n {
			sent{id: (n - i) / 2, at: int64(n - i), exit: (n-i)%2 == 1}.put(ld)
		}
		return p, func() { p.send(b, ld) }
	}},
	// Those that have ended are all visited, as many times as there are points. Where others use the
	// caches, one takes several times as long at the largest size as at the smallest one.
	scrapedDevice("a scrape of a device with sessions", nil, seat{}),
	scrapedDevice("a scrape of a device with sessions that have ended", nil, seat{stops: true}),
	scrapedDevice("a scrape of a device with sessions, by UUID", nil, seat{uuid: "GPU-0"}),
	scrapedDevice("a scrape of a device with sessions that have ended, by UUID", nil, seat{uuid: "GPU-0", stops: true}),
	scrapedDevice("a scrape of a device with sessions of 8 processes", nil, seat{processes: 8}),
	scrapedDevice("a scrape of a device with sessions on hosts of many domains", nil, seat{domains: true}),
	scrapedDevice("a scrape of a device with sessions, one answers", oneAnswers, seat{}),
	scrapedDevice("a scrape of a device with sessions that have ended, one answers", oneAnswers, seat{stops: true}),
	seatedAt("events of sessions on a device", seat{}),
	seatedAt("events of sessions that end, on a device", seat{stops: true}),
	seatedAt("events of sessions of 8 processes on a device", seat{processes: 8}),
	seatedAt("events of sessions on a device of hosts of many domains", seat{domains: true}),
	{"sessions that leave a device", 16_000, func(b *testing.B, n int) (*pipelines, func()) {
		p := startPipelines(b, func(cfg *Config) { cfg.Limits.MaxRanks = n })
		p.send(b, seat{stops: true}.fill(0, n))
		ld := seat{}.fill(n, n) // each takes the room of one
		return p, func() { p.send(b, ld) }
	}},
	{"processes of a rank that come and go", 16_000, func(b *testing.B, n int) (*pipelines, func()) {
		p := startPipelines(b)
		ld := plog.NewLogs()
		for i := range n {
			record := sent{id: i, at: int64(10 + i)}.put(ld)
			record.PutStr("host", fmt.Sprint("node", i%5000))
			record.PutInt("pid", 10)
		}
		return p, func() { p.send(b, ld) }
	}},
	{"processes of a rank", 8000, func(b *testing.B, n int) (*pipelines, func()) {
		p := startPipelines(b)
		ld := plog.NewLogs()
		for i := range n {
			record := sent{id: i, at: int64(10 + i)}.put(ld)
			record.PutStr("host", "node")
			record.PutInt("pid", int64(10+i%240)) // as many as there may be
			record.PutInt("device_id", int64(i/240%20))
		}
		return p, func() { p.send(b, ld) }
	}},
	// The preparation takes a minute or more: each boundary is answered, too, among up to maxScopes.
	{"open scopes under a split point", 80_000, func(b *testing.B, n int) (*pipelines, func()) {
		p := startPipelines(b, split)
		ld := plog.NewLogs()
		threads := (n + 999) / 1000
		for i := range n {
			sent{thread: int64(i % threads), id: i, parent: i - threads, at: int64(i)}.put(ld)
		}
		p.send(b, ld)
		return p, func() { p.deltas(b, 1, 0, int64(n)) }
	}},
	{"threads under a split point", 256, func(b *testing.B, n int) (*pipelines, func()) {
		p := startPipelines(b, split)
		ld := plog.NewLogs()
		for i := range 64_000 { // as many boundaries on however many threads
			sent{thread: int64(i % n), id: i / n / 2, at: int64(i), exit: i/n%2 == 1}.put(ld)
		}
		p.send(b, ld)
		return p, func() { p.deltas(b, 10, 0, 64_000) }
	}},
	{"boundaries at one moment", 64_000, func(b *testing.B, n int) (*pipelines, func()) {
		p := startPipelines(b)
		ld := plog.NewLogs()
		for i := range n {
			sent{id: i / 2, at: 10, sequence: int64(i), exit: i%2 == 1}.put(ld)
		}
		sent{id: n, at: 20}.put(ld)
		p.send(b, ld)
		return p, func() {
			p.deltas(b, 10, 5, 15)
			p.deltas(b, 10, 10, 10) // at that moment
		}
	}},
	{"events at one moment", 64_000, func(b *testing.B, n int) (*pipelines, func()) {
		p := startPipelines(b)
		ld := plog.NewLogs()
		for i := range n {
			sent{id: i / 2, at: 10, sequence: int64(i), exit: i%2 == 1}.put(ld)
		}
		return p, func() { p.send(b, ld) }
	}},
	{"waiting batches", 16_000, func(b *testing.B, n int) (*pipelines, func()) {
		p := startPipelines(b, func(cfg *Config) {
			cfg.Grace.Period, cfg.Grace.MaxBatches, cfg.Grace.MaxBytes = 5*time.Minute, 1_000_000, 1<<30
		})
		p.flat(b, sent{at: 10})
		return p, func() {
			for i := range n {
				p.deltas(b, 1, int64(10+i), int64(20+i))
			}
			p.flat(b, sent{at: int64(100 + n), id: 1})
			require.Eventually(b, func() bool { return p.metricsSink.DataPointCount() == n }, time.Minute, time.Millisecond)
		}
	}},
	{"late roots", 8000, func(b *testing.B, n int) (*pipelines, func()) {
		p := startPipelines(b)
		for i := range n {
			p.flat(b, sent{id: n + i, parent: i, path: []string{"root", "step"}, at: int64(1000 + 2*i)})
		}
		return p, func() {
			for i := range n { // each a request of its own
				p.flat(b, sent{id: n - i, path: []string{"root"}, at: int64(999 - i%500), sequence: int64(-i - 1)})
			}
		}
	}},
	{"late parents of spans", 16_000, func(b *testing.B, n int) (*pipelines, func()) {
		p := startPipelines(b, withSources(b, "[{preset: otel}]"))
		td, spans := trainerSpans()
		for i := range uint64(n) { // a chain, from its end
			addSpan(spans, uint64(n)-i+1, uint64(n)-i, "step", float64(n)-float64(i), float64(n))
		}
		return p, func() { require.NoError(b, p.traces.ConsumeTraces(b.Context(), td)) }
	}},
	{"spans that stay open, and points", 32_000, func(b *testing.B, n int) (*pipelines, func()) {
		p := startPipelines(b, withSources(b, "[{preset: otel, spans: {lane: [lane]}}]"))
		td, spans := trainerSpans()
		md := pmetric.NewMetrics()
		run := &program{session: "run"}
		for i := range n {
			span := addPending(spans, uint64(n+i), uint64(i+1), fmt.Sprint("step", i%100), float64(i)/1000)
			span.Attributes().PutInt("lane", int64(i%200))
			if i%10 == 0 {
				run.gauge(float64(i) / 1000).ResourceMetrics().MoveAndAppendTo(md.ResourceMetrics())
			}
		}
		return p, func() {
			require.NoError(b, p.traces.ConsumeTraces(b.Context(), td))
			require.NoError(b, p.metrics.ConsumeMetrics(b.Context(), md))
		}
	}},
}

// oneAnswers lets the smallest rank on a device answer for all.
func oneAnswers(cfg *Config) {
	cfg.Association = []AssociationRule{{
		Keys: []AssociationKey{
			{Field: association.FieldHost, Names: []string{"Hostname"}}, {Field: association.FieldDevice, Names: []string{"gpu"}},
		},
		Representative: true,
	}}
}

// seat says how the sessions on a device come there.
type seat struct {
	uuid      string
	processes int
	stops     bool
	domains   bool
}

// fill returns the events of n processes on a device, from a number on.
func (s seat) fill(first, n int) plog.Logs {
	ld := plog.NewLogs()
	for i := first; i < first+n; i++ {
		on := func(record pcommon.Map) {
			host := "node"
			if s.domains {
				host = fmt.Sprint("node.d", i)
			}
			record.PutStr("host", host)
			record.PutInt("pid", int64(1000+i))
			record.PutInt("device_id", 0)
			if s.uuid != "" {
				record.PutStr("gpu_uuid", s.uuid)
			}
		}
		session := fmt.Sprint("session-", i/max(s.processes, 1))
		on(sent{session: session, at: 10}.put(ld))
		if s.stops {
			record := ld.ResourceLogs().At(0).ScopeLogs().At(0).LogRecords().AppendEmpty()
			record.SetEventName("stop")
			record.SetTimestamp(20)
			record.Attributes().PutStr("session_id", "s"+session)
			record.Attributes().PutStr("event_type", "stop")
			on(record.Attributes())
		}
	}
	return ld
}

func seatedAt(name string, s seat) growth {
	return growth{name, 16_000, func(b *testing.B, n int) (*pipelines, func()) {
		p := startPipelines(b)
		ld := s.fill(0, n)
		return p, func() { p.send(b, ld) }
	}}
}

func scrapedDevice(name string, edit func(*Config), s seat) growth {
	return growth{name, 16_000, func(b *testing.B, n int) (*pipelines, func()) {
		var edits []func(*Config)
		if edit != nil {
			edits = append(edits, edit)
		}
		p := startPipelines(b, edits...)
		p.send(b, s.fill(0, n))
		return p, func() { p.scrape(b, 25, 30, s.uuid) }
	}}
}

// sent is a boundary that a growth sends.
type sent struct {
	session      string
	thread       int64
	id, parent   int
	at, sequence int64
	path         []string
	exit         bool
}

// put appends the boundary to a batch and returns its attributes.
func (s sent) put(ld plog.Logs) pcommon.Map {
	if ld.ResourceLogs().Len() == 0 {
		ld.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty()
	}
	record := ld.ResourceLogs().At(0).ScopeLogs().At(0).LogRecords().AppendEmpty()
	record.SetTimestamp(pcommon.Timestamp(s.at))
	attributes := record.Attributes()
	attributes.PutStr("session_id", "s"+s.session)
	scope := attributes.PutEmptyMap("phase_scope")
	action := "enter"
	if s.exit {
		action = "exit"
	}
	record.SetEventName("phase_" + action)
	scope.PutStr("action", action)
	scope.PutStr("name", "step")
	path := scope.PutEmptySlice("path")
	for _, part := range s.path {
		path.AppendEmpty().SetStr(part)
	}
	if len(s.path) == 0 {
		path.AppendEmpty().SetStr("step")
	}
	scope.PutStr("scope_id", fmt.Sprint("s:", s.id))
	if s.parent > 0 {
		scope.PutStr("parent_scope_id", fmt.Sprint("s:", s.parent))
	}
	scope.PutInt("thread_id", s.thread)
	scope.PutStr("thread_name", "main")
	if s.sequence == 0 {
		s.sequence = s.at
	}
	scope.PutInt("sequence", s.sequence)
	return attributes
}

func (p *pipelines) send(b *testing.B, ld plog.Logs) {
	require.NoError(b, p.logs.ConsumeLogs(b.Context(), ld))
}

func (p *pipelines) flat(b *testing.B, s sent) {
	ld := plog.NewLogs()
	s.put(ld)
	p.send(b, ld)
}

// scrape sends a scrape of metrics of one device, by its UUID if it has one.
func (p *pipelines) scrape(b *testing.B, metrics int, at int64, uuid string) {
	md := pmetric.NewMetrics()
	scope := md.ResourceMetrics().AppendEmpty().ScopeMetrics().AppendEmpty()
	for i := range metrics {
		metric := scope.Metrics().AppendEmpty()
		metric.SetName(fmt.Sprint("DCGM_FI_DEV_", i))
		dp := metric.SetEmptyGauge().DataPoints().AppendEmpty()
		dp.SetTimestamp(pcommon.Timestamp(at + int64(i)))
		dp.Attributes().PutStr("Hostname", "node")
		dp.Attributes().PutStr("gpu", "0")
		if uuid != "" {
			dp.Attributes().PutStr("UUID", uuid)
		}
	}
	require.NoError(b, p.metrics.ConsumeMetrics(b.Context(), md))
}

// deltas sends delta points of the session.
func (p *pipelines) deltas(b *testing.B, points int, from, to int64) {
	md := pmetric.NewMetrics()
	resource := md.ResourceMetrics().AppendEmpty()
	resource.Resource().Attributes().PutStr("session_id", "s")
	sum := resource.ScopeMetrics().AppendEmpty().Metrics().AppendEmpty().SetEmptySum()
	sum.SetAggregationTemporality(pmetric.AggregationTemporalityDelta)
	for i := range points {
		dp := sum.DataPoints().AppendEmpty()
		dp.SetStartTimestamp(pcommon.Timestamp(from))
		dp.SetTimestamp(pcommon.Timestamp(to + int64(i)))
		dp.SetIntValue(to - from)
	}
	require.NoError(b, p.metrics.ConsumeMetrics(b.Context(), md))
}

const (
	// growthSizes is the number of sizes, each twice the one before.
	growthSizes = 3
	// growthRounds is how often each is measured: the least counts.
	growthRounds = 3
	// growthMemory is how much may be allocated before garbage is collected all the same.
	growthMemory = 2 << 30
)

// cost is what something took.
type cost struct{ seconds, bytes float64 }

// measure measures n of it. The garbage collector does not run meanwhile: when it does depends
// on the heap, so that one run more changes the time, but not how it grows. What it has to do
// grows with what is allocated, which is measured beside the time.
func (g growth) measure(b *testing.B, n int) cost {
	p, measured := g.prepare(b, n)
	defer p.shutdown(b)
	runtime.GC()
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(growthMemory))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	begin := processorTime(b)
	measured()
	took := processorTime(b) - begin
	runtime.ReadMemStats(&after)
	return cost{took.Seconds(), float64(after.TotalAlloc - before.TotalAlloc)}
}

// exponent returns the slope of the line nearest to the values of the sizes, each twice the one
// before, both as logarithms: 1 if they are in proportion.
func exponent(values [growthSizes]float64) float64 {
	var slope, sum float64
	for i, value := range values {
		x := float64(i) - float64(growthSizes-1)/2
		slope += x * math.Log2(value)
		sum += x * x
	}
	return slope / sum
}

// BenchmarkGrowth measures how processor time and memory grow with what one sender can make
// large, up to sizes at which more than growth in proportion hurts. The rounds of all sizes
// take turns, so that what else the machine does affects them alike.
func BenchmarkGrowth(b *testing.B) {
	for _, growth := range growths {
		b.Run(growth.name, func(b *testing.B) {
			var seconds, bytes [growthSizes]float64
			for b.Loop() {
				for round := range growthRounds {
					for i := range growthSizes {
						took := growth.measure(b, growth.largest>>(growthSizes-1-i))
						if round == 0 {
							seconds[i], bytes[i] = took.seconds, took.bytes
						}
						seconds[i], bytes[i] = min(seconds[i], took.seconds), min(bytes[i], took.bytes)
					}
				}
			}
			b.ReportMetric(exponent(seconds), "exponent")
			b.ReportMetric(exponent(bytes), "exponent-B")
			b.ReportMetric(1000*seconds[growthSizes-1], "ms")
			b.ReportMetric(bytes[growthSizes-1]/(1<<20), "MiB")
			b.ReportMetric(float64(growth.largest), "size")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// processorTime is what the process has used.
func processorTime(b *testing.B) time.Duration {
	var usage syscall.Rusage
	require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &usage))
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
