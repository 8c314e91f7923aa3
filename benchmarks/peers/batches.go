// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/phaseattr/phaseattr/benchmarks/internal/measure"
	"github.com/phaseattr/phaseattr/cmd/phasegen/format"
	"github.com/phaseattr/phaseattr/cmd/phasegen/job"
)

// record is a data point, a log record or a span: what the two attributes are added to.
type record struct {
	attributes, resource pcommon.Map
	at                   pcommon.Timestamp
}

// signal is the operations on batches of one signal.
type signal[T any] struct {
	of    func(*format.Batch) T
	clone func(T) T
	// each calls a function for each record.
	each func(T, func(record))
	// put does the work of the floor on each record, with no indirect call per record.
	put     func(T)
	consume func(*pipelines) func(context.Context, T) error
}

var metricsSignal = signal[pmetric.Metrics]{
	of: func(b *format.Batch) pmetric.Metrics { return b.Metrics },
	clone: func(from pmetric.Metrics) pmetric.Metrics {
		to := pmetric.NewMetrics()
		from.CopyTo(to)
		return to
	},
	each: func(md pmetric.Metrics, f func(record)) {
		for _, resource := range md.ResourceMetrics().All() {
			for _, scope := range resource.ScopeMetrics().All() {
				for _, metric := range scope.Metrics().All() {
					for _, dp := range metric.Gauge().DataPoints().All() {
						f(record{dp.Attributes(), resource.Resource().Attributes(), dp.Timestamp()})
					}
				}
			}
		}
	},
	put: func(md pmetric.Metrics) {
		for _, resource := range md.ResourceMetrics().All() {
			for _, scope := range resource.ScopeMetrics().All() {
				for _, metric := range scope.Metrics().All() {
					for _, dp := range metric.Gauge().DataPoints().All() {
						put(dp.Attributes())
					}
				}
			}
		}
	},
	consume: func(p *pipelines) func(context.Context, pmetric.Metrics) error { return p.metrics.ConsumeMetrics },
}

var logsSignal = signal[plog.Logs]{
	of: func(b *format.Batch) plog.Logs { return b.Logs },
	clone: func(from plog.Logs) plog.Logs {
		to := plog.NewLogs()
		from.CopyTo(to)
		return to
	},
	each: func(ld plog.Logs, f func(record)) {
		for _, resource := range ld.ResourceLogs().All() {
			for _, scope := range resource.ScopeLogs().All() {
				for _, lr := range scope.LogRecords().All() {
					f(record{lr.Attributes(), resource.Resource().Attributes(), lr.Timestamp()})
				}
			}
		}
	},
	put: func(ld plog.Logs) {
		for _, resource := range ld.ResourceLogs().All() {
			for _, scope := range resource.ScopeLogs().All() {
				for _, lr := range scope.LogRecords().All() {
					put(lr.Attributes())
				}
			}
		}
	},
	consume: func(p *pipelines) func(context.Context, plog.Logs) error { return p.logs.ConsumeLogs },
}

var tracesSignal = signal[ptrace.Traces]{
	of: func(b *format.Batch) ptrace.Traces { return b.Traces },
	clone: func(from ptrace.Traces) ptrace.Traces {
		to := ptrace.NewTraces()
		from.CopyTo(to)
		return to
	},
	each: func(td ptrace.Traces, f func(record)) {
		for _, resource := range td.ResourceSpans().All() {
			for _, scope := range resource.ScopeSpans().All() {
				for _, span := range scope.Spans().All() {
					f(record{span.Attributes(), resource.Resource().Attributes(), span.EndTimestamp()})
				}
			}
		}
	},
	put: func(td ptrace.Traces) {
		for _, resource := range td.ResourceSpans().All() {
			for _, scope := range resource.ScopeSpans().All() {
				for _, span := range scope.Spans().All() {
					put(span.Attributes())
				}
			}
		}
	},
	consume: func(p *pipelines) func(context.Context, ptrace.Traces) error { return p.traces.ConsumeTraces },
}

// put is the floor: the calls that any processor needs to write two attributes.
func put(attrs pcommon.Map) {
	attrs.PutStr(keyResolution, unique)
	attrs.PutStr(keyPath, constantPath)
}

// workload is a set of batches of one kind and the contenders measured on them.
type workload struct {
	name    string
	records int
	// batches is the number of batches. Each turn works on all of them.
	batches    int
	contenders []measure.Contender
}

// newWorkload returns the contenders that work on the readings of a job in a format: first the
// bare copy, then the floor, then the processors. It first checks that each contender writes
// the expected attributes.
func newWorkload[T any](
	ctx context.Context, name string, s signal[T], j *job.Job, readings [][]*job.Event, f format.Format, all []*pipelines,
) (*workload, error) {
	batches := make([]T, len(readings))
	for i := range readings {
		batches[i] = s.of(format.NewBatch().Append(f, readings[i]...))
	}
	w := &workload{name: name, batches: len(batches)}
	s.each(batches[0], func(record) { w.records++ })
	add := func(name string, work func(T) error) {
		next := 0
		w.contenders = append(w.contenders, measure.Contender{Name: name, Run: func() error {
			batch := batches[next%len(batches)]
			next++
			return work(s.clone(batch))
		}})
	}
	floor := func(batch T) error {
		s.put(batch)
		return nil
	}
	add(copyOnly, func(T) error { return nil })
	add(floorName, floor)
	if err := check(s, batches, floor, hasConstants); err != nil {
		return nil, fmt.Errorf("%s: %s: %w", name, floorName, err)
	}
	for _, p := range all {
		consume := s.consume(p)
		work := func(batch T) error { return consume(ctx, batch) }
		is := hasConstants
		switch p.name {
		case phaseAttr:
			is = newPhases(j, readings).check
		case kubernetes:
			is = hasPod
		}
		if err := check(s, batches, work, is); err != nil {
			return nil, fmt.Errorf("%s: %s: %w", name, p.name, err)
		}
		add(p.name, work)
	}
	return w, nil
}
