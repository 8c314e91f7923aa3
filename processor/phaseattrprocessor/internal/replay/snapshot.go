// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"slices"
	"time"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/boundary"
)

// Snapshot is all that the index knows of a group, so that it can be restored into
// another index. Its seats are not part of it: Begin says them.
type Snapshot struct {
	Rank boundary.RankKey
	// LastArrival is when the last event arrived.
	LastArrival time.Time
	// Clock is where the group's event time has come.
	Clock   Clock
	Threads []Thread
}

// Thread is what the index knows of a thread.
type Thread struct {
	ID int64
	// Dropped is the last boundary before the window.
	Dropped Dropped
	// Open lists the scopes that were entered before the window and not left there,
	// from the outermost to the innermost.
	Open []Frame
	// Boundaries are those of the window, in order.
	Boundaries []boundary.Boundary
}

// Dropped is what is still known of a boundary that has left the window, if there is
// Any.
type Dropped struct {
	Any            bool
	Time, Sequence int64
}

// Clock is the event time of a group. Times are in nanoseconds since the Unix epoch;
// the smallest int64 stands for none.
type Clock struct {
	// Began is when the group's first event was.
	Began int64
	// Now is the newest time that is believed, Votes how many events stand behind it.
	Now   int64
	Votes int8
	// Rival is a time far from Now, RivalVotes how many events in a row stand behind it.
	Rival      int64
	RivalVotes int8
	// Evicted is the newest time that a bound has pushed out of the window.
	Evicted int64
	// LastEnter is the newest time at which a scope was entered.
	LastEnter int64
	// MaxSequence is the largest sequence number seen.
	MaxSequence int64
	// Stopped is the newest time of a stop event.
	Stopped int64
	// Succeeded is when another session took over.
	Succeeded int64
}

// Frame is an open scope, as its enter describes it.
type Frame struct {
	boundary.Boundary
	// Phantom: the enter was lost; a later boundary shows that it was.
	Phantom bool
}

// Snapshot returns what the index knows of a group, and false when it is nothing.
func (x *Index) Snapshot(key boundary.RankKey) (Snapshot, bool) {
	g := x.group(key)
	if g == nil {
		return Snapshot{}, false
	}
	g.mu.RLock()
	defer g.mu.RUnlock()
	if g.forgotten {
		return Snapshot{}, false
	}
	s := Snapshot{
		Rank:        g.key,
		LastArrival: x.started.Add(g.arrived),
		Clock: Clock{
			Began: g.began, Now: g.clock.now, Votes: g.clock.votes, Rival: g.clock.rival, RivalVotes: g.clock.rivalVotes,
			Evicted: g.evicted, LastEnter: g.lastEnter, MaxSequence: g.maxSequence, Stopped: g.stopped, Succeeded: g.succeeded,
		},
	}
	for i := range g.threads {
		t := &g.threads[i]
		thread := Thread{ID: t.id, Dropped: t.dropped, Boundaries: make([]boundary.Boundary, 0, t.entries.count)}
		for frame := t.base; frame != nil; frame = frame.below {
			thread.Open = append(thread.Open, Frame{t.enter(frame), frame.is(phantom)})
		}
		slices.Reverse(thread.Open)
		for _, e := range t.entries.from(position{}) {
			thread.Boundaries = append(thread.Boundaries, t.boundary(e))
		}
		s.Threads = append(s.Threads, thread)
	}
	return s, true
}

// Restore puts a group back. What is beyond the bounds, or older than the window, is
// left out; so is all of a group that the index knows already.
func (x *Index) Restore(s *Snapshot) bool {
	fresh := false
	a := x.Ingest()
	room := a.update(s.Rank, func(g *stream) {
		if fresh = g.clock.votes == 0; fresh {
			g.restore(s)
		}
	})
	if !room || !fresh {
		return false
	}
	for i := range s.Threads {
		for j := range s.Threads[i].Boundaries {
			a.update(s.Rank, func(g *stream) {
				g.place(&s.Threads[i].Boundaries[j])
				g.forgive()
			})
		}
	}
	x.SetLastArrival(s.Rank, s.LastArrival)
	return true
}

// Repeat takes in a boundary that was taken in before, in another index. What it mends
// has been counted.
func (x *Index) Repeat(key boundary.RankKey, b *boundary.Boundary) {
	a := x.Ingest()
	a.update(key, func(g *stream) {
		g.add(b, a.at)
		g.forgive()
	})
}

// SetLastArrival sets when the last event of a group arrived. A time to come is now.
func (x *Index) SetLastArrival(key boundary.RankKey, at time.Time) {
	if g := x.group(key); g != nil {
		now := time.Since(x.started)
		// By the wall clock, which goes on while no program runs.
		g.update(func() { g.arrived = min(at.Round(0).Sub(x.started.Round(0)), now) })
	}
}

// restore puts back what is not on the timelines.
func (g *stream) restore(s *Snapshot) {
	c := s.Clock
	g.clock = clock{now: c.Now, votes: min(c.Votes, quorum), rival: c.Rival, rivalVotes: min(c.RivalVotes, quorum)}
	g.began, g.succeeded = c.Began, c.Succeeded
	g.evicted, g.lastEnter, g.maxSequence, g.stopped = c.Evicted, c.LastEnter, c.MaxSequence, c.Stopped
	frames := 0
	for i := range s.Threads {
		if full(len(g.threads), g.options.MaxThreads) {
			return
		}
		t := g.newThread(s.Threads[i].ID)
		t.dropped = s.Threads[i].Dropped
		for j := range s.Threads[i].Open {
			frame := &s.Threads[i].Open[j]
			if full(int(t.base.size()), g.options.MaxOpen) || full(frames, g.options.MaxBoundaries) ||
				full(int(g.stats.boundaries.Load())+frames, g.options.MaxTotal) {
				break
			}
			frames++
			f := t.newFrame(&frame.Boundary, t.base, position{})
			f.set(phantom, frame.Phantom)
			f.push(t.base)
			t.base = f
		}
	}
}

// forgive takes the mending that was needed as counted before.
func (g *stream) forgive() {
	for i := range g.threads {
		g.threads[i].mends = 0
	}
}
