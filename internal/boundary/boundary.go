// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

// Package boundary reads phase boundaries from log records. A record becomes a Boundary
// or a Reason for its rejection.
package boundary

// RankKey identifies a rank of a session. The boundaries of one rank are replayed
// independently of all others.
type RankKey struct {
	// Tenant is whose session it is; empty without tenants. Each has sessions of its own.
	Tenant  string
	Session string
	Rank    int64
}

// Action is whether a boundary opens or closes a scope.
type Action uint8

const (
	// Enter opens a scope.
	Enter Action = iota
	// Exit closes the scope of the Enter with the same scope ID.
	Exit
)

// String returns the action as records name it.
func (a Action) String() string {
	if a == Enter {
		return "enter"
	}
	return "exit"
}

// Unnumbered is the Sequence of a boundary without a path whose source does not number its
// records.
const Unnumbered = -1

// Boundary is the moment when a thread entered or left a phase.
type Boundary struct {
	// Time is the event time in nanoseconds since the Unix epoch.
	Time int64
	// Sequence is the emitter's counter. An exit's is larger than its enter's.
	Sequence int64
	// ThreadID is the emitter's identifier of the thread.
	ThreadID int64
	// ThreadName is the emitter's name of the thread; it may be empty.
	ThreadName string
	// ScopeID identifies one instance of a scope, whose enter and exit share it.
	ScopeID string
	// ParentScopeID identifies the enclosing scope; empty for an outermost scope.
	ParentScopeID string
	// Path has the phases from the outermost to this one. It is empty where the source names
	// only the innermost one.
	Path Path
	// Name is the last part of a path that is otherwise that of the scopes which are open on
	// the thread. Such a boundary has no path and no scope IDs: an exit leaves the innermost
	// open scope of its name.
	Name string
	// Lane is what the source calls the thread, where it does not number threads: it stands
	// for ThreadID and ThreadName.
	Lane string
	// Began is when the scope of an exit without a path was entered, as the exit says; 0 if it
	// does not say.
	Began int64
	// Attributes are those of Reader.KeepAttributes that the phase has, in that order.
	Attributes []Attribute
	// Action is Enter or Exit.
	Action Action
}

// Attribute is one of the phase's own attributes.
type Attribute struct {
	Key string
	// Value is a string, an int64, a float64 or a bool.
	Value any
}
