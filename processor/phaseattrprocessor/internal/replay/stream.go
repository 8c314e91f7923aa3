// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"slices"
	"sync"
	"time"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/boundary"
)

// stream is the replay of one rank. The fields that lookups read come first and fill few
// cache lines: with many ranks, each of them is read from memory.
type stream struct {
	key     boundary.RankKey
	options *Options

	// mu guards what follows, up to stats.
	mu        sync.RWMutex
	processes []*process
	// removed is true when the index has removed the stream, known when a boundary of the
	// rank has been accepted.
	removed, known bool
	// unflushed is true when late boundaries or outdated lookups wait for flush.
	unflushed bool
	// boundaries are those of all threads.
	boundaries int
	// outdated counts the lookups that late boundaries have made wrong since the last
	// flush.
	outdated int64
	// lastArrival is when the last event arrived, since the index was made.
	lastArrival time.Duration
	// worldSize is the number of ranks of the session, as events say; 0 if none does.
	worldSize int64
	// next is the number of the next process, dropped has those of processes that made
	// room.
	next    int32
	dropped []int32

	stats   *counters
	lookups lookupLog
}

func newStream(key boundary.RankKey, options *Options, stats *counters) *stream {
	s := &stream{key: key, options: options, stats: stats}
	s.lookups.newest.Store(never)
	return s
}

// lock locks mu for a change. It reports false, with mu unlocked, when the index has
// removed the stream.
func (s *stream) lock() bool {
	s.mu.Lock()
	if !s.removed {
		return true
	}
	s.mu.Unlock()
	return false
}

// count brings the index's counters up to date with a process.
func (s *stream) count(p *process) {
	boundaries, openScopes := 0, 0
	for i := range p.threads {
		boundaries += p.threads[i].size()
		openScopes += int(p.threads[i].top().size())
	}
	s.stats.boundaries.Add(int64(boundaries - p.boundaries))
	s.stats.openScopes.Add(int64(openScopes - p.openScopes))
	s.stats.repairs.Add(p.repairs)
	s.boundaries += boundaries - p.boundaries
	p.boundaries, p.openScopes, p.repairs = boundaries, openScopes, 0
}

// observe adds an event that is not a boundary.
func (s *stream) observe(p *process, e *Event) {
	s.advance(p, e.Time, false)
	switch e.Kind {
	case Start:
		p.start(s, e.Time)
	case Stop:
		p.clock.Stopped = max(p.clock.Stopped, e.Time)
	case Sample:
		p.pulse.note(e.Time)
	}
	if e.Interval > 0 {
		p.pulse.Interval = e.Interval
	}
	s.worldSize = max(s.worldSize, e.WorldSize)
	s.trim(p)
}

// add adds a boundary.
func (s *stream) add(p *process, b *boundary.Boundary) (outcome Outcome, late time.Duration) {
	if p.clock.Confirmations > 0 && b.Time < p.clock.Now {
		late = max(time.Duration(uint64(p.clock.Now)-uint64(b.Time)), 0) //nolint:gosec // an overflow counts as 0
	}
	s.advance(p, b.Time, b.Sequence > p.clock.MaxSequence)
	p.clock.MaxSequence = max(p.clock.MaxSequence, b.Sequence)
	s.noteBoundary(p, b)
	outcome = s.place(p, b)
	if outcome == Accepted {
		s.known = true
		s.stats.missing.Add(p.numbering.note(b.Sequence))
		if b.Action == boundary.Enter {
			p.clock.LastEnter = max(p.clock.LastEnter, b.Time)
		}
	}
	s.trim(p)
	return outcome, late
}

// change runs a change to a thread's timeline from a time on, and counts the lookups
// that it makes wrong.
func (s *stream) change(t *thread, from int64, f func()) {
	recent := s.lookups.since(from)
	if recent == nil {
		f()
		return
	}
	before := make([]boundary.Path, len(recent))
	for i, l := range recent {
		before[i] = t.pathAt(l.at)
	}
	f()
	for i, l := range recent {
		if t.pathAt(l.at) != before[i] {
			s.outdated += l.records
			s.unflushed = true
		}
	}
}

// merge replays the late boundaries of a thread.
func (s *stream) merge(t *thread) {
	if t.late != nil {
		s.change(t, t.late.first().time, func() { t.merge() })
	}
}

// flush replays the late boundaries of all threads. It returns how many lookups have
// become wrong since the last flush. Repairs that have been counted before are not counted
// again.
func (s *stream) flush(again bool) (outdated int64) {
	for _, p := range s.processes {
		if !p.unflushed {
			continue
		}
		for i := range p.threads {
			s.merge(&p.threads[i])
		}
		p.unflushed = false
		if again {
			p.repairs = 0
		}
		s.count(p)
	}
	outdated, s.outdated, s.unflushed = s.outdated, 0, false
	return outdated
}

// sweep reports whether the rank has been silent for so long that it is forgotten. What
// is waited for has not come within the session timeout, and is no longer waited for.
func (s *stream) sweep(now time.Duration) (silent, over bool) {
	if !s.lock() {
		return false, false
	}
	defer s.mu.Unlock()
	quiet := now - s.lastArrival
	timeout, window := s.options.SessionTimeout, s.options.Window
	ended := true
	for _, p := range s.processes {
		if timeout > 0 && quiet >= timeout && !p.quiet {
			p.quiet, silent = true, true
		}
		ended = ended && (p.ended() || p.quiet)
	}
	over = ended && window > 0 && quiet >= window
	if over {
		s.clear()
	}
	return silent, over
}

// empty ends the session and drops its boundaries.
func (s *stream) empty() {
	if s.lock() {
		s.clear()
		s.mu.Unlock()
	}
}

// clear removes all processes.
func (s *stream) clear() {
	for _, p := range s.processes {
		p.threads = nil
		s.count(p)
	}
	s.processes = nil
}

// process returns the process that an event of a rank comes from, which it creates if
// need be. It returns an outcome other than Accepted when there is none, or no room.
func (s *stream) process(name boundary.Process, at int64) (*process, Outcome) {
	var found *process
	for _, p := range s.processes {
		switch {
		case p.name == name:
			return p, Accepted
		case p.isUnnamed() && !name.Named() && at <= p.clock.Now: // it came when there was no other process
			return p, Accepted
		case p.name == boundary.Process{} || name == boundary.Process{} || !name.Fits(p.name):
		case found != nil:
			return nil, AmbiguousProcess
		default:
			found = p
		}
	}
	switch {
	case found != nil:
		found.name = found.name.Refine(name)
		return found, Accepted
	case !name.Named() && name != boundary.Process{}: // it says where the process runs, not which it is
		return s.process(boundary.Process{}, at)
	case full(len(s.processes), s.options.MaxThreads) && !s.dropEndedProcess():
		return nil, TooManyThreads
	}
	p := &process{number: s.next, name: name.Clone(), options: s.options, clock: newClock()}
	s.next++
	s.processes = append(s.processes, p)
	return p, Accepted
}

// numbered returns the process of a number, or nil.
func (s *stream) numbered(number int32) *process {
	for _, p := range s.processes {
		if p.number == number {
			return p
		}
	}
	return nil
}

// dropEndedProcess removes a process that is over or, without any, one that is not the main
// process and in which no scope is open: the one with the oldest newest event. It reports
// false when there is none.
func (s *stream) dropEndedProcess() bool {
	newest := s.newest()
	main, _ := s.lastStarted(newest)
	return s.dropProcess(func(p *process) bool { return s.over(p, newest) }) ||
		s.dropProcess(func(p *process) bool { return p.openScopes == 0 && p != main })
}

// newest is the time of the newest event of the rank.
func (s *stream) newest() int64 {
	newest := int64(never)
	for _, p := range s.processes {
		newest = max(newest, p.clock.Now)
	}
	return newest
}

// dropProcess removes the process with the oldest newest event among some. It reports false
// when there is none.
func (s *stream) dropProcess(among func(*process) bool) bool {
	oldest := -1
	for i, p := range s.processes {
		if (oldest < 0 || p.clock.Now < s.processes[oldest].clock.Now) && among(p) {
			oldest = i
		}
	}
	if oldest < 0 {
		return false
	}
	p := s.processes[oldest]
	p.threads = nil
	s.count(p)
	s.dropped = append(s.dropped, p.number)
	s.processes = slices.Delete(s.processes, oldest, oldest+1)
	return true
}
