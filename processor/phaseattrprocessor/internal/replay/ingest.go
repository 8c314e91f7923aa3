// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"time"

	"github.com/phaseattr/phaseattr/internal/boundary"
)

// Ingest adds the events of one batch to an index. Consecutive events of one rank are
// added faster than events of ranks in turn. An Ingest must not be used by several
// goroutines, nor be kept beyond its batch.
type Ingest struct {
	index *Index
	// arrival is when the batch arrived, since the index was made, now the same by the wall
	// clock, in nanoseconds since the Unix epoch.
	arrival time.Duration
	now     int64
	// again is true when another index has ingested the batch before.
	again bool
	// stream is that of the last event.
	stream *stream
	// unflushed are the streams that Flush has to visit.
	unflushed map[*stream]struct{}
	// vacated are the ranks that have made room for others.
	vacated []boundary.RankKey
}

// Ingest returns the Ingest of a batch that arrives now.
func (x *Index) Ingest() *Ingest {
	return &Ingest{index: x, arrival: time.Since(x.started), now: time.Now().UnixNano()}
}

// Reingest returns the Ingest of a batch that another index has ingested before. Its
// repairs were counted there, and are not counted again.
func (x *Index) Reingest() *Ingest {
	in := x.Ingest()
	in.again = true
	return in
}

// Added is the result of adding an event.
type Added struct {
	Outcome Outcome
	// Late is how far a boundary's time is behind its process's newest event; 0 when it is
	// not.
	Late time.Duration
	// Occupant is the sender, as the index numbers it, unless there is no room for it. Moved
	// is true when the presence is new: it may have the number of one that made room.
	// Earlier is true when it began earlier than was known. Dropped are the numbers of
	// processes of the rank that have made room.
	// Lifespan is that of the presence, nil if the event does not say where it is.
	Occupant boundary.Occupant
	Lifespan *boundary.Lifespan
	Moved    bool
	Earlier  bool
	Dropped  []int32
	// Transitions are what the event has changed of its process.
	Transitions Transitions
	// Trusted is how far ahead the sender's clock is known to be since; 0 when it has been
	// before.
	Trusted time.Duration
}

// Add adds a boundary, in any order. One that is older than another of its thread changes
// what lookups return only once Flush is called, for this batch or another of the rank.
func (in *Ingest) Add(from *Sender, b *boundary.Boundary) Added {
	s := in.lock(from.Rank, thatCounts)
	if s == nil {
		return Added{Outcome: TooManyRanks}
	}
	defer in.unlock()
	p, added := in.sender(s, from, b.Time)
	if p != nil {
		if b.Lane != "" {
			b.ThreadID, b.ThreadName, b.Lane = boundary.LaneID(b.Lane), b.Lane, ""
		}
		was := p.ended()
		added.Outcome, added.Late = s.add(p, b)
		in.count(s, p)
		added.Transitions |= s.takeTransitions(p, was)
	}
	return added
}

// Observe adds an event that is not a boundary: the process is alive, and its events have
// come as far as this.
func (in *Ingest) Observe(from *Sender, e *Event) Added {
	s := in.lock(from.Rank, e.Kind == Start)
	if s == nil {
		return Added{Outcome: TooManyRanks}
	}
	defer in.unlock()
	p, added := in.sender(s, from, e.Time)
	if p != nil {
		was := p.ended()
		s.observe(p, e)
		in.count(s, p)
		added.Transitions |= s.takeTransitions(p, was)
		if e.Kind == Stop {
			in.index.rate(s)
		}
	}
	return added
}

// sender returns the process that sent an event, nil if there is no room for it, and the
// result so far.
func (in *Ingest) sender(s *stream, from *Sender, at int64) (*process, Added) {
	name := from.Process
	if !in.index.options.Repair {
		name = boundary.Process{Aside: name.Aside}
	}
	p, outcome := s.process(name, at)
	if p == nil {
		return nil, Added{Outcome: outcome}
	}
	s.lastArrival = in.arrival
	var trusted time.Duration
	if !in.again && p.skew.note(in.ahead(at)) {
		trusted = time.Duration(p.skew.usual)
	}
	if !in.again || from.Feed != nil { // what is restored says once who its sender is
		p.by(from)
	}
	added := Added{Occupant: boundary.Occupant{Rank: s.key, Process: p.number}, Dropped: s.dropped, Trusted: trusted}
	var back bool
	if added.Occupant.Presence, added.Moved, added.Earlier, back = p.present(from.Print, from.Bytes, at); back {
		added.Transitions.add(Resumed)
	}
	if added.Occupant.Presence >= 0 {
		added.Lifespan = p.presences[added.Occupant.Presence].lifespan
	}
	s.dropped = nil
	return p, added
}

// count brings the counters up to date with a process that an event has changed.
func (in *Ingest) count(s *stream, p *process) {
	if in.again {
		p.repairs = 0
	}
	s.count(p)
}

// Vacated returns the ranks that have made room for others since the last call. They are
// forgotten.
func (in *Ingest) Vacated() []boundary.RankKey {
	vacated := in.vacated
	in.vacated = nil
	return vacated
}

// Flush replays the late boundaries that Add has kept. It must be called after the last
// event of a batch. It returns how many earlier lookups would have had another result
// with the late boundaries that have been replayed since the last call.
func (in *Ingest) Flush() (outdated int64) {
	for s := range in.unflushed {
		if !s.lock() {
			continue // the index has removed it
		}
		outdated += s.flush(in.again)
		s.mu.Unlock()
	}
	clear(in.unflushed)
	return outdated
}

// thatCounts says that a rank counts against the bound of ranks, by what it sends.
const thatCounts = true

// lock returns the stream of a rank with its mu held, or nil when there is no room for
// the rank.
func (in *Ingest) lock(key boundary.RankKey, counts bool) *stream {
	for {
		if in.stream == nil || in.stream.key != key {
			var vacated []boundary.RankKey
			in.stream, vacated = in.index.streamFor(key, in.again)
			in.vacated = append(in.vacated, vacated...)
		}
		if in.stream == nil {
			return nil
		}
		if !in.stream.lock() {
			in.stream = nil // the index has removed it
			continue
		}
		if !counts {
			return in.stream
		}
		admitted, vacated := in.index.admit(in.stream)
		in.vacated = append(in.vacated, vacated...)
		if !admitted {
			in.stream.mu.Unlock()
			return nil
		}
		return in.stream
	}
}

// unlock releases the stream that lock returned.
func (in *Ingest) unlock() {
	if in.stream.standing != lasting {
		in.index.rate(in.stream)
	}
	if in.stream.unflushed {
		if in.unflushed == nil {
			in.unflushed = map[*stream]struct{}{}
		}
		in.unflushed[in.stream] = struct{}{}
	}
	in.stream.mu.Unlock()
}
