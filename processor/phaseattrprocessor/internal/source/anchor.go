// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package source

import (
	"strings"
	"sync"

	"github.com/phaseattr/phaseattr/internal/boundary"
)

// maxAnchors bounds the anchors that a source remembers. Past it, the oldest is forgotten: its
// phase stays open, and the span that has its end becomes a phase inside of it.
const maxAnchors = 4096

// anchors are the spans without a duration that have begun phases. Another span, a child of an
// anchor with the name of its phase, has the end. The index unites the two whichever comes first;
// here, a span is given the ID that its phase has there.
type anchors struct {
	mu    sync.Mutex
	known map[anchorKey]anchor
	// order has the keys in the order in which they came, from next on the oldest first.
	order []anchorKey
	next  int
}

type anchorKey struct {
	rank boundary.RankKey
	id   string
}

type anchor struct{ name, parent string }

func newAnchors() *anchors { return &anchors{known: map[anchorKey]anchor{}} }

func (a *anchors) add(key anchorKey, value anchor) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, ok := a.known[key]; ok {
		return
	}
	key.rank.Tenant, key.rank.Session, value.name = strings.Clone(key.rank.Tenant), strings.Clone(key.rank.Session), strings.Clone(value.name)
	if len(a.order) < maxAnchors {
		a.order = append(a.order, key)
	} else {
		delete(a.known, a.order[a.next])
		a.order[a.next] = key
		a.next = (a.next + 1) % maxAnchors
	}
	a.known[key] = value
}

func (a *anchors) get(key anchorKey) (anchor, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	value, ok := a.known[key]
	return value, ok
}

// readAnchor reads an interval that is an anchor, or the phase that one has begun.
func (s *spanSource) readAnchor(iv *boundary.Interval, rank boundary.RankKey, name string) {
	if phase, ok := strings.CutSuffix(name, s.anchor); ok && iv.Start == iv.End {
		s.anchors.add(anchorKey{rank, iv.ScopeID}, anchor{phase, iv.ParentScopeID})
		iv.Open = true
		if iv.Name != "" { // neither a link nor one whose path is its name
			iv.Name = phase
		}
		return
	}
	if iv.ParentScopeID == "" || iv.Start == iv.End {
		return
	}
	a, ok := s.anchors.get(anchorKey{rank, iv.ParentScopeID})
	if ok && a.name == name {
		iv.ScopeID, iv.ParentScopeID = iv.ParentScopeID, a.parent
	}
}
