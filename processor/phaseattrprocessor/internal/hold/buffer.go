// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

// Package hold keeps telemetry whose boundaries may still be on their way, and forwards
// it in order once they have come or its grace is over.
//
// One goroutine, the owner, decides what is forwarded and when; it alone reads and
// writes what waits. Each pipeline has a forwarder, so that a slow next component holds
// up its own pipeline only. Within a pipeline, parts that name the same key are
// forwarded in the order in which they came.
package hold

import (
	"container/list"
	"context"
	"errors"
	"iter"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/collector/client"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/boundary"
)

// ErrClosed is returned by Reserve once the buffer has stopped or the pipeline is
// closing: nothing waits any longer.
var ErrClosed = errors.New("the hold buffer is closed")

// Key names what telemetry waits for: a rank, or a location at which no rank is known
// yet. Exactly one of them is set.
type Key struct {
	Rank     boundary.RankKey
	Location string
}

// Wait is the moment that the events of a key must reach.
type Wait struct {
	Key Key
	// Until is in nanoseconds since the Unix epoch.
	Until int64
	// Unknown is true when no event of the key had come when the wait began: the first
	// one must come too.
	Unknown bool
}

// Part is the telemetry of one batch that is held and forwarded together: all of it
// that names some keys.
type Part struct {
	Waits []Wait
	// Bytes is what the part takes on the heap.
	Bytes int64
	// Deadline is when the part is forwarded although its boundaries have not come. KnownDeadline
	// takes its place, if it is later, once events of all keys have come.
	Deadline, KnownDeadline time.Time
}

// Outcome says why a part was released.
type Outcome uint8

const (
	// Reached: the boundaries came.
	Reached Outcome = iota
	// Expired: the deadline passed before.
	Expired
	// Evicted: the buffer was full and the part was among its pipeline's oldest.
	Evicted
	// Shutdown: the pipeline was closed.
	Shutdown
	// Outcomes is the number of outcomes.
	Outcomes
)

// String returns the outcome's name in the processor's metrics.
func (o Outcome) String() string {
	return [Outcomes]string{"reached", "expired", "evicted", "shutdown"}[o]
}

// Progress is what may end waits: it is asked by the owner, with no lock held.
type Progress interface {
	// Reached reports whether nothing is left to wait for.
	Reached(w Wait) bool
	// At returns the ranks that are known at a location.
	At(location string) []boundary.RankKey
	// Changes is another number once a rank has become known at a location.
	Changes() uint64
	// Released records that a part was released, and how long it waited.
	Released(o Outcome, waited time.Duration)
}

// Options bound the buffer.
type Options struct {
	// MaxBytes bounds the heap bytes of what waits, MaxParts the parts. Half of each is
	// shared by the pipelines, the other half is divided evenly among them. A part larger
	// than its pipeline's room is held alone.
	MaxBytes, MaxParts int64
	// MaxUnknownBytes bounds the heap bytes of what waits for unknown keys. Beyond it such
	// parts do not wait.
	MaxUnknownBytes int64
}

// Buffer holds the telemetry of the pipelines of one component ID.
type Buffer struct {
	options  Options
	progress Progress
	// events are run by the owner, one after the other.
	events  chan func(*owner)
	stop    chan struct{}
	stopped chan struct{}
	// parts is the number of parts that have not been forwarded, bytes what they take. The
	// owner writes them.
	parts, bytes atomic.Int64
	// located is the number of lanes of locations. The owner writes it.
	located atomic.Int64
}

// New returns a buffer whose owner runs until Stop.
func New(options Options, progress Progress) *Buffer {
	b := &Buffer{
		options: options, progress: progress,
		events: make(chan func(*owner)), stop: make(chan struct{}), stopped: make(chan struct{}),
	}
	go newOwner(b).run()
	return b
}

// Stop ends the owner and waits for it. All pipelines must have been closed.
func (b *Buffer) Stop() {
	close(b.stop)
	<-b.stopped
}

// do has the owner run an event. It returns false when the owner has stopped.
func (b *Buffer) do(event func(*owner)) bool {
	select {
	case b.events <- event:
		return true
	case <-b.stopped:
		return false
	}
}

// Bytes returns the heap bytes of what waits.
func (b *Buffer) Bytes() int64 { return b.bytes.Load() }

// Advance releases what waited for no more than what some ranks have reached now, and
// for the locations at which a rank has become known.
func (b *Buffer) Advance(ranks []boundary.RankKey, locations []string) {
	if b.parts.Load() == 0 {
		return
	}
	b.do(func(o *owner) {
		for _, location := range locations {
			o.resolve(location)
		}
		for _, rank := range ranks {
			o.advance(Key{Rank: rank})
		}
	})
}

// Reservation is room for the held parts of one batch, in line behind what waits for
// their keys already. It must be committed or canceled.
type Reservation struct {
	pipeline *queue
	parts    []*part
	// granted is closed by the owner once there is room, or once the pipeline is closing.
	granted chan struct{}
	refused bool
}

// part is a Part in the buffer. Its fields are the owner's.
type part struct {
	Part
	pipeline *queue
	since    time.Time
	// order is the position of the part in its pipeline.
	order uint64
	// payload and client are set once the part is committed.
	payload any
	client  client.Info
	// forced is true when the part no longer waits for its keys.
	committed, forced, released bool
	outcome                     Outcome
	// unknown is true while the part is charged to what waits for unknown keys.
	unknown bool
	// leaving is true while the part is charged to what the forwarder has.
	leaving bool
	// element is the part's in its pipeline's list.
	element *list.Element
	// heapIndex is the part's position in the owner's deadlines, -1 if it is not there.
	heapIndex int
}

// leave charges the part to what the forwarder has.
func (p *part) leave() {
	if !p.leaving {
		p.leaving = true
		p.pipeline.leaving++
		p.pipeline.leavingBytes += p.Bytes
	}
}

func (p *part) waitsForUnknown() bool {
	for i := range p.Waits {
		if p.Waits[i].Unknown {
			return true
		}
	}
	return false
}

// queue is what a pipeline has in the buffer. The fields up to mu are the owner's.
type queue struct {
	// parts lists the parts that have not been released, in order of arrival.
	parts list.List
	// pending are the reservations that wait for room.
	pending []*Reservation
	// held is the number of parts that have not been forwarded, charged what they take.
	held, charged int64
	// leaving and leavingBytes are those of them that the forwarder has.
	leaving, leavingBytes int64
	next                  uint64
	closing               bool
	// drained is closed when the queue is closing and empty.
	drained chan struct{}

	// waiting has the keys of the parts that have not been forwarded. Callers read it.
	waiting sync.Map

	// mu guards ready.
	mu sync.Mutex
	// ready are the parts that are to be forwarded, in order.
	ready []*part
	// more signals that ready is not empty.
	more chan struct{}
}

func newQueue() *queue {
	return &queue{drained: make(chan struct{}), more: make(chan struct{}, 1)}
}

// all yields the parts that have not been released, in order of arrival. The one at hand
// and later ones may be released meanwhile.
func (q *queue) all() iter.Seq[*part] {
	return func(yield func(*part) bool) {
		var last *list.Element // of those that have been yielded and not released
		for {
			e := q.parts.Front()
			if last != nil {
				e = last.Next()
			}
			if e == nil || !yield(e.Value.(*part)) {
				return
			}
			if !e.Value.(*part).released {
				last = e
			}
		}
	}
}

func (q *queue) push(p *part) {
	q.mu.Lock()
	q.ready = append(q.ready, p)
	q.mu.Unlock()
	select {
	case q.more <- struct{}{}:
	default: // signaled already
	}
}

func (q *queue) take() []*part {
	q.mu.Lock()
	defer q.mu.Unlock()
	ready := q.ready
	q.ready = nil
	return ready
}

// reserve waits for room until ctx is done.
func (b *Buffer) reserve(ctx context.Context, q *queue, parts []Part) (*Reservation, error) {
	r := &Reservation{pipeline: q, granted: make(chan struct{})}
	now := time.Now()
	for i := range parts {
		r.parts = append(r.parts, &part{Part: parts[i], pipeline: q, since: now, heapIndex: -1})
	}
	if !b.do(func(o *owner) { o.reserve(r) }) {
		return nil, ErrClosed
	}
	select {
	case <-r.granted:
	case <-ctx.Done():
		if b.do(func(o *owner) { o.cancel(r) }) {
			return nil, context.Cause(ctx)
		}
		return nil, ErrClosed
	}
	if r.refused {
		return nil, ErrClosed
	}
	return r, nil
}
