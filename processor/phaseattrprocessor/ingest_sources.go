// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"context"
	"slices"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/phaseattr/phaseattr/internal/boundary"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/association"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/replay"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/source"
)

// ingestSpans adds the phases of a batch of spans to the index, before they are annotated. It
// returns their number.
func (e *engine) ingestSpans(ctx context.Context, td ptrace.Traces, phases *source.Reader) (events int64) {
	if !e.sources.HasSpans() {
		return 0
	}
	in := e.beginIngestion(ctx, phases)
	defer in.end()
	in.spans(ctx, td, nil)
	return in.finish(ctx)
}

// spans adds the spans that are phases. A heartbeat, which may be nil, is of those that have not
// ended.
func (in *ingestion) spans(ctx context.Context, td ptrace.Traces, heartbeat *replay.Event) (added bool) {
	for _, resource := range td.ResourceSpans().All() {
		for _, scope := range resource.ScopeSpans().All() {
			if !in.phases.EnterSpans(resource, scope) {
				continue
			}
			entered := false
			for _, span := range scope.Spans().All() {
				phase := in.phases.Span(span)
				if phase == nil {
					continue
				}
				if !entered {
					in.enterScope(scope.Scope().Attributes(), resource.Resource().Attributes())
					entered = true
				}
				in.fields.SetRecord(span.Attributes(), pcommon.Map{})
				phase.Interval.Attributes = in.phases.Attributes(span.Attributes())
				if phase.Interval.Open && heartbeat != nil {
					phase.Time, phase.Heartbeat = max(phase.Time, heartbeat.Time), heartbeat.Interval
				}
				added = in.addPhase(ctx, phase) || added
			}
		}
	}
	return added
}

// addRecord adds what a source has read from a log record. It reports whether that is a
// boundary that the index has.
func (in *ingestion) addRecord(ctx context.Context, phase *source.Phase, record plog.LogRecord) bool {
	if !phase.Event && phase.Reason == boundary.OK {
		attributes := in.phases.RecordAttributes(record)
		phase.Boundary.Attributes, phase.Interval.Attributes = attributes, attributes
	}
	return in.addPhase(ctx, phase)
}

// addPartial adds the spans that are the body of a log record, the heartbeat of those that have
// not ended.
func (in *ingestion) addPartial(ctx context.Context, spans ptrace.Traces, reason boundary.Reason, heartbeat *replay.Event) (added bool) {
	if reason != boundary.OK {
		in.recorder.rejected(ctx, nil, reason.String())
		return false
	}
	// The records that follow are of the scope of this one, not of that of the spans.
	phases, fields, defaults := in.phases, in.fields, in.defaults
	in.phases = in.sources.Reader(in.tenant)
	in.phases.Open()
	added = in.spans(ctx, spans, heartbeat)
	in.sources.Done(in.phases)
	in.phases, in.fields, in.defaults = phases, fields, defaults
	in.senders.SetScope(&in.fields)
	return added
}

// addPhase adds what a source has read. It reports whether that is a boundary that the index
// has.
func (in *ingestion) addPhase(ctx context.Context, phase *source.Phase) bool {
	switch {
	case in.refused:
		in.recorder.rejected(ctx, phase.Feed, tooManyTenants)
		return false
	case phase.Reason != boundary.OK:
		in.recorder.rejected(ctx, phase.Feed, phase.Reason.String())
		return false
	}
	in.kept++
	said := in.senders.Read(&in.fields)
	from := replay.Sender{Rank: phase.Rank, Process: said.Process, Print: said.Print, Feed: phase.Feed, Aside: phase.Aside}
	from.Process.Aside = phase.Aside
	in.localRankIsGPU = phase.LocalRankIsGPU
	credence, ahead := in.credence(ctx, &from, phase.Time, !phase.Event)
	switch {
	case credence == replay.TooFarAhead:
		return false
	case credence == replay.Doubted:
		return in.doubt(ctx, ahead, in.doubted(phase, &from))
	case phase.Event:
		in.observe(ctx, &from, phaseEvent(phase))
		return false
	}
	if other := besides(phase, said.WorldSize); other != (replay.Event{}) {
		in.observe(ctx, &from, &other)
	}
	if phase.IsBoundary {
		return in.place(ctx, &from, &phase.Boundary)
	}
	return in.placeInterval(ctx, &from, &phase.Interval)
}

// placeInterval adds an interval to the index. It reports whether the index has it.
func (in *ingestion) placeInterval(ctx context.Context, from *replay.Sender, iv *boundary.Interval) bool {
	in.advance(from.Rank)
	added := in.events.AddInterval(from, iv)
	if added.Outcome == replay.Accepted {
		in.entry.Interval(stored(from), iv)
	}
	return in.added(ctx, from, &added, iv.Start, max(iv.Start, iv.End))
}

// besides returns what something says besides a phase; the zero Event if nothing.
func besides(phase *source.Phase, worldSize int64) replay.Event {
	switch {
	case phase.Heartbeat > 0:
		return replay.Event{Time: phase.Time, Kind: replay.Heartbeat, Interval: phase.Heartbeat, WorldSize: worldSize}
	case worldSize > 0, phase.Interval.Open && phase.Time > phase.Interval.Start:
		return replay.Event{Time: phase.Time, WorldSize: worldSize}
	}
	return replay.Event{}
}

// phaseEvent returns what says no more than that a process is alive.
func phaseEvent(phase *source.Phase) *replay.Event {
	return &replay.Event{Time: phase.Time, Sequence: phase.Boundary.Sequence, Numbered: true}
}

// doubted returns what a source has read as an event whose time is not believed yet.
func (*ingestion) doubted(phase *source.Phase, from *replay.Sender) *doubted {
	d := &doubted{from: *from}
	switch {
	case phase.Event:
		d.event = *phaseEvent(phase)
	case phase.IsBoundary:
		d.boundary = clonedBoundary(&phase.Boundary)
	default:
		d.interval = clonedInterval(&phase.Interval)
	}
	return d
}

// identity returns where the sender of the event that was read last is. One that works beside
// the main process of its rank does not answer for the device.
func (in *ingestion) identity(from *replay.Sender) association.Identity {
	id := in.senders.Identity()
	switch {
	case from.Aside:
		return slices.DeleteFunc(id, func(t association.FieldText) bool {
			return slices.Contains(association.DeviceFields(), t.Field)
		})
	case from.Feed != nil && in.localRankIsGPU:
		return id.WithLocalDevice()
	}
	return id
}
