// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"cmp"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/phaseattr/phaseattr/internal/boundary"
)

// Boundaries without a path name a scope, and nothing that tells it from others of its name. An
// exit leaves the innermost open scope of its name on its lane, so each pair is a span, whose
// path is what the lane is in at its start. An exit that says when its scope was entered is a
// span by itself.

// mark is a boundary without a path.
type mark struct {
	time, seq int64
	// began is when the scope of an exit was entered, as the exit says; 0 if it does not.
	began      int64
	name       boundary.Path
	attributes []boundary.Attribute
	// span is what an enter has begun, or an exit ended; nil for an exit that ended nothing, and
	// for what is still to be paired.
	span *span
	exit bool
}

func (m *mark) compare(other *mark) int {
	return cmp.Or(cmp.Compare(m.time, other.time), cmp.Compare(m.seq, other.seq))
}

func (m *mark) equal(other *mark) bool {
	return m.compare(other) == 0 && m.exit == other.exit && m.name == other.name
}

// pairing makes spans of the marks of a lane.
type pairing struct {
	lane  *lane
	marks []mark
	// open are the spans of the enters that no exit has closed, the outermost first.
	open []*span
	// stale is how many of the marks are those of spans that have been evicted.
	stale int
	// kept is how many marks were left when the stale ones were dropped last.
	kept int
	// late is true when a mark has come that is not the last one: all are paired again.
	late bool
	// longest is the longest time between an enter and its exit.
	longest uint64
	// doubts are the times of which marks without numbers show that what was open is not known,
	// in order.
	doubts doubts
	// left has names, and since when an exit that leaves nothing may have been inside the
	// last scope of its name.
	left []leftName
}

// placeMark makes a boundary without a path a mark.
func (s *stream) placeMark(p *process, b *boundary.Boundary, restored bool) Outcome {
	if p.spans == nil {
		p.spans = newSpans(p)
	}
	in := p.spans
	m := mark{time: b.Time, seq: b.Sequence, began: b.Began, name: boundary.NewPath(b.Name), attributes: b.Attributes, exit: b.Action == boundary.Exit}
	pairs := in.pairingOf(b.ThreadID)
	if pairs == nil {
		if b.Time < p.floor() && !restored {
			return TooOld
		}
		if full(s.threads(), s.options.MaxThreads) && !s.dropThread(p) {
			return TooManyThreads
		}
		pairs = &pairing{lane: &lane{id: b.ThreadID, name: strings.Clone(b.ThreadName), newestEnd: never}}
	}
	at, known := pairs.find(&m)
	switch {
	case known:
		return Duplicate
	case b.Time < p.floor() && !restored:
		return TooOld
	case !m.exit && full(len(pairs.open), s.options.MaxOpen):
		return TooManyOpen
	}
	if s.makeRoom(boundariesPerSpan) != Accepted {
		pairs.forget(p.floor())
		s.count(p)
		if bound := s.makeRoom(boundariesPerSpan); bound != Accepted {
			return bound
		}
		at, _ = pairs.find(&m)
	}
	if pairs.lane.spans == 0 && !slices.Contains(in.pairings, pairs) {
		in.pairings = append(in.pairings, pairs)
	}
	pairs.marks = slices.Insert(pairs.marks, at, m)
	if at < len(pairs.marks)-1 || pairs.late {
		pairs.late = true
		p.unflushed, s.unflushed = true, true
		return Accepted
	}
	from := b.Time
	if m.exit && m.began != 0 {
		from = min(from, m.began)
	}
	s.changePairs(p, from, func() { in.pair(pairs, at) })
	return Accepted
}

// changePairs runs a change to what was active from a time on, and counts the lookups that it
// makes wrong.
func (s *stream) changePairs(p *process, from int64, change func()) {
	s.changeSpans(p, &boundary.Interval{Start: from, Open: true}, change)
}

// pairingOf returns the pairing of a lane, nil when there is none.
func (s *spans) pairingOf(thread int64) *pairing {
	for _, p := range s.pairings {
		if p.lane.id == thread {
			return p
		}
	}
	return nil
}

// find returns the index of a mark, or where it belongs.
func (p *pairing) find(m *mark) (at int, known bool) {
	at = len(p.marks)
	if at > 0 && p.marks[at-1].compare(m) > 0 { // seldom
		at = sort.Search(at, func(i int) bool { return p.marks[i].compare(m) > 0 })
	}
	for i := at - 1; i >= 0 && p.marks[i].compare(m) == 0; i-- {
		if p.marks[i].equal(m) {
			return i, true
		}
	}
	return at, false
}

// pair lets a mark, before which all have been paired, open or close a span.
func (s *spans) pair(p *pairing, at int) {
	m := &p.marks[at]
	m.span = nil
	if at > 0 && s.process.beganIn(p.marks[at-1].time, m.time) {
		p.open, p.left = nil, nil
	}
	if !m.exit {
		if from, to := s.lostBefore(p, m); from < to {
			s.lose(p, from, to, m.seq, m.time)
		}
		m.span = s.begin(p, m, m.time, forever)
		p.open = append(p.open, m.span)
		return
	}
	i := len(p.open) - 1
	for i >= 0 && !s.isExitOf(m, p.open[i]) {
		i--
	}
	if i < 0 {
		s.closeUnopened(p, m)
		return
	}
	s.lose(p, i+1, len(p.open), m.seq, m.time)
	m.span = p.open[i]
	m.span.marks++
	p.leave(p.open[i], m)
	s.close(p.open[i], m.time)
	p.longest = max(p.longest, distance(p.open[i].start, m.time))
	p.open = p.open[:i]
}

// lostBefore returns the range of the open spans whose exits may have been lost when a name
// is entered again: programs repeat their phases, and seldom nest one in itself. Those that
// were entered after the gap are not among them. It is empty when there are none.
func (s *spans) lostBefore(p *pairing, m *mark) (from, to int) {
	from = slices.IndexFunc(p.open, func(sp *span) bool { return sp.name == m.name })
	switch {
	case from < 0:
		return 0, 0
	case m.seq == boundary.Unnumbered, p.open[from].start < s.numbers.since():
		return from, len(p.open)
	case !s.lacksBetween(p.open[from], m.seq, m.time):
		return 0, 0
	}
	to = from + 1
	for to < len(p.open) && !s.lacksBetween(p.open[from], p.open[to].seq, p.open[to].start) {
		to++
	}
	return from, to
}

// lacksBetween reports whether numbers between that of the enter of a span and another one are
// missing.
func (s *spans) lacksBetween(sp *span, number, at int64) bool {
	return s.numbers.any(sp.seq, sp.start, number, at)
}

// maxExitSkew is by how much the duration that an exit says may differ from the distance to its
// enter: the two may be read from a clock each.
const maxExitSkew = int64(100 * time.Millisecond)

// isExitOf reports whether an exit leaves an open span. Where boundaries may be missing between
// the two, it may be that of a later one.
func (s *spans) isExitOf(m *mark, sp *span) bool {
	return sp.name == m.name && (m.began == 0 || m.began-sp.start <= maxExitSkew ||
		m.seq != boundary.Unnumbered && !s.lacksBetween(sp, m.seq, m.time))
}

// closeUnopened pairs an exit whose enter has been lost.
func (s *spans) closeUnopened(p *pairing, m *mark) {
	if m.began == 0 || m.began >= m.time {
		if m.seq == boundary.Unnumbered {
			p.doubts.add(p.unenteredSince(m.name), m.time)
		}
		return
	}
	if from, to := s.lostBefore(p, m); from < to {
		s.lose(p, from, to, m.seq, m.began)
	}
	// What was entered since, and is open, was inside.
	i := len(p.open)
	for i > 0 && p.open[i-1].start >= m.began {
		i--
	}
	s.lose(p, i, len(p.open), m.seq, m.time)
	s.cut(p, m.began, m.time)
	m.span = s.begin(p, m, m.began, m.time)
	p.longest = max(p.longest, distance(m.began, m.time))
	s.process.repairs++
}

// lose ends the open spans from one index to another, whose exits have been lost, at the latest
// when the next one was entered, or when another boundary, of a number and a time, shows that
// they had ended. Where a boundary is missing after the last one that was certainly inside,
// they ended there.
func (s *spans) lose(p *pairing, from, to int, seq, at int64) {
	if to < len(p.open) {
		seq, at = p.open[to].seq, p.open[to].start
	}
	if from < to && seq == boundary.Unnumbered {
		p.doubts.add(p.open[from].start, at)
	}
	for _, sp := range p.open[from:to] {
		end := at
		if g := s.numbers.only(sp.seq, sp.start, seq, at); g != nil && g.from > sp.start {
			end = g.from
		}
		sp.set(isTruncated, true)
		s.close(sp, end)
		s.process.repairs++
	}
	p.open = slices.Delete(p.open, from, to)
}

// cut ends the spans whose exits have been lost where one starts that ends after them.
func (s *spans) cut(p *pairing, start, end int64) {
	var lost []*span
	s.tree.overlapping(start, start, func(sp *span) bool {
		if sp.lane == p.lane && sp.is(isTruncated) && sp.end < end {
			lost = append(lost, sp)
		}
		return true
	})
	for _, sp := range lost {
		s.close(sp, start)
	}
}

// begin adds the span of a mark.
func (s *spans) begin(p *pairing, m *mark, start, end int64) *span {
	sp := &span{
		start: start, end: end, lane: p.lane, name: m.name, attributes: m.attributes, seq: m.seq, newestChild: never,
		marks: 1, flags: isPaired | isWhole | wasAnnounced,
	}
	sp.set(isOpen, end == forever)
	s.number(sp)
	s.attach(sp, "")
	return sp
}

// close ends an open span. One without a duration is none.
func (s *spans) close(sp *span, end int64) {
	s.detach(sp)
	sp.set(isWhole, true)
	sp.set(isOpen, false)
	if sp.end = end; end > sp.start {
		s.attach(sp, "")
	}
}

// pairAgain pairs the marks of the lanes to which late ones have come.
func (s *stream) pairAgain(p *process) {
	if p.spans == nil {
		return
	}
	for _, pairs := range slices.Clone(p.spans.pairings) { // pairing them removes those that have become empty
		if !pairs.late {
			continue
		}
		s.changePairs(p, never, func() { p.spans.pairAll(pairs) })
	}
}

func (s *spans) pairAll(p *pairing) {
	var all []*span
	s.tree.each(func(sp *span) {
		if sp.lane == p.lane && sp.is(isPaired) { // others may have come whole
			all = append(all, sp)
		}
	})
	for _, sp := range all {
		s.detach(sp)
	}
	p.forget(s.process.floor()) // or they would come to life again
	repairs := s.process.repairs
	p.open, p.late, p.longest = p.open[:0], false, 0
	p.doubts, p.left = nil, nil
	for i := range p.marks {
		s.pair(p, i)
	}
	s.process.repairs = repairs // they have been counted
	s.trim(s.process.floor())
}

// forgetMarks drops the marks before the window of spans that have been evicted.
func (s *spans) forgetMarks(floor int64) {
	for _, p := range s.pairings {
		if 4*p.stale > len(p.marks) || len(p.marks) > 2*p.kept+boundariesPerSpan && p.marks[0].time < floor {
			p.forget(floor)
		}
	}
	s.pairings = slices.DeleteFunc(s.pairings, func(p *pairing) bool { return len(p.marks) == 0 && p.lane.spans == 0 })
}

// forget drops the marks of spans that have been evicted, and those before the window.
func (p *pairing) forget(floor int64) {
	p.marks = slices.DeleteFunc(p.marks, func(m mark) bool {
		return m.span != nil && m.span.marks == 0 || m.time < floor && (m.span == nil || m.span.end <= floor)
	})
	p.stale, p.kept = 0, len(p.marks)
	p.doubts.forget(floor)
}

// pairedPath is the path of a paired span: the names of those around it, and its own.
func (s *spans) pairedPath(sp *span) (path boundary.Path) {
	s.tree.overlapping(sp.start, sp.start, func(outer *span) bool {
		if outer.lane == sp.lane && !sp.before(outer) && s.isActive(outer, sp.start) {
			path = s.process.options.extend(path, outer.name)
		}
		return true
	})
	return path
}

// isUncertain reports whether a boundary around a moment may be missing on the lane of
// pairs: the numbers say so, and nothing that came later shows that what was open then went
// on, and that nothing else was.
func (s *spans) isUncertain(p *pairing, active []*span, at int64) bool {
	if !s.numbers.isComplete() || len(p.marks) == 0 {
		return false
	}
	for i := range s.numbers.gaps {
		g := &s.numbers.gaps[i]
		if at < g.from {
			break
		}
		if at < g.to {
			return true
		}
		if s.process.beganIn(g.to, at) {
			continue
		}
		certain, until := false, int64(forever)
		for _, sp := range active {
			if sp.start > g.from {
				continue
			}
			if sp.is(isOpen) || sp.is(isTruncated) {
				return true
			}
			certain, until = true, min(until, sp.end) // it was left as it had been entered
		}
		// What was entered in one gap may have been left in another one. Else it would have been
		// left by now, and seen to be.
		next := s.numbers.gapFrom(at)
		last := p.marks[len(p.marks)-1].time
		switch {
		case certain && next < until, !certain && distance(g.to, next) <= p.longest:
			return true
		case !certain && distance(g.to, at) <= p.longest && distance(g.to, max(g.to, last)) <= p.longest:
			return true
		}
	}
	return false
}

// leftName is the name of a scope that has been left.
type leftName struct {
	name  boundary.Path
	since int64
}

// maxLeft bounds the names of a lane that are remembered. Programs have few.
const maxLeft = 64

// leave notes that a span is left. One that is inside another one of its name is taken for its
// successor, until the exit of the outer one comes, too.
func (p *pairing) leave(sp *span, m *mark) {
	if m.seq != boundary.Unnumbered {
		return
	}
	left := leftName{m.name, m.time}
	if d := p.doubts.endingAt(sp.start); d != nil {
		left.since = d.from
	}
	i := slices.IndexFunc(p.left, func(l leftName) bool { return l.name == m.name })
	switch {
	case i >= 0:
		p.left[i] = left
	case len(p.left) < maxLeft:
		p.left = append(p.left, left)
	default:
		copy(p.left, p.left[1:])
		p.left[maxLeft-1] = left
	}
}

// unenteredSince returns since when a scope may have been open whose exit comes without its enter:
// since what is around it was entered, and the last one of its name was left.
func (p *pairing) unenteredSince(name boundary.Path) int64 {
	since := int64(never)
	if len(p.open) > 0 {
		since = p.open[len(p.open)-1].start
	}
	if i := slices.IndexFunc(p.left, func(l leftName) bool { return l.name == name }); i >= 0 {
		since = max(since, p.left[i].since)
	}
	return since
}

// snapshot returns the lane as a thread of boundaries.
func (p *pairing) snapshot() Thread {
	thread := Thread{ID: p.lane.id, Boundaries: make([]boundary.Boundary, len(p.marks))}
	for i := range p.marks {
		m := &p.marks[i]
		thread.Boundaries[i] = boundary.Boundary{
			Time: m.time, Sequence: m.seq, ThreadID: p.lane.id, ThreadName: p.lane.name,
			Name: m.name.Label(), Began: m.began, Attributes: m.attributes,
		}
		if m.exit {
			thread.Boundaries[i].Action = boundary.Exit
		}
	}
	return thread
}

// addNamed adds a boundary without a path.
func (s *stream) addNamed(p *process, b *boundary.Boundary) Outcome {
	since := b.Time
	if b.Began != 0 {
		since = min(since, b.Began)
	}
	s.noteNumber(p, b.Sequence, b.Time, since)
	outcome := s.placeMark(p, b, false)
	if outcome == Accepted {
		s.known = true
		p.clock.LastBoundary = max(p.clock.LastBoundary, b.Time)
		if b.Action == boundary.Enter {
			p.clock.LastEnter = max(p.clock.LastEnter, b.Time)
		}
	}
	s.trim(p)
	return outcome
}

// noteNumber notes the number of a record of a process that numbers all of them. What was open
// when it began to do so anew has ended, whichever of the records come first.
func (s *stream) noteNumber(p *process, number, at, since int64) {
	if p.spans == nil {
		p.spans = newSpans(p)
	}
	n := &p.spans.numbers
	before, changed := n.note(number, at, since)
	if !changed {
		return
	}
	for _, begin := range before {
		if begin > n.since() && !slices.Contains(n.begins, begin) { // a number before it came late
			p.unbegin(begin)
		}
	}
	for _, begin := range n.begins {
		p.begin(s, begin)
	}
	for _, pairs := range p.spans.pairings {
		pairs.late = true
	}
	p.unflushed, s.unflushed = true, true
}
