// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"time"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/boundary"
)

// Sender is who sent an event.
type Sender struct {
	Rank boundary.RankKey
	// Process is what the event names of the process; zero if it names none.
	Process boundary.Process
	// Print is a hash of all that says where the process is. Events with the same one are
	// of one presence.
	Print uint64
}

// Kind is the kind of an event that is not a boundary.
type Kind uint8

const (
	// Other is any event that only shows that the process is alive.
	Other Kind = iota
	// Sample is an event that a process sends regularly.
	Sample
	// Start begins a new incarnation of its process.
	Start
	// Stop ends its process.
	Stop
)

// Event is an event that is not a boundary.
type Event struct {
	// Time is in nanoseconds since the Unix epoch.
	Time int64
	Kind Kind
	// Interval is how often the process says that it samples; 0 if it does not say.
	Interval time.Duration
	// WorldSize is the number of ranks of the session; 0 if the event does not say.
	WorldSize int64
}
