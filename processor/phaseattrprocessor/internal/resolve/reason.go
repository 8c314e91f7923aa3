// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package resolve

import (
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/policy"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/replay"
)

// Reason is why telemetry has no phase, or an ambiguous one. The set is closed: reasons
// are attribute values of the processor's own metrics.
type Reason uint8

const (
	// NoReason: the phase is unique.
	NoReason Reason = iota

	// NoSession: the telemetry names nothing that leads to a session.
	NoSession
	// UnknownSession: no event of what the telemetry names has come.
	UnknownSession
	// NoTime: the telemetry has no time, or one that no event can have.
	NoTime
	// SkippedCumulative: the point is one of a counter, whose attributes stay unchanged.
	SkippedCumulative
	// Excluded: the metric is excluded by the configuration.
	Excluded
	// TooManyTenants: the telemetry is of a tenant beyond their number.
	TooManyTenants
	// OtherDevice: the rank that the telemetry leads to is known to have another device, pod
	// or job than the telemetry names.
	OtherDevice
	// BeforeWindow: the time is older than what is kept.
	BeforeWindow
	// BetweenPhases: no scope was active.
	BetweenPhases
	// Behind: the boundaries have not come as far as the time.
	Behind
	// Ended: the time is after the end of the session.
	Ended
	// Gone: the time is after the last sign of life of the process.
	Gone

	// Threads: several threads are in phases.
	Threads
	// Interval: no phase of the thread makes up enough of the interval, or one ends and
	// another one begins at the moment.
	Interval
	// Processes: several processes of the rank are alive.
	Processes
	// SeveralRanks: the telemetry belongs to several ranks.
	SeveralRanks
	// SharedDevice: several ranks use the device.
	SharedDevice
	// IncompletePath: a boundary around the time was lost, so that a part of the path may be
	// another one.
	IncompletePath

	// Reasons is the number of reasons.
	Reasons
)

// String returns the reason as attributes name it. That of NoReason is empty.
func (r Reason) String() string {
	return [Reasons]string{
		NoReason:          "",
		NoSession:         "no_session",
		UnknownSession:    "unknown_session",
		NoTime:            "no_time",
		SkippedCumulative: "skipped_cumulative",
		Excluded:          "excluded",
		TooManyTenants:    "metadata_cardinality_limit",
		OtherDevice:       "other_device",
		BeforeWindow:      "before_window",
		BetweenPhases:     "between_phases",
		Behind:            "behind",
		Ended:             "ended",
		Gone:              "gone",
		Threads:           "threads",
		Interval:          "interval",
		Processes:         "processes",
		SeveralRanks:      "several_ranks",
		SharedDevice:      "shared_device",
		IncompletePath:    "incomplete_path",
	}[r]
}

// reasonOf is the reason of an answer, or of none, as far as the index and the policy tell.
func reasonOf(status replay.Status, found bool, answer *policy.Attribution) Reason {
	switch {
	case found && answer.Resolution == policy.Unique:
		return NoReason
	case found && answer.OneThread:
		return Interval
	case found:
		return Threads
	}
	switch status {
	case replay.Unknown:
		return UnknownSession
	case replay.BeforeWindow:
		return BeforeWindow
	case replay.Ended:
		return Ended
	case replay.Gone:
		return Gone
	case replay.Behind, replay.Lagging, replay.Running:
		return Behind
	case replay.Several, replay.Peers:
		return Processes
	case replay.Doubtful, replay.Incomplete:
		return IncompletePath
	case replay.Known:
	}
	return BetweenPhases
}
