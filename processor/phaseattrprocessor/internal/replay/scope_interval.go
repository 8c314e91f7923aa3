// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import "github.com/phaseattr/phaseattr/internal/boundary"

// ScopeInterval is a scope that is active from its start on. It does not say until when.
type ScopeInterval struct {
	Rank       boundary.RankKey
	ThreadID   int64
	ThreadName string
	ScopeID    string
	Path       boundary.Path
	// Start is the time at which the scope was entered, in nanoseconds since the Unix
	// epoch.
	Start int64
	// Inferred is true when the enter was lost, so that Start is only a guess.
	Inferred bool
	// Sequence is the sequence number of the boundary that opened the scope.
	Sequence int64
	// Attributes are the scope's own and, for keys that it lacks, those of its nearest
	// ancestor that has them.
	Attributes []boundary.Attribute
	// Extent is how much of an interval the scope stands for.
	Extent Extent
	// Outer is true when another active scope of the thread lies inside this one, whatever
	// their paths: it answers only telemetry that names it.
	Outer bool
}

// Later reports whether the scope was opened after another one: it has the larger
// sequence, or the same one and the larger scope ID.
func (s *ScopeInterval) Later(than *ScopeInterval) bool {
	if s.Sequence != than.Sequence {
		return s.Sequence > than.Sequence
	}
	return s.ScopeID > than.ScopeID
}
