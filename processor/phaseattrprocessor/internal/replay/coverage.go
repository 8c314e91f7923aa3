// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"cmp"
	"slices"

	"github.com/phaseattr/phaseattr/internal/boundary"
)

// over appends the scopes of spans that decide the attribution of an interval, as Handle.Over
// describes them. It reports whether one of them spans the interval, and returns the status.
func (s *spans) over(dst []ScopeInterval, rank boundary.RankKey, in stretch) (_ []ScopeInterval, spanned bool, status Status) {
	var all []*span
	listed := s.tree.overlapping(in.to-1, in.from, func(sp *span) bool {
		if s.isActive(sp, max(sp.start, in.from)) {
			all = append(all, sp)
		}
		return len(all) <= maxSwept/boundariesPerSpan
	})
	if !listed {
		return append(dst, ScopeInterval{Rank: rank, ThreadID: unnamedLane, Extent: Unlisted}), false, Known
	}
	status = Known
	for _, r := range s.rows(all) {
		c := rowCoverage{spans: s, in: &in, until: in.from}
		for _, sp := range r.all {
			c.enter(sp)
		}
		c.advance(in.to)
		var spans bool
		dst, spans = c.appendScopes(dst, rank, r.id)
		spanned = spanned || spans
		switch {
		case c.doubtful:
			status = Doubtful
		case c.incomplete && status == Known:
			status = Incomplete
		}
	}
	return dst, spanned, status
}

// row is a lane, one of those of a name: of the spans in it, each lies inside the one before,
// or after it.
type row struct {
	lane *lane
	id   int64
	all  []*span
}

// rows divides spans into lanes. It depends only on which spans there are.
func (s *spans) rows(all []*span) []*row {
	sortSpans(all)
	var rows []*row
	for _, sp := range all {
		var free, around *row
		number := 0
		for _, r := range rows {
			if r.lane != sp.lane {
				continue
			}
			number++
			if inner := r.active(sp.start); inner == nil {
				free = cmp.Or(free, r)
			} else if s.nests(inner, sp) {
				around = r
			}
		}
		r := cmp.Or(around, free)
		if r == nil {
			r = &row{lane: sp.lane, id: sp.lane.virtual(number)}
			rows = append(rows, r)
		}
		r.all = append(r.all, sp)
	}
	return rows
}

// active returns the last span of a row that has not ended at a time, nil when there is none.
func (r *row) active(at int64) *span {
	for i := len(r.all) - 1; i >= 0 && i >= len(r.all)-maxChain; i-- {
		if r.all[i].end > at {
			return r.all[i]
		}
	}
	return nil
}

// nests reports whether a span is inside another one that started no later.
func (s *spans) nests(outer, inner *span) bool {
	if inner.is(isPaired) {
		return true
	}
	for p, n := inner.parent, 0; p != nil && !p.is(isMissing) && n < maxChain; p, n = p.parent, n+1 {
		if p == outer {
			return true
		}
	}
	x, y := activeSpan{span: outer, top: outer.top()}, activeSpan{span: inner, top: inner.top()}
	return (!s.related || !y.top.is(isOutermost)) && encloses(&x, &y)
}

// rowCoverage measures how long the paths of a row are covered in an interval.
type rowCoverage struct {
	*spans
	in *stretch
	// stack has the spans that are active at the time until which the row has been measured,
	// the outermost first.
	stack []*span
	until int64
	idle  uint64
	paths []rowPath
	// spanning is the innermost span that is active throughout.
	spanning *span
	// incomplete is true when the path of one that counts is not whole, doubtful when its end may be
	// lost.
	incomplete, doubtful bool
}

// rowPath is a path of a row's spans, or one that such a path begins with.
type rowPath struct {
	path boundary.Path
	// level is how many spans are around the innermost one at the path, at most.
	level   int
	covered uint64
	// measured is the end of the last time that was added.
	measured int64
	// latest is the latest span at the path, nil when there is none.
	latest *span
	// inside is the latest span at the path or inside it.
	inside *span
	// innermost is true when none is inside it at some moment.
	innermost bool
	whole     bool
}

// enter measures until a span starts, and lets it start.
func (c *rowCoverage) enter(sp *span) {
	c.advance(max(sp.start, c.in.from))
	c.stack = append(c.stack, sp)
	if sp.start <= c.in.from && c.end(sp) >= c.in.to {
		c.spanning = sp
	}
}

// end is when a span ends. One that is open does so when nothing is active any longer.
func (c *rowCoverage) end(sp *span) int64 {
	if sp.is(isOpen) {
		return min(sp.lastPossibleEnd(), c.process.nextBegin(sp.start, max(c.in.until, sp.start)))
	}
	return sp.end
}

// advance measures until a time.
func (c *rowCoverage) advance(to int64) {
	for {
		c.stack = slices.DeleteFunc(c.stack, func(sp *span) bool { return c.end(sp) <= c.until })
		if c.until >= to {
			return
		}
		end := to
		for _, sp := range c.stack {
			end = min(end, c.end(sp))
		}
		c.add(end)
		c.until = end
	}
}

// add adds the time until which the same spans are active.
func (c *rowCoverage) add(until int64) {
	duration := distance(c.until, until)
	if len(c.stack) == 0 {
		c.idle += duration
		return
	}
	for level, sp := range c.stack {
		path, whole := c.pathOf(sp, c.in.to)
		for at := path; ; at = at.Parent() {
			p := c.path(at)
			if p.measured < until {
				p.measured = until
				p.covered += duration
			}
			p.inside = sp
			if at == path {
				p.latest, p.whole = sp, whole
				p.level = max(p.level, level)
				p.innermost = p.innermost || level == len(c.stack)-1
			}
			if at == (boundary.Path{}) || at.Depth() == 1 {
				break
			}
		}
	}
}

// path returns a path that is measured.
func (c *rowCoverage) path(path boundary.Path) *rowPath {
	i := slices.IndexFunc(c.paths, func(p rowPath) bool { return p.path == path })
	if i < 0 {
		i = len(c.paths)
		c.paths = append(c.paths, rowPath{path: path, level: -1, measured: never})
	}
	return &c.paths[i]
}

// appendScopes appends the scopes of the row that decide the interval, or the partial ones. It
// reports whether one of them spans the interval.
func (c *rowCoverage) appendScopes(dst []ScopeInterval, rank boundary.RankKey, id int64) (_ []ScopeInterval, spans bool) {
	if c.spanning != nil {
		path, whole := c.pathOf(c.spanning, c.in.to)
		c.incomplete, c.doubtful = !whole, c.isDoubtful(c.spanning, c.in.to)
		if path == (boundary.Path{}) {
			return dst, true
		}
		return append(dst, c.scopeOf(c.spanning, rank, path, id)), true
	}
	chosen := c.deepestHalf()
	if chosen == nil {
		if !c.in.isHalf(c.in.length() - c.idle) {
			return dst, false
		}
		for i := range c.paths {
			if c.paths[i].innermost {
				chosen = append(chosen, &c.paths[i])
			}
		}
	}
	partial := len(chosen) > 1 || !c.in.isHalf(chosen[0].covered)
	if len(chosen) > maxPartial {
		return append(dst, ScopeInterval{Rank: rank, ThreadID: id, Extent: Unlisted}), false
	}
	for _, p := range chosen {
		c.incomplete = c.incomplete || p.latest != nil && !p.whole
		c.doubtful = c.doubtful || c.isDoubtful(p.inside, c.in.to)
		scope := c.scopeOf(p.inside, rank, p.path, id)
		if p.latest == nil {
			scope.ScopeID, scope.Attributes = "", nil
		} else {
			scope = c.scopeOf(p.latest, rank, p.path, id)
		}
		switch {
		case p.path == boundary.Path{} && !partial:
			continue
		case p.path == boundary.Path{}:
			scope.Extent = Unlisted
		case partial:
			scope.Extent = Partial
		}
		dst = append(dst, scope)
	}
	return dst, false
}

// deepestHalf returns the innermost paths that cover at least half of the interval each.
func (c *rowCoverage) deepestHalf() (deepest []*rowPath) {
	for i := range c.paths {
		p := &c.paths[i]
		if !c.in.isHalf(p.covered) {
			continue
		}
		if len(deepest) > 0 {
			switch order := cmp.Or(cmp.Compare(p.level, deepest[0].level), cmp.Compare(p.path.Depth(), deepest[0].path.Depth())); {
			case order < 0:
				continue
			case order > 0:
				deepest = deepest[:0]
			}
		}
		deepest = append(deepest, p)
	}
	return deepest
}

func (c *rowCoverage) scopeOf(sp *span, rank boundary.RankKey, path boundary.Path, id int64) ScopeInterval {
	scope := sp.scope(rank, path)
	scope.ThreadID = id
	return scope
}

// scopeOver returns the span of a scope ID if it was active for at least half of an interval,
// nil otherwise.
func (s *spans) scopeOver(scopeID string, in *stretch) *span {
	sp := s.byID.get(scopeID)
	if sp == nil || sp.is(isMissing) || sp.is(isLink) {
		return nil
	}
	c := rowCoverage{spans: s, in: in}
	from, to := max(sp.start, in.from), min(c.end(sp), in.to)
	if from >= to || !in.isHalf(distance(from, to)) {
		return nil
	}
	return sp
}

// changes appends the times between two others at which spans start or end, or doubts do. It
// reports false when there are more than most.
func (s *spans) changes(times []int64, from, to int64, most int) ([]int64, bool) {
	add := func(changes ...int64) bool {
		for _, at := range changes {
			if from < at && at < to {
				times = append(times, at)
			}
		}
		return len(times) <= most
	}
	listed := s.tree.overlapping(to-1, from, func(sp *span) bool { return add(sp.start, sp.end) })
	for _, p := range s.pairings {
		for _, d := range p.doubts.after(from) {
			if !listed || d.from >= to {
				break
			}
			listed = add(d.from, d.to)
		}
	}
	return times, listed
}
