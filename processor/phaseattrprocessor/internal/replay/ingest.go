// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"time"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/boundary"
)

// Ingest takes in events that come together, of which most are of the same group as
// the one before. It is not to be kept, nor to be used by several goroutines.
type Ingest struct {
	index *Index
	at    time.Duration
	// group is that of the last event, begun what is known of it.
	group *stream
	begun bool
}

// Ingest is that of events which have come now.
func (x *Index) Ingest() *Ingest { return &Ingest{index: x, at: time.Since(x.started)} }

// AddResult is what became of a boundary.
type AddResult struct {
	Outcome Outcome
	// Late is how far the boundary's time was behind that of the group's newest event.
	Late time.Duration
	// Outdated is how many answers would have been others, had the boundary come
	// before them.
	Outdated int64
}

// Add takes in a boundary, in any order.
func (a *Ingest) Add(key boundary.RankKey, b *boundary.Boundary) AddResult {
	var receipt AddResult
	if !a.update(key, func(g *stream) { receipt = g.add(b, a.at) }) {
		receipt.Outcome = TooManyRanks
	}
	return receipt
}

// Observe takes note of an event of a group that is no boundary: the group is
// alive, and its event time has come this far. A stop event ends its session.
func (a *Ingest) Observe(key boundary.RankKey, at int64, stop bool) Outcome {
	if !a.update(key, func(g *stream) { g.observe(at, stop, a.at) }) {
		return TooManyRanks
	}
	return Accepted
}

// Registered tells whether a group has been introduced.
func (a *Ingest) Registered(key boundary.RankKey) bool {
	if a.group == nil || a.group.key != key {
		a.group, a.begun = a.index.group(key), false
	}
	if a.group != nil && !a.begun {
		a.group.mu.RLock()
		defer a.group.mu.RUnlock()
		a.begun = a.group.begun
	}
	return a.begun
}

// update lets f change a group, made if need be. It returns false when there is no
// room for the group.
func (a *Ingest) update(key boundary.RankKey, f func(*stream)) bool {
	for {
		if a.group == nil || a.group.key != key {
			a.group, a.begun = a.index.groupFor(key), false
		}
		g := a.group
		if g == nil {
			return false
		}
		if g.update(func() { f(g) }) {
			return true
		}
		a.group = nil // it has been forgotten
	}
}
