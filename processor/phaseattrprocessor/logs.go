// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"context"

	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/processor/processorhelper"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/boundary"
)

// processLogs takes in all events of a batch before it answers any of its records.
func (p *instance) processLogs(ctx context.Context, ld plog.Logs) (plog.Logs, error) {
	before := ld.LogRecordCount()
	p.takeIn(ctx, ld)
	if before > 0 && ld.LogRecordCount() == 0 {
		return ld, processorhelper.ErrSkipProcessingData
	}
	answers := p.ask(func(a *asker) { a.logs(ld) })
	p.tally.answered(ctx, signalLogs, &answers)
	return ld, nil
}

// takeIn hands the events of a batch to the index. Under boundaries: drop, it takes
// out the boundaries that were read, and what that leaves empty.
func (p *instance) takeIn(ctx context.Context, ld plog.Logs) {
	drop := p.config.Boundaries == BoundariesDrop
	ld.ResourceLogs().RemoveIf(func(resource plog.ResourceLogs) bool {
		dropped := false
		resource.ScopeLogs().RemoveIf(func(scope plog.ScopeLogs) bool {
			records := scope.LogRecords().Len()
			scope.LogRecords().RemoveIf(func(record plog.LogRecord) bool {
				fields := boundary.LogFields(record, scope.Scope().Attributes(), resource.Resource().Attributes())
				return p.takeInRecord(ctx, record, &fields) && drop
			})
			dropped = dropped || scope.LogRecords().Len() < records
			return scope.LogRecords().Len() == 0 && records > 0
		})
		return dropped && resource.ScopeLogs().Len() == 0
	})
}

// takeInRecord tells whether a record is a boundary.
func (p *instance) takeInRecord(ctx context.Context, record plog.LogRecord, fields *boundary.Fields) bool {
	event := p.reader.Event(record, fields)
	if event.Type == "" {
		return false
	}
	group, reason := p.reader.Group(fields)
	if !event.IsBoundary() {
		if reason == boundary.OK && event.HasTime {
			p.index.Observe(group, event.Time, event.Stop())
		}
		return false
	}
	var b boundary.Boundary
	if reason == boundary.OK {
		b, reason = p.reader.Boundary(&event, fields)
	}
	if reason != boundary.OK {
		p.tally.reject(ctx, reason.String())
		return false
	}
	outcome, _ := p.index.Add(group, &b)
	p.tally.placed(ctx, outcome)
	return true
}

// logs answers the records of a batch at their times.
func (a *asker) logs(ld plog.Logs) {
	for _, resource := range ld.ResourceLogs().All() {
		for _, scope := range resource.ScopeLogs().All() {
			for _, record := range scope.LogRecords().All() {
				fields := boundary.LogFields(record, scope.Scope().Attributes(), resource.Resource().Attributes())
				if event := a.reader.Event(record, &fields); event.HasTime {
					a.at(record.Attributes(), &fields, event.Time)
				}
			}
		}
	}
}
