// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"math"
	"slices"

	"github.com/phaseattr/phaseattr/internal/boundary"
)

// MaxPresences bounds the presences of a process. Past it, the one with the oldest newest
// event makes room.
const MaxPresences = 16

// Presence is when a process was where one of its events said. Times are in nanoseconds
// since the Unix epoch.
type Presence struct {
	// Print is the Sender's.
	Print uint64
	// Since and Last are the times of the first and of the newest event.
	Since, Last int64
	// Taken is when a restart of the process took its places; the smallest int64 if none
	// has. A later event of the presence takes them back.
	Taken int64
	// bytes is what the presence takes.
	bytes int32
	// takenBy is the restart.
	takenBy boundary.Occupant
	// lifespan has all times at which the presence can be found.
	lifespan *boundary.Lifespan
}

// bound updates the presence's lifespan. last is the last time at which the process can answer.
func (p *Presence) bound(last int64) {
	if p.Taken != never {
		last = min(last, p.Taken-1)
	}
	p.lifespan.Set(p.Since, last)
}

// bound updates the lifespans of the presences after a change.
func (p *process) bound() {
	last := int64(math.MaxInt64)
	switch timeout := int64(p.options.SessionTimeout); {
	case p.ended():
		last = p.clock.Now
	case timeout > 0 && p.clock.Now < math.MaxInt64-2*timeout:
		// Later than need be, so that few events change it.
		if last = p.clock.Now + timeout; p.last >= last && p.last <= last+timeout/4 {
			last = p.last
		} else {
			last += timeout / 4
		}
	}
	if last = max(last, p.floor()); last == p.last {
		return
	}
	p.last = last
	for i := range p.presences {
		p.presences[i].bound(last)
	}
}

// present notes an event of a presence and returns its number. It reports whether the
// presence is new, or began earlier than was known, or takes its places back.
func (p *process) present(identity uint64, bytes int32, at int64) (number int32, isNew, earlier, back bool) {
	if identity == 0 { // it does not say where it is
		return -1, false, false, false
	}
	oldest := 0
	for i := range p.presences {
		q := &p.presences[i]
		if q.Print == identity {
			earlier = at < q.Since
			q.Since, q.Last = min(q.Since, at), max(q.Last, at)
			if at >= q.Taken {
				back, q.Taken = q.Taken != never, never
			}
			if earlier || back {
				q.bound(p.last)
			}
			return int32(i), false, earlier, back
		}
		if q.Last < p.presences[oldest].Last {
			oldest = i
		}
	}
	q := Presence{
		Print: identity, Since: at, Last: at, Taken: never, bytes: presenceBytes + bytes,
		lifespan: boundary.NewLifespan(at, p.last),
	}
	p.presenceBytes += int(q.bytes)
	if len(p.presences) == MaxPresences {
		p.presenceBytes -= int(p.presences[oldest].bytes)
		p.presences[oldest].lifespan.Set(never, math.MaxInt64) // whoever has it asks for the new one by its number
		p.presences[oldest] = q
		return int32(oldest), true, false, false
	}
	p.presences = append(p.presences, q)
	return int32(len(p.presences) - 1), true, false, false //nolint:gosec // at most MaxPresences
}

// presentSince notes that a presence began by a time. It reports whether that is earlier than
// was known.
func (p *process) presentSince(identity uint64, at int64) bool {
	for i := range p.presences {
		if q := &p.presences[i]; q.Print == identity && at < q.Since {
			q.Since = at
			q.bound(p.last)
			return true
		}
	}
	return false
}

// Contend decides which of two processes, of different ranks, holds an exclusive place that
// both claim, such as a device. The later one is a restart of the former one if it has the
// same rank number and the same session or job, or if it sent a start event under the same
// process name. The former one is then over, unless it is seen there again. Any other
// newcomer shares the place. Contend returns the ranks that may have ended. It must be
// called again when a late event shows that one of the two came earlier.
func (x *Index) Contend(a, b boundary.Occupant, sameJob bool) (ended []boundary.RankKey) {
	if a.Rank == b.Rank {
		return nil
	}
	one, known := x.contender(&a)
	two, alsoKnown := x.contender(&b)
	if !known || !alsoKnown {
		return nil
	}
	related := a.Rank.Rank == b.Rank.Rank && (sameJob || a.Rank.Session == b.Rank.Session)
	if x.succeed(&one, &two, &a, &b, related) {
		ended = append(ended, a.Rank)
	}
	if x.succeed(&two, &one, &b, &a, related) {
		ended = append(ended, b.Rank)
	}
	return ended
}

// contender is what Contend compares of a process.
type contender struct {
	name     boundary.Process
	presence Presence
	starts   []int64
}

func (x *Index) contender(o *boundary.Occupant) (_ contender, known bool) {
	s, p, q := x.occupant(o)
	if s == nil {
		return contender{}, false
	}
	defer s.mu.RUnlock()
	return contender{p.name, *q, slices.Clone(p.starts)}, true
}

// occupant returns the stream, the process and the presence of an occupant, with the
// stream's mu held for reading, or nil when they have made room.
func (x *Index) occupant(o *boundary.Occupant) (*stream, *process, *Presence) {
	s := x.stream(o.Rank)
	if s == nil {
		return nil, nil, nil
	}
	s.mu.RLock()
	p, q := s.occupant(o)
	if q == nil {
		s.mu.RUnlock()
		return nil, nil, nil
	}
	return s, p, q
}

// occupant returns the process and the presence of an occupant, nil when they have made
// room. It is called with mu held.
func (s *stream) occupant(o *boundary.Occupant) (*process, *Presence) {
	p := s.numbered(o.Process)
	if p == nil || o.Presence < 0 || int(o.Presence) >= len(p.presences) {
		return nil, nil
	}
	return p, &p.presences[o.Presence]
}

// succeed ends the former process, the occupant o, when the other one is its successor. It
// takes that back when the other one has turned out not to be.
func (x *Index) succeed(former, successor *contender, o, by *boundary.Occupant, related bool) bool {
	from, taken := successor.presence.Since, related && successor.presence.Since > former.presence.Since
	if former.name.Named() && former.name.Fits(successor.name) && successor.name.Named() {
		for _, start := range successor.starts {
			if start > former.presence.Last && (!taken || start < from) {
				from, taken = start, true
			}
		}
	}
	if taken = taken && former.presence.Last < from; !taken && former.presence.takenBy != *by {
		return false
	}
	s := x.stream(o.Rank)
	if s == nil || !s.lock() {
		return false
	}
	defer s.mu.Unlock()
	p, q := s.occupant(o)
	switch {
	case q == nil:
		return false
	case !taken:
		if q.takenBy == *by {
			q.Taken, q.takenBy = never, boundary.Occupant{}
			q.bound(p.last)
		}
		return false
	case q.Last >= from, q.Taken != never && q.Taken <= from:
		return false
	}
	q.Taken, q.takenBy = from, *by
	q.bound(p.last)
	return true
}

// StatusOf returns the status of an occupant's process at a time, which is Ended when
// another one has taken its place. It is Unknown before the occupant came there.
func (x *Index) StatusOf(o *boundary.Occupant, at int64) Status {
	s, p, q := x.occupant(o)
	if s == nil {
		return Unknown
	}
	defer s.mu.RUnlock()
	switch {
	case at < q.Since:
		return Unknown
	case q.isTaken(at):
		return Ended
	}
	return s.status(p, at)
}

// Present reports whether an occupant was at its places, and can have been alive, between
// two moments.
func (x *Index) Present(o *boundary.Occupant, from, to int64) bool {
	s, p, q := x.occupant(o)
	if s == nil {
		return false
	}
	defer s.mu.RUnlock()
	return q.Since <= to && !q.isTaken(from) && !p.startedIn(q.Last, from) && !s.over(p, from)
}

// isTaken reports whether another process has taken the places by a time.
func (p *Presence) isTaken(at int64) bool { return p.Taken != never && p.Taken <= at }

// startedIn reports whether the process started after one time and until another. One that
// was started again may be elsewhere.
func (p *process) startedIn(after, until int64) bool {
	i, known := slices.BinarySearch(p.starts, after)
	if known {
		i++
	}
	return p.options.Repair && i < len(p.starts) && p.starts[i] <= until
}
