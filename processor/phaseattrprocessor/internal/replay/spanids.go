// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import "hash/maphash"

// spanIDs has spans by their scope IDs, of each ID one. Each span that comes is looked for, and
// in a full window as many go as come: a map would find an ID that it does not have only after
// several cache misses, since what has been deleted lies in the way. The table is never more
// than half full, and has no traces of what has been deleted. The zero spanIDs is empty.
type spanIDs struct {
	seed maphash.Seed
	// slots are as many as a power of two. A span is in the slot of its hash, or after it with
	// no free one between.
	slots []spanSlot
	count int
}

type spanSlot struct {
	hash uint64
	span *span // nil if the slot is free
}

const (
	minSlots  = 8
	slotBytes = 16
)

// at returns the slot of an ID, or a free one for it. There must be a free one.
func (x *spanIDs) at(hash uint64, id string) *spanSlot {
	for i := hash; ; i++ {
		slot := &x.slots[i&x.mask()]
		if slot.span == nil || slot.hash == hash && slot.span.scopeID == id {
			return slot
		}
	}
}

func (x *spanIDs) mask() uint64 { return uint64(len(x.slots)) - 1 }

// get returns the span of an ID, nil if there is none.
func (x *spanIDs) get(id string) *span {
	if x.count == 0 {
		return nil
	}
	return x.at(maphash.String(x.seed, id), id).span
}

// set makes a span that of its ID.
func (x *spanIDs) set(s *span) {
	if 2*(x.count+1) > len(x.slots) {
		x.resize(max(minSlots, 2*len(x.slots)))
	}
	s.idHash = maphash.String(x.seed, s.scopeID)
	slot := x.at(s.idHash, s.scopeID)
	if slot.span == nil {
		x.count++
	}
	*slot = spanSlot{s.idHash, s}
}

// remove removes a span, if it is that of its ID. One that never was has no idHash, and is not
// found.
func (x *spanIDs) remove(s *span) {
	if x.count == 0 {
		return
	}
	i := s.idHash & x.mask()
	for x.slots[i].span != s {
		if x.slots[i].span == nil {
			return
		}
		i = (i + 1) & x.mask()
	}
	// What follows moves up, unless that would be before its own slot.
	for next := (i + 1) & x.mask(); x.slots[next].span != nil; next = (next + 1) & x.mask() {
		if own := x.slots[next].hash; (next-own)&x.mask() >= (next-i)&x.mask() {
			x.slots[i] = x.slots[next]
			i = next
		}
	}
	x.slots[i] = spanSlot{}
	x.count--
	if len(x.slots) > minSlots && 8*x.count < len(x.slots) {
		x.resize(len(x.slots) / 2)
	}
}

func (x *spanIDs) resize(slots int) {
	if x.slots == nil {
		x.seed = maphash.MakeSeed()
	}
	old := x.slots
	x.slots = make([]spanSlot, slots)
	for _, slot := range old {
		if slot.span != nil {
			*x.at(slot.hash, slot.span.scopeID) = slot
		}
	}
}

// heap is what the table takes.
func (x *spanIDs) heap() int { return slotBytes * len(x.slots) }

// each calls f for all spans, in any order.
func (x *spanIDs) each(f func(*span)) {
	for _, slot := range x.slots {
		if slot.span != nil {
			f(slot.span)
		}
	}
}
