// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"context"

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
		dropped := false
		resource.ScopeLogs().RemoveIf(func(scope plog.ScopeLogs) bool {
			before := scope.LogRecords().Len()
			fields := boundary.NewFields(pcommon.Map{}, pcommon.Map{}, scope.Scope().Attributes(), resource.Resource().Attributes())
			in.defaults = e.reader.ScopeDefaults(&fields)
			scope.LogRecords().RemoveIf(func(record plog.LogRecord) bool {
				fields.SetLog(record)
				event := e.reader.Event(record, &fields)
				return event.Type != "" && in.add(ctx, &event, &fields) && drop
			})
			after := scope.LogRecords().Len()
			dropped = dropped || after < before
			return after == 0 && after < before
		})
		return dropped && resource.ScopeLogs().Len() == 0
	})
	outdated := in.events.Flush()
	e.advance(in.advanced, in.located)
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
	in.introduce(rank, event, fields)
	if n := len(in.advanced); n == 0 || in.advanced[n-1] != rank {
		in.advanced = append(in.advanced, rank)
	}
	if !event.IsBoundary() {
		in.observe(rank, event)
		return false
	}
	b, reason := in.reader.Boundary(event, fields, &in.paths)
	if reason != boundary.OK {
		in.observe(rank, event)
		in.recorder.rejected(ctx, reason.String())
		return false
	}
	result := in.events.Add(rank, &b)
	in.recorder.added(ctx, result)
	switch result.Outcome {
	case replay.Accepted:
		in.accepted++
		in.entry.Added(rank, &b)
		return true
	case replay.TooManyRanks:
		return false
	}
	in.entry.Observed(rank, event.Time, false)
	return result.Outcome == replay.Duplicate
}

// introduce registers the rank of an event, if that is its first one.
func (in *ingestion) introduce(rank boundary.RankKey, event *boundary.Event, fields *boundary.Fields) {
	if in.events.Registered(rank) {
		return
	}
	process := in.reader.Process(fields)
	registration := checkpoint.Registration{At: event.Time, Identity: in.association.Identity(fields)}
	if process.Named() {
		registration.Claim = boundary.Seat{Host: process.Host, PID: process.PID, Rank: rank.Rank}.Claim()
	}
	locations, ended, ok := in.register(rank, &registration)
	if !ok {
		return
	}
	in.entry.Registered(rank, &registration)
	in.advanced = append(in.advanced, ended...)
	in.located = append(in.located, locations...)
}

func (in *ingestion) observe(rank boundary.RankKey, event *boundary.Event) {
	if in.events.Observe(rank, event.Time, event.Stop()) == replay.Accepted {
		in.entry.Observed(rank, event.Time, event.Stop())
	}
}
