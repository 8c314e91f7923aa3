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
	mu      sync.RWMutex
	threads []thread
	clock   Clock
	// registered is true once the rank has been registered, timedOut when no event has
	// arrived for the session timeout, removed when the index has removed the stream.
	registered, timedOut, removed bool
	// unflushed is true when late boundaries or outdated lookups wait for flush.
	unflushed bool
	// boundaries and openScopes are those of all threads, as the counters include them.
	boundaries, openScopes int
	// outdated counts the lookups that late boundaries have made wrong since the last
	// flush.
	outdated int64
	// lastArrival is when the last event arrived, since the index was made.
	lastArrival time.Duration
	claims      []string

	stats   *counters
	lookups lookupLog
}

func newStream(key boundary.RankKey, options *Options, stats *counters) *stream {
	s := &stream{key: key, options: options, stats: stats, clock: newClock()}
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

// unlock brings the index's counters up to date and unlocks mu.
func (s *stream) unlock() {
	defer s.mu.Unlock()
	s.count()
	for i := range s.threads {
		if n := s.threads[i].repairs; n > 0 {
			s.stats.repairs.Add(int64(n))
			s.threads[i].repairs = 0
		}
	}
}

// count brings the counters of boundaries and open scopes up to date.
func (s *stream) count() {
	boundaries, openScopes := 0, 0
	for i := range s.threads {
		boundaries += s.threads[i].size()
		openScopes += int(s.threads[i].top().size())
	}
	s.stats.boundaries.Add(int64(boundaries - s.boundaries))
	s.stats.openScopes.Add(int64(openScopes - s.openScopes))
	s.boundaries, s.openScopes = boundaries, openScopes
}

// discardRepairs leaves the repairs of this change uncounted.
func (s *stream) discardRepairs() {
	for i := range s.threads {
		s.threads[i].repairs = 0
	}
}

// observe adds an event that is not a boundary.
func (s *stream) observe(at int64, stop bool, arrival time.Duration) {
	s.advance(at, arrival, false)
	if stop {
		s.clock.Stopped = max(s.clock.Stopped, at)
	}
	s.trim()
}

// add adds a boundary.
func (s *stream) add(b *boundary.Boundary, arrival time.Duration) AddResult {
	var result AddResult
	if s.clock.Confirmations > 0 && b.Time < s.clock.Now {
		result.Late = max(time.Duration(uint64(s.clock.Now)-uint64(b.Time)), 0) //nolint:gosec // an overflow counts as 0
	}
	s.advance(b.Time, arrival, b.Sequence > s.clock.MaxSequence)
	s.clock.MaxSequence = max(s.clock.MaxSequence, b.Sequence)
	result.Outcome = s.place(b)
	if result.Outcome == Accepted && b.Action == boundary.Enter {
		s.clock.LastEnter = max(s.clock.LastEnter, b.Time)
	}
	s.trim()
	return result
}

// advance updates what the time and the arrival of any event change.
func (s *stream) advance(at int64, arrival time.Duration, fresh bool) {
	s.lastArrival, s.timedOut = arrival, false
	s.clock.FirstEvent = min(s.clock.FirstEvent, at)
	if at >= s.clock.Replaced {
		s.clock.Replaced = never
	}
	if s.clock.observe(at, s.options.Window, fresh) {
		s.clock.Evicted = never
		for i := range s.threads {
			s.merge(&s.threads[i])
			s.threads[i].rebase(at)
		}
	}
}

// place puts a boundary on its thread's timeline.
func (s *stream) place(b *boundary.Boundary) Outcome {
	t := s.thread(b.ThreadID)
	if b.Time < s.floor() {
		return s.placeBelowWindow(t, b)
	}
	if t == nil && full(len(s.threads), s.options.MaxThreads) {
		return TooManyThreads
	}
	if t != nil && b.Action == boundary.Enter && s.openScopesFull(t) {
		return TooManyOpen
	}
	if !s.makeRoom() {
		return TooManyBoundaries
	}
	if t == nil {
		t = s.newThread(b.ThreadID)
	}
	added, late := false, false
	s.change(t, b.Time, func() { added, late = t.add(b) })
	s.unflushed = s.unflushed || late
	if !added {
		return Duplicate
	}
	return Accepted
}

// placeBelowWindow adds a boundary that is older than the window. An exit may still
// close an open scope. An enter may be a duplicate of one whose exit has left the window:
// it would never end.
func (s *stream) placeBelowWindow(t *thread, b *boundary.Boundary) Outcome {
	closed := false
	if t != nil && b.Action == boundary.Exit {
		s.change(t, b.Time, func() { closed = t.close(b.ScopeID) })
	}
	if !closed {
		return TooOld
	}
	return Accepted
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
// become wrong since the last flush.
func (s *stream) flush() (outdated int64) {
	for i := range s.threads {
		s.merge(&s.threads[i])
	}
	outdated, s.outdated, s.unflushed = s.outdated, 0, false
	return outdated
}

// full reports whether n has reached a bound; 0 is no bound.
func full(n, bound int) bool { return bound > 0 && n >= bound }

// openScopesFull reports whether a thread has as many open scopes as it may have. A late
// boundary may leave two more scopes open, its own and its parent: when the bound could be
// passed by those that wait, they are replayed first.
func (s *stream) openScopesFull(t *thread) bool {
	if t.late != nil && full(int(t.top().size())+2*t.late.count, s.options.MaxOpen) {
		s.merge(t)
	}
	return full(int(t.top().size()), s.options.MaxOpen)
}

// makeRoom evicts the oldest boundaries of the stream until there is room for one more,
// but boundaries from far ahead of the stream's clock before them. It reports false when
// the stream has none to evict.
func (s *stream) makeRoom() bool {
	own, others := s.boundaries, int(s.stats.boundaries.Load())-s.boundaries
	for full(own, s.options.MaxBoundaries) || full(own+others, s.options.MaxTotal) {
		var oldest *thread
		for i := range s.threads {
			t := &s.threads[i]
			last := t.entries.last()
			if last == nil {
				continue
			}
			if last.time > s.clock.Now && !within(last.time, s.clock.Now, s.options.Window) {
				s.merge(t)
				t.entries.removeLast()
				return true
			}
			if oldest == nil || t.oldest() < oldest.oldest() {
				oldest = t
			}
		}
		if oldest == nil {
			return false
		}
		if oldest.late != nil && oldest.late.first().time <= oldest.entries.first().time {
			s.merge(oldest)
		}
		s.clock.Evicted = max(s.clock.Evicted, oldest.oldest())
		own -= oldest.size()
		oldest.drop(oldest.entries.next(position{}))
		own += oldest.size()
	}
	return true
}

// floor is the oldest time that lookups can be answered for.
func (s *stream) floor() int64 { return s.clock.floor(s.options.Window) }

// trim drops the boundaries that have left the window, and the threads that are empty.
func (s *stream) trim() {
	floor := s.floor()
	empty := false
	for i := range s.threads {
		t := &s.threads[i]
		if t.late != nil && t.late.first().time < floor {
			s.merge(t)
		}
		t.drop(t.entries.searchOldest(floor))
		empty = empty || t.size() == 0
	}
	if empty {
		s.threads = slices.DeleteFunc(s.threads, func(t thread) bool { return t.size() == 0 })
	}
}

func (s *stream) thread(id int64) *thread {
	for i := range s.threads {
		if s.threads[i].id == id {
			return &s.threads[i]
		}
	}
	return nil
}

// newThread returns a new thread. Pointers to other threads are invalid afterwards.
func (s *stream) newThread(id int64) *thread {
	s.threads = append(s.threads, thread{id: id, repair: s.options.Repair})
	return &s.threads[len(s.threads)-1]
}

// ended reports whether the session is over: it sent a stop event and has not entered a
// scope since, it timed out, or another session took over one of its claims.
func (s *stream) ended() bool {
	return s.timedOut || s.clock.Replaced != never || s.clock.Stopped != never && s.clock.Stopped >= s.clock.LastEnter
}

// register sets the claims and the time of the first event. It reports false when they
// have been set before.
func (s *stream) register(claims []string, at int64) bool {
	if s.registered {
		return false
	}
	if s.clock.Confirmations > 0 { // restored: the first event was earlier
		at = min(at, s.clock.FirstEvent)
	}
	s.claims, s.clock.FirstEvent, s.registered = claims, at, true
	return true
}

// replace ends the session because another one owns a claim of it since a time, unless
// this one has had an event after that. It reports whether that ended the session.
func (s *stream) replace(since int64) bool {
	if !s.lock() {
		return false
	}
	defer s.unlock()
	if since <= s.clock.Now {
		return false
	}
	alive := !s.ended()
	s.clock.Replaced = since
	return alive
}

// sweep ends a session that has been silent for the session timeout, and drops the
// boundaries of one that ended at least a window ago. It reports which of the two it did.
func (s *stream) sweep(now time.Duration) (ended, over bool) {
	if !s.lock() {
		return false, false
	}
	defer s.unlock()
	silent := now - s.lastArrival
	if s.options.SessionTimeout > 0 && silent >= s.options.SessionTimeout {
		ended = !s.ended()
		s.timedOut = true
	}
	over = s.ended() && s.options.Window > 0 && silent >= s.options.Window
	if over {
		s.threads = nil
	}
	return ended, over
}

// empty ends the session and drops its boundaries.
func (s *stream) empty() {
	if s.lock() {
		s.threads, s.timedOut = nil, true
		s.unlock()
	}
}

// status returns whether lookups at a time can be answered.
func (s *stream) status(at int64) Status {
	switch {
	case at < s.floor():
		return BeforeWindow
	case at <= s.clock.Now:
		return Known
	case s.ended(), s.outlived(at):
		return Ended
	}
	return Behind
}

// outlived reports whether a time is so far beyond the newest event that the session
// counts as ended by then. Arrival is no help: the events may have been read from a file
// of yesterday.
func (s *stream) outlived(at int64) bool {
	return s.options.SessionTimeout > 0 && at > s.clock.Now && !within(at, s.clock.Now, s.options.SessionTimeout)
}
