// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"context"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/association"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/boundary"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/checkpoint"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/replay"
)

// ingestion is how the events of one batch reach the index.
type ingestion struct {
	*engine
	events  *replay.Ingest
	entry   *checkpoint.Entry
	senders *association.SenderReader
	// fields are those of the record at hand, defaults is the rank that its scope names.
	fields   boundary.Fields
	defaults boundary.ScopeDefaults
	paths    boundary.Paths
	accepted int64
	// kept is the number of records that are events of ranks and are not removed.
	kept int64
	skew skew
	// advanced are the ranks that have come further, located the locations at which one has
	// become known.
	advanced []boundary.RankKey
	located  []string
}

// ingest adds the events of a batch to the index. Under boundaries: drop, it removes the
// boundaries that the index has, and what that leaves empty. It returns the number of
// events that are left.
func (e *engine) ingest(ctx context.Context, ld plog.Logs) (events int64) {
	in := ingestion{
		engine: e, events: e.index.Ingest(), entry: e.store.Entry(),
		senders: e.senders.Get().(*association.SenderReader),
	}
	defer e.senders.Put(in.senders)
	// Functions made for each resource or scope would be on the heap.
	var resource pcommon.Map
	record := func(record plog.LogRecord) bool {
		in.fields.SetLog(record)
		event := e.reader.Event(record, &in.fields)
		if event.Type == "" || !in.add(ctx, &event) || e.config.Boundaries != BoundariesDrop {
			return false
		}
		in.kept--
		return true
	}
	scope := func(scope plog.ScopeLogs) bool {
		in.enterScope(scope.Scope().Attributes(), resource)
		return emptied(scope.LogRecords(), record)
	}
	ld.ResourceLogs().RemoveIf(func(r plog.ResourceLogs) bool {
		resource = r.Resource().Attributes()
		return emptied(r.ScopeLogs(), scope)
	})
	outdated := in.events.Flush()
	e.forget(ctx, in.events.Vacated())
	e.buffer.Advance(in.advanced, in.located)
	e.recorder.ingested(ctx, in.accepted, outdated)
	e.recorder.skewed(ctx, time.Now(), &in.skew)
	// What the index has is stored before the caller is told so.
	e.store.Write(ctx, in.entry)
	return in.kept
}

// enterScope reads what the scope and resource of the records that follow say.
func (in *ingestion) enterScope(scope, resource pcommon.Map) {
	in.fields = boundary.NewFields(pcommon.Map{}, pcommon.Map{}, scope, resource)
	in.defaults = in.reader.ScopeDefaults(&in.fields)
	in.senders.SetScope(&in.fields)
}

// add adds an event to the index. It reports whether the event is a boundary that the
// index has. One that is rejected is an event of its process all the same.
func (in *ingestion) add(ctx context.Context, event *boundary.Event) bool {
	fields := &in.fields
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
	in.kept++
	said := in.senders.Read(fields)
	from := replay.Sender{Rank: rank, Process: said.Process, Print: said.Print}
	if n := len(in.advanced); n == 0 || in.advanced[n-1] != rank {
		in.advanced = append(in.advanced, rank)
	}
	if !event.IsBoundary() {
		in.observe(&from, &replay.Event{
			Time: event.Time, Kind: kindOf(event), Interval: in.reader.SamplingInterval(event, fields), WorldSize: said.WorldSize,
		})
		return false
	}
	b, reason := in.reader.Boundary(event, fields, &in.paths)
	if reason != boundary.OK {
		in.observe(&from, &replay.Event{Time: event.Time})
		in.recorder.rejected(ctx, reason.String())
		return false
	}
	added := in.events.Add(&from, &b)
	in.recorder.added(ctx, &added)
	in.settle(&from, &added, event.Time, false)
	if added.Outcome != replay.Duplicate { // which may have been sent again much later
		in.skew.note(rank, event.Time)
	}
	switch added.Outcome {
	case replay.Accepted:
		in.accepted++
		in.entry.Boundary(stored(&from), &b)
		return true
	case replay.TooManyRanks, replay.AmbiguousProcess:
		return false
	}
	in.entry.Event(stored(&from), &replay.Event{Time: event.Time})
	return added.Outcome == replay.Duplicate
}

func kindOf(event *boundary.Event) replay.Kind {
	switch {
	case event.Start():
		return replay.Start
	case event.Stop():
		return replay.Stop
	case event.Sample():
		return replay.Sample
	}
	return replay.Other
}

// stored returns a sender as the store has it.
func stored(from *replay.Sender) *checkpoint.Sender {
	return &checkpoint.Sender{Rank: from.Rank, Process: from.Process}
}

func (in *ingestion) observe(from *replay.Sender, event *replay.Event) {
	added := in.events.Observe(from, event)
	if added.Outcome != replay.Accepted {
		return
	}
	in.settle(from, &added, event.Time, event.Kind == replay.Start)
	in.entry.Event(stored(from), event)
}

// settle makes known where the sender of an event is, if that is new or has been so for
// longer than was known, and who has left.
func (in *ingestion) settle(from *replay.Sender, added *replay.Added, at int64, started bool) {
	in.leave(from.Rank, added.Dropped)
	if added.Outcome == replay.TooManyRanks || !added.Moved && !added.Earlier && !started {
		return
	}
	presence := checkpoint.Presence{
		Sender: *stored(from), Since: at, Print: from.Print, Identity: in.senders.Identity(),
	}
	locations, ended := in.occupy(added.Occupant, presence.Identity)
	in.located, in.advanced = append(in.located, locations...), append(in.advanced, ended...)
	if added.Moved {
		in.entry.Presence(&presence)
	}
}
