// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"slices"
	"time"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/boundary"
)

// Snapshot is all that the index knows of a rank, except its claims, which Register sets.
// It can be restored into another index.
type Snapshot struct {
	Rank boundary.RankKey
	// LastArrival is when the last event arrived.
	LastArrival time.Time
	// Clock is the event time of the rank.
	Clock   Clock
	Threads []Thread
}

// Thread is what the index knows of a thread.
type Thread struct {
	ID int64
	// Dropped is the last boundary before the window.
	Dropped Dropped
	// Open are the scopes that were entered before the window and not left there, from the
	// outermost to the innermost.
	Open []OpenScope
	// Boundaries are those of the window, in order; late ones that have not been replayed
	// follow them, in order as well.
	Boundaries []boundary.Boundary
}

// Dropped is what is still known of a boundary that has left the window.
type Dropped struct {
	// Any is true when there is one.
	Any bool
	// Time is in nanoseconds since the Unix epoch.
	Time, Sequence int64
}

// OpenScope is an open scope, as its enter.
type OpenScope struct {
	boundary.Boundary
	// Inferred is true when the enter was lost; a later boundary shows that there was one.
	Inferred bool
}

// Snapshot returns what the index knows of a rank. It reports false when the rank is
// unknown.
func (x *Index) Snapshot(key boundary.RankKey) (Snapshot, bool) {
	s := x.stream(key)
	if s == nil {
		return Snapshot{}, false
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.removed {
		return Snapshot{}, false
	}
	snapshot := Snapshot{Rank: s.key, LastArrival: x.started.Add(s.lastArrival), Clock: s.clock}
	for i := range s.threads {
		snapshot.Threads = append(snapshot.Threads, s.threads[i].snapshot())
	}
	return snapshot, true
}

func (t *thread) snapshot() Thread {
	snapshot := Thread{ID: t.id, Dropped: t.dropped, Boundaries: make([]boundary.Boundary, 0, t.size())}
	for frame := t.base; frame != nil; frame = frame.below {
		snapshot.Open = append(snapshot.Open, OpenScope{t.enter(frame), frame.is(inferred)})
	}
	slices.Reverse(snapshot.Open)
	for _, line := range []*timeline{&t.entries, t.late} {
		if line == nil {
			continue
		}
		for _, e := range line.from(position{}) {
			snapshot.Boundaries = append(snapshot.Boundaries, t.boundary(e))
		}
	}
	return snapshot
}

// Restore restores a rank, except what is beyond the bounds or older than the window. It
// reports false when the index knows an event of the rank or has no room for it.
func (x *Index) Restore(snapshot *Snapshot) bool {
	in := x.Reingest()
	if !in.restore(snapshot) {
		return false
	}
	in.Flush()
	x.SetLastArrival(snapshot.Rank, snapshot.LastArrival)
	return true
}

func (in *Ingest) restore(snapshot *Snapshot) bool {
	s := in.lock(snapshot.Rank)
	if s == nil {
		return false
	}
	defer in.unlock()
	if s.clock.Confirmations > 0 {
		return false
	}
	s.restore(snapshot)
	return true
}

// SetLastArrival sets when the last event of a rank arrived. A time in the future counts
// as now.
func (x *Index) SetLastArrival(key boundary.RankKey, at time.Time) {
	if s := x.stream(key); s != nil && s.lock() {
		defer s.unlock()
		// By the wall clock, which goes on while no program runs.
		s.lastArrival = min(at.Round(0).Sub(x.started.Round(0)), time.Since(x.started))
	}
}

// restore restores a stream that has had no event.
func (s *stream) restore(snapshot *Snapshot) {
	s.clock = snapshot.Clock
	s.clock.Confirmations = min(s.clock.Confirmations, maxConfirmations)
	s.clock.CandidateConfirmations = min(s.clock.CandidateConfirmations, maxConfirmations)
	s.restoreOpen(snapshot.Threads)
	s.count()
	for i := range snapshot.Threads {
		for j := range snapshot.Threads[i].Boundaries {
			s.place(&snapshot.Threads[i].Boundaries[j])
			s.count() // the next one must not pass the bounds
		}
	}
}

// restoreOpen restores the scopes that were opened before the window.
func (s *stream) restoreOpen(threads []Thread) {
	frames := 0
	for i := range threads {
		if full(len(s.threads), s.options.MaxThreads) {
			return
		}
		t := s.newThread(threads[i].ID)
		t.dropped = threads[i].Dropped
		for j := range threads[i].Open {
			open := &threads[i].Open[j]
			if full(int(t.base.size()), s.options.MaxOpen) || full(frames, s.options.MaxBoundaries) ||
				full(int(s.stats.boundaries.Load())+frames, s.options.MaxTotal) {
				break
			}
			frames++
			f := t.newFrame(&open.Boundary, t.base, position{})
			f.set(inferred, open.Inferred)
			f.push(t.base)
			t.base = f
		}
	}
}
