// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package hold

import (
	"container/heap"
	"container/list"
)

// owner is whose telemetry a part is: a session of a tenant, or what names no session.
type owner struct{ tenant, session string }

// ownerOf returns whose telemetry a part is: that of the first session that it names.
func ownerOf(p *Part) owner {
	for _, w := range p.Waits {
		if w.Key.Location == "" {
			return owner{p.Tenant, w.Key.Rank.Session}
		}
	}
	return owner{tenant: p.Tenant}
}

// overdrawn are the owners whose reservations wait since they have more than their share.
// Others must not overtake them in a lane that both may come to stand in.
type overdrawn struct {
	owners  map[owner]bool
	tenants map[string]bool
}

// add adds all that the parts of a reservation name.
func (o *overdrawn) add(r *Reservation) {
	if o.owners == nil {
		o.owners, o.tenants = map[owner]bool{}, map[string]bool{}
	}
	for _, p := range r.parts {
		o.tenants[p.Tenant] = true
		for i := range p.Waits {
			o.owners[owner{p.Tenant, p.Waits[i].Key.Rank.Session}] = true
		}
	}
}

// holdsUp reports whether a reservation must wait behind others. A location may turn out to
// be that of any session.
func (o *overdrawn) holdsUp(r *Reservation) bool {
	for _, p := range r.parts {
		for i := range p.Waits {
			session := p.Waits[i].Key.Rank.Session
			if session == "" && o.tenants[p.Tenant] || o.owners[owner{p.Tenant, session}] || o.owners[owner{tenant: p.Tenant}] {
				return true
			}
		}
	}
	return false
}

// shares has what the owners take of something, by tenant and then by session, so that
// the one that takes most can make room. Weights are bytes, with a least one per part.
type shares struct {
	tenants share
	// slot is the least weight of a part: many small ones take room, too.
	slot int64
}

// share is what a tenant takes, or a session of one.
type share struct {
	name string
	// charged is the weight of all that is charged, waiting that of what has not been released.
	charged, waiting int64
	// parts are those of a session that have not been released, oldest first.
	parts list.List
	// of has the sessions of a tenant, as a heap with the one of which most waits first;
	// byName has them by name, index is the position in the heap that the share is in.
	of     []*share
	byName map[string]*share
	index  int
}

func newShares(slot int64) shares {
	return shares{tenants: share{byName: map[string]*share{}}, slot: max(slot, 1)}
}

// Len, Less, Swap, Push and Pop implement heap.Interface.
func (s *share) Len() int { return len(s.of) }

// Less is described at Len.
func (s *share) Less(i, j int) bool { return s.of[i].waiting > s.of[j].waiting }

// Swap is described at Len.
func (s *share) Swap(i, j int) {
	s.of[i], s.of[j] = s.of[j], s.of[i]
	s.of[i].index, s.of[j].index = i, j
}

// Push is described at Len.
func (s *share) Push(x any) {
	child := x.(*share)
	child.index = len(s.of)
	s.of = append(s.of, child)
	s.byName[child.name] = child
}

// Pop is described at Len.
func (s *share) Pop() any {
	last := len(s.of) - 1
	child := s.of[last]
	s.of[last] = nil
	s.of = s.of[:last]
	delete(s.byName, child.name)
	return child
}

// child returns the share of a name, which it adds if need be.
func (s *share) child(name string) *share {
	child, ok := s.byName[name]
	if !ok {
		child = &share{name: name, byName: map[string]*share{}}
		heap.Push(s, child)
	}
	return child
}

func (s *shares) weight(p *part) int64 { return max(p.Bytes, s.slot) }

// add changes what an owner takes, and forgets the owner with the last of it.
func (s *shares) add(o owner, charged, waiting int64) *share {
	tenant := s.tenants.child(o.tenant)
	session := tenant.child(o.session)
	for _, level := range [...]struct{ in, of *share }{{tenant, session}, {&s.tenants, tenant}} {
		level.of.charged += charged
		level.of.waiting += waiting
		heap.Fix(level.in, level.of.index)
		if level.of.charged == 0 {
			heap.Remove(level.in, level.of.index)
		}
	}
	return session
}

// enter charges a part to its owner.
func (s *shares) enter(p *part) {
	session := s.add(p.owner, s.weight(p), s.weight(p))
	p.seat = session.parts.PushBack(p)
}

// release notes that a part no longer waits.
func (s *shares) release(p *part) {
	if p.seat != nil {
		s.add(p.owner, 0, -s.weight(p)).parts.Remove(p.seat)
		p.seat = nil
	}
}

// leave no longer charges a part.
func (s *shares) leave(p *part) {
	s.release(p)
	s.add(p.owner, -s.weight(p), 0)
}

// largest returns the oldest committed part of the session of which most waits, of the tenant
// of which most waits; nil when there is none.
func (s *shares) largest() *part {
	if len(s.tenants.of) == 0 {
		return nil
	}
	for e := s.tenants.of[0].of[0].parts.Front(); e != nil; e = e.Next() {
		if p := e.Value.(*part); p.committed {
			return p
		}
	}
	return nil
}

// within reports whether an owner takes no more than an even share of some room, with
// more charged to it, and leaves another session of its tenant as much.
func (s *shares) within(o owner, more, room int64) bool {
	n, sessions := int64(len(s.tenants.of)), int64(1) // the owner included
	var tenantCharged, sessionCharged int64
	if tenant, ok := s.tenants.byName[o.tenant]; ok {
		tenantCharged, sessions = tenant.charged, int64(len(tenant.of))
		if session, ok := tenant.byName[o.session]; ok {
			sessionCharged = session.charged
		} else {
			sessions++
		}
	} else {
		n++
	}
	return tenantCharged+more <= room/n && sessionCharged+more <= room/n/(sessions+1)
}
