// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"slices"
	"time"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/boundary"
)

// Snapshot is all that the index knows of a rank. It can be restored into another index.
type Snapshot struct {
	Rank boundary.RankKey
	// LastArrival is when the last event arrived.
	LastArrival time.Time
	// WorldSize is how many ranks the session has; 0 if no record says so.
	WorldSize int64
	Processes []Process
}

// Process is what the index knows of a process of a rank. Times are event times, in
// nanoseconds since the Unix epoch.
type Process struct {
	Name boundary.Process
	// Tenant is empty without tenants.
	Tenant string
	Clock  Clock
	// Starts are the times of the newest start events and resets, Pulse those of the newest
	// events.
	Starts, Pulse []int64
	// Interval is the sampling interval that its events state; 0 if they do not.
	Interval  time.Duration
	Presences []Presence
	Threads   []Thread
}

// Presence is an identity that events of a process had.
type Presence struct {
	// Print identifies it among those of the process.
	Print uint64
	// Since and Last are the times of its first and its newest event.
	Since, Last int64
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
	// Intervals are the completed ones.
	Intervals []Interval
}

// Interval is a scope that has been left, as its enter.
type Interval struct {
	boundary.Boundary
	// End is the time at which it was left.
	End int64
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
	process := Process{Clock: s.clock}
	if s.registered {
		process.Presences = []Presence{{Since: s.clock.FirstEvent}}
	}
	for i := range s.threads {
		process.Threads = append(process.Threads, s.threads[i].snapshot())
	}
	return Snapshot{Rank: s.key, LastArrival: x.started.Add(s.lastArrival), Processes: []Process{process}}, true
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
	for i := range snapshot.Processes {
		s.restore(&snapshot.Processes[i])
	}
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
func (s *stream) restore(process *Process) {
	s.clock = process.Clock
	s.clock.Confirmations = min(s.clock.Confirmations, maxConfirmations)
	s.clock.CandidateConfirmations = min(s.clock.CandidateConfirmations, maxConfirmations)
	s.restoreOpen(process.Threads)
	s.count()
	for i := range process.Threads {
		for j := range process.Threads[i].Boundaries {
			s.place(&process.Threads[i].Boundaries[j])
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
