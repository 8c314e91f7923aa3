// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

// Package policy decides which phase the active scopes of a time stand for: a unique path,
// several possible ones, or none.
package policy

import (
	"slices"
	"strings"
	"time"

	"github.com/phaseattr/phaseattr/internal/boundary"
)

// The values of Attribution.Resolution and Attribution.Source.
const (
	// Unique: one phase was active.
	Unique = "unique"
	// Ambiguous: several phases are possible, and the record does not say which.
	Ambiguous = "ambiguous"

	// SourceExact: the record named its scope.
	SourceExact = "exact"
	// SourceThreadLocal: the record named its thread, or a preferred thread was in the
	// phase.
	SourceThreadLocal = "thread_local"
	// SourceRepresentative: the phase is that of another rank of the same job.
	SourceRepresentative = "representative"
	// SourceHeuristic: the phase follows from the active scopes.
	SourceHeuristic = "heuristic"
)

// MaxListed is how many paths are listed of an interval, or of several ranks.
const MaxListed = 64

// Attribution is the phase that a record belongs to. Fields that do not apply are empty.
type Attribution struct {
	// Resolution is Unique or Ambiguous.
	Resolution string
	// Source is one of the sources; empty when the attribution is ambiguous.
	Source string
	// Path is the label of a unique phase; valid if HasPath.
	Path    string
	HasPath bool
	// Paths are the labels of the possible phases, sorted.
	Paths []string
	// ScopeID, ThreadID and ThreadName are those of the scope that decided; valid if
	// HasScope.
	ScopeID    string
	ThreadID   int64
	ThreadName string
	HasScope   bool
	// Rank is the rank of the scopes.
	Rank Rank
	// Start is when the scope that decided was entered, in nanoseconds since the Unix epoch;
	// 0 if that is not known.
	Start int64
	// Ended is true for the record that ends this scope, which lasted for Duration.
	Ended    bool
	Duration time.Duration
	// Reason is why the answer is not unique; empty for a unique one.
	Reason string
	// Attributes are those of the scope that decided.
	Attributes []boundary.Attribute
	// Summary is the likely phase of an ambiguous attribution.
	Summary Summary
	// OneThread is true when the attribution is ambiguous although one thread decided.
	OneThread bool
	// Unlisted is true when the possible phases are too many to list, or not all known.
	Unlisted bool
}

// Unlisted returns an ambiguous attribution that lists no phase.
func Unlisted() *Attribution { return &Attribution{Resolution: Ambiguous, Unlisted: true} }

// NotUnique returns an attribution that stands for several ranks or processes, of which
// perhaps only one was in a phase: a unique phase becomes the only candidate.
func (a *Attribution) NotUnique() *Attribution {
	switch {
	case a == nil || a.Unlisted:
		return a
	case len(a.Paths) > MaxListed:
		return &Attribution{Resolution: Ambiguous, Rank: a.Rank, Unlisted: true}
	case a.Resolution != Unique:
		return a
	}
	return &Attribution{Resolution: Ambiguous, Paths: a.labels(), Rank: a.Rank}
}

// Clone returns a copy that the next call to Policy.Attribute with a does not change.
func (a *Attribution) Clone() *Attribution {
	clone := *a
	clone.Paths = slices.Clone(a.Paths)
	return &clone
}

// Rank is a rank number. The zero Rank is that of an attribution to no rank, or to several
// different ones.
type Rank struct {
	Number int64
	Known  bool
}

// Summary is the likely phase of an ambiguous attribution. The zero Summary is none.
type Summary struct {
	Path   string
	Source string
}

// Merge merges two attributions; nil is no attribution. Two different phases become an
// ambiguous attribution, two different ranks an unknown one. Anything with an unlisted
// attribution is unlisted.
func Merge(first, second *Attribution) *Attribution {
	if first == nil {
		return second
	}
	if second == nil {
		return first
	}
	firstLabels, secondLabels := first.labels(), second.labels()
	switch {
	case first.Unlisted || second.Unlisted:
		merged := Unlisted()
		if first.Rank == second.Rank {
			merged.Rank = first.Rank
		}
		return merged
	case len(firstLabels) == 0:
		return second
	case len(secondLabels) == 0:
		return first
	}
	united := slices.Concat(firstLabels, secondLabels)
	slices.Sort(united)
	united = slices.Compact(united)
	merged := Attribution{Resolution: Ambiguous, Paths: united, Rank: first.Rank}
	if len(united) == 1 && first.sameScope(second) {
		merged = *first
	}
	if first.Rank != second.Rank {
		merged.Rank = Rank{}
	}
	return &merged
}

// Includes reports whether merging another attribution would leave the attribution as it is: it lists
// no other phase. One that has been merged from several mostly includes the next.
func (a *Attribution) Includes(other *Attribution) bool {
	if a.Resolution != Ambiguous || a.Summary != (Summary{}) || a.OneThread || a.Unlisted || other.Unlisted || a.Rank != other.Rank {
		return false
	}
	listed := func(label string) bool {
		_, found := slices.BinarySearch(a.Paths, label)
		return label != "" && found
	}
	if len(other.Paths) == 0 {
		return listed(other.Path)
	}
	return !slices.ContainsFunc(other.Paths, func(label string) bool { return !listed(label) })
}

// labels returns the non-empty labels of the possible phases.
func (a *Attribution) labels() []string {
	if len(a.Paths) == 0 && a.Path != "" {
		return []string{a.Path}
	}
	return withoutEmpty(a.Paths)
}

func withoutEmpty(labels []string) []string {
	return slices.DeleteFunc(slices.Clone(labels), func(label string) bool { return label == "" })
}

func (a *Attribution) sameScope(b *Attribution) bool {
	return a.Resolution == Unique && b.Resolution == Unique && a.Path == b.Path &&
		a.HasScope == b.HasScope && a.ScopeID == b.ScopeID && a.ThreadID == b.ThreadID
}

// Label returns the attribution as one line for people to read. It is empty for nil, and
// when there is no label.
func (a *Attribution) Label() string {
	if a == nil {
		return ""
	}
	labels := withoutEmpty(a.Paths)
	switch {
	case a.Summary.Source == SourceHeuristic && a.Summary.Path != "":
		return "(likely) " + a.Summary.Path
	case a.Resolution == Unique && a.Path != "":
		return a.Path
	case a.Resolution == Unique && len(labels) == 1:
		return labels[0]
	case a.Resolution == Ambiguous && len(labels) > 0:
		return "(ambiguous) " + strings.Join(labels, " | ")
	}
	return ""
}
