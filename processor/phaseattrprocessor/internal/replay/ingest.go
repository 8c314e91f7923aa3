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
	// outdated counts the answers that late boundaries have changed since the last Flush.
	outdated int64
}

// Ingest is that of events which have come now.
func (x *Index) Ingest() *Ingest { return &Ingest{index: x, at: time.Since(x.started)} }

// AddResult is what became of a boundary.
type AddResult struct {
	Outcome Outcome
	// Late is how far the boundary's time is behind the rank's newest event; 0 when it
	// is not.
	Late time.Duration
}

// Add takes in a boundary, in any order.
func (a *Ingest) Add(key boundary.RankKey, b *boundary.Boundary) AddResult {
	var result AddResult
	if !a.update(key, func(g *stream) {
		var outdated int64
		result, outdated = g.add(b, a.at)
		a.outdated += outdated
	}) {
		result.Outcome = TooManyRanks
	}
	return result
}

// Flush replays the boundaries that Add found to be late. It must be called once the
// last event of a batch has been added, and returns how many answers given earlier
// would have been different with the boundaries added since the last Flush.
func (a *Ingest) Flush() (outdated int64) {
	outdated, a.outdated = a.outdated, 0
	return outdated
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
