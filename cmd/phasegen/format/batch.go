// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

// Package format turns the events of a job into telemetry, as trainers and exporters of
// GPU metrics write it.
package format

import (
	"strconv"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/phaseattr/phaseattr/cmd/phasegen/job"
)

// Format is a form of telemetry.
type Format interface {
	// Append adds the telemetry of an event to a batch.
	Append(b *Batch, e *job.Event)
}

// LogFilePath is the attribute of a resource that names the file to which a program
// writes the log records.
const LogFilePath = "log.file.path"

// Batch is telemetry that is sent together.
type Batch struct {
	Logs    plog.Logs
	Metrics pmetric.Metrics
	Traces  ptrace.Traces

	logs    map[*job.Process]plog.LogRecordSlice
	spans   map[spanScope]ptrace.SpanSlice
	metrics map[metricSource]pmetric.MetricSlice
	points  map[metricName]pmetric.NumberDataPointSlice
}

type spanScope struct {
	process *job.Process
	role    string // of the process, if it has several
	name    string
}

// metricSource is what a resource of metrics describes.
type metricSource struct {
	host string
	pid  int // 0 for the exporter of the host
}

type metricName struct {
	source metricSource
	name   string
}

// NewBatch returns an empty batch.
func NewBatch() *Batch {
	return &Batch{
		Logs: plog.NewLogs(), Metrics: pmetric.NewMetrics(), Traces: ptrace.NewTraces(),
		logs:    map[*job.Process]plog.LogRecordSlice{},
		spans:   map[spanScope]ptrace.SpanSlice{},
		metrics: map[metricSource]pmetric.MetricSlice{},
		points:  map[metricName]pmetric.NumberDataPointSlice{},
	}
}

// Append adds the telemetry of events and returns the batch.
func (b *Batch) Append(f Format, events ...*job.Event) *Batch {
	for _, e := range events {
		f.Append(b, e)
	}
	return b
}

// NewRecord adds a log record of a process. describe sets the attributes of its resource.
func (b *Batch) NewRecord(p *job.Process, describe func(pcommon.Map)) plog.LogRecord {
	records, ok := b.logs[p]
	if !ok {
		resource := b.Logs.ResourceLogs().AppendEmpty()
		describe(resource.Resource().Attributes())
		records = resource.ScopeLogs().AppendEmpty().LogRecords()
		b.logs[p] = records
	}
	return records.AppendEmpty()
}

// NewSpan adds a span of a process in an instrumentation scope. describe sets the attributes
// of its resource.
func (b *Batch) NewSpan(p *job.Process, scope string, describe func(pcommon.Map)) ptrace.Span {
	return b.newSpan(spanScope{p, onlyRole, scope}, describe)
}

func (b *Batch) newSpan(key spanScope, describe func(pcommon.Map)) ptrace.Span {
	spans, ok := b.spans[key]
	if !ok {
		resource := b.Traces.ResourceSpans().AppendEmpty()
		describe(resource.Resource().Attributes())
		scopes := resource.ScopeSpans().AppendEmpty()
		scopes.Scope().SetName(key.name)
		spans = scopes.Spans()
		b.spans[key] = spans
	}
	return spans.AppendEmpty()
}

// NewPoint adds a point of a gauge. Its resource is that of a process, or of the exporter of a
// host if pid is 0; describe sets the attributes of that.
func (b *Batch) NewPoint(host string, pid int, name string, at int64, describe func(pcommon.Map)) pmetric.NumberDataPoint {
	return b.newPoint(metricSource{host, pid}, metric{name: name}, at, describe)
}

func (b *Batch) newPoint(source metricSource, m metric, at int64, describe func(pcommon.Map)) pmetric.NumberDataPoint {
	key := metricName{source, m.name}
	points, ok := b.points[key]
	if !ok {
		added := b.metricsOf(source, describe).AppendEmpty()
		added.SetName(m.name)
		added.SetUnit(m.unit)
		added.SetDescription(m.help)
		points = m.pointsOf(added)
		b.points[key] = points
	}
	p := points.AppendEmpty()
	p.SetTimestamp(pcommon.Timestamp(at)) //nolint:gosec // times are not negative
	return p
}

func (b *Batch) metricsOf(source metricSource, describe func(pcommon.Map)) pmetric.MetricSlice {
	metrics, ok := b.metrics[source]
	if !ok {
		resource := b.Metrics.ResourceMetrics().AppendEmpty()
		describe(resource.Resource().Attributes())
		metrics = resource.ScopeMetrics().AppendEmpty().Metrics()
		b.metrics[source] = metrics
	}
	return metrics
}

func (m metric) pointsOf(added pmetric.Metric) pmetric.NumberDataPointSlice {
	if !m.upDown {
		return added.SetEmptyGauge().DataPoints()
	}
	sum := added.SetEmptySum()
	sum.SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
	return sum.DataPoints()
}

// timestamp returns what the clock of a node shows at a time.
func timestamp(r *job.Rank, at int64) pcommon.Timestamp {
	return pcommon.Timestamp(r.Clock(at)) //nolint:gosec // times are not negative
}

func scopeID(j *job.Job, number int64) string {
	return j.Session + ":" + strconv.FormatInt(number, 10)
}
