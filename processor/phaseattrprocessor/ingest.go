// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"context"
	"strings"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/boundary"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/checkpoint"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/replay"
)

// ingestion is how the events of one batch reach the index.
type ingestion struct {
	*engine
	events *replay.Ingest
	entry  *checkpoint.Entry
	// defaults is the rank that the scope at hand names for its records.
	defaults boundary.ScopeDefaults
	paths    boundary.Paths
	accepted int64
	// advanced are the ranks that have come further, located the locations at which one has
	// become known.
	advanced []boundary.RankKey
	located  []string
}

// ingest adds the events of a batch to the index. Under boundaries: drop, it removes the
// boundaries that the index has, and what that leaves empty.
func (e *engine) ingest(ctx context.Context, ld plog.Logs) {
	in := ingestion{engine: e, events: e.index.Ingest(), entry: e.store.Entry()}
	drop := e.config.Boundaries == BoundariesDrop
	ld.ResourceLogs().RemoveIf(func(resource plog.ResourceLogs) bool {
		return emptied(resource.ScopeLogs(), func(scope plog.ScopeLogs) bool {
			fields := boundary.NewFields(pcommon.Map{}, pcommon.Map{}, scope.Scope().Attributes(), resource.Resource().Attributes())
			in.defaults = e.reader.ScopeDefaults(&fields)
			return emptied(scope.LogRecords(), func(record plog.LogRecord) bool {
				fields.SetLog(record)
				event := e.reader.Event(record, &fields)
				return event.Type != "" && in.add(ctx, &event, &fields) && drop
			})
		})
	})
	outdated := in.events.Flush()
	e.buffer.Advance(in.advanced, in.located)
	e.recorder.ingested(ctx, in.accepted, outdated)
	// What the index has is stored before the caller is told so.
	e.store.Write(ctx, in.entry)
}

// add adds an event to the index. It reports whether the event is a boundary that the
// index has. One that is rejected is an event of its rank all the same.
func (in *ingestion) add(ctx context.Context, event *boundary.Event, fields *boundary.Fields) bool {
	rank, reason := in.reader.IdentifyWith(&in.defaults, fields)
	if reason == boundary.OK && !event.HasTime {
		reason = boundary.BadTime
	}
	if reason != boundary.OK {
		if event.IsBoundary() {
			in.recorder.rejected(ctx, reason.String())
		}
		return false
	}
	sender := in.sender(rank, fields)
	in.introduce(&sender, event, fields)
	if n := len(in.advanced); n == 0 || in.advanced[n-1] != rank {
		in.advanced = append(in.advanced, rank)
	}
	if !event.IsBoundary() {
		in.observe(&sender, event)
		return false
	}
	b, reason := in.reader.Boundary(event, fields, &in.paths)
	if reason != boundary.OK {
		in.observe(&sender, event)
		in.recorder.rejected(ctx, reason.String())
		return false
	}
	result := in.events.Add(rank, &b)
	in.recorder.added(ctx, result)
	switch result.Outcome {
	case replay.Accepted:
		in.accepted++
		in.entry.Boundary(&sender, &b)
		return true
	case replay.TooManyRanks:
		return false
	}
	in.entry.Event(&sender, &checkpoint.Event{Time: event.Time})
	return result.Outcome == replay.Duplicate
}

// sender returns the process of an event, which is read with the first event of a rank.
func (in *ingestion) sender(rank boundary.RankKey, fields *boundary.Fields) checkpoint.Sender {
	sender := checkpoint.Sender{Rank: rank}
	if !in.events.Registered(rank) {
		seat := in.reader.Process(fields, rank)
		sender.Process = boundary.Process{Host: strings.ToLower(seat.Host), PID: seat.PID}
	}
	return sender
}

// introduce registers the rank of an event, if that is its first one.
func (in *ingestion) introduce(sender *checkpoint.Sender, event *boundary.Event, fields *boundary.Fields) {
	if in.events.Registered(sender.Rank) {
		return
	}
	presence := checkpoint.Presence{Sender: *sender, Since: event.Time, Identity: in.association.Identity(fields)}
	locations, ended, ok := in.register(&presence)
	if !ok {
		return
	}
	in.entry.Presence(&presence)
	in.advanced = append(in.advanced, ended...)
	for _, location := range locations {
		in.located = append(in.located, location.String())
	}
}

func (in *ingestion) observe(sender *checkpoint.Sender, event *boundary.Event) {
	if in.events.Observe(sender.Rank, event.Time, event.Stop()) != replay.Accepted {
		return
	}
	stored := checkpoint.Event{Time: event.Time}
	if event.Stop() {
		stored.Kind = checkpoint.Stop
	}
	in.entry.Event(sender, &stored)
}
