// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"math"
	"slices"
	"time"

	"github.com/phaseattr/phaseattr/internal/boundary"
)

// Snapshot is all that the index knows of a rank. It can be restored into another index.
type Snapshot struct {
	Rank boundary.RankKey
	// LastArrival is when the last event arrived.
	LastArrival time.Time
	// WorldSize is the number of ranks of the session; 0 if it is not known.
	WorldSize int64
	Processes []Process
}

// Process is what the index knows of a process. Times are in nanoseconds since the Unix
// epoch.
type Process struct {
	Name  boundary.Process
	Clock Clock
	// Numbering is that of the boundaries.
	Numbering Numbering
	// Starts, Firsts and Begins are the times of start events, of boundaries that are the
	// first of their numbering, and of incarnations.
	Starts, Firsts, Begins []int64
	// Interval is how often the process says that it samples, or, negative, that its open spans
	// say that they are; Samples are the newest times at which it sampled.
	Interval  time.Duration
	Samples   []int64
	Presences []Presence
	Threads   []Thread
}

// Thread is what the index knows of a thread.
type Thread struct {
	ID int64
	// Dropped is the last boundary before the window.
	Dropped Dropped
	// Open are the scopes that were entered before the window and not left there, from the
	// outermost to the innermost. Of the first lane of boundaries without paths they are the
	// ends of the numbers that the process has written.
	Open []OpenScope
	// Boundaries are those of the window, in order; late ones that have not been replayed
	// follow them, in order as well.
	Boundaries []boundary.Boundary
	// Intervals are the scopes that came whole, in order of their starts.
	Intervals []boundary.Interval
}

// isLane reports whether the thread is a lane of spans.
func (t *Thread) isLane() bool {
	return len(t.Intervals) > 0 || len(t.Boundaries) > 0 && t.Boundaries[0].Path == boundary.Path{} ||
		len(t.Open) > 0 && t.Open[0].Path == boundary.Path{}
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
	if s.removed || len(s.processes) == 0 { // it is being removed
		return Snapshot{}, false
	}
	snapshot := Snapshot{
		Rank: s.key, LastArrival: x.started.Add(s.lastArrival), WorldSize: s.worldSize.Load(),
		Processes: make([]Process, len(s.processes)),
	}
	for i, p := range s.processes {
		snapshot.Processes[i] = p.snapshot()
	}
	return snapshot, true
}

func (p *process) snapshot() Process {
	snapshot := Process{
		Name: p.name, Clock: p.clock, Numbering: p.numbering,
		Starts: slices.Clone(p.starts), Firsts: slices.Clone(p.firsts), Begins: slices.Clone(p.begins),
		Interval: p.pulse.stated(), Samples: slices.Clone(p.pulse.Samples), Presences: slices.Clone(p.presences),
		Threads: make([]Thread, len(p.threads)),
	}
	for i := range snapshot.Presences {
		snapshot.Presences[i].lifespan = nil
	}
	for i := range p.threads {
		snapshot.Threads[i] = p.threads[i].snapshot()
	}
	if p.spans != nil {
		snapshot.Threads = append(snapshot.Threads, p.spans.snapshot()...)
	}
	return snapshot
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
	s := in.lock(snapshot.Rank, snapshot.counts())
	if s == nil {
		return false
	}
	defer in.unlock()
	if len(s.processes) > 0 {
		return false
	}
	s.restore(snapshot)
	in.index.rate(s)
	return true
}

// counts reports whether the rank had sent a boundary or a start event.
func (snapshot *Snapshot) counts() bool {
	return slices.ContainsFunc(snapshot.Processes, func(p Process) bool {
		return len(p.Starts) > 0 || p.Clock.LastBoundary != never
	})
}

// SetLastArrival sets when the last event of a rank arrived. A time in the future counts
// as now.
func (x *Index) SetLastArrival(key boundary.RankKey, at time.Time) {
	if s := x.stream(key); s != nil && s.lock() {
		defer s.mu.Unlock()
		for _, p := range s.processes { // the newest event arrived no later
			if p.clock.Confirmations > 0 {
				p.skew.trust(p.clock.Now - min(at.UnixNano(), p.clock.Now))
			}
		}
		// By the wall clock, which goes on while no program runs.
		s.lastArrival = min(at.Round(0).Sub(x.started.Round(0)), time.Since(x.started))
	}
}

// restore restores a stream that has had no event.
func (s *stream) restore(snapshot *Snapshot) {
	s.worldSize.Store(snapshot.WorldSize)
	for i := range snapshot.Processes {
		if full(len(s.processes), s.options.MaxThreads) {
			return
		}
		s.restoreProcess(&snapshot.Processes[i])
	}
}

func (s *stream) restoreProcess(snapshot *Process) {
	p := &process{
		number: s.next, name: snapshot.Name, options: s.options, clock: snapshot.Clock, previous: never, last: math.MaxInt64, numbering: snapshot.Numbering,
		starts: newest(snapshot.Starts, maxBegins), firsts: newest(snapshot.Firsts, maxBegins),
		begins: newest(snapshot.Begins, maxBegins), presences: newest(snapshot.Presences, MaxPresences),
		pulse: pulse{
			Interval: max(snapshot.Interval, 0), Heartbeat: max(-snapshot.Interval, 0), Samples: newest(snapshot.Samples, pulseKept),
		},
	}
	p.clock.Confirmations = min(p.clock.Confirmations, maxConfirmations)
	p.clock.CandidateConfirmations = min(p.clock.CandidateConfirmations, maxConfirmations)
	p.setName(p.name)
	for i := range p.presences {
		p.presences[i].lifespan = boundary.NewLifespan(p.presences[i].Since, p.last)
		p.presences[i].bytes = presenceBytes + restoredBytes
		p.presenceBytes += int(p.presences[i].bytes)
	}
	s.processes = append(s.processes, p)
	s.next++
	s.stats.missing.Add(p.numbering.missing())
	s.restoreOpen(p, snapshot.Threads)
	s.count(p)
	for i := range snapshot.Threads {
		if ends := snapshot.Threads[i].Open; len(ends) > 0 && snapshot.Threads[i].isLane() {
			if p.spans == nil {
				p.spans = newSpans(p)
			}
			p.spans.numbers.restore(ends)
		}
		for j := range snapshot.Threads[i].Intervals {
			s.placeInterval(p, &snapshot.Threads[i].Intervals[j])
			s.count(p)
			s.known = true
		}
		for j := range snapshot.Threads[i].Boundaries {
			if b := &snapshot.Threads[i].Boundaries[j]; b.Path == (boundary.Path{}) {
				s.placeMark(p, b, true)
			} else {
				s.place(p, b)
			}
			p.repairs = 0
			s.count(p) // the next one must not pass the bounds
			s.known = true
		}
	}
	p.settleOrphans()
}

// newest returns a copy of the last n of a list.
func newest[T any](list []T, n int) []T { return slices.Clone(list[max(0, len(list)-n):]) }

// restoreOpen restores the scopes that were opened before the window.
func (s *stream) restoreOpen(p *process, threads []Thread) {
	frames := 0
	for i := range threads {
		if full(s.threads(), s.options.MaxThreads) {
			return
		}
		if threads[i].isLane() {
			continue
		}
		t := p.newThread(threads[i].ID)
		t.dropped = threads[i].Dropped
		for j := range threads[i].Open {
			open := &threads[i].Open[j]
			if full(int(t.base.size()), s.options.MaxOpen) || full(s.boundaries+frames, s.options.MaxBoundaries) ||
				full(int(s.stats.boundaries.Load())+frames, s.options.MaxTotal) {
				break
			}
			frames++
			f := t.newFrame(&open.Boundary, t.base, position{})
			f.set(inferred, open.Inferred)
			f.push(t.base)
			t.setBase(f)
			s.known = true
		}
	}
}
