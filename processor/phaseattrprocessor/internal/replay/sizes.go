// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"container/list"
	"math/bits"
	"sync"
	"sync/atomic"
)

const (
	// smallBytes is what a rank takes that never makes room for another one.
	smallBytes = 16 << 10
	smallClass = 15 // that of smallBytes
	// relief is the share of what a rank takes, as a divisor, that makes room at once.
	relief = 8
	// maxReliefTries bounds the ranks that are tried to find one that is not in use.
	maxReliefTries = 8
	// excess is how far past the bound of all ranks, as a divisor of it, one may go while
	// those that should make room are in use.
	excess = 16
)

// sizes has the ranks by about what they take, so that one that takes most is found without
// looking at the others. Class n has those of 2^(n-1) bytes and more.
type sizes struct {
	// small is true when ranks of any size are among them: they make room for other tenants.
	small bool
	// mu guards what follows, and the size of each stream. Nothing is waited for while it is
	// locked.
	mu      sync.Mutex
	tenants map[string]*tenantSizes
}

// tenantSizes has the ranks of a tenant, and what all of them take.
type tenantSizes struct {
	ranks             int
	bytes, boundaries atomic.Int64
	classes           [bits.UintSize + 1]list.List
}

// enter adds a rank of a tenant.
func (z *sizes) enter(tenant string) *tenantSizes {
	z.mu.Lock()
	defer z.mu.Unlock()
	t, ok := z.tenants[tenant]
	if !ok {
		t = &tenantSizes{}
		z.tenants[tenant] = t
	}
	t.ranks++
	return t
}

// leave removes a rank that takes nothing any longer.
func (z *sizes) leave(s *stream) {
	z.mu.Lock()
	defer z.mu.Unlock()
	if s.size.element != nil {
		s.tenant.classes[s.size.class].Remove(s.size.element)
		s.size.element = nil
	}
	s.tenant.ranks--
	if s.tenant.ranks == 0 {
		delete(z.tenants, s.key.Tenant)
	}
}

// sized is the place of a stream among the sizes.
type sized struct {
	class   int
	element *list.Element
}

// set notes what a stream takes now. It is called with the stream's mu held. One that shrinks
// a little keeps its class.
func (z *sizes) set(s *stream, bytes int) {
	class := bits.Len(uint(bytes))
	if class == s.size.class || class == s.size.class-1 && bytes > 3<<class>>2 || class < z.least() && s.size.element == nil {
		return
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	if s.size.element != nil {
		s.tenant.classes[s.size.class].Remove(s.size.element)
	}
	s.size = sized{class: class}
	if class >= z.least() {
		s.size.element = s.tenant.classes[class].PushBack(s)
	}
}

// least is the least class that is among the sizes.
func (z *sizes) least() int {
	if z.small {
		return 0
	}
	return smallClass
}

// largest returns a stream with its mu held, one of those that take most: of the tenant of
// which a bound has most, for one that has less than an even share of it; else of the same
// tenant, and one that takes at least about twice as much as the stream that needs the room.
// It returns none when there is none, and reports whether those are in use, or another
// tenant's.
func (z *sizes) largest(than *stream, bound Outcome) (largest *stream, busy bool) {
	z.mu.Lock()
	defer z.mu.Unlock()
	from, least := z.from(than, bound), max(than.size.class, smallClass-1)
	if from != than.tenant {
		least = -1
	}
	for class := len(from.classes) - 1; class > least; class-- {
		l := &from.classes[class]
		for e, tries := l.Front(), 0; e != nil && tries < maxReliefTries; e, tries = e.Next(), tries+1 {
			s := e.Value.(*stream)
			switch {
			case s == than:
			case !s.mu.TryLock():
				busy = true
			case s.canEvict():
				l.MoveToBack(e)
				return s, false
			default:
				s.mu.Unlock()
			}
		}
		if busy {
			return nil, true
		}
	}
	return nil, from != than.tenant // whose open scopes must not be at the expense of another one
}

// from returns the tenant that makes room for a stream. It is called with mu held.
func (z *sizes) from(s *stream, bound Outcome) *tenantSizes {
	use, all := func(t *tenantSizes) int64 { return t.bytes.Load() }, s.options.MaxBytes
	if bound == TooManyBoundaries {
		use, all = func(t *tenantSizes) int64 { return t.boundaries.Load() }, s.options.MaxTotal
	}
	from := s.tenant
	if use(from) < int64(all/max(len(z.tenants), 1)) {
		for _, other := range z.tenants {
			if use(other) > use(from) {
				from = other
			}
		}
	}
	return from
}

// relieve lets the rank that takes most give up its oldest boundaries, if that is not the
// stream itself. It reports whether it has. The stream is spared to make room itself for now
// if those ranks are in use, or of another tenant and have nothing to give up.
func (s *stream) relieve(bound Outcome) (relieved, spared bool) {
	largest, busy := s.sizes.largest(s, bound)
	if largest == nil {
		return false, busy && !s.isFar()
	}
	defer largest.mu.Unlock()
	for until := largest.bytes - largest.bytes/relief; largest.bytes > until && largest.evictChunk(); {
		relieved = true
	}
	return relieved, false
}

// canEvict reports whether the stream has boundaries to evict.
func (s *stream) canEvict() bool {
	for _, p := range s.processes {
		for i := range p.threads {
			if p.threads[i].entries.count > 0 {
				return true
			}
		}
		if p.spans != nil && p.spans.count > p.spans.open {
			return true
		}
	}
	return false
}

// isFar reports whether all ranks together take far more than they may.
func (s *stream) isFar() bool {
	far := func(n int64, bound int) bool { return bound > 0 && n >= int64(bound)+int64(bound/excess) }
	return far(s.stats.bytes.Load(), s.options.MaxBytes) || far(s.stats.boundaries.Load(), s.options.MaxTotal)
}
