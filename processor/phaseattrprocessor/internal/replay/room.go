// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

// full reports whether n has reached a bound; 0 is no bound.
func full(n, bound int) bool { return bound > 0 && n >= bound }

// threads is the number of threads of all processes.
func (s *stream) threads() int {
	n := 0
	for _, p := range s.processes {
		n += len(p.threads) + p.spans.numberOfLanes()
	}
	return n
}

// dropThread makes room for a thread of a process: those of another process that is over
// go or, without any, a thread that has ended.
func (s *stream) dropThread(of *process) bool {
	if len(s.processes) > 1 {
		newest := s.newest()
		if s.dropProcess(func(p *process) bool { return p != of && len(p.threads) > 0 && s.over(p, newest) }) {
			return true
		}
	}
	return s.dropOldestThread(func(top *frame, _ *thread) bool { return top == nil }) ||
		s.dropOldestThread(func(top *frame, t *thread) bool { return t.isLost(top) })
}

// dropOldestThread makes room for a thread: the one that was silent first, among some by their
// stacks, goes, and what lies in its time is no longer known. It reports false when there is
// none.
func (s *stream) dropOldestThread(among func(*frame, *thread) bool) bool {
	var of *process
	var oldest int
	for _, p := range s.processes {
		for i := range p.threads {
			t := &p.threads[i]
			s.merge(t)
			if among(t.top(), t) && (of == nil || t.newest() < of.threads[oldest].newest()) {
				of, oldest = p, i
			}
		}
	}
	if of == nil {
		return false
	}
	of.clock.Evicted = max(of.clock.Evicted, of.threads[oldest].newest())
	of.threads[oldest].drop(of.threads[oldest].entries.end())
	last := len(of.threads) - 1
	of.threads[oldest] = of.threads[last]
	of.threads[last] = thread{}
	of.threads = of.threads[:last]
	s.count(of)
	return true
}

// openScopesFull reports whether a thread has as many open scopes as it may have. A late
// boundary may leave two more scopes open, its own and its parent: when the bound could be
// passed by those that wait, they are replayed first.
func (s *stream) openScopesFull(t *thread) bool {
	if t.late != nil && full(int(t.top().size())+2*t.late.count, s.options.MaxOpen) {
		s.merge(t)
	}
	return full(int(t.top().size()), s.options.MaxOpen)
}

// makeRoom evicts boundaries until there is room for some more: the oldest of the rank that
// takes most where there is no room among all ranks, else the stream's own. It returns an
// outcome other than Accepted when there are none to evict.
func (s *stream) makeRoom(boundaries int) Outcome {
	for {
		bound, ofAll := s.bound(boundaries)
		if bound == Accepted {
			return Accepted
		}
		if ofAll {
			relieved, spared := s.relieve(bound)
			if spared {
				return Accepted
			}
			if relieved {
				continue
			}
		}
		if !s.evict() {
			return bound
		}
	}
}

// bound returns the bound at which there is no room for some boundaries, or Accepted, and
// whether it is one of all ranks.
func (s *stream) bound(boundaries int) (_ Outcome, ofAll bool) {
	switch o := s.options; {
	case full(s.boundaries+boundaries-1, o.MaxBoundaries):
		return TooManyBoundaries, false
	case full(s.bytes, o.MaxRankBytes):
		return TooManyRankBytes, false
	case full(int(s.stats.boundaries.Load())+boundaries-1, o.MaxTotal):
		return TooManyBoundaries, true
	case full(int(s.stats.bytes.Load()), o.MaxBytes):
		return TooManyBytes, true
	}
	return Accepted, false
}

// evict evicts the oldest boundary of the stream, but one from far ahead of its process's
// clock before it. It reports false when there is none.
func (s *stream) evict() bool {
	of, oldest := s.oldest()
	if s.evictSpan(oldest) {
		return true
	}
	switch {
	case of == nil:
		return false
	case oldest == nil: // one from far ahead has gone
	default:
		s.evictOldest(of, oldest)
	}
	s.count(of)
	return true
}

// evictChunk evicts many boundaries of the stream: those of the thread with the oldest one
// that have their memory in common. It reports false when there is none.
func (s *stream) evictChunk() bool {
	of, oldest := s.oldest()
	if oldest == nil || s.evictSpan(oldest) {
		return of != nil || s.evict()
	}
	s.merge(oldest)
	entries := oldest.entries.chunks[0].entries
	of.clock.Evicted = max(of.clock.Evicted, entries[len(entries)-1].time)
	oldest.drop(position{chunk: 1})
	s.count(of)
	return true
}

// oldest returns the thread with the oldest boundary, and its process. When a boundary
// is from far ahead of its process's clock, it removes that one and returns no thread.
func (s *stream) oldest() (of *process, oldest *thread) {
	for _, p := range s.processes {
		for i := range p.threads {
			t := &p.threads[i]
			last := t.entries.last()
			if last == nil {
				continue
			}
			if last.time > p.clock.Now && !within(last.time, p.clock.Now, s.options.Window) {
				s.merge(t)
				t.release(t.entries.last())
				t.entries.removeLast()
				return p, nil
			}
			if oldest == nil || t.oldest() < oldest.oldest() {
				of, oldest = p, t
			}
		}
	}
	return of, oldest
}

func (s *stream) evictOldest(of *process, t *thread) {
	if t.late != nil && t.late.first().time <= t.entries.first().time {
		s.merge(t)
	}
	of.clock.Evicted = max(of.clock.Evicted, t.oldest())
	t.drop(t.entries.next(position{}))
}
