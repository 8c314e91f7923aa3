// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

// Package ending knows which series each stream of points is in, so that the one that it
// leaves can be ended. A stream has an identity that does not change, a series the
// attributes that do: those of a phase.
package ending

import (
	"sync"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
)

// Series is a series of some stream. It does not change once it is tracked.
type Series struct {
	// Hash tells series of a stream apart.
	Hash uint64
	// Attributes are those that other series of the stream lack, or have other values of.
	Attributes pcommon.Map
}

// tick is the resolution of the times in Prometheus, in nanoseconds.
const tick = int64(time.Millisecond)

// state is what a stream was in last.
type state struct {
	series *Series
	at     int64
}

// Tracker tracks the series of at most a number of streams. It forgets those that have not
// been observed for one to two windows. It is safe for concurrent use.
type Tracker struct {
	hasher *Hasher
	limit  int
	window time.Duration

	// mu guards the rest.
	mu sync.Mutex
	// current has the streams that were observed in this window, previous those that were
	// observed in the one before but not since.
	current, previous map[uint64]state
	began             time.Time
}

// New returns a tracker of at most limit streams, whose series a hasher tells apart.
func New(hasher *Hasher, limit int, window time.Duration) *Tracker {
	return &Tracker{
		hasher: hasher, limit: limit, window: window,
		current: map[uint64]state{}, previous: map[uint64]state{}, began: time.Now(),
	}
}

// Len returns the number of streams that are tracked.
func (t *Tracker) Len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.current) + len(t.previous)
}

// Begin begins a batch. Others wait until its End.
func (t *Tracker) Begin() *Batch {
	t.mu.Lock()
	if time.Since(t.began) >= t.window {
		t.previous, t.current = t.current, make(map[uint64]state, len(t.current))
		t.began = time.Now()
	}
	return &Batch{tracker: t}
}

// Undo makes the streams that a batch has moved be where they were, unless they have moved
// on: the batch has not been forwarded.
func (t *Tracker) Undo(moves []Move) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := len(moves) - 1; i >= 0; i-- {
		m := &moves[i]
		if now, _ := t.get(m.stream); now.series != m.after {
			continue
		}
		if m.before.series == nil {
			delete(t.current, m.stream)
		} else {
			t.current[m.stream] = m.before
		}
	}
}

// get returns the state of a stream, which is then among the current ones.
func (t *Tracker) get(stream uint64) (state, bool) {
	if s, ok := t.current[stream]; ok {
		return s, true
	}
	s, ok := t.previous[stream]
	if ok {
		delete(t.previous, stream)
		t.current[stream] = s
	}
	return s, ok
}

// Move is a stream that a batch has moved to another series, or to none.
type Move struct {
	stream uint64
	before state
	after  *Series
}

// Batch tracks the points of one batch.
type Batch struct {
	tracker *Tracker
	// Moves are what Undo needs.
	Moves []Move
	// Untracked counts points of streams beyond the limit.
	Untracked int64
	// entered are the series that streams have entered, by their hash: most have a phase in
	// common.
	entered map[uint64]*Series
}

// End ends the batch.
func (b *Batch) End() { b.tracker.mu.Unlock() }

// End is a point that ends a series. The zero End is none.
type End struct {
	Series *Series
	// At is in nanoseconds since the Unix epoch.
	At int64
}

// Observe tracks a point of a stream at a time, with the hash of its series and its
// attributes. It returns the end of a series:
//
//   - the one that the stream has left, at the time of the point;
//   - the point's own, if the stream has been in another one since;
//   - none, if the stream is new, or stays where it is.
func (b *Batch) Observe(stream uint64, at int64, hash uint64, attributes pcommon.Map) End {
	t := b.tracker
	was, known := t.get(stream)
	switch {
	case !known && len(t.current)+len(t.previous) >= t.limit:
		b.Untracked++
		return End{}
	case known && was.series.Hash == hash:
		if at > was.at {
			t.current[stream] = state{was.series, at}
		}
		return End{}
	case known && at < was.at:
		return End{b.series(hash, attributes), was.at}
	}
	entered := b.series(hash, attributes)
	t.current[stream] = state{entered, at}
	b.Moves = append(b.Moves, Move{stream, was, entered})
	if !known {
		return End{}
	}
	return End{was.series, max(at, was.at+tick)}
}

// Stop ends what a stream is in, at the time of a point without a value. It returns nil if
// that is not known, or if the stream has had another point then or since.
func (b *Batch) Stop(stream uint64, at int64) *Series {
	was, known := b.tracker.get(stream)
	if !known || at <= was.at {
		return nil
	}
	delete(b.tracker.current, stream)
	b.Moves = append(b.Moves, Move{stream: stream, before: was})
	return was.series
}

func (b *Batch) series(hash uint64, attributes pcommon.Map) *Series {
	s, ok := b.entered[hash]
	if !ok {
		if b.entered == nil {
			b.entered = map[uint64]*Series{}
		}
		s = b.tracker.hasher.series(hash, attributes)
		b.entered[hash] = s
	}
	return s
}
