// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"context"

	"github.com/phaseattr/phaseattr/internal/boundary"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/association"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/checkpoint"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/hold"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/replay"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/resolve"
)

// begin begins the series of what the pipelines share at 0: the increase of a counter
// cannot be seen in a series that begins with it.
func (r *recorder) begin(ctx context.Context, config *Config, a *association.Association) {
	t := r.telemetry
	t.ProcessorPhaseAttrBoundaries.Add(ctx, 0, r.accepted)
	t.ProcessorPhaseAttrBoundaries.Add(ctx, 0, r.duplicate)
	for _, reason := range boundary.Reasons() {
		t.ProcessorPhaseAttrBoundaries.Add(ctx, 0, r.rejectedFor(nil, reason.String()).attributes)
	}
	for _, outcome := range replay.Refusals() {
		t.ProcessorPhaseAttrBoundaries.Add(ctx, 0, r.rejectedFor(nil, outcome.String()).attributes)
	}
	for _, outcome := range rejecting() {
		t.ProcessorPhaseAttrBoundaries.Add(ctx, 0, r.rejectedFor(nil, string(outcome)).attributes)
	}
	for _, outcome := range disbeliefs() {
		t.ProcessorPhaseAttrDoubtedEvents.Add(ctx, 0, r.disbelieving(outcome).attributes)
	}
	for transition := range replay.AllTransitions().Each {
		t.ProcessorPhaseAttrTransitions.Add(ctx, 0, r.transitioning(transition).attributes)
	}
	if len(config.MetadataKeys) > 0 {
		t.ProcessorPhaseAttrBoundaries.Add(ctx, 0, r.rejectedFor(nil, tooManyTenants).attributes)
	}
	t.ProcessorPhaseAttrOutdatedAnswers.Add(ctx, 0, r.processor)
	for rule := range config.rules() {
		for _, outcome := range a.Outcomes(rule) {
			t.ProcessorPhaseAttrAssociations.Add(ctx, 0, r.associations[rule][outcome])
		}
	}
	if config.Grace.Period > 0 {
		for outcome := range hold.Outcomes {
			t.ProcessorPhaseAttrReleases.Add(ctx, 0, r.releases[outcome])
		}
	}
	if config.Storage != nil {
		for _, operation := range []checkpoint.Operation{checkpoint.Open, checkpoint.Write, checkpoint.Read} {
			t.ProcessorPhaseAttrStorageFailures.Add(ctx, 0, r.storageFailing(operation).attributes)
		}
	}
}

// beginSignal begins the series of a signal, of which a pipeline has been started, at 0.
func (r *recorder) beginSignal(ctx context.Context, config *Config, s signal) {
	r.watch.started[s].Store(true)
	t := r.telemetry
	for resolution := range resolutions {
		for reason := range resolve.Reasons {
			if occurs(s, resolution, reason) && (reason != resolve.TooManyTenants || len(config.MetadataKeys) > 0) {
				t.ProcessorPhaseAttrAnswers.Add(ctx, 0, r.answers[s][resolution][reason])
			}
		}
	}
	if s == signalMetrics {
		t.ProcessorPhaseAttrOtherPaths.Add(ctx, 0, r.processor)
		if config.Split.Enabled {
			t.ProcessorPhaseAttrUnsplitPoints.Add(ctx, 0, r.processor)
		}
		if config.Metrics.ends() {
			t.ProcessorPhaseAttrEndedSeries.Add(ctx, 0, r.processor)
			t.ProcessorPhaseAttrUntrackedPoints.Add(ctx, 0, r.processor)
		}
	}
	if config.Grace.Period == 0 {
		return
	}
	for reason := range waitReasons {
		if reason != unknown || s == signalMetrics {
			t.ProcessorPhaseAttrWaits.Add(ctx, 0, r.waits[s][reason])
		}
	}
	t.ProcessorPhaseAttrForwardedItems.Add(ctx, 0, r.signals[s])
	t.ProcessorPhaseAttrForwardRetries.Add(ctx, 0, r.signals[s])
	t.ProcessorPhaseAttrLostItems.Add(ctx, 0, r.signals[s])
}

// occurs reports whether items of a signal can get a resolution for a reason.
func occurs(s signal, of resolution, reason resolve.Reason) bool {
	switch reason {
	case resolve.NoReason:
		return of == unique
	case resolve.Threads, resolve.Interval, resolve.SeveralRanks, resolve.SharedDevice:
		return of == ambiguous
	case resolve.Processes, resolve.IncompletePath:
		return of != unique
	case resolve.SkippedCumulative, resolve.Excluded:
		return of == none && s == signalMetrics
	}
	return of == none
}
