// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

// Package policy decides what the active spans of a moment say about the phase: a
// unique path, several that may be meant, or nothing.
package policy

import (
	"slices"
	"strings"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/boundary"
)

// The values of Attribution.Resolution and Attribution.Source.
const (
	// Unique: one phase was active.
	Unique = "unique"
	// Ambiguous: several threads were in phases, and nothing says which is meant.
	Ambiguous = "ambiguous"

	// SourceExact: the record named the scope that it came from.
	SourceExact = "exact"
	// SourceThreadLocal: the record named the thread that it came from, or a preferred
	// thread was in the phase.
	SourceThreadLocal = "thread_local"
	// SourceRepresentative: the phase of one group stands for those of others.
	SourceRepresentative = "representative"
	// SourceHeuristic: the phase follows from what was active.
	SourceHeuristic = "heuristic"
)

// Attribution says which phase a record belongs to. Empty fields are not set.
type Attribution struct {
	Resolution string
	Source     string
	// Path is the label of a unique phase, if HasPath.
	Path    string
	HasPath bool
	// Paths are the labels that may be meant, sorted.
	Paths []string
	// ScopeID, ThreadID and ThreadName are those of the answering scope, if HasScope.
	ScopeID    string
	ThreadID   int64
	ThreadName string
	HasScope   bool
	// Rank is that of the group that answered.
	Rank Rank
	// Attributes are those of the answering scope.
	Attributes []boundary.Attribute
	// Summary is the likely phase of an ambiguous attribution.
	Summary Summary
}

// Clone copies the attribution, so that it outlives the next call to Attribute with a.
func (a *Attribution) Clone() *Attribution {
	clone := *a
	clone.Paths = slices.Clone(a.Paths)
	return &clone
}

// Rank is the rank of a group. The zero Rank is that of an attribution for which no
// group, or several of different ranks, can answer.
type Rank struct {
	Number int64
	Known  bool
}

// Summary is a phase that an ambiguous attribution is likely to mean.
type Summary struct {
	Path   string
	Source string
}

// Merge unites two attributions; nil is nothing. It never makes a unique path of
// two, nor a rank.
func Merge(first, second *Attribution) *Attribution {
	if first == nil {
		return second
	}
	if second == nil {
		return first
	}
	firstLabels, secondLabels := first.labels(), second.labels()
	switch {
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

// labels are the non-empty paths that the attribution names.
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

// Label is the attribution in one line for people to read; empty when there is
// nothing to say.
func (a *Attribution) Label() string {
	if a == nil {
		return ""
	}
	if a.Summary.Source == SourceHeuristic && a.Summary.Path != "" {
		return "(likely) " + a.Summary.Path
	}
	return Summarize(a.Resolution, a.Path, a.Paths)
}

// Summarize renders a resolution and its paths in one line; empty when there is
// nothing to say.
func Summarize(resolution, path string, paths []string) string {
	labels := withoutEmpty(paths)
	switch {
	case resolution == Unique && path != "":
		return path
	case resolution == Unique && len(labels) == 1:
		return labels[0]
	case resolution == Ambiguous && len(labels) > 0:
		return "(ambiguous) " + strings.Join(labels, " | ")
	}
	return ""
}

// Payload is the attribution as the fields that a report carries: what is not set
// is left out.
func (a *Attribution) Payload() map[string]any {
	if a == nil {
		return nil
	}
	payload := map[string]any{"phase_resolution": a.Resolution, "phase_paths": withoutEmpty(a.Paths)}
	if a.Source != "" {
		payload["phase_source"] = a.Source
	}
	if a.HasPath {
		payload["phase_path"] = a.Path
	}
	if a.HasScope {
		payload["scope_id"], payload["thread_id"], payload["thread_name"] = a.ScopeID, a.ThreadID, a.ThreadName
	}
	if a.Summary != (Summary{}) {
		payload["phase_summary"] = map[string]any{"phase_path": a.Summary.Path, "source": a.Summary.Source}
	}
	return payload
}
