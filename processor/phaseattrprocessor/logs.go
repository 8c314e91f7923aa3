// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"context"

	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/processor"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/boundary"
)

// logsProcessor is the processor of a logs pipeline. The embedded one passes on what
// has been answered.
type logsProcessor struct {
	processor.Logs
	pipeline[plog.Logs]
}

func newLogsProcessor(p *instance, next processor.Logs) processor.Logs {
	return &logsProcessor{next, pipeline[plog.Logs]{
		instance: p,
		signal:   signalLogs,
		newBatch: plog.NewLogs,
		records:  plog.Logs.LogRecordCount,
		bytes:    new(plog.ProtoMarshaler).LogsSize,
		answer:   (*asker).logs,
		next:     next.ConsumeLogs,
	}}
}

// ConsumeLogs takes in all events of a batch before any of its records is answered.
func (p *logsProcessor) ConsumeLogs(ctx context.Context, ld plog.Logs) error {
	p.takeIn(ctx, ld)
	return p.consume(ctx, ld)
}

// takeIn hands the events of a batch to the index.
func (p *instance) takeIn(ctx context.Context, ld plog.Logs) {
	var last boundary.Group
	for _, resource := range ld.ResourceLogs().All() {
		for _, scope := range resource.ScopeLogs().All() {
			for _, record := range scope.LogRecords().All() {
				fields := boundary.LogFields(record, scope.Scope().Attributes(), resource.Resource().Attributes())
				group, ok := p.takeInRecord(ctx, record, &fields)
				if ok && group != last {
					p.advance(last)
					last = group
				}
			}
		}
	}
	p.advance(last)
}

// takeInRecord tells which group has come further, if the record is an event of one.
func (p *instance) takeInRecord(
	ctx context.Context, record plog.LogRecord, fields *boundary.Fields,
) (boundary.Group, bool) {
	event := p.reader.Event(record, fields)
	if event.Type == "" {
		return boundary.Group{}, false
	}
	group, reason := p.reader.Group(fields)
	if reason == boundary.OK && event.HasTime && !p.index.Has(group) {
		p.index.Begin(group, p.reader.Process(fields, group), event.Time)
	}
	if !event.IsBoundary() {
		if reason != boundary.OK || !event.HasTime {
			return boundary.Group{}, false
		}
		p.index.Observe(group, event.Time, event.Stop())
		return group, true
	}
	var b boundary.Boundary
	if reason == boundary.OK {
		b, reason = p.reader.Boundary(&event, fields)
	}
	if reason != boundary.OK {
		p.tally.rejected(ctx, reason.String())
		return boundary.Group{}, false
	}
	p.tally.placed(ctx, p.index.Add(group, &b))
	return group, true
}

// logs answers the records of a batch at their times. Under boundaries: drop, it
// takes out the boundaries, and what that leaves empty.
func (a *asker) logs(ld, held plog.Logs) {
	ld.ResourceLogs().RemoveIf(func(resource plog.ResourceLogs) bool {
		dropped := false
		if a.holds(func() { dropped = a.resourceLogs(resource) }) {
			resource.MoveTo(held.ResourceLogs().AppendEmpty())
			return true
		}
		return dropped && resource.ScopeLogs().Len() == 0
	})
}

// resourceLogs answers the records of one resource. It tells whether it took any out.
func (a *asker) resourceLogs(resource plog.ResourceLogs) (dropped bool) {
	resource.ScopeLogs().RemoveIf(func(scope plog.ScopeLogs) bool {
		before := scope.LogRecords().Len()
		scope.LogRecords().RemoveIf(func(record plog.LogRecord) bool {
			fields := boundary.LogFields(record, scope.Scope().Attributes(), resource.Resource().Attributes())
			event := a.reader.Event(record, &fields)
			if a.config.Boundaries == BoundariesDrop && a.isBoundary(&event, &fields) {
				return true
			}
			if event.HasTime {
				a.during(record.Attributes(), &fields, event.Time, event.Time)
			}
			return false
		})
		after := scope.LogRecords().Len()
		dropped = dropped || after < before
		return after == 0 && after < before
	})
	return dropped
}

func (a *asker) isBoundary(event *boundary.Event, fields *boundary.Fields) bool {
	if !event.IsBoundary() {
		return false
	}
	if _, reason := a.reader.Group(fields); reason != boundary.OK {
		return false
	}
	_, reason := a.reader.Boundary(event, fields)
	return reason == boundary.OK
}
