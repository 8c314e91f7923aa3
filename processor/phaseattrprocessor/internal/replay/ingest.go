// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"time"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/boundary"
)

// Ingest adds the events of one batch to an index. Consecutive events of one rank are
// added faster than events of ranks in turn. An Ingest must not be used by several
// goroutines, nor be kept beyond its batch.
type Ingest struct {
	index *Index
	// arrival is when the batch arrived, since the index was made.
	arrival time.Duration
	// again is true when another index has ingested the batch before.
	again bool
	// stream is that of the last event. registered is true when it is known to be
	// registered.
	stream     *stream
	registered bool
	// unflushed are the streams that Flush has to visit.
	unflushed map[*stream]struct{}
}

// Ingest returns the Ingest of a batch that arrives now.
func (x *Index) Ingest() *Ingest { return &Ingest{index: x, arrival: time.Since(x.started)} }

// Reingest returns the Ingest of a batch that another index has ingested before. Its
// repairs were counted there, and are not counted again.
func (x *Index) Reingest() *Ingest {
	in := x.Ingest()
	in.again = true
	return in
}

// AddResult is the result of adding a boundary.
type AddResult struct {
	Outcome Outcome
	// Late is how far the boundary's time is behind the rank's newest event; 0 when it is
	// not.
	Late time.Duration
}

// Add adds a boundary, in any order. One that is older than another of its thread changes
// what lookups return only once Flush is called, for this batch or another of the rank.
func (in *Ingest) Add(key boundary.RankKey, b *boundary.Boundary) AddResult {
	s := in.lock(key)
	if s == nil {
		return AddResult{Outcome: TooManyRanks}
	}
	defer in.unlock()
	return s.add(b, in.arrival)
}

// Observe adds an event that is not a boundary, at a time in nanoseconds since the Unix
// epoch: the rank is alive, and its events have come as far as this. A stop event ends
// its session. The outcome is Accepted or TooManyRanks.
func (in *Ingest) Observe(key boundary.RankKey, at int64, stop bool) Outcome {
	s := in.lock(key)
	if s == nil {
		return TooManyRanks
	}
	defer in.unlock()
	s.observe(at, stop, in.arrival)
	return Accepted
}

// Flush replays the late boundaries that Add has kept. It must be called after the last
// event of a batch. It returns how many earlier lookups would have had another result
// with the late boundaries that have been replayed since the last call.
func (in *Ingest) Flush() (outdated int64) {
	for s := range in.unflushed {
		if !s.lock() {
			continue // the index has removed it
		}
		outdated += s.flush()
		if in.again {
			s.discardRepairs()
		}
		s.unlock()
	}
	clear(in.unflushed)
	return outdated
}

// Registered reports whether the rank has been registered.
func (in *Ingest) Registered(key boundary.RankKey) bool {
	if in.stream == nil || in.stream.key != key {
		in.stream, in.registered = in.index.stream(key), false
	}
	if in.stream != nil && !in.registered {
		in.stream.mu.RLock()
		defer in.stream.mu.RUnlock()
		in.registered = in.stream.registered
	}
	return in.registered
}

// lock returns the stream of a rank with its mu held, or nil when there is no room for
// the rank.
func (in *Ingest) lock(key boundary.RankKey) *stream {
	for {
		if in.stream == nil || in.stream.key != key {
			in.stream, in.registered = in.index.streamFor(key), false
		}
		if in.stream == nil || in.stream.lock() {
			return in.stream
		}
		in.stream = nil // the index has removed it
	}
}

// unlock releases the stream that lock returned.
func (in *Ingest) unlock() {
	if in.again {
		in.stream.discardRepairs()
	}
	if in.stream.unflushed {
		if in.unflushed == nil {
			in.unflushed = map[*stream]struct{}{}
		}
		in.unflushed[in.stream] = struct{}{}
	}
	in.stream.unlock()
}
