// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"github.com/phaseattr/phaseattr/internal/boundary"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/checkpoint"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/replay"
)

// restorer repeats what ingestions have stored.
type restorer struct {
	*engine
	events *replay.Ingest
	// prints has that of the newest presence of each process.
	prints map[checkpoint.Sender]uint64
}

func newRestorer(e *engine) *restorer {
	return &restorer{engine: e, events: e.index.Reingest(), prints: map[checkpoint.Sender]uint64{}}
}

var _ checkpoint.Restorer = (*restorer)(nil)

func (r *restorer) sender(s *checkpoint.Sender) *replay.Sender {
	return &replay.Sender{Rank: s.Rank, Process: s.Process, Print: r.prints[*s]}
}

// Presence implements checkpoint.Restorer.
func (r *restorer) Presence(p *checkpoint.Presence) {
	event := replay.Event{Time: p.Since}
	if p.Print == 0 { // by an earlier version, for which a new session of a process ended the one before
		event.Kind = replay.Start
		p.Print = p.Identity.Print()
	}
	r.prints[p.Sender] = p.Print
	from := r.sender(&p.Sender)
	from.Feed, from.Aside = r.sources.Feed(p.Feed), p.Aside
	added := r.events.Observe(from, &event)
	if added.Outcome == replay.Accepted {
		r.occupy(&added, p.Identity)
	}
}

// Event implements checkpoint.Restorer.
func (r *restorer) Event(sender *checkpoint.Sender, e *replay.Event) {
	added := r.events.Observe(r.sender(sender), e)
	r.leave(sender.Rank, added.Dropped)
}

// Boundary implements checkpoint.Restorer.
func (r *restorer) Boundary(sender *checkpoint.Sender, b *boundary.Boundary) {
	added := r.events.Add(r.sender(sender), b)
	r.leave(sender.Rank, added.Dropped)
}

// Interval implements checkpoint.Restorer.
func (r *restorer) Interval(sender *checkpoint.Sender, iv *boundary.Interval) {
	added := r.events.AddInterval(r.sender(sender), iv)
	r.leave(sender.Rank, added.Dropped)
}

// Flush implements checkpoint.Restorer.
func (r *restorer) Flush() {
	r.events.Flush()
	for _, rank := range r.events.Vacated() {
		r.association.Remove(rank, r.index.Has)
	}
}

// Forget implements checkpoint.Restorer.
func (r *restorer) Forget(rank boundary.RankKey) {
	r.index.Forget(rank)
	r.association.Remove(rank, r.index.Has)
}
