// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

// Package doubt keeps events that are dated so far ahead of their arrival that they are not
// believed, until other events of their sender agree.
package doubt

import (
	"container/list"
	"sync"
	"time"
)

const (
	// maxSenders bounds the senders that are doubted. Past it, the one that has been for
	// longest is given up.
	maxSenders = 1024
	// maxPerSender bounds the events of a sender. Past it, its oldest is given up.
	maxPerSender = 16
)

// Event is an event that is doubted.
type Event[T any] struct {
	// At is the event's time, in nanoseconds since the Unix epoch, Ahead how far it was
	// ahead when the event arrived.
	At    int64
	Ahead time.Duration
	Value T
}

// Doubts keeps the events that are doubted, by their senders. It is safe for concurrent use.
type Doubts[K comparable, T any] struct {
	// tolerance is how far apart senders' clocks can be that are set right.
	tolerance time.Duration

	mu      sync.Mutex
	senders map[K]*list.Element // of order
	// order has the *sender[K, T], the one that was doubted first in front.
	order list.List
}

type sender[K comparable, T any] struct {
	key    K
	since  time.Time
	events []Event[T]
}

// New returns a Doubts without events. Two events agree on their sender's clock if they are
// ahead by as much, or nearly: one may have been on its way twice as long.
func New[K comparable, T any](tolerance time.Duration) *Doubts[K, T] {
	return &Doubts[K, T]{tolerance: tolerance, senders: map[K]*list.Element{}}
}

// Add adds an event unless an earlier one of the sender agrees with it. It then returns the
// earlier ones that are to be believed with it, in order, how far ahead the sender's clock
// is, and true. It returns the events that it gives up, too.
func (d *Doubts[K, T]) Add(key K, e Event[T]) (believed []Event[T], ahead time.Duration, agreed bool, givenUp []Event[T]) {
	d.mu.Lock()
	defer d.mu.Unlock()
	element, ok := d.senders[key]
	if !ok {
		if len(d.senders) == maxSenders {
			givenUp = d.remove(d.order.Front())
		}
		d.senders[key] = d.order.PushBack(&sender[K, T]{key: key, since: time.Now(), events: []Event[T]{e}})
		return nil, 0, false, givenUp
	}
	s := element.Value.(*sender[K, T])
	for i := range s.events {
		if d.agree(&s.events[i], &e) {
			ahead, agreed = max(ahead, s.events[i].Ahead, e.Ahead), true
		}
	}
	if !agreed {
		s.events = append(s.events, e)
		if len(s.events) > maxPerSender {
			givenUp = append(givenUp, s.events[0])
			s.events = append(s.events[:0], s.events[1:]...)
		}
		return nil, 0, false, givenUp
	}
	believed = s.explained(ahead + d.tolerance)
	if len(s.events) == 0 {
		d.remove(element)
	}
	return believed, ahead, true, nil
}

// agree reports whether two events show the same wrong clock. The same event again shows
// nothing.
func (d *Doubts[K, T]) agree(a, b *Event[T]) bool {
	less, more := min(a.Ahead, b.Ahead), max(a.Ahead, b.Ahead)
	return a.At != b.At && (more-less <= d.tolerance || more-less < less)
}

// remove removes a sender and returns its events.
func (d *Doubts[K, T]) remove(element *list.Element) []Event[T] {
	s := d.order.Remove(element).(*sender[K, T])
	delete(d.senders, s.key)
	return s.events
}

// Agree removes and returns the events of some senders, in order, that are no further ahead than
// their clock is known to be by now.
func (d *Doubts[K, T]) Agree(of func(K) bool, ahead time.Duration) (believed []Event[T]) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var next *list.Element
	for element := d.order.Front(); element != nil; element = next {
		next = element.Next()
		s := element.Value.(*sender[K, T])
		if !of(s.key) {
			continue
		}
		believed = append(believed, s.explained(ahead+d.tolerance)...)
		if len(s.events) == 0 {
			d.remove(element)
		}
	}
	return believed
}

// explained removes and returns the events that are no further ahead.
func (s *sender[K, T]) explained(ahead time.Duration) (events []Event[T]) {
	var left []Event[T]
	for _, e := range s.events {
		if e.Ahead <= ahead {
			events = append(events, e)
		} else {
			left = append(left, e)
		}
	}
	s.events = left
	return events
}

// Sweep gives up the senders that have been doubted for some time, and returns their events.
func (d *Doubts[K, T]) Sweep(timeout time.Duration) (givenUp []Event[T]) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for first := d.order.Front(); first != nil && time.Since(first.Value.(*sender[K, T]).since) >= timeout; first = d.order.Front() {
		givenUp = append(givenUp, d.remove(first)...)
	}
	return givenUp
}
