// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"container/list"
	"time"
	"unique"

	"github.com/phaseattr/phaseattr/internal/boundary"
)

// standing is what a rank is to the bound of ranks: which others it makes room for.
type standing uint8

const (
	// visitor: the rank has sent neither a boundary nor a start event. Programs that have
	// nothing to do with phases send events with session IDs, so it does not count, and makes
	// room for other visitors.
	visitor standing = iota
	// ended: all its processes have ended.
	ended
	// bare: the rank has sent no boundary. It makes room when none has ended.
	bare
	// lasting: any other rank. It makes room for another tenant only.
	lasting
	standings // their number
)

const (
	// visitorsPerRank is the share of visitors in MaxRanks.
	visitorsPerRank = 2
	// maxVacateTries bounds the ranks that are looked at to find one that makes room.
	maxVacateTries = 16
)

// ranks is the number of ranks that count. It is called with mu held.
func (x *Index) ranks() int { return len(x.streams) - x.visitors }

// tenantRanks are the ranks of a tenant by their standing, in order.
type tenantRanks struct{ listed [standings]list.List }

// ranks is the number of those that count.
func (t *tenantRanks) ranks() int {
	n := 0
	for of := visitor + 1; of < standings; of++ {
		n += t.listed[of].Len()
	}
	return n
}

// visitors is the number of the others.
func (t *tenantRanks) visitors() int { return t.listed[visitor].Len() }

// streamFor returns the stream of a rank, which it creates as a visitor if need be, or nil
// when there is no room for it. It returns the rank that has made room.
func (x *Index) streamFor(key boundary.RankKey, again bool) (_ *stream, vacated []boundary.RankKey) {
	s := x.stream(key)
	if s != nil {
		return s, nil
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	s = x.streams[key]
	if s != nil {
		return s, nil
	}
	most := (x.options.MaxRanks + visitorsPerRank - 1) / visitorsPerRank
	if again { // a rank of which all is restored begins as a visitor
		most = x.options.MaxRanks
	}
	if full(x.visitors, most) {
		if vacated = x.vacateFor(key.Tenant, most, (*tenantRanks).visitors, visitor); len(vacated) == 0 {
			x.miss(key)
			return nil, nil
		}
	}
	key.Session = unique.Make(key.Session).Value() // one copy for all ranks, not part of a larger text
	s = newStream(key, x)
	x.streams[key] = s
	of := sessionOf(key)
	if x.sessions[of] == nil {
		x.sessions[of] = &sessionRanks{ranks: map[int64]*stream{}}
	}
	x.sessions[of].ranks[key.Rank] = s
	if x.tenants[key.Tenant] == nil {
		x.tenants[key.Tenant] = &tenantRanks{}
	}
	x.list(s, visitor)
	return s, vacated
}

// miss notes that a session has a rank that the index does not know. It is called with mu
// held.
func (x *Index) miss(key boundary.RankKey) {
	if known, ok := x.sessions[sessionOf(key)]; ok {
		known.more = true
	}
}

// admit lets a visitor count, for which others make room. It reports false when there is
// none. It is called with the stream's mu held.
func (x *Index) admit(s *stream) (admitted bool, vacated []boundary.RankKey) {
	if s.standing != visitor {
		return true, nil
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if full(x.ranks(), x.options.MaxRanks) {
		if vacated = x.vacateFor(s.key.Tenant, x.options.MaxRanks, (*tenantRanks).ranks, ended, bare); len(vacated) == 0 {
			x.miss(s.key)
			return false, nil
		}
	}
	x.list(s, bare)
	return true, vacated
}

// rate brings the standing of a rank that counts up to date. It is called with its mu held.
func (x *Index) rate(s *stream) {
	if s.standing == visitor || s.removed {
		return
	}
	if to := s.rated(); to != s.standing {
		x.mu.Lock()
		defer x.mu.Unlock()
		x.list(s, to)
	}
}

// rated is the standing that a rank should have that counts.
func (s *stream) rated() standing {
	switch {
	case len(s.processes) > 0 && s.hasEnded():
		return ended
	case !s.known:
		return bare
	}
	return lasting
}

// hasEnded reports whether all processes of the rank have ended.
func (s *stream) hasEnded() bool {
	for _, p := range s.processes {
		if !p.ended() {
			return false
		}
	}
	return true
}

// list changes the standing of a rank. It is called with the index's mu held, and the
// stream's unless it is new.
func (x *Index) list(s *stream, to standing) {
	x.unlist(s)
	s.standing, s.listedAt = to, time.Since(x.started)
	s.element = x.tenants[s.key.Tenant].listed[to].PushBack(s)
	if to == visitor {
		x.visitors++
	}
}

func (x *Index) unlist(s *stream) {
	if s.element != nil {
		x.tenants[s.key.Tenant].listed[s.standing].Remove(s.element)
		s.element = nil
		if s.standing == visitor {
			x.visitors--
		}
	}
}

// vacateFor removes a rank to make room for one of a tenant: of the first standing that the
// tenant has or, if it has less than an even share of the bound, of the tenant that has most.
// There, a rank that lasts goes if need be. It is called with mu held.
func (x *Index) vacateFor(tenant string, bound int, number func(*tenantRanks) int, among ...standing) (vacated []boundary.RankKey) {
	own, tenants := x.tenants[tenant], len(x.tenants)
	if own == nil {
		own = &tenantRanks{}
		tenants++
	}
	from := own
	if number(own) < bound/tenants {
		for _, other := range x.tenants {
			if number(other) > number(from) {
				from = other
			}
		}
		if from != own && among[0] != visitor {
			vacated = x.vacate(own, ended)
			among = append(among, lasting)
		}
	}
	for _, of := range among {
		if len(vacated) > 0 {
			break
		}
		vacated = x.vacate(from, of)
	}
	return vacated
}

// vacate removes a rank of a standing of a tenant: the one that has it longest and, of
// visitors and of those that last, has sent nothing since it was looked at last. It is called
// with mu held, so that it does not wait for a rank that is in use.
func (x *Index) vacate(t *tenantRanks, of standing) (vacated []boundary.RankKey) {
	l := &t.listed[of]
	var next *list.Element
	for e, tries := l.Front(), 0; e != nil && tries < maxVacateTries; e, tries = next, tries+1 {
		next = e.Next()
		s := e.Value.(*stream)
		if !s.mu.TryLock() {
			continue
		}
		if (of == visitor || of == lasting) && s.lastArrival > s.listedAt && next != nil && tries < maxVacateTries-1 {
			s.listedAt = s.lastArrival
			l.MoveToBack(e)
			s.mu.Unlock()
			continue
		}
		s.clear()
		x.delete(s)
		x.miss(s.key)
		s.mu.Unlock()
		return []boundary.RankKey{s.key}
	}
	return nil
}
