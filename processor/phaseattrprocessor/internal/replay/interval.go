// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

// Package replay keeps the boundaries of running programs and tells which scopes
// were active at a moment. Boundaries are added one by one, in any order; the
// index answers at any moment from what it has.
package replay

import (
	"cmp"
	"slices"
	"strings"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/boundary"
)

// ScopeInterval is one scope and the time in which it was active, both ends included.
type ScopeInterval struct {
	Rank       boundary.RankKey
	ThreadID   int64
	ThreadName string
	ScopeID    string
	Path       boundary.Path
	// Start and End are nanoseconds since the Unix epoch. End is not set on a span
	// of Active, which need not know it.
	Start, End int64
	// Sequence is that of the boundary that opened the scope.
	Sequence int64
	// SyntheticEnd is true when no exit was seen: the span ends where its session
	// did, or where a later boundary shows that it must have ended.
	SyntheticEnd bool
	// Attributes are the scope's own and, where it lacks a key, those of its nearest
	// ancestor that has it.
	Attributes []boundary.Attribute
}

// Later orders spans by (sequence, scope ID): the order in which a recorder
// opened them.
func (s *ScopeInterval) Later(than *ScopeInterval) bool {
	if s.Sequence != than.Sequence {
		return s.Sequence > than.Sequence
	}
	return s.ScopeID > than.ScopeID
}

// SortScopeIntervals orders spans by session, rank, start, end, sequence, scope ID and thread.
func SortScopeIntervals(spans []ScopeInterval) {
	slices.SortStableFunc(spans, func(a, b ScopeInterval) int {
		return cmp.Or(
			strings.Compare(a.Rank.Session, b.Rank.Session),
			cmp.Compare(a.Rank.Rank, b.Rank.Rank),
			cmp.Compare(a.Start, b.Start),
			cmp.Compare(a.End, b.End),
			cmp.Compare(a.Sequence, b.Sequence),
			strings.Compare(a.ScopeID, b.ScopeID),
			cmp.Compare(a.ThreadID, b.ThreadID),
		)
	})
}
