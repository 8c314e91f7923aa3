// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

// full reports whether n has reached a bound; 0 is no bound.
func full(n, bound int) bool { return bound > 0 && n >= bound }

// threads is the number of threads of all processes.
func (s *stream) threads() int {
	n := 0
	for _, p := range s.processes {
		n += len(p.threads)
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
	return s.dropEndedThread()
}

// dropEndedThread makes room for a thread: the one that ended first, with no scope open,
// goes, and what lies in its time is no longer known. It reports false when there is none.
func (s *stream) dropEndedThread() bool {
	var of *process
	var oldest int
	for _, p := range s.processes {
		for i := range p.threads {
			t := &p.threads[i]
			s.merge(t)
			if t.top() == nil && (of == nil || t.newest() < of.threads[oldest].newest()) {
				of, oldest = p, i
			}
		}
	}
	if of == nil {
		return false
	}
	of.clock.Evicted = max(of.clock.Evicted, of.threads[oldest].newest())
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

// makeRoom evicts the oldest boundaries of the stream until there is room for one more,
// but boundaries from far ahead of their process's clock before them. It reports false
// when the stream has none to evict.
func (s *stream) makeRoom() bool {
	for s.isFull() {
		of, oldest := s.oldest()
		switch {
		case of == nil:
			return false
		case oldest == nil: // one from far ahead has gone
		default:
			s.evictOldest(of, oldest)
		}
		s.count(of)
	}
	return true
}

func (s *stream) isFull() bool {
	return full(s.boundaries, s.options.MaxBoundaries) || full(int(s.stats.boundaries.Load()), s.options.MaxTotal)
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
