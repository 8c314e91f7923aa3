// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"context"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.uber.org/zap"

	"github.com/phaseattr/phaseattr/internal/boundary"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/association"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/checkpoint"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/replay"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/source"
)

// ingestion is how the events of one batch reach the index.
type ingestion struct {
	*engine
	events  *replay.Ingest
	entry   *checkpoint.Entry
	senders *association.SenderReader
	phases  *source.Reader
	// tenant is that of the batch, refused when it is one too many.
	tenant  string
	refused bool
	// fields are those of the record at hand, defaults is the rank that its scope names.
	fields   boundary.Fields
	defaults boundary.ScopeDefaults
	paths    boundary.Paths
	accepted int64
	// localRankIsGPU is that of the phase at hand.
	localRankIsGPU bool
	// kept is the number of records that are events of ranks and are not removed.
	kept int64
	skew skew
	// released is the identity of an event that is no longer doubted; nil for the one at hand.
	released association.Identity
	// trusted are the senders whose clocks are known to be ahead, or further ahead, since.
	trusted []trusted
	// advanced are the ranks that have come further, located the locations at which one has
	// become known.
	advanced []boundary.RankKey
	located  []string
}

// ingest adds the events of a batch to the index. Under boundaries: drop, it removes the
// boundaries that the index has, and what that leaves empty. It returns the number of
// events that are left.
func (e *engine) ingest(ctx context.Context, ld plog.Logs, phases *source.Reader) (events int64) {
	in := e.beginIngestion(ctx, phases)
	defer in.end()
	// Functions made for each resource or scope would be on the heap.
	var resource plog.ResourceLogs
	var claims bool
	record := func(record plog.LogRecord) bool {
		in.fields.SetLog(record)
		if !in.record(ctx, record, claims) || e.config.Boundaries != BoundariesDrop {
			return false
		}
		in.kept--
		return true
	}
	scope := func(scope plog.ScopeLogs) bool {
		in.enterScope(scope.Scope().Attributes(), resource.Resource().Attributes())
		claims = e.sources.HasLogs() && in.phases.EnterLogs(resource, scope)
		return emptied(scope.LogRecords(), record)
	}
	ld.ResourceLogs().RemoveIf(func(r plog.ResourceLogs) bool {
		resource = r
		return emptied(r.ScopeLogs(), scope)
	})
	return in.finish(ctx)
}

// beginIngestion begins with a batch, of the tenant that its context names.
func (e *engine) beginIngestion(ctx context.Context, phases *source.Reader) *ingestion {
	tenant, ok := e.tenants.of(ctx)
	return &ingestion{
		engine: e, events: e.index.Ingest(), entry: e.store.Entry(),
		senders: e.senders.Get().(*association.SenderReader), phases: phases,
		tenant: tenant, refused: !ok,
	}
}

// end gives back what the ingestion has used.
func (in *ingestion) end() { in.engine.senders.Put(in.senders) }

// finish makes known what the batch has changed. It returns the number of its events.
func (in *ingestion) finish(ctx context.Context) (events int64) {
	in.settleDoubts(ctx)
	outdated := in.events.Flush()
	in.forget(ctx, in.events.Vacated())
	in.buffer.Advance(in.advanced, in.located)
	in.recorder.ingested(ctx, in.accepted, outdated)
	in.recorder.skewed(ctx, time.Now(), &in.skew)
	// What the index has is stored before the caller is told so.
	in.store.Write(ctx, in.entry)
	return in.kept
}

// enterScope reads what the scope and resource of the records that follow say.
func (in *ingestion) enterScope(scope, resource pcommon.Map) {
	in.fields = boundary.NewFields(pcommon.Map{}, pcommon.Map{}, scope, resource)
	in.defaults = in.reader.ScopeDefaults(&in.fields)
	in.senders.SetScope(&in.fields)
}

// record adds what a log record says to the index. It reports whether the record is nothing but
// a boundary that the index has.
func (in *ingestion) record(ctx context.Context, record plog.LogRecord, claims bool) bool {
	if claims {
		if phase := in.phases.Record(record); phase != nil {
			return in.addRecord(ctx, phase, record)
		}
	}
	if spans, reason, ok := in.phases.Partial(record); ok {
		heartbeat := replay.Event{Interval: source.Heartbeat(record)}
		heartbeat.Time, _ = in.reader.Time(record, &in.fields)
		return in.addPartial(ctx, spans, reason, &heartbeat)
	}
	if !in.stormlog {
		return false
	}
	event := in.reader.EventWith(&in.defaults, record, &in.fields)
	return event.Type != "" && in.add(ctx, &event)
}

// add adds an event to the index. It reports whether the event is a boundary that the
// index has. One that is rejected is an event of its process all the same.
func (in *ingestion) add(ctx context.Context, event *boundary.Event) bool {
	fields := &in.fields
	rank, reason := in.reader.IdentifyWith(&in.defaults, fields)
	rank.Tenant = in.tenant
	if reason == boundary.OK && !event.HasTime {
		reason = boundary.BadTime
	}
	if reason != boundary.OK || in.refused {
		switch {
		case !event.IsBoundary():
		case in.refused:
			in.recorder.rejected(ctx, nil, tooManyTenants)
		default:
			in.recorder.rejected(ctx, nil, reason.String())
		}
		return false
	}
	in.kept++
	said := in.senders.Read(fields)
	from := replay.Sender{Rank: rank, Process: said.Process, Print: said.Print, Bytes: said.Bytes}
	credence, ahead := in.credence(ctx, &from, event.Time, event.IsBoundary())
	if credence == replay.TooFarAhead {
		return false
	}
	if !event.IsBoundary() {
		other := replay.Event{
			Time: event.Time, Kind: kindOf(event), Interval: in.reader.SamplingInterval(event, fields), WorldSize: said.WorldSize,
		}
		if credence == replay.Doubted {
			return in.doubt(ctx, ahead, &doubted{from: from, event: other})
		}
		in.observe(ctx, &from, &other)
		return false
	}
	b, reason := in.reader.Boundary(event, fields, &in.paths)
	switch {
	case reason != boundary.OK:
		if credence == replay.Believed {
			in.observe(ctx, &from, &replay.Event{Time: event.Time})
		}
		in.recorder.rejected(ctx, nil, reason.String())
		return false
	case credence == replay.Doubted:
		return in.doubt(ctx, ahead, &doubted{from: from, boundary: clonedBoundary(&b)})
	}
	return in.place(ctx, &from, &b)
}

// place adds a boundary to the index. It reports whether the index has it.
func (in *ingestion) place(ctx context.Context, from *replay.Sender, b *boundary.Boundary) bool {
	in.advance(from.Rank)
	added := in.events.Add(from, b)
	if added.Outcome == replay.Accepted {
		in.entry.Boundary(stored(from), b)
	}
	return in.added(ctx, from, &added, b.Time, b.Time)
}

// added settles what has been added, from one time to another. It reports whether the index has
// it.
func (in *ingestion) added(ctx context.Context, from *replay.Sender, added *replay.Added, since, at int64) bool {
	in.recorder.added(ctx, from.Feed, added)
	in.settle(ctx, from, added, since, false)
	if added.Outcome != replay.Duplicate { // which may have been sent again much later
		in.skew.note(from.Rank, at)
	}
	switch added.Outcome {
	case replay.Accepted:
		in.accepted++
		return true
	case replay.TooManyRanks, replay.AmbiguousProcess:
		return false
	}
	in.entry.Event(stored(from), &replay.Event{Time: at})
	return added.Outcome == replay.Duplicate
}

// advance notes that a rank has come further.
func (in *ingestion) advance(rank boundary.RankKey) {
	if n := len(in.advanced); n == 0 || in.advanced[n-1] != rank {
		in.advanced = append(in.advanced, rank)
	}
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

func (in *ingestion) observe(ctx context.Context, from *replay.Sender, event *replay.Event) {
	in.advance(from.Rank)
	added := in.events.Observe(from, event)
	if added.Outcome != replay.Accepted {
		return
	}
	in.settle(ctx, from, &added, event.Time, event.Kind == replay.Start)
	in.entry.Event(stored(from), event)
}

// settle makes known where the sender of an event is, if that is new or has been so for
// longer than was known, who has left, and what has changed.
func (in *ingestion) settle(ctx context.Context, from *replay.Sender, added *replay.Added, at int64, started bool) {
	if added.Trusted > 0 {
		in.trust(from, added.Trusted)
	}
	for t := range added.Transitions.Each {
		in.recorder.transition(ctx, t, from.Rank.Session)
	}
	in.leave(from.Rank, added.Dropped)
	if added.Outcome == replay.TooManyRanks || !added.Moved && !added.Earlier && !started {
		return
	}
	presence := checkpoint.Presence{Sender: *stored(from), Since: at, Print: from.Print, Identity: in.released, Aside: from.Aside}
	if from.Feed != nil {
		presence.Feed = from.Feed.Name
	}
	if in.released == nil {
		presence.Identity = in.identity(from)
	}
	locations, ended := in.occupy(added, presence.Identity)
	for _, rank := range ended {
		in.recorder.transition(ctx, replay.TakenOver, rank.Session, zap.String("by", from.Rank.Session))
	}
	in.located, in.advanced = append(in.located, locations...), append(in.advanced, ended...)
	if added.Moved {
		in.entry.Presence(&presence)
	}
}
