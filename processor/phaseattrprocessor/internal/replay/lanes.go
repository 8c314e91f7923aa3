// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/phaseattr/phaseattr/internal/boundary"
)

// spans are those of a process. A process that has sent none has no spans at all, so that
// they cost nothing there.
type spans struct {
	process *process
	// tree has all but the missing ones, byID those and the newest of each scope ID.
	tree  spanTree
	byID  spanIDs
	lanes []*lane
	// count and open are how many there are, and how many of them are open; bytes is what they
	// take.
	count, open, bytes int
	// names has how many spans have each name.
	names map[boundary.Path]int
	// newestEnd is the newest end of one, outermost that of one without a parent, longest the
	// longest time that one took.
	newestEnd, outermost int64
	longest              uint64
	// newestOutermost is the newest start of one without a parent.
	newestOutermost int64
	// related is true when one has named its parent: one that names none is outermost then.
	related bool
	// unannounced is how many came at their end only.
	unannounced int
	// pairings are the lanes of paired spans, numbers the numbers of the process's records.
	pairings []*pairing
	numbers  numbers
	// free are structs of spans that have gone.
	free []*span
	// created is how many spans there have been.
	created int64
}

// lane is where spans run, as the source calls it.
type lane struct {
	id          int64
	name        string
	spans, open int
	// newestEnd is the newest end of a span in it, longest the longest time that one took.
	newestEnd int64
	longest   uint64
	// unannounced is how many came at their end only.
	unannounced int
	// concurrent is true when one has gone on after the next one of its name and parent started.
	concurrent bool
}

// boundariesPerSpan is how many boundaries a span counts as: its two ends.
const boundariesPerSpan = 2

// maxFree bounds the structs that are kept for the next spans: in a full window, each one that
// comes takes the place of one that goes.
const maxFree = 16

// maxChain bounds the parents that are followed from a span, of which two may be each
// other's.
const maxChain = 64

func newSpans(p *process) *spans {
	return &spans{process: p, names: map[boundary.Path]int{}, newestEnd: never, outermost: never, newestOutermost: never}
}

// size is how many boundaries the spans count as. There may be none.
func (s *spans) size() int {
	if s == nil {
		return 0
	}
	size := boundariesPerSpan * s.count
	for _, p := range s.pairings { // which has its boundaries
		size += len(p.marks) - p.stale - boundariesPerSpan*p.lane.spans
	}
	return size
}

// openScopes is how many spans are open, numberOfLanes in how many lanes they are.
func (s *spans) openScopes() int {
	if s == nil {
		return 0
	}
	return s.open
}

func (s *spans) numberOfLanes() int {
	if s == nil {
		return 0
	}
	return len(s.lanes)
}

// lane returns the lane of a name, nil when there is none.
func (s *spans) lane(name string) *lane {
	for _, l := range s.lanes {
		if l.name == name {
			return l
		}
	}
	return nil
}

// addInterval adds an interval that has a duration, or is open.
func (s *stream) addInterval(p *process, iv *boundary.Interval) (outcome Outcome, late time.Duration) {
	at := iv.End
	if iv.Open {
		at = iv.Start
	}
	if p.clock.Confirmations > 0 && at < p.clock.Now {
		late = max(time.Duration(uint64(p.clock.Now)-uint64(at)), 0) //nolint:gosec // an overflow counts as 0
	}
	if iv.Start < p.clock.FirstEvent {
		p.clock.FirstEvent = iv.Start
		p.settleBegins(s)
	}
	s.advance(p, at, false)
	outcome = s.placeInterval(p, iv)
	if outcome == Accepted {
		s.known = true
		p.clock.LastEnter, p.clock.LastBoundary = max(p.clock.LastEnter, iv.Start), max(p.clock.LastBoundary, at)
	}
	s.trim(p)
	return outcome, late
}

// placeInterval makes an interval a span, unless it is one already.
func (s *stream) placeInterval(p *process, iv *boundary.Interval) Outcome {
	if p.spans == nil {
		p.spans = newSpans(p)
	}
	in := p.spans
	announced := false
	if p.feed != nil && p.feed.Anchors {
		iv, announced = in.united(iv)
	}
	id := scopeIDOf(iv)
	owner := in.byID.get(id)
	known := owner
	switch {
	case !iv.Open && iv.End <= p.floor():
		return TooOld
	case known == nil, known.is(isMissing), known.is(isOpen) && !iv.Open:
	case iv.Open && iv.Start < known.end:
		in.announced(known)
		return Duplicate
	case !iv.Open && iv.Start == known.start, !iv.Open && iv.Start < known.end && known.start < iv.End:
		return Duplicate
	default: // the ID is used again
		known = nil
	}
	l := in.lane(iv.Lane)
	if l == nil {
		if full(s.threads(), s.options.MaxThreads) && !s.dropThread(p) {
			return TooManyThreads
		}
		l = &lane{id: laneID(iv.Lane), name: strings.Clone(iv.Lane), newestEnd: never}
	}
	if iv.Open && full(l.open, s.options.MaxOpen) {
		return TooManyOpen
	}
	if bound := s.makeRoom(boundariesPerSpan); bound != Accepted {
		return bound
	}
	if owner != nil { // which may have made room, or the last child of a missing one
		owner = in.byID.get(id)
		if known != nil {
			known = owner
		}
	}
	s.changeSpans(p, iv, func() { in.add(known, owner, l, id, iv) })
	if announced {
		in.announced(in.byID.get(id))
	}
	return Accepted
}

// maxAnchorSkew is how much later than an anchor the scope may start that it announces: the two
// may have been read from a clock each.
const maxAnchorSkew = int64(time.Second)

// united returns an interval as that of the anchor of which it is the end. An anchor of which
// the end came before has that end; announced is true then.
func (s *spans) united(iv *boundary.Interval) (_ *boundary.Interval, announced bool) {
	whole := *iv
	if !iv.Open {
		if own := s.byID.get(iv.ScopeID); own != nil && own.is(isOpen|wasAnnounced) {
			return iv, false // its own anchor is known; the scope around it may have the same name
		}
		anchor := s.byID.get(iv.ParentScopeID)
		if anchor == nil || !anchor.is(isOpen|wasAnnounced) || !anchor.isCalled(iv) {
			return iv, false
		}
		whole.ScopeID, whole.ParentScopeID = anchor.scopeID, ""
		if anchor.parent != nil {
			whole.ParentScopeID = anchor.parent.scopeID
		}
		return &whole, false
	}
	var end *span
	s.tree.overlapping(iv.Start+maxAnchorSkew, iv.Start, func(sp *span) bool {
		if sp.parent != nil && sp.parent.scopeID == iv.ScopeID && !sp.is(isOpen|wasAnnounced) && sp.isCalled(iv) {
			end = sp
		}
		return end == nil
	})
	if end == nil {
		return iv, false
	}
	whole.Open, whole.Start, whole.End = false, end.start, end.end
	whole.Truncated, whole.Attributes = end.is(isTruncated), end.attributes
	s.evict(end)
	return &whole, true
}

// isCalled reports whether a span has the name of an interval.
func (sp *span) isCalled(iv *boundary.Interval) bool {
	if iv.Path != (boundary.Path{}) {
		return sp.path == iv.Path
	}
	return sp.name == boundary.NewPath(iv.Name)
}

// unnamedLane is the number of the lane without a name. Those of threads are not negative.
const unnamedLane = -1

func laneID(name string) int64 {
	if name == "" {
		return unnamedLane
	}
	return boundary.LaneID(name)
}

// scopeIDOf is the scope ID of an interval, made of what identifies one that has none.
func scopeIDOf(iv *boundary.Interval) string {
	if iv.ScopeID != "" {
		return iv.ScopeID
	}
	return strings.Join([]string{strconv.FormatInt(iv.Start, 10), iv.Lane, iv.Name, iv.Path.Label()}, "\x00")
}

// changeSpans runs a change to the spans, and counts the lookups that it makes wrong.
func (s *stream) changeSpans(p *process, iv *boundary.Interval, change func()) {
	recent := s.lookups.since(iv.Start)
	within := func(l lookup) bool { return iv.Start <= l.at && (iv.Open || l.at < iv.End) }
	before := make([]boundary.Path, len(recent))
	for i, l := range recent {
		if within(l) {
			before[i] = p.spans.pathAt(l.at)
		}
	}
	change()
	for i, l := range recent {
		if within(l) && p.spans.pathAt(l.at) != before[i] {
			s.outdated += l.records
			s.unflushed = true
		}
	}
}

// add adds an interval as a span. known is the missing or the open one that it replaces, nil
// if there is none, owner the newest one that has its ID.
func (s *spans) add(known, owner *span, l *lane, id string, iv *boundary.Interval) {
	sp := known
	switch {
	case sp == nil:
		sp = s.newSpan(id)
		if owner == nil || owner.start < iv.Start {
			s.byID.set(sp)
		}
	case sp.is(isMissing):
		s.bytes -= sp.heap()
		sp.set(isMissing, false)
		s.byID.set(sp)
	default:
		sp.lane.concurrent = sp.lane.concurrent || iv.End > sp.successor
		s.detach(sp)
		sp.set(wasAnnounced, true)
	}
	sp.start, sp.end, sp.lane, sp.attributes = iv.Start, iv.End, l, iv.Attributes
	sp.path, sp.name = iv.Path, boundary.Path{}
	if iv.Path == (boundary.Path{}) {
		sp.name = boundary.NewPath(iv.Name)
	}
	sp.set(isOpen, iv.Open)
	sp.set(isTruncated, iv.Truncated)
	sp.set(isLink, sp.path == boundary.Path{} && sp.name == boundary.Path{})
	if iv.Open {
		sp.end = forever
	}
	s.attach(sp, iv.ParentScopeID)
}

// number numbers a span.
func (s *spans) number(sp *span) {
	s.created++
	sp.number = s.created
}

// attach puts a span into the tree, its lane, and below its parent.
func (s *spans) attach(sp *span, parentID string) {
	s.count++
	s.charge(sp)
	if sp.lane.spans == 0 {
		s.lanes = append(s.lanes, sp.lane)
	}
	sp.lane.spans++
	if sp.is(isOpen) {
		s.open++
		sp.lane.open++
	} else {
		s.note(sp)
	}
	sp.set(isOutermost, parentID == "" || parentID == sp.scopeID)
	if sp.is(isOutermost) {
		s.newestOutermost = max(s.newestOutermost, sp.start)
		if !sp.is(isOpen) && s.isPlausible(sp.end) {
			s.outermost = max(s.outermost, sp.end)
		}
	} else {
		s.related = true
		s.adopt(sp, parentID)
	}
	s.succeed(sp)
	s.tree.insert(sp)
	if sp.setPath(s.process.options) {
		sp.wake(s.process.options)
	} else if sp.parent != nil {
		sp.wait()
	}
}

// maxVisited bounds the spans that are looked at when one comes, or for a moment. Programs have
// fewer in progress. Past it, one that is over may go on being doubted.
const maxVisited = 1024

// succeed notes that a span follows open ones of its name, and what follows it if it is open.
func (s *spans) succeed(sp *span) {
	sp.successor = forever
	if s.open == 0 || sp.is(isPaired) {
		return
	}
	visited := 0
	s.tree.overlapping(sp.start-1, forever-1, func(open *span) bool {
		if open.precedes(sp) {
			open.successor = min(open.successor, sp.start)
		}
		visited++
		return visited < maxVisited
	})
	if sp.is(isOpen) && s.newestStart() > sp.start {
		visited = 0
		s.tree.overlapping(forever, sp.start, func(next *span) bool {
			if sp.precedes(next) {
				sp.successor = next.start
			}
			visited++
			return sp.successor == forever && visited < maxVisited
		})
	}
}

// newestStart is when the newest span started, never without any.
func (s *spans) newestStart() int64 {
	if newest := s.tree.newest(); newest != nil {
		return newest.start
	}
	return never
}

// precedes reports whether another span can be the next one of the same name.
func (sp *span) precedes(next *span) bool {
	return sp.start < next.start && sp.lane == next.lane && sp.parent == next.parent && !sp.is(isLink) && !next.is(isLink) &&
		sp.is(isOutermost) == next.is(isOutermost) && sp.name == next.name && (sp.name != boundary.Path{} || sp.path == next.path)
}

// note notes the end of a span.
func (s *spans) note(sp *span) {
	if s.isPlausible(sp.end) {
		l, duration := sp.lane, distance(sp.start, sp.end)
		s.newestEnd, s.longest = max(s.newestEnd, sp.end), max(s.longest, duration)
		l.newestEnd, l.longest = max(l.newestEnd, sp.end), max(l.longest, duration)
	}
	if !sp.is(wasAnnounced) {
		s.unannounced++
		sp.lane.unannounced++
	}
}

// announced notes that the start of a span has come, too.
func (s *spans) announced(sp *span) {
	if !sp.is(isOpen) && !sp.is(wasAnnounced) {
		sp.set(wasAnnounced, true)
		s.unannounced--
		sp.lane.unannounced--
	}
}

// isPlausible reports whether a time is not so far ahead of the process's clock that the
// clock has refused it.
func (s *spans) isPlausible(time int64) bool {
	return time <= s.process.clock.Now || within(time, s.process.clock.Now, s.process.options.Window)
}

// adopt finds the parent of a span, or notes that it is missing.
func (s *spans) adopt(sp *span, parentID string) {
	parent := s.byID.get(parentID)
	if parent == nil {
		parent = s.newSpan(parentID)
		parent.start, parent.end = forever, forever
		parent.set(isMissing, true)
		s.byID.set(parent)
		s.bytes += parent.heap()
	}
	parent.children++
	if parent.is(isMissing) {
		parent.start = min(parent.start, sp.start)
	}
	parent.newestChild = max(parent.newestChild, sp.start)
	sp.parent = parent
}

// setPath sets the path of a span if all of it is known, and reports whether it is.
func (sp *span) setPath(options *Options) bool {
	switch {
	case sp.is(isWhole):
		return true
	case sp.path != boundary.Path{}:
	case sp.is(isOutermost):
		sp.path = sp.name
	case sp.parent == nil || !sp.parent.is(isWhole):
		return false
	default:
		sp.path = options.extend(sp.parent.path, sp.name)
	}
	sp.set(isWhole, true)
	return true
}

// extend returns the path of a scope inside another one. Past the bounds of a path, it is
// that of the other one.
func (o *Options) extend(path, name boundary.Path) boundary.Path {
	if full(path.Depth(), o.MaxDepth) {
		return path
	}
	extended := path.Append(name.Label())
	if o.MaxLabelBytes > 0 && len(extended.Label()) > o.MaxLabelBytes {
		return path
	}
	return extended
}

// wait lines a span up for the path of its parent.
func (sp *span) wait() {
	sp.next = sp.parent.waiting
	if sp.next != nil {
		sp.next.previous = sp
	}
	sp.parent.waiting = sp
}

// leave takes a span out of the line, if it is in one.
func (sp *span) leave() {
	switch {
	case sp.previous != nil:
		sp.previous.next = sp.next
	case sp.parent != nil && sp.parent.waiting == sp:
		sp.parent.waiting = sp.next
	}
	if sp.next != nil {
		sp.next.previous = sp.previous
	}
	sp.next, sp.previous = nil, nil
}

// wake sets the paths of all that have waited for a span's, each once.
func (sp *span) wake(options *Options) {
	for woken := []*span{sp}; len(woken) > 0; {
		last := len(woken) - 1
		from := woken[last]
		woken = woken[:last]
		for child := from.waiting; child != nil; {
			next := child.next
			child.next, child.previous = nil, nil
			if child.setPath(options) {
				woken = append(woken, child)
			}
			child = next
		}
		from.waiting = nil
	}
}

// detach takes a span out of the tree, its lane and from below its parent. Those inside it
// stay below it.
func (s *spans) detach(sp *span) {
	s.tree.remove(sp)
	s.detached(sp)
}

// detached is detach for a span that is not in the tree any longer.
func (s *spans) detached(sp *span) {
	s.count--
	s.release(sp)
	sp.lane.spans--
	if sp.lane.spans == 0 {
		for i, l := range s.lanes {
			if l == sp.lane {
				s.lanes = append(s.lanes[:i], s.lanes[i+1:]...)
				break
			}
		}
	}
	if sp.is(isOpen) {
		s.open--
		sp.lane.open--
	} else if !sp.is(wasAnnounced) {
		s.unannounced--
		sp.lane.unannounced--
	}
	sp.leave()
	if p := sp.parent; p != nil {
		p.children--
		if p.children == 0 && p.is(isMissing) {
			s.byID.remove(p)
			s.bytes -= p.heap()
		}
	}
	sp.parent = nil
	sp.set(isWhole, false)
}

// evict forgets a span. Those inside it keep the paths that they have.
func (s *spans) evict(sp *span) {
	s.tree.remove(sp)
	s.evicted(sp)
}

// evictFirst forgets a span that ended first, and returns its end.
func (s *spans) evictFirst() (end int64) {
	first := s.tree.removeFirstToEnd()
	end = first.end
	s.evicted(first)
	return end
}

// evicted is evict for a span that is not in the tree any longer.
func (s *spans) evicted(sp *span) {
	whole := sp.is(isWhole)
	s.detached(sp)
	sp.set(isWhole, whole)
	if sp.is(isPaired) {
		if p := s.pairingOf(sp.lane.id); p != nil {
			p.open = slices.DeleteFunc(p.open, func(open *span) bool { return open == sp })
			p.stale += int(sp.marks)
			sp.marks = 0
		}
		return
	}
	s.byID.remove(sp)
	if sp.children == 0 && len(s.free) < maxFree {
		*sp = span{}
		s.free = append(s.free, sp)
	}
}

// newSpan returns a span that is not in use, for one with a scope ID.
func (s *spans) newSpan(scopeID string) *span {
	var sp *span
	if last := len(s.free) - 1; last >= 0 {
		sp, s.free[last] = s.free[last], nil
		s.free = s.free[:last]
	} else {
		sp = new(span)
	}
	sp.scopeID, sp.newestChild = scopeID, never
	s.number(sp)
	return sp
}

// evictSpan evicts the span of the stream that ended first, if that was before the oldest
// boundary of a thread, but one from far ahead of its process's clock before it. It reports
// false when there is none.
func (s *stream) evictSpan(thread *thread) bool {
	var of *process
	end := int64(forever)
	for _, p := range s.processes {
		if p.spans == nil || p.spans.tree.isEmpty() {
			continue
		}
		if last := p.spans.tree.newest(); !p.spans.isPlausible(last.start) {
			p.spans.evict(last)
			s.count(p)
			return true
		}
		if earliest := p.spans.tree.earliestEnd(); earliest < end {
			of, end = p, earliest
		}
	}
	if of == nil || thread != nil && thread.oldest() < end {
		return false
	}
	of.clock.Evicted = max(of.clock.Evicted, end-1)
	of.spans.evictFirst()
	s.count(of)
	return true
}

// trim evicts the spans that ended before the window.
func (s *spans) trim(floor int64) {
	for s.tree.earliestEnd() <= floor {
		s.evictFirst()
	}
	if len(s.pairings) > 0 {
		s.forgetMarks(floor)
	}
}

// evictOpen evicts the open spans that started before a time.
func (s *spans) evictOpen(before int64) {
	var open []*span
	s.tree.overlapping(before-1, forever-1, func(sp *span) bool {
		open = append(open, sp)
		return true
	})
	for _, sp := range open {
		s.evict(sp)
	}
}

// expire evicts the spans that have ended, and returns the newest time that is not known any
// longer; never without any.
func (s *spans) expire() (evicted int64) {
	evicted = never
	for s.tree.earliestEnd() != forever {
		evicted = s.evictFirst() - 1
	}
	return evicted
}

// rebase evicts the spans that end after a time to which the clock has moved back.
func (s *spans) rebase(at int64) {
	var ahead []*span
	s.tree.each(func(sp *span) {
		if sp.end > at && !sp.is(isOpen) {
			ahead = append(ahead, sp)
		}
	})
	for _, sp := range ahead {
		s.evict(sp)
	}
	s.newestEnd, s.outermost = min(s.newestEnd, at), min(s.outermost, at)
}

// snapshot returns the lanes.
func (s *spans) snapshot() []Thread {
	threads := make([]Thread, len(s.lanes))
	s.tree.each(func(sp *span) {
		for i, l := range s.lanes {
			if l == sp.lane && !sp.is(isPaired) {
				threads[i].ID = l.id
				threads[i].Intervals = append(threads[i].Intervals, sp.interval())
			}
		}
	})
	threads = slices.DeleteFunc(threads, func(t Thread) bool { return len(t.Intervals) == 0 })
	for i, p := range s.pairings {
		thread := p.snapshot()
		if i == 0 {
			thread.Open = s.numbers.snapshot(p.lane)
		}
		threads = append(threads, thread)
	}
	return threads
}

// interval is the interval that a span was.
func (sp *span) interval() boundary.Interval {
	iv := boundary.Interval{
		Start: sp.start, End: sp.end, Open: sp.is(isOpen), Truncated: sp.is(isTruncated), ScopeID: sp.scopeID,
		Lane: sp.lane.name, Name: sp.name.Label(), Attributes: sp.attributes,
	}
	if iv.Open {
		iv.End = 0
	}
	if sp.parent != nil {
		iv.ParentScopeID = sp.parent.scopeID
	}
	orphan := !sp.is(isOutermost) && sp.parent == nil // its parent has been evicted
	if sp.is(isWhole) && !sp.is(isLink) && (iv.Name == "" || orphan) {
		iv.Path, iv.Name = sp.path, ""
	}
	return iv
}
