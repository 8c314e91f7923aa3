// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/association"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/boundary"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/metadata"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/policy"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/replay"
)

// warnEvery is how often, at most, the log repeats that boundaries are rejected for
// one reason.
const warnEvery = time.Minute

// signal is one of the signals.
type signal int

const (
	signalLogs signal = iota
	signalMetrics
	signalTraces
	signals // how many there are
)

// String names the signal as the metrics do.
func (s signal) String() string { return [signals]string{"logs", "metrics", "traces"}[s] }

// resolution says how a record was answered.
type resolution int

const (
	unique resolution = iota
	ambiguous
	// none: no phase was active, or nothing is known of the group.
	none
	// beforeWindow: the record is older than what is kept of its group.
	beforeWindow
	resolutions // how many there are
)

// String names the resolution as the metrics do.
func (r resolution) String() string {
	return [resolutions]string{policy.Unique, policy.Ambiguous, "none", "before_window"}[r]
}

// account is how the records of one batch were answered.
type account struct {
	answers [resolutions]int64
	// others counts the data points that got otherPath.
	others int64
	// tried counts what the association rules came to.
	tried [maxRules][association.Outcomes]int64
	// unsplit counts the data points that stayed whole at a bound.
	unsplit int64
}

// tally counts what one pipeline's instance does. Its options are made once, so that to
// count allocates nothing.
type tally struct {
	telemetry *metadata.TelemetryBuilder
	logger    *zap.Logger
	accepted  []metric.AddOption
	duplicate []metric.AddOption
	// refused has an entry per reason.
	refused map[string]*refusal
	answers [signals][resolutions][]metric.AddOption
	signals [signals][]metric.AddOption
	// associations has an entry per rule and outcome.
	associations [maxRules][association.Outcomes][]metric.AddOption
}

// refusal is a reason for which boundaries are rejected.
type refusal struct {
	attributes []metric.AddOption
	warning    rate.Sometimes
}

func newTally(telemetry *metadata.TelemetryBuilder, logger *zap.Logger) *tally {
	set := func(attributes ...attribute.KeyValue) []metric.AddOption {
		return []metric.AddOption{metric.WithAttributeSet(attribute.NewSet(attributes...))}
	}
	t := &tally{
		telemetry: telemetry,
		logger:    logger,
		accepted:  set(attribute.String("outcome", "accepted")),
		duplicate: set(attribute.String("outcome", "duplicate")),
		refused:   map[string]*refusal{},
	}
	for _, reason := range rejections() {
		t.refused[reason] = &refusal{
			attributes: set(attribute.String("outcome", "rejected"), attribute.String("reason", reason)),
			warning:    rate.Sometimes{First: 1, Interval: warnEvery},
		}
	}
	for rule := range maxRules {
		for outcome := range association.Outcomes {
			t.associations[rule][outcome] = set(attribute.Int("rule", rule), attribute.Stringer("outcome", outcome))
		}
	}
	for s := range signals {
		t.signals[s] = set(attribute.Stringer("signal", s))
		for r := range resolutions {
			t.answers[s][r] = set(attribute.Stringer("signal", s), attribute.Stringer("resolution", r))
		}
	}
	return t
}

// rejections lists every reason for which a boundary can be rejected.
func rejections() []string {
	var names []string
	for _, reason := range boundary.Reasons() {
		names = append(names, reason.String())
	}
	for _, outcome := range replay.Refusals() {
		names = append(names, outcome.String())
	}
	return names
}

// took counts boundaries that the index has taken.
func (t *tally) took(ctx context.Context, boundaries int64) {
	if boundaries > 0 {
		t.telemetry.ProcessorPhaseAttrBoundaries.Add(ctx, boundaries, t.accepted...)
	}
}

// placed counts what else came of a boundary that was handed to the index.
func (t *tally) placed(ctx context.Context, receipt replay.AddResult) {
	switch receipt.Outcome {
	case replay.Accepted:
	case replay.Duplicate:
		t.telemetry.ProcessorPhaseAttrBoundaries.Add(ctx, 1, t.duplicate...)
		return
	default:
		t.rejected(ctx, receipt.Outcome.String())
		return
	}
	if receipt.Late > 0 {
		t.telemetry.ProcessorPhaseAttrBoundaryLateness.Record(ctx, receipt.Late.Seconds())
	}
	if receipt.Outdated > 0 {
		t.telemetry.ProcessorPhaseAttrOutdatedAnswers.Add(ctx, receipt.Outdated)
	}
}

// rejected counts a boundary record that was not taken in, and says so now and then.
func (t *tally) rejected(ctx context.Context, reason string) {
	refusal := t.refused[reason]
	t.telemetry.ProcessorPhaseAttrBoundaries.Add(ctx, 1, refusal.attributes...)
	refusal.warning.Do(func() {
		t.logger.Warn("Phase boundary rejected; the record goes on as it came. "+
			"The next minute's are only counted, in processor_phase_attr_boundaries.",
			zap.String("reason", reason))
	})
}

// answered counts the answers that one batch was given.
func (t *tally) answered(ctx context.Context, s signal, done *account) {
	for r, n := range done.answers {
		if n > 0 {
			t.telemetry.ProcessorPhaseAttrAnswers.Add(ctx, n, t.answers[s][r]...)
		}
	}
	for rule := range done.tried {
		for outcome, n := range done.tried[rule] {
			if n > 0 {
				t.telemetry.ProcessorPhaseAttrAssociations.Add(ctx, n, t.associations[rule][outcome]...)
			}
		}
	}
	if done.unsplit > 0 {
		t.telemetry.ProcessorPhaseAttrUnsplitPoints.Add(ctx, done.unsplit)
	}
	if done.others > 0 {
		t.telemetry.ProcessorPhaseAttrOtherPaths.Add(ctx, done.others)
	}
}

// lost counts records that were held and could not be passed on.
func (t *tally) lost(ctx context.Context, s signal, records int) {
	t.telemetry.ProcessorPhaseAttrLostRecords.Add(ctx, int64(records), t.signals[s]...)
}
