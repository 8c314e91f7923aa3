// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

// Package hold keeps telemetry whose boundaries may still be on their way, and forwards
// it in order once they have come or its grace is over.
//
// One mutex guards all that waits. Each pipeline has a forwarder, so that a slow next
// component holds up its own pipeline only. Within a pipeline, parts that name the same
// key are forwarded in the order in which they came.
package hold

import (
	"errors"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/phaseattr/phaseattr/internal/boundary"
)

// ErrClosed is returned by Reserve once the pipeline is closing: nothing waits any longer.
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
	// Tenant is whose telemetry it is.
	Tenant string
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

// Progress is what may end waits. It is asked with the buffer's mu held, so it must not
// call the buffer.
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
	// than its pipeline's room is held alone. An eighth of each is kept free for the sessions
	// that take no more than an even share, each of its tenant's.
	MaxBytes, MaxParts int64
	// MaxUnknownBytes bounds the heap bytes of what waits for unknown keys. Each tenant that
	// has some may have an even share of it. Beyond it such parts do not wait.
	MaxUnknownBytes int64
}

// Buffer holds the telemetry of the pipelines of one component ID.
type Buffer struct {
	options  Options
	progress Progress

	// heldParts is the number of parts that have not been forwarded, heldBytes what they
	// take. They are written with mu held.
	heldParts, heldBytes atomic.Int64

	// mu guards what follows, and what the queues have.
	mu     sync.Mutex
	queues []*Queue
	// order is that of the next part.
	order uint64
	// unknown is what the parts take that wait for unknown keys, by tenant.
	unknown map[string]int64
	// changes is what Progress.Changes returned when Locate last looked: it visits all lanes.
	changes uint64
}

// New returns an empty buffer.
func New(options Options, progress Progress) *Buffer {
	return &Buffer{options: options, progress: progress, unknown: map[string]int64{}}
}

// Bytes returns the heap bytes of what waits.
func (b *Buffer) Bytes() int64 { return b.heldBytes.Load() }

// Advance releases what waited for no more than what some ranks have reached now, and
// for the locations at which a rank has become known.
func (b *Buffer) Advance(ranks []boundary.RankKey, locations []string) {
	if b.heldParts.Load() == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, location := range locations {
		b.resolve(location)
	}
	for _, rank := range ranks {
		for _, q := range b.queues {
			q.settleFront(Key{Rank: rank})
		}
	}
}

// Locate has what waits for locations wait for the ranks that are known there by now, so
// that what names these ranks lines up behind it. It is called once a batch has been
// assigned to its ranks.
func (b *Buffer) Locate() {
	b.mu.Lock()
	defer b.mu.Unlock()
	changes := b.progress.Changes()
	if changes == b.changes {
		return
	}
	b.changes = changes
	for _, q := range b.queues {
		for key := range q.lanes {
			if key.Location != "" {
				b.resolve(key.Location)
			}
		}
	}
}

// resolve has what waits for a location wait for the ranks that are known there now.
func (b *Buffer) resolve(location string) {
	ranks := b.progress.At(location)
	if len(ranks) == 0 {
		return
	}
	for _, q := range b.queues {
		q.relocate(Key{Location: location}, ranks)
	}
}

// room is what a queue can take: its share, and what the others have left of the half that
// all share.
func (b *Buffer) room(q *Queue) (bytes, parts int64) {
	n := int64(len(b.queues))
	shareBytes, shareParts := b.options.MaxBytes/2/n, b.options.MaxParts/2/n
	bytes, parts = b.options.MaxBytes-n*shareBytes, b.options.MaxParts-n*shareParts
	for _, other := range b.queues {
		if other != q {
			bytes -= max(other.bytes-shareBytes, 0)
			parts -= max(int64(other.parts.Len())-shareParts, 0)
		}
	}
	return shareBytes + max(bytes, 0), shareParts + max(parts, 0)
}

// fits reports whether a queue has room for more.
func (b *Buffer) fits(q *Queue, bytes, parts int64) bool {
	roomBytes, roomParts := b.room(q)
	return q.bytes+bytes <= roomBytes && int64(q.parts.Len())+parts <= roomParts
}

// spare is what is kept free of a queue's room.
func (b *Buffer) spare() (bytes, parts int64) {
	n := int64(len(b.queues))
	return b.options.MaxBytes / 8 / n, b.options.MaxParts / 8 / n
}

// known reports whether events of all keys of a part have come.
func (b *Buffer) known(p *part) bool {
	return !slices.ContainsFunc(p.Waits, func(w Wait) bool {
		w.Until = math.MinInt64
		return w.Key.Location != "" || !b.progress.Reached(w)
	})
}
