// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package boundary

// Reason says why a record is no boundary although its event type says so, or
// why it takes no part in the replay. The set is closed: it is an attribute of
// the processor's own metrics.
type Reason uint8

const (
	// OK is the zero value: nothing is wrong.
	OK Reason = iota
	// BadSession: no session ID, or one that is not text.
	BadSession
	// BadRank: a rank that is neither absent nor a whole number.
	BadRank
	// BadTime: no time, or one that is not a whole number of nanoseconds.
	BadTime
	// NoScope: no phase_scope map.
	NoScope
	// BadAction: neither enter nor exit, or at odds with the event type.
	BadAction
	// BadName: no name, or a blank one.
	BadName
	// BadPath: no list of names, or none in it.
	BadPath
	// BadScopeID: no scope ID, or one that is not text.
	BadScopeID
	// BadParent: a parent scope ID that is neither null nor text.
	BadParent
	// BadThread: no thread ID or name, or one of the wrong type.
	BadThread
	// BadSequence: no sequence number, or one that is not a whole number.
	BadSequence
	// TooLong: a text longer than Limits allow.
	TooLong
	// TooDeep: a path with more parts than Limits allow.
	TooDeep

	reasons // how many there are
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
	TooLong:     "too_long",
	TooDeep:     "too_deep",
}

// String names the reason as the processor's metrics do: the field at fault, or
// the limit that was passed.
func (r Reason) String() string { return reasonTexts[r] }

// Reasons lists every reason but OK.
func Reasons() []Reason {
	all := make([]Reason, 0, reasons-1)
	for r := OK + 1; r < reasons; r++ {
		all = append(all, r)
	}
	return all
}
