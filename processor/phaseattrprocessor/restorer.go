// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/boundary"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/checkpoint"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/replay"
)

// restorer repeats what ingestions have stored.
type restorer struct {
	*engine
	events *replay.Ingest
}

var _ checkpoint.Restorer = restorer{}

// Presence implements checkpoint.Restorer.
func (r restorer) Presence(p *checkpoint.Presence) { r.register(p) }

// Event implements checkpoint.Restorer.
func (r restorer) Event(sender *checkpoint.Sender, e *checkpoint.Event) {
	r.events.Observe(sender.Rank, e.Time, e.Kind == checkpoint.Stop)
}

// Boundary implements checkpoint.Restorer.
func (r restorer) Boundary(sender *checkpoint.Sender, b *boundary.Boundary) {
	r.events.Add(sender.Rank, b)
}

// Interval implements checkpoint.Restorer. There are none yet.
func (restorer) Interval(*checkpoint.Sender, *replay.Interval) {}

// Flush implements checkpoint.Restorer.
func (r restorer) Flush() { r.events.Flush() }

// Forget implements checkpoint.Restorer.
func (r restorer) Forget(rank boundary.RankKey) {
	r.index.Forget(rank)
	r.association.Remove(rank, r.index.Has)
}
