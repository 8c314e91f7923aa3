// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"cmp"
	"container/list"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/phaseattr/phaseattr/internal/boundary"
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
	// standing and its element in the index's list are written with the index's mu held as
	// well, and so is listedAt, when it was put there.
	standing standing
	// next is the number of the next process, dropped has those of processes that made
	// room.
	next    int32
	dropped []int32
	// charged is the number of lookups that have been charged.
	charged int32
	// transitions are those of the event at hand.
	transitions Transitions
	// boundaries are those of all threads, bytes is what the rank takes.
	boundaries, bytes int
	// outdated counts the lookups that late boundaries have made wrong since the last
	// flush.
	outdated int64
	// lastArrival is when the last event arrived, since the index was made.
	lastArrival time.Duration
	// worldSize is the number of ranks of the session, as the newest event says that says it,
	// whose time is worldSizeAt; 0 if none does.
	worldSize   atomic.Int64
	worldSizeAt int64
	element     *list.Element
	listedAt    time.Duration

	stats   *counters
	lookups lookupLog
	// size is the place among the sizes, whose mu guards it.
	sizes  *sizes
	size   sized
	tenant *tenantSizes
}

func newStream(key boundary.RankKey, x *Index) *stream {
	s := &stream{key: key, options: &x.options, stats: &x.stats, sizes: &x.sizes, tenant: x.sizes.enter(key.Tenant), worldSizeAt: never}
	s.lookups.newest.Store(never)
	s.grow(streamBytes + textBytes(key.Session) + textBytes(key.Tenant))
	return s
}

// grow adds to what the rank takes.
func (s *stream) grow(bytes int) {
	s.bytes += bytes
	s.stats.bytes.Add(int64(bytes))
	s.tenant.bytes.Add(int64(bytes))
	s.sizes.set(s, s.bytes)
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

// noted charges the memory for lookups, as far as it has not been charged.
func (s *stream) noted() {
	if room := s.lookups.room.Load(); room != s.charged {
		s.grow(lookupBytes * int(room-s.charged))
		s.charged = room
	}
}

// count brings the index's counters, and the lifespans of the presences, up to date with a process
// that has changed.
func (s *stream) count(p *process) {
	boundaries, openScopes, bytes := 0, 0, p.heap()
	for i := range p.threads {
		t := &p.threads[i]
		boundaries += t.size()
		openScopes += int(t.top().size())
		bytes += t.heap()
	}
	s.noted()
	boundaries += p.spans.size()
	openScopes += p.spans.openScopes()
	if n := boundaries - p.boundaries; n != 0 {
		s.stats.boundaries.Add(int64(n))
		s.tenant.boundaries.Add(int64(n))
		s.boundaries += n
	}
	if n := openScopes - p.openScopes; n != 0 {
		s.stats.openScopes.Add(int64(n))
	}
	if n := bytes - p.bytes; n != 0 {
		s.grow(n)
	}
	if p.repairs != 0 {
		s.stats.repairs.Add(p.repairs)
	}
	p.boundaries, p.openScopes, p.bytes, p.repairs = boundaries, openScopes, bytes, 0
	p.bound()
}

// discount takes a process that is going out of the counters.
func (s *stream) discount(p *process) {
	p.clear()
	s.count(p)
	s.grow(-p.bytes)
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
	case Heartbeat:
		p.pulse.beat(e.Interval)
	}
	if e.Kind != Heartbeat {
		p.pulse.say(e.Interval)
	}
	if e.Numbered {
		s.noteNumber(p, e.Sequence, e.Time, e.Time)
	}
	if e.WorldSize > 0 && e.Time >= s.worldSizeAt {
		s.worldSize.Store(e.WorldSize)
		s.worldSizeAt = e.Time
	}
	s.trim(p)
}

// add adds a boundary.
func (s *stream) add(p *process, b *boundary.Boundary) (outcome Outcome, late time.Duration) {
	if p.clock.Confirmations > 0 && b.Time < p.clock.Now {
		late = max(time.Duration(uint64(p.clock.Now)-uint64(b.Time)), 0) //nolint:gosec // an overflow counts as 0
	}
	if b.Path == (boundary.Path{}) {
		s.advance(p, b.Time, false)
		return s.addNamed(p, b), late
	}
	s.advance(p, b.Time, b.Sequence > p.clock.LastSequence)
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
		s.pairAgain(p)
		p.unflushed = false
		if again {
			p.repairs = 0
		}
		s.count(p)
	}
	outdated, s.outdated, s.unflushed = s.outdated, 0, false
	return outdated
}

// maxSilentBytes is what a rank may take of which nothing has arrived for a window: far more
// than a program with dozens of processes has open at a time.
const maxSilentBytes = 32 << 10

// sweep reports whether the rank has been silent for so long that it is forgotten. What
// is waited for has not come within the session timeout, and is no longer waited for.
func (x *Index) sweep(s *stream, now time.Duration) (silent, over bool) {
	if !s.lock() {
		return false, false
	}
	defer s.mu.Unlock()
	x.rate(s)
	quiet := now - s.lastArrival
	timeout, window := s.options.SessionTimeout, s.options.Window
	ended := true
	for _, p := range s.processes {
		if timeout > 0 && quiet >= timeout && !p.quiet {
			p.quiet, silent = true, true
		}
		ended = ended && (p.ended() || p.quiet)
	}
	if window <= 0 || quiet < window {
		return silent, false
	}
	over = ended || s.standing == visitor
	if !over {
		s.expire()
		over = s.bytes > maxSilentBytes
	}
	if over {
		s.clear()
	}
	return silent, over
}

// expire evicts all boundaries. Nothing has arrived for a window: what is open may still
// answer, but no telemetry of the time before is left to come, as far as that would be
// answered. So what a flood has left goes, even if all that follows is refused.
func (s *stream) expire() {
	for _, p := range s.processes {
		for i := range p.threads {
			t := &p.threads[i]
			s.merge(t)
			if t.entries.count > 0 {
				p.clock.Evicted = max(p.clock.Evicted, t.newest())
				t.drop(t.entries.end())
			}
		}
		if p.spans != nil {
			p.clock.Evicted = max(p.clock.Evicted, p.spans.expire())
		}
		s.count(p)
	}
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
		s.discount(p)
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
		case p.name.Aside != name.Aside:
		case p.isUnnamed() && !name.Named() && at <= p.clock.Now: // it came when there was no other process
			return p, Accepted
		case p.isUnnamed() || name.IsUnnamed() || !name.Fits(p.name):
		case found != nil:
			return nil, AmbiguousProcess
		default:
			found = p
		}
	}
	switch {
	case found != nil:
		found.setName(found.name.Refine(name))
		return found, Accepted
	case !name.Named() && !name.IsUnnamed(): // it says where the process runs, not which it is
		return s.process(boundary.Process{Aside: name.Aside}, at)
	case full(len(s.processes), s.options.MaxThreads) && !s.dropEndedProcess():
		return nil, TooManyThreads
	}
	p := &process{number: s.next, name: name.Clone(), options: s.options, clock: newClock(), previous: never, last: math.MaxInt64}
	p.setName(p.name)
	s.next++
	s.processes = append(s.processes, p)
	return p, Accepted
}

// numbered returns the process of a number, or nil. The processes are in the order of their
// numbers.
func (s *stream) numbered(number int32) *process {
	i, found := slices.BinarySearchFunc(s.processes, number, func(p *process, number int32) int { return cmp.Compare(p.number, number) })
	if !found {
		return nil
	}
	return s.processes[i]
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
	s.discount(p)
	s.dropped = append(s.dropped, p.number)
	s.processes = slices.Delete(s.processes, oldest, oldest+1)
	return true
}
