// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package hold

import (
	"cmp"
	"container/heap"
	"math"
	"slices"
	"time"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/boundary"
)

// owner decides what is released. Only its goroutine touches it.
type owner struct {
	*Buffer
	queues []*queue
	lanes  map[laneKey]*lane
	// deadlines are the committed parts that wait, the next deadline first.
	deadlines deadlines
	timer     *time.Timer
	// unknown is what the parts take that wait for unknown keys.
	unknown int64
	// changes is what Progress.Changes returned when locate last looked: it visits all lanes.
	changes uint64
}

// laneKey names the line of the parts of a pipeline that wait for a key.
type laneKey struct {
	queue *queue
	key   Key
}

// lane is what waits for a key, in order, and what of it has been released but not
// forwarded.
type lane struct {
	waiting    []*part
	forwarding int
}

func newOwner(b *Buffer) *owner {
	timer := time.NewTimer(math.MaxInt64)
	return &owner{Buffer: b, lanes: map[laneKey]*lane{}, timer: timer}
}

func (o *owner) run() {
	defer close(o.stopped)
	defer o.timer.Stop()
	for {
		select {
		case <-o.stop:
			return
		case event := <-o.events:
			event(o)
		case <-o.timer.C:
			o.expire()
		}
		if len(o.deadlines) > 0 {
			o.timer.Reset(time.Until(o.deadlines[0].Deadline))
		}
	}
}

func (o *owner) open(q *queue) { o.queues = append(o.queues, q) }

// close releases all that waits in a queue; what is committed later goes at once.
func (o *owner) close(q *queue) {
	q.closing = true
	for _, r := range q.pending {
		r.refused = true
		close(r.granted)
	}
	q.pending = nil
	for p := range q.all() {
		o.force(p, Shutdown)
	}
	o.drain(q)
}

// drain closes a queue that is closing once nothing is left in it.
func (o *owner) drain(q *queue) {
	if q.closing && q.held == 0 && slices.Contains(o.queues, q) {
		o.queues = slices.DeleteFunc(o.queues, func(other *queue) bool { return other == q })
		close(q.drained)
		for _, other := range o.queues { // the shares have grown
			o.grant(other)
		}
	}
}

// reserve puts a reservation in line behind those that its pipeline has made before.
func (o *owner) reserve(r *Reservation) {
	q := r.pipeline
	if q.closing {
		r.refused = true
		close(r.granted)
		return
	}
	q.pending = append(q.pending, r)
	o.grant(q)
}

// evict releases the oldest parts of a queue until, once all that has been released is
// forwarded, there is room for the pending reservations. A part that has been released but
// is still in line makes room only if those before it are released too.
func (o *owner) evict(q *queue) {
	var bytes, parts int64
	for _, r := range q.pending {
		pendingBytes, pendingParts := r.charge()
		bytes, parts = bytes+pendingBytes, parts+pendingParts
	}
	for p := range q.all() {
		if o.fits(q, bytes-q.leavingBytes, parts-q.leaving) {
			return
		}
		if !p.committed {
			continue
		}
		o.force(p, Evicted)
		if !p.released {
			bytes, parts = bytes-p.Bytes, parts-1
		}
	}
}

func (r *Reservation) charge() (bytes, parts int64) {
	for _, p := range r.parts {
		bytes += p.Bytes
	}
	return bytes, int64(len(r.parts))
}

// grant takes room for the pending reservations of a queue, in order, as far as there is
// any, and releases the oldest parts to make room for the others.
func (o *owner) grant(q *queue) {
	for len(q.pending) > 0 {
		r := q.pending[0]
		bytes, parts := r.charge()
		if q.held > 0 && !o.fits(q, bytes, parts) {
			o.evict(q)
			return
		}
		q.pending = q.pending[1:]
		q.held += parts
		q.charged += bytes
		o.parts.Add(parts)
		o.bytes.Add(bytes)
		for _, p := range r.parts {
			p.order = q.next
			q.next++
			o.chargeUnknown(p)
			p.element = q.parts.PushBack(p)
			for i := range p.Waits {
				o.enter(p, p.Waits[i].Key)
			}
		}
		for _, p := range r.parts {
			for _, w := range p.Waits {
				if w.Key.Location != "" { // it may have become known since the caller looked
					o.resolve(w.Key.Location)
				}
			}
		}
		close(r.granted)
	}
}

// fits reports whether a queue has room for more: its share, and what the others have
// left of the half that all share.
func (o *owner) fits(q *queue, bytes, parts int64) bool {
	n := int64(len(o.queues))
	shareBytes, shareParts := o.options.MaxBytes/2/n, o.options.MaxParts/2/n
	if q.charged+bytes <= shareBytes && q.held+parts <= shareParts {
		return true // whatever the others have
	}
	var overBytes, overParts int64
	for _, other := range o.queues {
		charged, held := other.charged, other.held
		if other == q {
			charged, held = charged+bytes, held+parts
		}
		overBytes += max(charged-shareBytes, 0)
		overParts += max(held-shareParts, 0)
	}
	return overBytes <= o.options.MaxBytes-n*shareBytes && overParts <= o.options.MaxParts-n*shareParts
}

// enter puts a part in the lane of a key, behind those that came before it.
func (o *owner) enter(p *part, key Key) {
	at := laneKey{p.pipeline, key}
	l, ok := o.lanes[at]
	if !ok {
		l = &lane{}
		o.lanes[at] = l
		p.pipeline.waiting.Store(key, nil)
		if key.Location != "" {
			o.located.Add(1)
		}
	}
	i, _ := l.find(p)
	l.waiting = slices.Insert(l.waiting, i, p)
}

// find returns where in a lane a part is, or belongs, and whether it is there.
func (l *lane) find(p *part) (int, bool) {
	return slices.BinarySearchFunc(l.waiting, p, func(a, b *part) int { return cmp.Compare(a.order, b.order) })
}

// cancel gives up a reservation whose caller's context was done.
func (o *owner) cancel(r *Reservation) {
	q := r.pipeline
	if i := slices.Index(q.pending, r); i >= 0 {
		q.pending = slices.Delete(q.pending, i, i+1)
		o.grant(q)
		return
	}
	if !r.refused {
		o.abort(r)
	}
}

// commit lets the parts of a reservation wait.
func (o *owner) commit(r *Reservation) {
	for _, p := range r.parts {
		p.committed = true
		switch {
		case p.pipeline.closing:
			o.force(p, Shutdown)
		case p.forced: // it has no deadline
		default:
			heap.Push(&o.deadlines, p)
		}
	}
	for _, p := range r.parts {
		o.settle(p)
	}
	o.grant(r.pipeline) // others may wait for the room of these parts
}

// abort takes the parts of a reservation out again.
func (o *owner) abort(r *Reservation) {
	q := r.pipeline
	for _, p := range r.parts {
		p.released = true
		q.parts.Remove(p.element)
		for i := range p.Waits {
			l := o.lanes[laneKey{q, p.Waits[i].Key}]
			at, _ := l.find(p)
			l.waiting = slices.Delete(l.waiting, at, at+1)
		}
	}
	for _, p := range r.parts {
		for i := range p.Waits {
			o.leave(q, p.Waits[i].Key)
		}
	}
	o.free(q, r.parts)
}

// expire releases what has waited until its deadline.
func (o *owner) expire() {
	now := time.Now()
	for len(o.deadlines) > 0 && !o.deadlines[0].Deadline.After(now) {
		p := o.deadlines[0]
		if p.KnownDeadline.After(p.Deadline) && o.known(p) {
			p.Deadline = p.KnownDeadline
			heap.Fix(&o.deadlines, p.heapIndex)
			continue
		}
		o.force(p, Expired)
	}
}

// known reports whether events of all keys of a part have come.
func (o *owner) known(p *part) bool {
	return !slices.ContainsFunc(p.Waits, func(w Wait) bool {
		w.Until = math.MinInt64
		return w.Key.Location != "" || !o.progress.Reached(w)
	})
}

// force ends the waiting of a part, whatever its keys have reached. It still follows
// those that came before it.
func (o *owner) force(p *part, outcome Outcome) {
	if !p.forced {
		p.forced, p.outcome = true, outcome
	}
	o.forgetDeadline(p)
	o.settle(p)
}

func (o *owner) forgetDeadline(p *part) {
	if p.heapIndex >= 0 {
		heap.Remove(&o.deadlines, p.heapIndex)
	}
}

// advance releases what waits for a key that has come further.
func (o *owner) advance(key Key) {
	for _, q := range o.queues {
		if l, ok := o.lanes[laneKey{q, key}]; ok && len(l.waiting) > 0 {
			o.settle(l.waiting[0])
		}
	}
}

// resolve has what waits for a location wait for the ranks that are known there now.
func (o *owner) resolve(location string) {
	key := Key{Location: location}
	for _, q := range o.queues {
		l, ok := o.lanes[laneKey{q, key}]
		if !ok {
			continue
		}
		ranks := o.progress.At(location)
		if len(ranks) == 0 {
			return
		}
		moved := l.waiting
		l.waiting = nil
		for _, p := range moved {
			o.unlocate(p, key, ranks)
		}
		for _, p := range moved {
			o.settle(p)
		}
		o.leave(q, key)
	}
}

// locate has what waits for locations that are known by now wait for the ranks there.
func (o *owner) locate() {
	changes := o.progress.Changes()
	if changes == o.changes {
		return
	}
	o.changes = changes
	var locations []string
	for at := range o.lanes {
		if at.key.Location != "" {
			locations = append(locations, at.key.Location)
		}
	}
	for _, location := range locations {
		o.resolve(location)
	}
}

func (o *owner) unlocate(p *part, location Key, ranks []boundary.RankKey) {
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
		o.enter(p, key)
	}
}

// settle releases a part that has nothing left to wait for, and then what follows
// it.
func (o *owner) settle(p *part) {
	for todo := []*part{p}; len(todo) > 0; {
		p, todo = todo[0], todo[1:]
		if p.released || !o.due(p) {
			continue
		}
		o.release(p)
		for i := range p.Waits {
			if l := o.lanes[laneKey{p.pipeline, p.Waits[i].Key}]; len(l.waiting) > 0 {
				todo = append(todo, l.waiting[0])
			}
		}
	}
}

// due reports whether a part is first in all its lanes and has nothing left to wait
// for.
func (o *owner) due(p *part) bool {
	if !p.committed {
		return false
	}
	for i := range p.Waits {
		if l := o.lanes[laneKey{p.pipeline, p.Waits[i].Key}]; l.waiting[0] != p {
			return false
		}
	}
	return p.forced || !slices.ContainsFunc(p.Waits, func(w Wait) bool { return !o.progress.Reached(w) })
}

// release hands a part to its pipeline's forwarder.
func (o *owner) release(p *part) {
	p.released = true
	p.leave()
	o.forgetDeadline(p)
	for i := range p.Waits {
		l := o.lanes[laneKey{p.pipeline, p.Waits[i].Key}]
		l.waiting[0] = nil
		l.waiting = l.waiting[1:]
		l.forwarding++
	}
	q := p.pipeline
	q.parts.Remove(p.element)
	o.progress.Released(p.outcome, time.Since(p.since))
	q.push(p)
}

// forwarded frees the room of parts that the forwarder is done with.
func (o *owner) forwarded(q *queue, parts []*part) {
	for _, p := range parts {
		for i := range p.Waits {
			o.lanes[laneKey{q, p.Waits[i].Key}].forwarding--
		}
	}
	for _, p := range parts {
		for i := range p.Waits {
			o.leave(q, p.Waits[i].Key)
		}
	}
	o.free(q, parts)
}

// leave forgets the lane of a key once nothing is in it.
func (o *owner) leave(q *queue, key Key) {
	at := laneKey{q, key}
	l, ok := o.lanes[at]
	switch {
	case !ok:
	case len(l.waiting) > 0:
		o.settle(l.waiting[0])
	case l.forwarding == 0:
		delete(o.lanes, at)
		q.waiting.Delete(key)
		if key.Location != "" {
			o.located.Add(-1)
		}
	}
}

// free gives back the room of parts, and grants it to who waits for it.
func (o *owner) free(q *queue, parts []*part) {
	for _, p := range parts {
		o.freeUnknown(p)
		q.held--
		q.charged -= p.Bytes
		if p.leaving {
			q.leaving--
			q.leavingBytes -= p.Bytes
		}
		o.parts.Add(-1)
		o.bytes.Add(-p.Bytes)
	}
	for _, other := range o.queues {
		o.grant(other)
	}
	o.drain(q)
}

// chargeUnknown charges a part that waits for unknown keys. One that is beyond the bound
// does not wait.
func (o *owner) chargeUnknown(p *part) {
	if !p.waitsForUnknown() {
		return
	}
	if o.unknown+p.Bytes > o.options.MaxUnknownBytes {
		p.forced, p.outcome = true, Evicted
		return
	}
	p.unknown = true
	o.unknown += p.Bytes
}

func (o *owner) freeUnknown(p *part) {
	if p.unknown {
		p.unknown = false
		o.unknown -= p.Bytes
	}
}

// deadlines is a heap of parts.
type deadlines []*part

func (d deadlines) Len() int           { return len(d) }
func (d deadlines) Less(i, j int) bool { return d[i].Deadline.Before(d[j].Deadline) }
func (d deadlines) Swap(i, j int) {
	d[i], d[j] = d[j], d[i]
	d[i].heapIndex, d[j].heapIndex = i, j
}

// Push implements heap.Interface.
func (d *deadlines) Push(x any) {
	p := x.(*part)
	p.heapIndex = len(*d)
	*d = append(*d, p)
}

// Pop implements heap.Interface.
func (d *deadlines) Pop() any {
	last := len(*d) - 1
	p := (*d)[last]
	(*d)[last] = nil
	*d = (*d)[:last]
	p.heapIndex = -1
	return p
}
