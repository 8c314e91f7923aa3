// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"time"

	"github.com/phaseattr/phaseattr/internal/boundary"
)

// Sender is who sent an event.
type Sender struct {
	Rank boundary.RankKey
	// Process is what the event names of the process; zero if it names none.
	Process boundary.Process
	// Print is a hash of all that says where the process is. Events with the same one are
	// of one presence.
	Print uint64
	// Bytes is what is kept elsewhere of such a presence.
	Bytes int32
	// Feed has the rules of the source that the event comes from; nil for those of stormlog's
	// records.
	Feed *Feed
	// Aside is true when the process works beside the rank's main one, as a checkpoint worker
	// does: it answers only telemetry that names it.
	Aside bool
}

// Feed is the rules of a source of events.
type Feed struct {
	Name string
	// Grace is how long telemetry of the ranks that the source feeds waits; 0 for the
	// configured period.
	Grace time.Duration
	// Peers is true when the processes of a rank stand side by side: whichever of them is in
	// a phase answers, and several are ambiguous.
	Peers bool
	// Anchors is true when a scope may come twice: its start, and later a child of that which
	// has the same name and the end.
	Anchors bool
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
	// Heartbeat is an event that a process sends regularly while anything is open.
	Heartbeat
)

// Event is an event that is not a boundary.
type Event struct {
	// Time is in nanoseconds since the Unix epoch.
	Time int64
	Kind Kind
	// Interval is how often the process says that it samples, or that it sends Heartbeats; 0 if it
	// does not say.
	Interval time.Duration
	// WorldSize is the number of ranks of the session; 0 if the event does not say.
	WorldSize int64
	// Sequence is the event's number where the source numbers all its records, boundaries and
	// others, from one counter; Numbered is true then.
	Sequence int64
	Numbered bool
}
