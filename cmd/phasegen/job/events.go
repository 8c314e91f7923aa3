// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package job

import (
	"container/heap"
	"iter"
	"slices"
)

// Kind is what happens in an event.
type Kind int

// The kinds of events.
const (
	// Start: a process starts. Workers do not say so.
	Start Kind = iota
	// Enter and Exit: a process enters or leaves a phase.
	Enter
	Exit
	// Sample: a process reports that it is alive.
	Sample
	// Stop: a process ends. Workers do not say so.
	Stop
	// Kill: a process is killed. Nothing reports it.
	Kill
	// DeviceReading: the GPU of a rank is read.
	DeviceReading
	// ProcessReading: a process is read.
	ProcessReading
)

// Boundary reports whether it is the begin or the end of a phase.
func (k Kind) Boundary() bool { return k == Enter || k == Exit }

// Reading reports whether it is a reading and not reported by the process itself.
func (k Kind) Reading() bool { return k == DeviceReading || k == ProcessReading }

// Event is something that happens in a job.
type Event struct {
	// At is the true time, in nanoseconds since the Unix epoch. [Event.Clock] is the time
	// that a process reads.
	At   int64
	Kind Kind
	Rank *Rank
	// Process is nil in a DeviceReading.
	Process *Process
	// Scope is that of a boundary, or the innermost one of the main thread in a ProcessReading.
	Scope *Scope
	// Sequence numbers the boundaries of a process. A forked worker continues the numbers
	// of its parent.
	Sequence int64
	// Previous is the time of the process's previous boundary, or that of its start, in a
	// boundary or a ProcessReading.
	Previous int64
	// Load is the utilization of the GPU, from 0 to 1, in a reading.
	Load float64
}

// Clock returns what the clock of the rank's node shows at a true time.
func (r *Rank) Clock(at int64) int64 { return at + r.ClockOffset }

// Events returns the events of the job in order of time.
func (j *Job) Events() iter.Seq[*Event] {
	return func(yield func(*Event) bool) {
		m := &merger{job: j, alive: make([][]*Process, len(j.World))}
		for _, r := range j.World {
			for i := range j.Restarts + 1 {
				m.add(newTrainer(m, r, i))
			}
			m.add(newReader(m, r))
		}
		for len(m.streams) > 0 {
			first := m.streams[0]
			e := first.pop()
			if first.empty() {
				heap.Pop(&m.streams)
			} else {
				heap.Fix(&m.streams, 0)
			}
			if !m.yield(e, yield) {
				return
			}
		}
	}
}

// merger merges the events of the processes and readers of a job.
type merger struct {
	job     *Job
	streams streams
	added   int
	alive   [][]*Process // by rank
}

func (m *merger) add(s *stream) {
	s.number = m.added
	m.added++
	if !s.empty() {
		heap.Push(&m.streams, s)
	}
}

// yield passes on an event, and readings of the processes along with those of their GPU.
func (m *merger) yield(e *Event, yield func(*Event) bool) bool {
	m.apply(e)
	if e.Kind == DeviceReading {
		e.Load = m.load(e.Rank)
	}
	if !yield(e) {
		return false
	}
	if e.Kind != DeviceReading {
		return true
	}
	for _, p := range m.alive[e.Rank.Number] {
		of := Event{At: e.At, Kind: ProcessReading, Rank: e.Rank, Process: p, Load: e.Load, Scope: p.innermost, Previous: p.previous}
		if !yield(&of) {
			return false
		}
	}
	return true
}

// apply updates what is known about the processes.
func (m *merger) apply(e *Event) {
	p := e.Process
	if p == nil {
		return
	}
	if e.Kind.Boundary() {
		p.number(e)
	}
	alive := &m.alive[e.Rank.Number]
	switch e.Kind {
	case Enter:
		if p.Worker > 0 && !slices.Contains(*alive, p) {
			*alive = append(*alive, p)
		}
	case Start:
		*alive = append((*alive)[:0:0], p)
	case Stop, Kill:
		*alive = nil
	}
}

// number numbers a boundary of the process, across its threads.
func (p *Process) number(e *Event) {
	p.sequence++
	e.Sequence, e.Previous = p.sequence, p.previous
	p.previous = e.At
	within := e.Scope.Parent
	if e.Kind == Enter {
		e.Scope.Number = p.sequence
		within = e.Scope
	}
	if e.Scope.Thread == 0 {
		p.innermost = within
	}
}

func (m *merger) load(r *Rank) float64 {
	for _, p := range m.alive[r.Number] {
		if p.Worker == 0 && p.innermost != nil {
			return p.innermost.load
		}
	}
	return 0
}

// streams is a heap of streams by the time of their next event.
type streams []*stream

func (s streams) Len() int { return len(s) }

func (s streams) Less(i, k int) bool {
	a, b := s[i], s[k]
	if at, bt := a.queue[a.next].At, b.queue[b.next].At; at != bt {
		return at < bt
	}
	return a.number < b.number
}

func (s streams) Swap(i, k int) { s[i], s[k] = s[k], s[i] }

func (s *streams) Push(x any) { *s = append(*s, x.(*stream)) }

func (s *streams) Pop() any {
	last := (*s)[len(*s)-1]
	*s = (*s)[:len(*s)-1]
	return last
}
