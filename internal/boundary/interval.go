// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package boundary

import (
	"hash/fnv"
	"strconv"
)

// Interval is a scope of which both ends are known, or so far only the start.
type Interval struct {
	// Start and End are in nanoseconds since the Unix epoch. The scope is active from Start
	// on, and no longer at End.
	Start, End int64
	// Open is true when only the start is known yet. A later Interval with the same scope ID
	// replaces it.
	Open bool
	// Truncated is true when the scope was cut off at its end, as when the program was
	// stopped.
	Truncated bool
	// ScopeID identifies the scope in its process, and ParentScopeID the enclosing one; empty
	// for an outermost scope.
	ScopeID, ParentScopeID string
	// Lane is what the source calls the thread, task or role that the scope runs in. Without
	// one, the lanes are told apart by which scopes lie inside each other.
	Lane string
	// Name is the last part of the path when the rest is that of the parent.
	Name string
	// Path is the whole path where the source knows it, else zero. A scope with neither path
	// nor name is no phase: it only connects those inside it with those around it.
	Path Path
	// Attributes are those of the scope that are kept.
	Attributes []Attribute
}

// LaneID returns the thread ID that stands for a named lane: the name itself where it is a
// number.
func LaneID(lane string) int64 {
	if id, err := strconv.ParseInt(lane, 10, 64); err == nil {
		return id
	}
	hash := fnv.New64a()
	_, _ = hash.Write([]byte(lane))
	return int64(hash.Sum64()) //nolint:gosec // any bits will do
}
