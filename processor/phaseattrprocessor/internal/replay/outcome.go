// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

// Outcome is the result of adding an event to the index. The set is closed: it is an
// attribute of the processor's own metrics.
type Outcome uint8

const (
	// Accepted: the event is in the index.
	Accepted Outcome = iota
	// Duplicate: the same boundary had been added before.
	Duplicate
	// TooOld: the boundary is older than the window and closes nothing.
	TooOld
	// TooManyRanks: the rank is new and the index is full.
	TooManyRanks
	// TooManyThreads: the thread or the process is new, its rank has as many as it may have,
	// and all are in use.
	TooManyThreads
	// TooManyOpen: the thread has as many open scopes as it may have.
	TooManyOpen
	// AmbiguousProcess: the event names less than a process, and several fit.
	AmbiguousProcess
	// TooManyRankBytes: the rank takes as much memory as it may, in open scopes.
	TooManyRankBytes
	// TooManyBytes: the index takes as much memory as it may, and the rank has no boundaries
	// to evict.
	TooManyBytes
	// TooManyBoundaries: the index is full and the rank has no boundaries to evict.
	TooManyBoundaries
	// NoDuration: the interval ends no later than it starts.
	NoDuration

	outcomes // the number of outcomes
)

var outcomeTexts = [outcomes]string{
	Accepted:       "accepted",
	Duplicate:      "duplicate",
	TooOld:         "too_old",
	TooManyRanks:   "max_ranks",
	TooManyThreads: "max_threads_per_rank",
	TooManyOpen:    "max_open_scopes_per_thread",

	AmbiguousProcess:  "process",
	TooManyRankBytes:  "memory_per_rank",
	TooManyBytes:      "memory",
	TooManyBoundaries: "max_boundaries",
	NoDuration:        "no_duration",
}

// String returns the outcome's value in the processor's metrics. A bound is named like
// its option.
func (o Outcome) String() string { return outcomeTexts[o] }

// Refusals returns the outcomes of boundaries that were not added, other than Duplicate.
func Refusals() []Outcome {
	return []Outcome{TooOld, TooManyRanks, TooManyThreads, TooManyOpen, AmbiguousProcess, TooManyRankBytes, TooManyBytes, TooManyBoundaries, NoDuration}
}
