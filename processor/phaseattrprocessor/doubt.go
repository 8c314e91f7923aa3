// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"context"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.uber.org/zap"

	"github.com/phaseattr/phaseattr/internal/boundary"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/association"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/checkpoint"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/doubt"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/replay"
)

// doubts are the events whose times are not believed yet, by their senders.
type doubts = doubt.Doubts[checkpoint.Sender, *doubted]

// doubted is an event as the index would have got it.
type doubted struct {
	from     replay.Sender
	identity association.Identity
	// boundary and interval are nil if it is another event.
	boundary *boundary.Boundary
	interval *boundary.Interval
	event    replay.Event
}

// isBoundary reports whether it is of a phase.
func (d *doubted) isBoundary() bool { return d.boundary != nil || d.interval != nil }

// credence returns whether an event's time is believed. One that is too far ahead is counted.
func (in *ingestion) credence(ctx context.Context, from *replay.Sender, at int64, isBoundary bool) (replay.Credence, time.Duration) {
	credence, ahead := in.events.Credence(from, at)
	if credence == replay.TooFarAhead {
		in.recorder.disbelieved(ctx, tooFarAhead, from.Rank.Session, isBoundary, ahead)
	}
	return credence, ahead
}

// doubt keeps an event from the index until another one of its sender agrees that the sender's
// clock is that far ahead. It then adds it, after those before it, and reports whether it is a
// boundary that the index has.
func (in *ingestion) doubt(ctx context.Context, ahead time.Duration, d *doubted) bool {
	d.from = cloned(&d.from)
	switch {
	case d.boundary != nil:
		d.event.Time = d.boundary.Time
	case d.interval != nil:
		d.event.Time = max(d.interval.Start, d.interval.End)
	}
	key := *stored(&d.from)
	d.identity = in.identity(&d.from)
	believed, usual, agreed, givenUp := in.doubts.Add(key, doubt.Event[*doubted]{At: d.event.Time, Ahead: ahead, Value: d})
	in.recorder.unconfirmed(ctx, givenUp)
	if !agreed {
		return false
	}
	for i := range believed {
		in.believe(ctx, believed[i].Value)
	}
	has := in.believe(ctx, d)
	in.events.Trust(&d.from, usual)
	in.trust(&d.from, usual)
	in.recorder.transition(ctx, replay.ClockSetAhead, d.from.Rank.Session, zap.Duration("ahead", usual))
	return has
}

func (in *ingestion) believe(ctx context.Context, d *doubted) bool {
	in.recorder.confirmed(ctx)
	in.released = d.identity
	defer func() { in.released = nil }()
	switch {
	case d.boundary != nil:
		return in.place(ctx, &d.from, d.boundary)
	case d.interval != nil:
		return in.placeInterval(ctx, &d.from, d.interval)
	}
	in.observe(ctx, &d.from, &d.event)
	return false
}

// trusted is a sender whose clock is known to be ahead since.
type trusted struct {
	from  checkpoint.Sender
	ahead time.Duration
}

// trust notes that a sender's clock is known to be ahead, or further ahead, since.
func (in *ingestion) trust(from *replay.Sender, ahead time.Duration) {
	if n := len(in.trusted); n > 0 && in.trusted[n-1].from == *stored(from) {
		in.trusted[n-1].ahead = max(in.trusted[n-1].ahead, ahead)
		return
	}
	in.trusted = append(in.trusted, trusted{*stored(from), ahead})
}

// settleDoubts adds the doubted events whose dates are explained by the clocks that the batch has
// shown to be ahead.
func (in *ingestion) settleDoubts(ctx context.Context) {
	for ; len(in.trusted) > 0; in.trusted = in.trusted[1:] {
		t := in.trusted[0]
		for _, e := range in.doubts.Agree(func(s checkpoint.Sender) bool { return s.SharesClock(&t.from) }, t.ahead) {
			in.believe(ctx, e.Value)
		}
	}
}

// cloned returns a sender that does not refer to its record.
func cloned(from *replay.Sender) replay.Sender {
	clone := *from
	clone.Rank.Session, clone.Process = strings.Clone(from.Rank.Session), from.Process.Clone()
	return clone
}

// clonedBoundary returns a boundary that does not refer to its record.
func clonedBoundary(b *boundary.Boundary) *boundary.Boundary {
	clone := *b
	clone.ThreadName, clone.ScopeID, clone.ParentScopeID = strings.Clone(b.ThreadName), strings.Clone(b.ScopeID), strings.Clone(b.ParentScopeID)
	clone.Name, clone.Lane = strings.Clone(b.Name), strings.Clone(b.Lane)
	return &clone
}

// clonedInterval returns an interval that does not refer to its span.
func clonedInterval(iv *boundary.Interval) *boundary.Interval {
	clone := *iv
	clone.ScopeID, clone.ParentScopeID = strings.Clone(iv.ScopeID), strings.Clone(iv.ParentScopeID)
	clone.Name, clone.Lane = strings.Clone(iv.Name), strings.Clone(iv.Lane)
	return &clone
}

// disbelief is what became of an event whose time was not believed at once.
type disbelief string

const (
	// tooFarAhead: it was more than max_future ahead of its arrival.
	tooFarAhead disbelief = "too_far_ahead"
	// unconfirmed: no other event of its process agreed for the session timeout, or too many
	// events were doubted.
	unconfirmed disbelief = "unconfirmed"
	// confirmed: another event of its process agreed.
	confirmed disbelief = "confirmed"
)

func disbeliefs() []disbelief { return append(rejecting(), confirmed) }

// rejecting returns the outcomes of events that take no part.
func rejecting() []disbelief { return []disbelief{tooFarAhead, unconfirmed} }

// disbelieving returns the series of the events with an outcome.
func (r *recorder) disbelieving(outcome disbelief) *series {
	return r.other([2]string{"doubted", string(outcome)}, attribute.String("outcome", string(outcome)))
}

func (r *recorder) confirmed(ctx context.Context) {
	r.telemetry.ProcessorPhaseAttrDoubtedEvents.Add(ctx, 1, r.disbelieving(confirmed).attributes)
}

// disbelieved counts an event that takes no part because of its time, and logs it now and
// then.
func (r *recorder) disbelieved(ctx context.Context, outcome disbelief, session string, isBoundary bool, ahead time.Duration) {
	series := r.disbelieving(outcome)
	r.telemetry.ProcessorPhaseAttrDoubtedEvents.Add(ctx, 1, series.attributes)
	if isBoundary {
		r.telemetry.ProcessorPhaseAttrBoundaries.Add(ctx, 1, r.rejectedFor(nil, string(outcome)).attributes)
	}
	series.warning.Do(func() {
		r.logger.Warn("Ignored event dated ahead of the collector's clock",
			zap.String("session_id", session), zap.Duration("ahead", ahead), zap.String("reason", string(outcome)),
			zap.String("counted_in", "otelcol_processor_phase_attr_doubted_events"))
	})
}

// unconfirmed counts events that were doubted and are given up.
func (r *recorder) unconfirmed(ctx context.Context, events []doubt.Event[*doubted]) {
	for i := range events {
		d := events[i].Value
		r.disbelieved(ctx, unconfirmed, d.from.Rank.Session, d.isBoundary(), events[i].Ahead)
	}
}

// transitioning returns the series of a transition.
func (r *recorder) transitioning(t replay.Transition) *series {
	return r.other([2]string{"transition", t.String()}, attribute.Stringer("transition", t))
}

// transition counts a transition of a process, and logs it now and then.
func (r *recorder) transition(ctx context.Context, t replay.Transition, session string, fields ...zap.Field) {
	series := r.transitioning(t)
	r.telemetry.ProcessorPhaseAttrTransitions.Add(ctx, 1, series.attributes)
	series.warning.Do(func() {
		r.logger.Info("Process "+[...]string{
			replay.Stopped:       "stopped",
			replay.TakenOver:     "was replaced at its place by a restart",
			replay.Resumed:       "goes on after it was stopped or replaced",
			replay.ClockSetAhead: "has a clock that is ahead of the collector's",
			replay.ClockSetBack:  "has set its clock back",
		}[t], append(fields, zap.String("session_id", session), zap.String("counted_in", "otelcol_processor_phase_attr_transitions"))...)
	})
}
