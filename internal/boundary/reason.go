// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package boundary

// Reason is why a boundary record is rejected, or an event of a rank ignored. The set is
// closed: reasons are attribute values of the processor's own metrics.
type Reason uint8

const (
	// OK is the zero value: the record is well-formed.
	OK Reason = iota
	// BadSession: the session ID is missing or not a string.
	BadSession
	// BadRank: the rank is present but not an integer.
	BadRank
	// BadTime: the time is missing or not an integer.
	BadTime
	// NoScope: the phase_scope map is missing.
	NoScope
	// BadAction: the action is neither enter nor exit, or contradicts the event type.
	BadAction
	// BadName: the name is missing or blank.
	BadName
	// BadPath: the path is missing, not a list, or has no names.
	BadPath
	// BadScopeID: the scope ID is missing or not a string.
	BadScopeID
	// BadParent: the parent scope ID is neither null nor a string.
	BadParent
	// BadThread: the thread ID is missing or not an integer, or the thread name is missing
	// or not a string.
	BadThread
	// BadSequence: the sequence number is missing or not an integer.
	BadSequence
	// BadText: the session ID, a scope ID, a name or the path is not valid UTF-8, or has a
	// NUL. It would go onto other telemetry, which some exporters would then drop.
	BadText
	// TooLong: a text exceeds Limits.TextBytes, or the path's label Limits.LabelBytes.
	TooLong
	// TooDeep: the path exceeds Limits.Depth.
	TooDeep
	// Inverted: a span ends before it starts.
	Inverted
	// BadSpan: a log record that is to hold a span holds none.
	BadSpan

	reasons // the number of reasons
)

var reasonTexts = [reasons]string{
	OK:          "ok",
	BadSession:  "session_id",
	BadRank:     "rank",
	BadTime:     "timestamp",
	NoScope:     "phase_scope",
	BadAction:   "action",
	BadName:     "name",
	BadPath:     "path",
	BadScopeID:  "scope_id",
	BadParent:   "parent_scope_id",
	BadThread:   "thread",
	BadSequence: "sequence",
	BadText:     "invalid_text",
	TooLong:     "too_long",
	TooDeep:     "too_deep",
	Inverted:    "inverted",
	BadSpan:     "span",
}

// String returns the reason as the processor's metrics name it: the field at fault or the
// limit exceeded.
func (r Reason) String() string { return reasonTexts[r] }

// Reasons returns all reasons except OK.
func Reasons() []Reason {
	all := make([]Reason, 0, reasons-1)
	for r := OK + 1; r < reasons; r++ {
		all = append(all, r)
	}
	return all
}
