// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package hold

import (
	"cmp"
	"container/list"
	"context"
	"slices"
	"sync"
	"time"

	"go.opentelemetry.io/collector/client"

	"github.com/phaseattr/phaseattr/internal/boundary"
)

// Queue is what a pipeline has in the buffer, whose mu guards all but closing and waiting.
type Queue struct {
	*Buffer
	// parts lists the parts that have not been forwarded, in order of arrival; bytes is what
	// they take.
	parts list.List
	bytes int64
	// leaving is how many of them have been released, leavingBytes what these take.
	leaving, leavingBytes int64
	// shares has what the owners of the parts take.
	shares shares
	// lanes has the parts by what they wait for.
	lanes map[Key]*lane
	// pending are the reservations that wait for room.
	pending []*Reservation
	// ready are the parts that have been released and are for the forwarder, in order. more
	// signals that there are some, or that the pipeline is over.
	ready []*part
	more  *sync.Cond
	// closing is closed when nothing waits any longer, and what fails is not sent again.
	closing chan struct{}
	// waiting has the keys of lanes, for those that do not hold mu.
	waiting sync.Map
}

// lane is what waits for a key, in order, and how much of it has been released but not
// forwarded.
type lane struct {
	waiting    []*part
	forwarding int
}

// Reservation is room for the held parts of one batch, in line behind what waits for
// their keys already. It must be committed or canceled.
type Reservation struct {
	parts []*part
	bytes int64
	// weight is that of the parts as shares count them.
	weight int64
	// granted is closed once there is room, or once the pipeline is closing.
	granted chan struct{}
	refused bool
	// waiting is the number of parts that have not been released, timer what ends their wait.
	waiting int
	timer   *time.Timer
}

// part is a Part in the buffer.
type part struct {
	Part
	reservation *Reservation
	owner       owner
	since       time.Time
	// order is the position of the part in its lanes.
	order uint64
	// payload and client are set once the part is committed.
	payload any
	client  client.Info
	// forced is true when the part no longer waits for its keys, evicted when nothing before
	// it does.
	committed, forced, evicted, released bool
	outcome                              Outcome
	// unknown is true when the part is charged to what waits for unknown keys.
	unknown bool
	// element is the part's in its queue, seat among those of its owner that have not been
	// released.
	element, seat *list.Element
}

func (b *Buffer) newQueue() *Queue {
	q := &Queue{
		Buffer: b, lanes: map[Key]*lane{}, more: sync.NewCond(&b.mu), closing: make(chan struct{}),
		shares: newShares(b.options.MaxBytes / max(b.options.MaxParts, 1)),
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.queues = append(b.queues, q)
	return q
}

func (q *Queue) isClosing() bool {
	select {
	case <-q.closing:
		return true
	default:
		return false
	}
}

// close releases all that waits; what is committed later goes at once.
func (q *Queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	close(q.closing)
	for _, r := range q.pending {
		r.refused = true
		close(r.granted)
	}
	q.pending = nil
	for e := q.parts.Front(); e != nil; e = e.Next() {
		e.Value.(*part).force(Shutdown)
		q.settle(e.Value.(*part))
	}
	q.free(nil)
}

// take waits for parts that are to be forwarded, and returns none once the queue is closed
// and empty.
func (q *Queue) take() []*part {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.ready) == 0 && (q.parts.Len() > 0 || !q.isClosing()) {
		q.more.Wait()
	}
	ready := q.ready
	q.ready = nil
	return ready
}

// AnyWaiting reports whether anything has not been forwarded yet, of any pipeline. It takes
// no lock.
func (q *Queue) AnyWaiting() bool { return q.heldParts.Load() > 0 }

// Waiting reports whether telemetry that names a key has not been forwarded yet: what
// follows must line up behind it. It takes no lock.
func (q *Queue) Waiting(key *Key) bool {
	_, waiting := q.waiting.Load(*key)
	return waiting
}

// Reserve takes room for the held parts of a batch, and puts them in line. When the
// buffer is full, or nearly so and their session takes more than its share, the oldest parts
// of the session that takes most are released, and Reserve waits until they have been
// forwarded or ctx is done.
func (q *Queue) Reserve(ctx context.Context, parts []Part) (*Reservation, error) {
	r := &Reservation{granted: make(chan struct{}), waiting: len(parts)}
	now := time.Now()
	for _, p := range parts {
		r.parts = append(r.parts, &part{Part: p, reservation: r, owner: ownerOf(&p), since: now})
		r.bytes += p.Bytes
		r.weight += max(p.Bytes, q.shares.slot)
	}
	if !q.line(r) {
		return nil, ErrClosed
	}
	select {
	case <-r.granted:
		if r.refused {
			return nil, ErrClosed
		}
		return r, nil
	case <-ctx.Done():
		q.Cancel(r)
		return nil, context.Cause(ctx)
	}
}

// line puts a reservation in line behind those that have been made before. It returns
// false when the queue is closing.
func (q *Queue) line(r *Reservation) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.isClosing() {
		return false
	}
	q.pending = append(q.pending, r)
	q.grant()
	return true
}

// grant takes room for the pending reservations, in order, as far as there is any, and
// releases parts to make room for the others. A session that has more than its share holds
// up nobody else.
func (q *Queue) grant() {
	var left []*Reservation
	var behind overdrawn
	for i, r := range q.pending {
		switch {
		case behind.holdsUp(r), !q.withinShare(r, 0, 0):
			behind.add(r)
			left = append(left, r)
			continue
		case q.parts.Len() > 0 && !q.fits(q, r.bytes, int64(len(r.parts))):
			left = append(left, q.pending[i:]...)
		default:
			q.admit(r)
			continue
		}
		break
	}
	q.pending = left
	q.evict()
}

// withinShare reports whether a reservation leaves some room free, or its sessions take no
// more than their shares. Some of what is held does not count.
func (q *Queue) withinShare(r *Reservation, lessBytes, lessParts int64) bool {
	spareBytes, spareParts := q.spare()
	if q.parts.Len() == 0 || q.fits(q, r.bytes+spareBytes-lessBytes, int64(len(r.parts))+spareParts-lessParts) {
		return true
	}
	bytes, parts := q.room(q)
	room := min(bytes, parts*q.shares.slot)
	return !slices.ContainsFunc(r.parts, func(p *part) bool { return !q.shares.within(p.owner, r.weight, room) })
}

// admit puts the parts of a reservation in line.
func (q *Queue) admit(r *Reservation) {
	for _, p := range r.parts {
		q.enter(p)
	}
	for _, p := range r.parts {
		for _, w := range p.Waits {
			if w.Key.Location != "" { // it may have become known since the caller looked
				q.resolve(w.Key.Location)
			}
		}
	}
	close(r.granted)
}

// evict releases parts until, once all that has been released is forwarded, there is some
// room free and enough for the first pending reservation, and for others of the sessions
// that make room: the oldest ones of the session of which most waits.
func (q *Queue) evict() {
	bytes, parts := q.spare()
	for int64(q.parts.Len())-q.leaving > 1 && !q.fits(q, bytes-q.leavingBytes, parts-q.leaving) {
		p := q.shares.largest()
		if p == nil {
			return
		}
		if released := q.forceThrough(p); !released {
			bytes, parts = bytes-p.Bytes, parts-1
		}
	}
	bytes, parts = 0, 0
	for i, r := range q.pending {
		for !q.withinShare(r, q.leavingBytes-bytes, q.leaving-parts) || !q.fits(q, bytes+r.bytes-q.leavingBytes, parts+int64(len(r.parts))-q.leaving) {
			p := q.shares.largest()
			if p == nil || i > 0 && !slices.ContainsFunc(r.parts, func(own *part) bool { return own.owner == p.owner }) {
				return
			}
			if released := q.forceThrough(p); !released {
				bytes, parts = bytes-p.Bytes, parts-1
			}
		}
		bytes, parts = bytes+r.bytes, parts+int64(len(r.parts))
	}
}

// forceThrough ends the waiting of a part, and of all that it is behind. It reports whether
// the part has been released; else one that it is behind has not been committed.
func (q *Queue) forceThrough(p *part) bool {
	var forced []*part
	for todo := []*part{p}; len(todo) > 0; todo = todo[1:] {
		next := todo[0]
		if next.evicted {
			continue
		}
		next.evicted = true
		next.force(Evicted)
		q.shares.release(next)
		forced = append(forced, next)
		for _, w := range next.Waits {
			l := q.lanes[w.Key]
			for _, before := range l.waiting[:l.position(next)] {
				if !before.evicted {
					todo = append(todo, before)
				}
			}
		}
	}
	for _, f := range slices.Backward(forced) {
		q.settle(f)
	}
	return p.released
}

// enter charges a part, and puts it in its lanes. One that waits for unknown keys does not
// wait beyond their bound.
func (q *Queue) enter(p *part) {
	p.order = q.order
	q.order++
	p.element = q.parts.PushBack(p)
	q.bytes += p.Bytes
	q.shares.enter(p)
	q.heldParts.Add(1)
	q.heldBytes.Add(p.Bytes)
	if slices.ContainsFunc(p.Waits, func(w Wait) bool { return w.Unknown }) {
		tenants := int64(len(q.unknown))
		if q.unknown[p.Tenant] == 0 {
			tenants++
		}
		if q.unknown[p.Tenant]+p.Bytes > q.options.MaxUnknownBytes/tenants {
			p.force(Evicted)
		} else {
			p.unknown = true
			q.unknown[p.Tenant] += p.Bytes
		}
	}
	for i := range p.Waits {
		q.lineUp(p, p.Waits[i].Key)
	}
}

// lineUp puts a part in the lane of a key, behind those that came before it.
func (q *Queue) lineUp(p *part, key Key) {
	l, ok := q.lanes[key]
	if !ok {
		l = &lane{}
		q.lanes[key] = l
		q.waiting.Store(key, nil)
	}
	l.waiting = slices.Insert(l.waiting, l.position(p), p)
}

// position is where in a lane a part is, or belongs.
func (l *lane) position(p *part) int {
	i, _ := slices.BinarySearchFunc(l.waiting, p, func(a, b *part) int { return cmp.Compare(a.order, b.order) })
	return i
}

// vacate forgets the lane of a key once nothing is in it.
func (q *Queue) vacate(key Key) {
	if l, ok := q.lanes[key]; ok && len(l.waiting)+l.forwarding == 0 {
		delete(q.lanes, key)
		q.waiting.Delete(key)
	}
}

// relocate has what waits for a location wait for the ranks there.
func (q *Queue) relocate(location Key, ranks []boundary.RankKey) {
	l, ok := q.lanes[location]
	if !ok {
		return
	}
	moved := l.waiting
	l.waiting = nil
	q.vacate(location)
	for _, p := range moved {
		i := slices.IndexFunc(p.Waits, func(w Wait) bool { return w.Key == location })
		until := p.Waits[i].Until
		p.Waits = slices.Delete(slices.Clone(p.Waits), i, i+1)
		for _, rank := range ranks {
			key := Key{Rank: rank}
			if j := slices.IndexFunc(p.Waits, func(w Wait) bool { return w.Key == key }); j >= 0 {
				p.Waits[j].Until = max(p.Waits[j].Until, until)
				continue
			}
			p.Waits = append(p.Waits, Wait{Key: key, Until: until})
			q.lineUp(p, key)
		}
	}
	for _, p := range moved {
		q.settle(p)
	}
}

// commit lets the parts of a reservation wait.
func (q *Queue) commit(r *Reservation) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, p := range r.parts {
		p.committed = true
		if q.isClosing() {
			p.force(Shutdown)
		}
	}
	for _, p := range r.parts {
		q.settle(p)
	}
	q.schedule(r)
	q.grant() // others may wait for the room of these parts
}

// schedule releases the parts of a reservation that have waited until their deadlines, and
// comes back for the others.
func (q *Queue) schedule(r *Reservation) {
	now := time.Now()
	var next time.Time
	for _, p := range r.parts {
		if !p.Deadline.After(now) && p.KnownDeadline.After(now) && q.known(p) {
			p.Deadline = p.KnownDeadline
		}
		switch {
		case p.forced || p.released:
		case !p.Deadline.After(now):
			p.force(Expired)
			q.settle(p)
		case next.IsZero() || p.Deadline.Before(next):
			next = p.Deadline
		}
	}
	if !next.IsZero() {
		r.timer = time.AfterFunc(next.Sub(now), func() {
			q.mu.Lock()
			defer q.mu.Unlock()
			q.schedule(r)
		})
	}
}

// Cancel takes a reservation, or its parts, out again.
func (q *Queue) Cancel(r *Reservation) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if i := slices.Index(q.pending, r); i >= 0 {
		q.pending = slices.Delete(q.pending, i, i+1)
		q.grant()
		return
	}
	if r.refused {
		return
	}
	for _, p := range r.parts {
		for _, w := range p.Waits {
			l := q.lanes[w.Key]
			at := l.position(p)
			l.waiting = slices.Delete(l.waiting, at, at+1)
			q.settleFront(w.Key)
			q.vacate(w.Key)
		}
	}
	q.free(r.parts)
}

// forwarded frees the room of parts that the forwarder is done with.
func (q *Queue) forwarded(parts []*part) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, p := range parts {
		q.leaving--
		q.leavingBytes -= p.Bytes
		for _, w := range p.Waits {
			q.lanes[w.Key].forwarding--
			q.vacate(w.Key)
		}
	}
	q.free(parts)
}

// free gives back the room of parts, and grants it to who waits for it. A queue that is
// closing and empty leaves its share to the others.
func (q *Queue) free(parts []*part) {
	for _, p := range parts {
		q.parts.Remove(p.element)
		q.bytes -= p.Bytes
		q.shares.leave(p)
		q.heldParts.Add(-1)
		q.heldBytes.Add(-p.Bytes)
		if p.unknown {
			if q.unknown[p.Tenant] -= p.Bytes; q.unknown[p.Tenant] == 0 {
				delete(q.unknown, p.Tenant)
			}
		}
	}
	if q.parts.Len() == 0 && q.isClosing() {
		q.queues = slices.DeleteFunc(q.queues, func(other *Queue) bool { return other == q })
		q.more.Signal()
	}
	for _, other := range q.queues {
		other.grant()
	}
}

// force ends the waiting of a part, whatever its keys have reached. It still follows those
// that came before it.
func (p *part) force(outcome Outcome) {
	if !p.forced {
		p.forced, p.outcome = true, outcome
	}
}

// settleFront settles what is first in a lane.
func (q *Queue) settleFront(key Key) {
	if l, ok := q.lanes[key]; ok && len(l.waiting) > 0 {
		q.settle(l.waiting[0])
	}
}

// settle releases a part that has nothing left to wait for, and then what follows it.
func (q *Queue) settle(p *part) {
	for todo := []*part{p}; len(todo) > 0; {
		p, todo = todo[0], todo[1:]
		if p.released || !q.due(p) {
			continue
		}
		q.release(p)
		for _, w := range p.Waits {
			if l := q.lanes[w.Key]; len(l.waiting) > 0 {
				todo = append(todo, l.waiting[0])
			}
		}
	}
}

// due reports whether a part is first in all its lanes and has nothing left to wait for.
func (q *Queue) due(p *part) bool {
	for i := range p.Waits {
		if q.lanes[p.Waits[i].Key].waiting[0] != p || !p.forced && !q.progress.Reached(p.Waits[i]) {
			return false
		}
	}
	return p.committed
}

// release hands a part to the forwarder.
func (q *Queue) release(p *part) {
	p.released = true
	q.shares.release(p)
	q.leaving++
	q.leavingBytes += p.Bytes
	r := p.reservation
	r.waiting--
	if r.waiting == 0 && r.timer != nil {
		r.timer.Stop()
	}
	for _, w := range p.Waits {
		l := q.lanes[w.Key]
		l.waiting[0] = nil
		l.waiting = l.waiting[1:]
		l.forwarding++
	}
	q.progress.Released(p.outcome, time.Since(p.since))
	q.ready = append(q.ready, p)
	q.more.Signal()
}
