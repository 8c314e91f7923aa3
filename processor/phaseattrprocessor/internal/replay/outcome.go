// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

// Outcome is what became of an event that was handed to the index. The set is
// closed: it is an attribute of the processor's own metrics.
type Outcome uint8

const (
	// Accepted: the event is in the index.
	Accepted Outcome = iota
	// Duplicate: the same boundary was there already.
	Duplicate
	// TooOld: the boundary is older than the window and closes nothing.
	TooOld
	// TooManyRanks: the group is new and the index is full.
	TooManyRanks
	// TooManyThreads: the thread is new and its group is full.
	TooManyThreads
	// TooManyOpen: the thread has as many open scopes as it may have.
	TooManyOpen
	// TooManyBoundaries: the index is full and the group has nothing to give up.
	TooManyBoundaries

	outcomes // how many there are
)

var outcomeTexts = [outcomes]string{
	Accepted:       "accepted",
	Duplicate:      "duplicate",
	TooOld:         "too_old",
	TooManyRanks:   "max_ranks",
	TooManyThreads: "max_threads_per_rank",
	TooManyOpen:    "max_open_scopes_per_thread",

	TooManyBoundaries: "max_boundaries",
}

// String names the outcome as the processor's metrics do; a bound is named like
// its option.
func (o Outcome) String() string { return outcomeTexts[o] }

// Refusals lists the outcomes by which a boundary is not kept.
func Refusals() []Outcome {
	return []Outcome{TooOld, TooManyRanks, TooManyThreads, TooManyOpen, TooManyBoundaries}
}
