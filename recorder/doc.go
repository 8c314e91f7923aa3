// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

// Package recorder reports the phases of a program as OpenTelemetry log records, for
// the phase_attr processor of the Collector to attribute telemetry to them.
//
// A phase is a stretch of work with a name: an epoch, a step, the decoding of a batch.
// A [Recorder] belongs to one rank of one session, that is to one worker of one run.
// [Recorder.Enter] opens a phase and [Handle.Close] ends it; each emits an event,
// phase_enter or phase_exit, through a logger of the OpenTelemetry Logs API:
//
//	rec := recorder.New(recorder.WithRank(rank))
//	rec.Start(ctx)
//	defer rec.Stop(ctx)
//
//	ctx, phase := rec.Enter(ctx, "forward", log.Int("step", step))
//	defer phase.Close()
//
// Which SDK exports the events, and where to, is up to the program, as for all
// OpenTelemetry instrumentation. Without an SDK nothing is emitted.
//
// # Lanes
//
// Phases nest per thread, and goroutines have no identity. A program therefore names
// its lanes of execution: [WithLane] puts the work that is done with a context into a
// lane, and contexts derived from it inherit the lane. All else is done in the lane
// [DefaultLane]. Phases of one lane must be closed in reverse order; phases of
// different lanes are independent. Goroutines that enter phases at the same time need
// a lane each.
//
// # Errors
//
// A call that would break the nesting is refused with a [ProtocolError], which wraps
// one of [ErrBlankName], [ErrNothingOpen], [ErrUnknownScope], [ErrOtherLane] and
// [ErrNotInnermost]. It changes nothing and emits nothing. [WithErrorHandler] reports
// refused calls of programs that defer Close and drop its result.
//
// # Liveness
//
// [Recorder.Start] emits a start event and then, at the interval of [WithPulse], sample
// events that state this interval. By them the processor notices that a program died
// within a phase. [Recorder.Stop] emits a stop event.
package recorder // import "github.com/phaseattr/phaseattr/recorder"
