// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package job

import (
	"math/rand/v2"
	"time"
)

const (
	// fastest is how much shorter a phase can be than planned.
	fastest = 0.85
	// slowdown is how much longer phases of a straggler take.
	slowdown = 1.5
	// downtime is how many steps it takes to start a killed job again.
	downtime = 2
	// workersEnd is how many steps before the end of the job its workers end.
	workersEnd = 4
)

// stream has the events of a process or a reader in order of time. It generates them
// in portions.
type stream struct {
	number int // for events at the same time
	queue  []*Event
	next   int
	// more appends the next portion to the queue. It is nil after the last one.
	more func()

	*merger
	process *Process
	thread  int
	random  *rand.Rand
	// at is the time of its newest event, boundaries the number of its boundaries.
	at, boundaries int64
	// sample is when the process next reports that it is alive; 0 means never.
	sample int64
	// until is when the process is killed or ends.
	until  int64
	killed bool
	scope  *Scope
}

func (s *stream) pop() *Event {
	e := s.queue[s.next]
	s.next++
	return e
}

// empty reports whether there are no events left.
func (s *stream) empty() bool {
	for s.next == len(s.queue) && s.more != nil {
		s.queue, s.next = s.queue[:0], 0
		s.more()
	}
	return s.next == len(s.queue)
}

// newReader returns the readings of the GPU of a rank: one at some time in each interval, so
// that they do not keep step with the job. They begin and end with it.
func newReader(m *merger, r *Rank) *stream {
	s := &stream{merger: m, random: rand.New(rand.NewPCG(m.job.Seed, 1<<32|uint64(r.Number)))} //nolint:gosec // not negative
	interval := int64(m.job.Reading)
	slot := m.job.start
	s.more = func() {
		at := slot + s.random.Int64N(interval)
		slot += interval
		if at < m.job.end {
			s.queue = append(s.queue, &Event{At: at, Kind: DeviceReading, Rank: r})
		}
		if slot >= m.job.end {
			s.more = nil
		}
	}
	return s
}

// newTrainer returns the events of the main process of a rank after a number of restarts.
func newTrainer(m *merger, r *Rank, incarnation int) *stream {
	j := m.job
	part := int64(j.Duration) / int64(j.Restarts+1)
	s := &stream{merger: m, until: j.end}
	start := j.start + part*int64(incarnation)
	if incarnation > 0 {
		start += min(downtime*int64(j.Step), part/4)
	}
	if incarnation < j.Restarts {
		s.until, s.killed = j.start+part*int64(incarnation+1), true
	}
	s.process = j.newProcess(r, incarnation, 0, start+r.offset)
	s.random = rand.New(rand.NewPCG(j.Seed, 2<<32|uint64(s.process.PID)<<20^uint64(r.Number))) //nolint:gosec // not negative
	s.at = s.process.Began - 1
	s.more = func() {
		s.begin(start)
	}
	return s
}

// begin generates the startup of the process that trains.
func (s *stream) begin(start int64) {
	s.emit(Start, s.process.Began, nil)
	s.sample = s.at + int64(s.job.Sample)
	planned := s.phases(s.job.startup, 0, start)
	if s.job.root != nil {
		s.enter(s.job.root, planned+s.process.offset, 0)
	}
	for worker := range s.job.Forks {
		s.add(newWorker(s, worker+1))
	}
	for thread := range s.job.Threads {
		s.add(newThread(s, thread+1))
	}
	step := int64(0)
	s.more = func() {
		step++
		planned = s.step(step, planned)
	}
	s.cut()
}

// step generates a step, or the end of the process if there is no time for the step, and
// returns when the next step begins.
func (s *stream) step(n, start int64) int64 {
	if !s.killed && start+s.planned(s.job.steps, n) >= s.until-int64(time.Millisecond) {
		s.finish(start)
		return start
	}
	end := s.phases(s.job.steps, n, start)
	s.cut()
	return end
}

func (s *stream) finish(at int64) {
	at += s.process.offset
	if s.scope != nil {
		s.exit(at)
	}
	s.emit(Stop, at, nil)
	s.more = nil
}

// cut ends a process that has reached the time at which it is killed.
func (s *stream) cut() {
	if !s.killed || s.at < s.until {
		return
	}
	for i, e := range s.queue {
		if e.At >= s.until {
			s.queue = s.queue[:i]
			break
		}
	}
	if s.thread == 0 {
		s.queue = append(s.queue, &Event{At: s.until, Kind: Kill, Rank: s.process.Rank, Process: s.process})
	}
	s.more = nil
}

// planned returns how long phases take, the same for all ranks.
func (s *stream) planned(nodes []*node, step int64) int64 {
	duration := shares(nodes, step) * float64(s.job.Step)
	if s.job.Stragglers > 0 {
		duration *= slowdown
	}
	return int64(duration)
}

// phases generates phases that are planned to begin at a time, and returns when what
// follows is planned. Ranks that are faster than planned wait in the first collective
// phase, or at the end.
func (s *stream) phases(nodes []*node, step, start int64) int64 {
	end := start + s.planned(nodes, step)
	l := layout{stream: s, step: step, at: start + s.process.offset, slack: end - start}
	l.plan(nodes)
	l.run(nodes)
	return end
}

// layout places the phases of a step.
type layout struct {
	*stream
	step, at int64
	// times are how long the process is in each phase, in order.
	times []int64
	next  int
	slack int64
}

func (l *layout) plan(nodes []*node) {
	for _, n := range nodes {
		if !n.in(l.step) {
			continue
		}
		factor := fastest + (1-fastest)*l.random.Float64()
		if l.process.Slow && !n.Collective {
			factor *= slowdown
		}
		own := int64(n.Share * factor * float64(l.job.Step))
		l.times = append(l.times, own)
		l.slack -= own
		l.plan(n.phases)
	}
}

func (l *layout) run(nodes []*node) {
	for _, n := range nodes {
		if !n.in(l.step) {
			continue
		}
		own := l.times[l.next]
		l.next++
		if n.Collective {
			own += l.slack
			l.slack = 0
		}
		inner := 1
		for _, p := range n.phases {
			if p.in(l.step) {
				inner++
			}
		}
		l.enter(n, l.at, l.step)
		for _, p := range n.phases {
			if p.in(l.step) {
				l.at += own / int64(inner)
				l.run([]*node{p})
			}
		}
		l.at += own / int64(inner)
		l.exit(l.at)
	}
}

func (s *stream) enter(n *node, at, step int64) {
	s.scope = &Scope{Process: s.process, Thread: s.thread, Path: n.path, Parent: s.scope, Step: step, load: n.Load}
	s.emit(Enter, at, s.scope)
	s.scope.Entered = s.at
}

func (s *stream) exit(at int64) {
	s.emit(Exit, at, s.scope)
	s.scope = s.scope.Parent
}

// emit appends an event, after the samples that are due before it. Times of a process are
// unique.
func (s *stream) emit(kind Kind, at int64, scope *Scope) {
	for s.sample > 0 && s.sample < at {
		due := s.sample
		s.sample = 0
		s.emit(Sample, due, nil)
		s.sample = due + int64(s.job.Sample)
	}
	s.at = max(at, s.at+1)
	e := &Event{At: s.at, Kind: kind, Rank: s.process.Rank, Process: s.process, Scope: scope}
	if kind.Boundary() {
		s.boundaries++
	}
	s.queue = append(s.queue, e)
}

// newWorker returns the events of a worker that a process has just forked. It inherits the
// counters and the open scope of its parent, and ends before it.
func newWorker(parent *stream, number int) *stream {
	p := parent.process
	worker := parent.job.newProcess(p.Rank, p.Incarnation, number, parent.at+1)
	worker.previous, worker.sequence = parent.at, parent.boundaries
	s := newRepeater(parent, worker, parent.job.worker)
	s.scope = parent.scope
	return s
}

// newThread returns the events of a further thread of a process.
func newThread(parent *stream, number int) *stream {
	s := newRepeater(parent, parent.process, parent.job.thread)
	s.thread = number
	return s
}

// newRepeater returns the events of a worker or a thread, which repeats a phase.
func newRepeater(parent *stream, process *Process, phase *node) *stream {
	s := &stream{
		merger:  parent.merger,
		process: process,
		random:  rand.New(rand.NewPCG(parent.random.Uint64(), parent.random.Uint64())),
		at:      parent.at,
		until:   parent.until,
		killed:  parent.killed,
	}
	step := float64(s.job.Step)
	s.more = func() {
		at := s.at + int64((0.1+0.4*s.random.Float64())*step)
		end := at + int64((0.1+0.4*s.random.Float64())*step)
		if !s.killed && end >= s.until-workersEnd*int64(s.job.Step) {
			s.more = nil
			return
		}
		s.repeat(phase, at, end)
		s.cut()
	}
	return s
}

// repeat generates a phase with its inner phases, evenly spaced.
func (s *stream) repeat(phase *node, at, end int64) {
	part := (end - at) / int64(2*len(phase.phases)+1)
	s.enter(phase, at, 0)
	for _, inner := range phase.phases {
		s.repeat(inner, at+part, at+2*part)
		at += 2 * part
	}
	s.exit(end)
}
