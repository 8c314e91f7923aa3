// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package recorder

import (
	"errors"
	"fmt"
)

// The rules that a call can break. A [ProtocolError] wraps one of them.
var (
	// ErrBlankName refuses to enter a phase without a name.
	ErrBlankName = errors.New("phase name is blank")
	// ErrNothingOpen refuses to exit a scope in a lane that has no open scope.
	ErrNothingOpen = errors.New("no scope is open in this lane")
	// ErrUnknownScope refuses to exit a scope that is not open, but others are.
	ErrUnknownScope = errors.New("scope is not open")
	// ErrOtherLane refuses to exit a scope that is open in another lane.
	ErrOtherLane = errors.New("scope was entered in another lane")
	// ErrNotInnermost refuses to exit a scope before those within it.
	ErrNotInnermost = errors.New("scope is not the innermost of its lane")
)

// ProtocolError describes a refused call.
type ProtocolError struct {
	// Err is the rule that the call broke: one of the errors above.
	Err error
	// Lane is the lane of the call.
	Lane Lane
	// ScopeID is the scope to exit; empty with ErrBlankName.
	ScopeID string
	// Owner is the lane in which the scope was entered; set with ErrOtherLane.
	Owner Lane
	// Innermost is the ID of the scope to exit first; set with ErrNotInnermost.
	Innermost string
}

// Error says which call was refused, and why.
func (e *ProtocolError) Error() string {
	switch {
	case e.ScopeID == "":
		return fmt.Sprintf("enter phase in lane %q: %v", e.Lane.Name, e.Err)
	case e.Innermost != "":
		return fmt.Sprintf("exit scope %q in lane %q: %v (%q is)", e.ScopeID, e.Lane.Name, e.Err, e.Innermost)
	case e.Owner != Lane{}:
		return fmt.Sprintf("exit scope %q in lane %q: %v (%q)", e.ScopeID, e.Lane.Name, e.Err, e.Owner.Name)
	}
	return fmt.Sprintf("exit scope %q in lane %q: %v", e.ScopeID, e.Lane.Name, e.Err)
}

// Unwrap returns the rule that the call broke.
func (e *ProtocolError) Unwrap() error { return e.Err }
