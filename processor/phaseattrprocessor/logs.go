// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"context"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/processor"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/boundary"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/checkpoint"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/replay"
)

// logsProcessor is the processor of a logs pipeline. The embedded one passes on what
// has been answered.
type logsProcessor struct {
	processor.Logs
	pipeline[plog.Logs]
}

func newLogsProcessor(p *instance, next processor.Logs) processor.Logs {
	return &logsProcessor{next, pipeline[plog.Logs]{
		instance:  p,
		signal:    signalLogs,
		resources: func(batch plog.Logs) int { return batch.ResourceLogs().Len() },
		records:   plog.Logs.LogRecordCount,
		join:      func(from, to plog.Logs) { from.ResourceLogs().MoveAndAppendTo(to.ResourceLogs()) },
		bytes:     new(plog.ProtoMarshaler).LogsSize,
		answer:    (*asker).logs,
		next:      next.ConsumeLogs,
	}}
}

// ConsumeLogs takes in all events of a batch before any of its records is answered.
func (p *logsProcessor) ConsumeLogs(ctx context.Context, ld plog.Logs) error {
	before := ld.ResourceLogs().Len()
	p.takeIn(ctx, ld)
	if before > 0 && ld.ResourceLogs().Len() == 0 {
		return nil // it held nothing but boundaries, which end here
	}
	return p.consume(ctx, ld)
}

// takeIn hands the events of a batch to the index. Under boundaries: drop, it takes
// out the boundaries that the index has taken, and what that leaves empty.
func (p *instance) takeIn(ctx context.Context, ld plog.Logs) {
	drop := p.config.Boundaries == BoundariesDrop
	took := intake{arrival: p.index.Ingest(), entry: p.store.Entry()}
	// What was taken in outlives the process before the caller is told that it was.
	defer p.store.Write(ctx, took.entry)
	var last boundary.RankKey
	ld.ResourceLogs().RemoveIf(func(resource plog.ResourceLogs) bool {
		dropped := false
		resource.ScopeLogs().RemoveIf(func(scope plog.ScopeLogs) bool {
			before := scope.LogRecords().Len()
			fields := boundary.NewFields(pcommon.Map{}, pcommon.Map{}, scope.Scope().Attributes(), resource.Resource().Attributes())
			took.home = p.reader.ScopeDefaults(&fields)
			scope.LogRecords().RemoveIf(func(record plog.LogRecord) bool {
				fields.SetLog(record)
				event := p.reader.Event(record, &fields)
				if event.Type == "" {
					return false
				}
				group, taken := p.takeInEvent(ctx, &event, &fields, &took)
				if group != last {
					p.advance(last)
					last = group
				}
				return drop && taken
			})
			after := scope.LogRecords().Len()
			dropped = dropped || after < before
			return after == 0 && after < before
		})
		return dropped && resource.ScopeLogs().Len() == 0
	})
	p.advance(last)
	p.tally.took(ctx, took.accepted)
}

// intake is what a batch brought to the index.
type intake struct {
	arrival *replay.Ingest
	entry   *checkpoint.Entry
	// home is that of the scope that is being read.
	home boundary.ScopeDefaults
	// paths are those of its boundaries.
	paths boundary.Paths
	// accepted counts the boundaries that were taken.
	accepted int64
}

// takeInEvent hands an event to the index. It returns the group that has come
// further, and whether the event was a boundary that the index has taken. One that
// was rejected is an event of its group all the same.
func (p *instance) takeInEvent(
	ctx context.Context, event *boundary.Event, fields *boundary.Fields, took *intake,
) (group boundary.RankKey, taken bool) {
	group, reason := p.reader.IdentifyWith(&took.home, fields)
	if reason == boundary.OK && !event.HasTime {
		reason = boundary.BadTime
	}
	if reason != boundary.OK {
		if event.IsBoundary() {
			p.tally.rejected(ctx, reason.String())
		}
		return boundary.RankKey{}, false
	}
	if !took.arrival.Registered(group) {
		in := checkpoint.Registration{
			At:       event.Time,
			Claim:     p.reader.Process(fields, group).Claim(),
			Identity: p.association.Identity(fields),
		}
		if p.introduce(group, &in) {
			took.entry.Registered(group, &in)
		}
	}
	observe := func() {
		if took.arrival.Observe(group, event.Time, event.Stop()) == replay.Accepted {
			took.entry.Observed(group, event.Time, event.Stop())
		}
	}
	if !event.IsBoundary() {
		observe()
		return group, false
	}
	b, reason := p.reader.Boundary(event, fields, &took.paths)
	if reason != boundary.OK {
		observe()
		p.tally.rejected(ctx, reason.String())
		return group, false
	}
	receipt := took.arrival.Add(group, &b)
	p.tally.placed(ctx, receipt)
	switch receipt.Outcome {
	case replay.Accepted:
		took.accepted++
		took.entry.Added(group, &b)
		return group, true
	case replay.TooManyRanks:
	default:
		took.entry.Observed(group, event.Time, false)
	}
	return group, receipt.Outcome == replay.Duplicate
}

// logs answers the records of a batch at their times. It returns the resources that are
// held, a zero batch when there are none.
func (a *asker) logs(ld plog.Logs) (held plog.Logs) {
	ld.ResourceLogs().RemoveIf(func(resource plog.ResourceLogs) bool {
		early := a.holds(func() {
			for _, scope := range resource.ScopeLogs().All() {
				a.enter(scope.Scope().Attributes(), resource.Resource().Attributes())
				for _, record := range scope.LogRecords().All() {
					a.read(record.Attributes(), boundary.MapBody(record))
					if at, ok := a.reader.Time(record, &a.fields); ok {
						a.during(record.Attributes(), at, at)
					}
				}
			}
		})
		if early {
			if held == (plog.Logs{}) {
				held = plog.NewLogs()
			}
			resource.MoveTo(held.ResourceLogs().AppendEmpty())
		}
		return early
	})
	return held
}
