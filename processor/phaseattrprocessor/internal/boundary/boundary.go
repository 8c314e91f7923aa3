// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

// Package boundary reads phase boundaries from log records: a record becomes a
// Boundary, or the reason why it is none.
package boundary

import "fmt"

// RankKey names one process of a training run: its boundaries are replayed
// together, and apart from those of every other group.
type RankKey struct {
	Session string
	Rank    int64
}

// Process is the process that a group is of. A process runs one session at a time.
type Process struct {
	Host string
	PID  int64
	Rank int64
}

// Claim names the process; empty when it is not known.
func (p Process) Claim() string {
	if p.Host == "" {
		return ""
	}
	return fmt.Sprintf("process\x00%s\x00%d\x00%d", p.Host, p.PID, p.Rank)
}

// Action says whether a boundary opens or closes a scope.
type Action uint8

const (
	// Enter opens a scope.
	Enter Action = iota
	// Exit closes the scope that an Enter with the same scope ID opened.
	Exit
)

// String returns the action's name in a record.
func (a Action) String() string {
	if a == Enter {
		return "enter"
	}
	return "exit"
}

// Boundary is the moment at which a thread entered or left a phase.
type Boundary struct {
	// Time is the event time in nanoseconds since the Unix epoch.
	Time int64
	// Sequence is the emitter's counter; an exit's is larger than its enter's.
	Sequence int64
	// ThreadID is the emitter's identifier of the thread.
	ThreadID int64
	// ThreadName is what the emitter calls the thread.
	ThreadName string
	// ScopeID names one scope instance; its enter and its exit share it.
	ScopeID string
	// ParentScopeID names the scope that this one was opened in; empty at the root.
	ParentScopeID string
	// Name is the trimmed name of the phase, usually the last part of Path.
	Name string
	// Path leads from the outermost phase to this one. It is never empty.
	Path Path
	// Attributes are the ones that the reader was told to keep, in its order.
	Attributes []Attribute
	// Action is Enter or Exit.
	Action Action
}

// Attribute is one of the free attributes of a phase.
type Attribute struct {
	Key string
	// Value is a string, an int64, a float64 or a bool.
	Value any
}
