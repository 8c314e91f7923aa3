// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"cmp"
	"slices"
	"strconv"
	"time"

	"github.com/phaseattr/phaseattr/internal/boundary"
)

// maxActive bounds the spans that are active at a moment and are told apart. Past it, too
// much happens at once.
const maxActive = 128

// activity is the spans that are active at a moment.
type activity struct {
	*spans
	at int64
	// all are the active ones; outer is true for those that have another one inside them in
	// their lane. The others are each in a lane of its own.
	all   []activeSpan
	inner int
	// crowded is true when there are more than maxActive, or more in progress that may be.
	crowded bool
	buffer  [8]activeSpan
}

type activeSpan struct {
	*span
	outer bool
	// top is the outermost parent that is known, perhaps the span itself.
	top *span
}

// find finds what is active at a moment.
func (a *activity) find(s *spans, at int64) {
	a.spans, a.at, a.all = s, at, a.buffer[:0]
	visited := 0
	a.crowded = !s.tree.overlapping(at, at, func(sp *span) bool {
		if s.isActive(sp, at) {
			a.all = append(a.all, activeSpan{span: sp})
		}
		visited++
		return len(a.all) <= maxActive && visited <= maxVisited
	})
	a.inner = len(a.all)
	if len(a.all) > 1 && !a.crowded {
		a.nest()
	}
}

// isActive reports whether a span that has started by a moment and ends after it is a phase
// of that moment.
func (s *spans) isActive(sp *span, at int64) bool {
	if sp.is(isOpen) {
		return !sp.is(isLink) && !s.process.beganIn(sp.start, at) && at < sp.lastPossibleEnd()
	}
	return !sp.is(isLink) && s.isPlausible(sp.end)
}

// lastPossibleEnd is when the first of the parents of an open span ended. It and they end, too, when
// the next one of their name starts, unless such ones have overlapped.
func (sp *span) lastPossibleEnd() int64 {
	end := int64(forever)
	for p, n := sp, 0; p != nil && !p.is(isMissing) && n < maxChain; p, n = p.parent, n+1 {
		end = min(end, p.end)
		if p.is(isOpen) && !p.lane.concurrent {
			end = min(end, p.successor)
		}
	}
	return end
}

// top returns the outermost parent of a span that is known, perhaps the span itself.
func (sp *span) top() *span {
	top := sp
	for n := 0; top.parent != nil && !top.parent.is(isMissing) && n < maxChain; n++ {
		top = top.parent
	}
	return top
}

// missing returns the parent of a span, which is the top of what is known, nil when it
// has none.
func (sp *span) missing() *span {
	if sp.parent != nil && sp.parent.is(isMissing) {
		return sp.parent
	}
	return nil
}

// nest finds out which of the active spans lie inside others of their lane: below them, or,
// where it is not known what is around one, within their time.
func (a *activity) nest() {
	for i := range a.all {
		a.all[i].top = a.all[i].span.top()
	}
	for i := range a.all {
		if a.all[i].is(isPaired) {
			a.isPairedWithin(&a.all[i])
		} else if !a.isBelow(&a.all[i]) {
			a.isWithin(&a.all[i])
		}
	}
	a.inner = 0
	for i := range a.all {
		if !a.all[i].outer {
			a.inner++
		}
	}
	if a.inner == 0 { // each lies in another one, as parents that outlive their children can
		for i := range a.all {
			a.all[i].outer = false
		}
		a.inner = len(a.all)
	}
}

// isBelow marks the nearest active parent of a span in its lane, and reports whether there
// is one.
func (a *activity) isBelow(x *activeSpan) bool {
	for p, n := x.parent, 0; p != nil && !p.is(isMissing) && n < maxChain; p, n = p.parent, n+1 {
		i := slices.IndexFunc(a.all, func(y activeSpan) bool { return y.span == p })
		if i >= 0 && p.lane == x.lane {
			a.all[i].outer = true
			return true
		}
	}
	return false
}

// isWithin marks the active spans in whose time a span lies, unless parents say that it is not
// inside them.
func (a *activity) isWithin(x *activeSpan) {
	if a.related && x.top.is(isOutermost) {
		return
	}
	for i := range a.all {
		y := &a.all[i]
		if y.span != x.span && y.lane == x.lane && encloses(y, x) {
			y.outer = true
		}
	}
}

// isPairedWithin marks the active spans that a paired one lies in: all that began before it on
// its lane.
func (a *activity) isPairedWithin(x *activeSpan) {
	for i := range a.all {
		if y := &a.all[i]; y.lane == x.lane && y.before(x.span) {
			y.outer = true
		}
	}
}

// encloses reports whether a span can be around another one: what is known around that one
// lies in its time, and neither is below what the other one is below.
func encloses(outer, inner *activeSpan) bool {
	if outer.top == inner.top || inner.top.missing() != nil && outer.top.missing() == inner.top.missing() {
		return false
	}
	start, end := inner.top.start, inner.top.end
	return outer.start <= start && end <= outer.end && (outer.start < start || end < outer.end)
}

// pathOf returns the path of a span as far as it is known, and whether that is all of it. It
// is empty when only the last part is known, which says little of where that belongs, unless
// the parent has been missing for so long that it will be for as long as the program runs.
func (s *spans) pathOf(sp *span, at int64) (path boundary.Path, whole bool) {
	switch {
	case sp.is(isPaired):
		return s.pairedPath(sp), true
	case sp.is(isWhole):
		return sp.path, true
	}
	var buffer [maxChain]string
	names := buffer[:0]
	top := sp
	for {
		names = append(names, top.name.Label())
		if top.parent == nil || top.parent.is(isMissing) {
			break
		}
		if len(names) == maxChain { // two are each other's parents, perhaps
			return boundary.Path{}, false
		}
		top = top.parent
	}
	if len(names) == 1 && !s.isOverdue(top.missing(), at) {
		return boundary.Path{}, false
	}
	slices.Reverse(names)
	for _, name := range names {
		path = s.process.options.extend(path, boundary.NewPath(name))
	}
	return path, false
}

// isOverdue reports whether a parent has been missing, at a moment, for longer than telemetry
// waits.
func (s *spans) isOverdue(missing *span, at int64) bool {
	return missing != nil && missing.start < at && !within(missing.start, at, s.process.patience())
}

// defaultPatience is how long a parent may be missing where telemetry does not wait.
const defaultPatience = 30 * time.Second

// patience is how long parents may be missing before they are no longer waited for.
func (p *process) patience() time.Duration {
	grace := p.options.Grace
	if p.feed != nil && p.feed.Grace > 0 {
		grace = p.feed.Grace
	}
	if grace <= 0 {
		return defaultPatience
	}
	return 2 * grace
}

// appendTo appends the scopes that decide: the innermost of each lane, or with whole all. It
// returns Known, Incomplete if a path is not whole, or Doubtful if an end may be lost.
func (a *activity) appendTo(dst []ScopeInterval, rank boundary.RankKey, whole bool) ([]ScopeInterval, Status) {
	if a.crowded {
		return append(dst, ScopeInterval{Rank: rank, ThreadID: unnamedLane, Extent: Unlisted}), Known
	}
	status := Known
	for i := range a.all {
		x := &a.all[i]
		if x.outer && !whole {
			continue
		}
		path, isWhole := a.pathOf(x.span, a.at)
		scope := x.scope(rank, path)
		if scope.Outer = x.outer; !x.outer {
			scope.ThreadID = a.lane(i)
			switch {
			case a.isDoubtful(x.span, a.at):
				status = Doubtful
			case !isWhole && status == Known:
				status = Incomplete
			}
		}
		if path == (boundary.Path{}) {
			if x.outer || a.inner == 1 {
				continue
			}
			scope.Extent = Unlisted
		}
		dst = append(dst, scope)
	}
	return dst, status
}

// appendActive appends the scopes of spans that decide at a time, to those of threads, and
// returns the status of all.
func (s *spans) appendActive(dst []ScopeInterval, rank boundary.RankKey, at int64, whole bool, status Status) ([]ScopeInterval, Status) {
	var a activity
	a.find(s, at)
	found := len(a.all) > 0
	dst, of := a.appendTo(dst, rank, whole)
	switch {
	case of != Known:
		return dst, of
	case a.isUncertain():
		return dst, Doubtful
	case found && s.hidesAny(at):
		return dst, Doubtful
	case !found && len(dst) == 0 && status == Known && !s.process.ended() && !s.isSettled(at):
		return dst, Running
	}
	return dst, status
}

// isUncertain reports whether a boundary of a lane of pairs may be missing around the moment.
func (a *activity) isUncertain() bool {
	if slices.ContainsFunc(a.pairings, func(p *pairing) bool { return p.doubts.has(a.at) }) {
		return true
	}
	if len(a.numbers.gaps) == 0 {
		return false
	}
	for _, p := range a.pairings {
		var active []*span
		for i := range a.all {
			if a.all[i].lane == p.lane {
				active = append(active, a.all[i].span)
			}
		}
		if a.spans.isUncertain(p, active, a.at) {
			return true
		}
	}
	return false
}

// doubts reports whether what was active at one of the ends of an interval is doubtful, or in half
// of it.
func (s *spans) doubts(from, to int64) bool {
	in := stretch{from: from, to: to}
	if s.hidesAny(to) || slices.ContainsFunc(s.pairings, func(p *pairing) bool { return in.isHalf(p.doubts.within(from, to)) }) {
		return true
	}
	return slices.ContainsFunc([]int64{from, to}, func(at int64) bool {
		var a activity
		a.find(s, at)
		return a.isUncertain()
	})
}

// isBehind reports whether the spans have not come as far as a time. There may be none. The
// process may be one of several that are idle most of the time.
func (s *spans) isBehind(at int64) bool {
	if s == nil || s.unannounced == 0 || at < s.newestEnd {
		return false
	}
	idle := s.process.isPeer() && distance(s.newestEnd, at)/2 > s.longest
	return !idle
}

// isDoubtful reports whether a span may have ended by a moment, and its end been lost: only its
// start has come, and what it was in has ended, or had another child, since it was last seen to
// go on.
func (s *spans) isDoubtful(sp *span, at int64) bool {
	switch {
	case !sp.is(isOpen), sp.is(isPaired), at <= max(sp.start, sp.newestChild):
		return false
	case sp.lastPossibleEnd() != forever:
		return true
	case sp.parent != nil:
		return sp.parent.newestChild > sp.start
	}
	return s.newestOutermost > sp.start
}

// lane returns the thread ID of the lane that an active span has of its own. That of a named
// lane is that of the first one that is in it.
func (a *activity) lane(i int) int64 {
	if a.inner == 1 {
		return a.all[i].lane.id
	}
	earlier := 0
	for j := range i { // in order of their starts
		if !a.all[j].outer && a.all[j].lane == a.all[i].lane {
			earlier++
		}
	}
	return a.all[i].lane.virtual(earlier)
}

// virtual returns the thread ID of one of the lanes of a name.
func (l *lane) virtual(number int) int64 {
	switch {
	case number == 0:
		return l.id
	case l.name == "":
		return unnamedLane - int64(number)
	}
	return boundary.LaneID(l.name + "\x00" + strconv.Itoa(number))
}

// scope describes a span.
func (sp *span) scope(rank boundary.RankKey, path boundary.Path) ScopeInterval {
	return ScopeInterval{
		Rank: rank, ThreadID: sp.lane.id, ThreadName: sp.lane.name, ScopeID: sp.scopeID, Path: path,
		Start: sp.start, Sequence: sp.start, Attributes: sp.allAttributes(),
	}
}

// allAttributes returns the attributes of a span and, for keys that it lacks, those of the
// nearest parent that has them.
func (sp *span) allAttributes() []boundary.Attribute {
	all := sp.attributes
	for p, n := sp.parent, 0; p != nil && n < maxChain; p, n = p.parent, n+1 {
		for _, inherited := range p.attributes {
			if !slices.ContainsFunc(all, func(own boundary.Attribute) bool { return own.Key == inherited.Key }) {
				all = append(slices.Clip(all), inherited)
			}
		}
	}
	return all
}

// pathAt is the path of the only lane at a time, empty when there is none or several.
func (s *spans) pathAt(at int64) boundary.Path {
	var a activity
	a.find(s, at)
	if a.inner != 1 || a.crowded {
		return boundary.Path{}
	}
	i := slices.IndexFunc(a.all, func(x activeSpan) bool { return !x.outer })
	path, _ := s.pathOf(a.all[i].span, at)
	return path
}

// isSettled reports whether what comes later cannot change which scopes were active at a
// time that the process's events have reached: all that may have been is in.
func (s *spans) isSettled(at int64) bool {
	switch {
	case at < s.outermost && len(s.lanes) == 1:
		return true
	case s.isBehind(at), s.hidesAny(at):
		return false
	}
	var a activity
	a.find(s, at)
	if a.crowded {
		return true
	}
	if len(a.all) > 0 {
		return !slices.ContainsFunc(a.all, func(x activeSpan) bool { return !x.outer && s.isWaiting(x.span, at) })
	}
	last, next := s.tree.around(at)
	return !s.isGap(last, at) && !s.isGap(next, at)
}

// probes is at how many moments a lane is looked at to find out whether it is busy.
const probes = 16

// hidesAny reports whether a lane, of several, is likely to be in something that it will only
// say of when that has ended: it has not come as far as a time, and was busy before.
func (s *spans) hidesAny(at int64) bool {
	return len(s.lanes) > 1 && slices.ContainsFunc(s.lanes, func(l *lane) bool {
		return l.unannounced > 0 && l.newestEnd <= at && distance(l.newestEnd, at) <= probes*l.longest && s.isBusy(l)
	})
}

// isBusy reports whether there was something on a lane for most of the time before its newest
// end.
func (s *spans) isBusy(l *lane) bool {
	busy := 0
	for i := range int64(probes) {
		at := l.newestEnd - 1 - i*int64(l.longest/2) //nolint:gosec // half of a distance
		found := !s.tree.overlapping(at, at, func(sp *span) bool { return sp.lane != l || sp.is(isLink) })
		if found {
			busy++
		}
	}
	return busy > probes/2
}

// isWaiting reports whether the path of a span is still to come.
func (s *spans) isWaiting(sp *span, at int64) bool {
	return !sp.is(isWhole) && !s.isOverdue(sp.top().missing(), at)
}

// isGap reports whether a moment beside a span may lie in a parent that is still to come.
func (s *spans) isGap(beside *span, at int64) bool {
	if beside == nil {
		return false
	}
	missing := beside.top().missing()
	return missing != nil && !s.isOverdue(missing, at)
}

// sortSpans sorts spans such that each comes before those inside it.
func sortSpans(all []*span) {
	slices.SortFunc(all, func(x, y *span) int {
		return cmp.Or(cmp.Compare(x.start, y.start), cmp.Compare(y.end, x.end), cmp.Compare(x.scopeID, y.scopeID))
	})
}
