// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"github.com/phaseattr/phaseattr/internal/boundary"
)

// Extent is how much of an interval a scope stands for. At a moment it is Decides.
type Extent uint8

const (
	// Decides: the scope was active throughout the interval, or its path covers at least
	// half of it.
	Decides Extent = iota
	// Partial: the scope is one of several of its thread, none of which decides.
	Partial
	// Unlisted: too much happened on the thread to list it. The scope has no path.
	Unlisted
)

const (
	// maxPartial is how many scopes of a thread are listed as partial ones.
	maxPartial = 64
	// maxSwept bounds the boundaries of a thread that are visited for an interval.
	maxSwept = 1 << 13
)

// stretch is the interval that a lookup asks about.
type stretch struct {
	from, to int64
	// since is the time from which on everything is known, until the time after which no
	// scope is active.
	since, until int64
}

func (s *stretch) length() uint64 { return distance(s.from, s.to) }

// isHalf reports whether a part of the interval is at least half of it.
func (s *stretch) isHalf(part uint64) bool { return part >= s.length()-part }

// distance is the time from one moment to a later one.
func distance(from, to int64) uint64 { return uint64(to) - uint64(from) } //nolint:gosec // wraps to the distance

// Over appends the scopes that decide the attribution of the time between two moments, in
// nanoseconds since the Unix epoch, and returns them and the status of the later moment.
// Of each thread these are the scopes that were active throughout or, without any, the
// latest one at the deepest path that covers at least half of the interval. A path is
// covered while a scope is active whose path begins with it. A thread that was in no
// phase for more than half of the interval has none; any other has the deepest scopes of
// the moments in it as partial ones, the latest at each path. So have several paths of one
// depth that cover half of it each.
//
// When the interval begins before the window and no scope spans it, the status is
// BeforeWindow.
func (h Handle) Over(dst []ScopeInterval, c *Coverage, from, to int64) ([]ScopeInterval, Status) {
	s := h.s
	if s == nil {
		return dst, Unknown
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	p, status := h.one(to)
	if !status.hasHistory() {
		return dst, status
	}
	known, spanned := len(dst), false
	var in stretch
	around := newGap()
	for i := range p.threads {
		t, before := &p.threads[i], len(dst)
		stack, first, _ := t.stackAt(to)
		around.add(t, to, first)
		if status.hasScopes() {
			dst = t.appendStack(dst, s.key, stack, from, false)
		}
		if len(dst) > before { // the usual case
			spanned = true
			continue
		}
		if in == (stretch{}) {
			in = s.stretch(p, from, to)
		}
		dst = t.appendCovering(dst, s.key, &in, c)
	}
	ofSpans := Known
	if p.spans != nil {
		if in == (stretch{}) {
			in = s.stretch(p, from, to)
		}
		var spans bool
		dst, spans, ofSpans = p.spans.over(dst, s.key, in)
		spanned = spanned || spans
		switch {
		case len(dst) > known && p.spans.doubts(from, to):
			ofSpans = Doubtful
		case len(dst) == known && status == Known && ofSpans == Known && !p.ended() && !p.spans.isSettled(to):
			ofSpans = Running
		}
	}
	switch {
	case !spanned && from < p.floor():
		return dst[:known], BeforeWindow
	case ofSpans != Known:
		return dst, ofSpans
	case p.isDoubtful(&around, from, to):
		return dst, Doubtful
	}
	return dst, status
}

// ScopeOver appends the scopes of an ID that were active for at least half of the time
// between two moments, and returns them and the status of the later moment. With Incomplete and
// no scope there is one, whose path is not known.
func (h Handle) ScopeOver(dst []ScopeInterval, scopeID string, from, to int64) ([]ScopeInterval, Status) {
	s := h.s
	if s == nil {
		return dst, Unknown
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	p, status := h.one(to)
	if !status.hasHistory() {
		return dst, status
	}
	in := s.stretch(p, from, to)
	for i := range p.threads {
		t := &p.threads[i]
		if f := t.scopeOver(scopeID, &in); f != nil {
			dst = append(dst, t.interval(s.key, f))
		}
	}
	if p.spans != nil {
		if sp := p.spans.scopeOver(scopeID, &in); sp != nil {
			path, whole := p.spans.pathOf(sp, to)
			if !whole {
				status = Incomplete
			}
			if path != (boundary.Path{}) {
				dst = append(dst, sp.scope(s.key, path))
			}
		}
	}
	return dst, status
}

// stretch returns an interval with what a process bounds it by.
func (s *stream) stretch(p *process, from, to int64) stretch {
	return stretch{from: from, to: to, since: p.floor(), until: s.activeUntil(p, to)}
}

// activeUntil is the time from which on no scope of a process is active, or another time
// if that is earlier.
func (s *stream) activeUntil(p *process, until int64) int64 {
	if s.status(p, until).hasScopes() {
		return until
	}
	return min(until, p.clock.Now)
}

// appendCovering appends the scopes of an interval that none spans.
func (t *thread) appendCovering(dst []ScopeInterval, rank boundary.RankKey, in *stretch, c *Coverage) []ScopeInterval {
	defer c.reset()
	complete := t.sweep(in, c.add)
	switch {
	case complete && in.from >= in.since:
		return c.appendScopes(dst, t, rank, in)
	case complete && !in.isHalf(in.length()-c.idle): // whatever was before the window
		return dst
	}
	return append(dst, t.unlisted(rank))
}

// unlisted stands for the scopes of a thread that are too many to list.
func (t *thread) unlisted(rank boundary.RankKey) ScopeInterval {
	return ScopeInterval{Rank: rank, ThreadID: t.id, ThreadName: t.name, Extent: Unlisted}
}

// scopeOver returns the latest frame of a scope that was active for at least half of an
// interval, or nil.
func (t *thread) scopeOver(scopeID string, in *stretch) *frame {
	if in.until >= in.to {
		stack, _, _ := t.stackAt(in.to)
		if f := stack.find(scopeID); f != nil && f.time <= in.from {
			return f
		}
	}
	var latest *frame
	active := uint64(0)
	t.sweep(in, func(stack *frame, duration uint64) {
		if f := stack.find(scopeID); f != nil {
			latest = f
			active += duration
		}
	})
	if !in.isHalf(active) {
		return nil
	}
	return latest
}

// sweep calls f for the stacks of an interval in order, with the duration of each; the
// stack is nil while no scope was active. It skips what was before the window. It reports
// false when there are more boundaries than it visits.
func (t *thread) sweep(in *stretch, f func(stack *frame, duration uint64)) bool {
	from := max(in.from, in.since)
	until := max(from, min(in.to, in.until))
	at, swept := t.entries.search(from+1), 0
	for from < until {
		stack, end := t.stackBefore(at, from), t.process.nextBegin(from, until)
		if e := t.entries.at(at); e != nil {
			end = min(e.time, end)
		}
		f(stack, distance(from, end))
		for from = end; from < until; at = t.entries.next(at) {
			if e := t.entries.at(at); e == nil || e.time > from {
				break
			}
			swept++
			if swept > maxSwept {
				return false
			}
		}
	}
	if until < in.to {
		f(nil, distance(until, in.to))
	}
	return true
}

// Coverage measures how long the paths of a thread were covered in an interval. It is for
// one lookup at a time, and reuses its memory for the next one.
type Coverage struct {
	paths []coveredPath
	// indexOf is the index of a path in paths.
	indexOf map[boundary.Path]int
	// stacks is the number of stacks added, idle the time in which none was active.
	stacks int
	idle   uint64
}

// coveredPath is a path of a scope, or one that a path of a scope begins with.
type coveredPath struct {
	path  boundary.Path
	depth int
	// parent is the index of the parent, negative for none.
	parent int
	// covered is the time in which the path was covered, stack the last one that did.
	covered uint64
	stack   int
	// latest is the latest scope at the path, nil when there was none.
	latest *frame
	// deepest is true when none was deeper at some moment.
	deepest bool
}

func (c *Coverage) reset() {
	clear(c.paths)
	clear(c.indexOf)
	c.paths, c.stacks, c.idle = c.paths[:0], 0, 0
}

// add adds the time in which a stack was active.
func (c *Coverage) add(stack *frame, duration uint64) {
	if stack == nil {
		c.idle += duration
		return
	}
	c.stacks++
	depth := 0
	for f := stack; f != nil; f = f.below {
		i := c.index(f.path)
		p := &c.paths[i]
		if p.latest == nil || f.later(p.latest) {
			p.latest = f
		}
		depth = max(depth, p.depth)
		for ; i >= 0 && c.paths[i].stack != c.stacks; i = c.paths[i].parent {
			c.paths[i].covered += duration
			c.paths[i].stack = c.stacks
		}
	}
	for f := stack; f != nil; f = f.below {
		if f.path.Depth() == depth {
			c.paths[c.index(f.path)].deepest = true
		}
		if f.is(decisive) {
			break
		}
	}
}

// index returns the index of a path, which it adds with those that it begins with.
func (c *Coverage) index(path boundary.Path) int {
	if i, ok := c.indexOf[path]; ok {
		return i
	}
	if path == (boundary.Path{}) {
		return -1
	}
	parent := c.index(path.Parent())
	if c.indexOf == nil {
		c.indexOf = map[boundary.Path]int{}
	}
	i := len(c.paths)
	c.indexOf[path] = i
	c.paths = append(c.paths, coveredPath{path: path, depth: path.Depth(), parent: parent})
	return i
}

// appendScopes appends the scopes of a thread that decide an interval, or the partial ones.
func (c *Coverage) appendScopes(dst []ScopeInterval, t *thread, rank boundary.RankKey, in *stretch) []ScopeInterval {
	depth := c.deepestHalf(in)
	if depth == 0 && !in.isHalf(in.length()-c.idle) {
		return dst
	}
	before := len(dst)
	for i := range c.paths {
		p := &c.paths[i]
		if depth == 0 && p.deepest || depth > 0 && p.depth == depth && in.isHalf(p.covered) {
			if len(dst)-before == maxPartial {
				return append(dst[:before], t.unlisted(rank))
			}
			dst = append(dst, c.scope(t, rank, p))
		}
	}
	if found := dst[before:]; depth == 0 || len(found) > 1 { // or several paths, each in one half
		for i := range found {
			found[i].Extent = Partial
		}
	}
	return dst
}

// deepestHalf is the largest depth of the paths that cover at least half of an interval,
// 0 when there is none.
func (c *Coverage) deepestHalf(in *stretch) int {
	depth := 0
	for i := range c.paths {
		if p := &c.paths[i]; in.isHalf(p.covered) {
			depth = max(depth, p.depth)
		}
	}
	return depth
}

// scope is the latest scope at a path. Where there was none, it has no ID, and the rest
// from the latest scope inside.
func (c *Coverage) scope(t *thread, rank boundary.RankKey, p *coveredPath) ScopeInterval {
	if p.latest != nil {
		return t.interval(rank, p.latest)
	}
	var latest *frame
	for i := range c.paths {
		inner := c.paths[i].latest
		if inner != nil && p.path.Contains(inner.path) && (latest == nil || inner.later(latest)) {
			latest = inner
		}
	}
	scope := t.interval(rank, latest)
	scope.Path, scope.ScopeID, scope.Attributes = p.path, "", nil
	return scope
}
