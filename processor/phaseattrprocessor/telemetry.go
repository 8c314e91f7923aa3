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

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/boundary"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/metadata"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/policy"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/replay"
)

// warnEvery is how often, at most, the log repeats that boundaries are rejected for
// one reason.
const warnEvery = time.Minute

// none is the resolution of a record that has no answer.
const none = "none"

// The signals, as the metrics name them.
const (
	signalLogs = iota
	signalMetrics
	signalTraces
	signals
)

var signalNames = [signals]string{"logs", "metrics", "traces"}

// tally counts what one pipeline's instance does. Its attribute sets are made once.
type tally struct {
	telemetry *metadata.TelemetryBuilder
	logger    *zap.Logger
	accepted  metric.MeasurementOption
	duplicate metric.MeasurementOption
	// rejected and warnings have an entry per reason.
	rejected map[string]metric.MeasurementOption
	warnings map[string]*rate.Sometimes
	answers  [signals]map[string]metric.MeasurementOption
}

func newTally(telemetry *metadata.TelemetryBuilder, logger *zap.Logger) *tally {
	outcome := func(name string) attribute.KeyValue { return attribute.String("outcome", name) }
	t := &tally{
		telemetry: telemetry,
		logger:    logger,
		accepted:  metric.WithAttributeSet(attribute.NewSet(outcome("accepted"))),
		duplicate: metric.WithAttributeSet(attribute.NewSet(outcome("duplicate"))),
		rejected:  map[string]metric.MeasurementOption{},
		warnings:  map[string]*rate.Sometimes{},
	}
	for _, reason := range rejections() {
		t.rejected[reason] = metric.WithAttributeSet(attribute.NewSet(outcome("rejected"), attribute.String("reason", reason)))
		t.warnings[reason] = &rate.Sometimes{First: 1, Interval: warnEvery}
	}
	for signal, name := range signalNames {
		t.answers[signal] = map[string]metric.MeasurementOption{}
		for _, resolution := range []string{policy.Unique, policy.Ambiguous, none} {
			t.answers[signal][resolution] = metric.WithAttributeSet(attribute.NewSet(
				attribute.String("signal", name), attribute.String("resolution", resolution)))
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

// placed counts a boundary that was handed to the index.
func (t *tally) placed(ctx context.Context, outcome replay.Outcome) {
	switch outcome {
	case replay.Accepted:
		t.telemetry.ProcessorPhaseAttrBoundaries.Add(ctx, 1, t.accepted)
	case replay.Duplicate:
		t.telemetry.ProcessorPhaseAttrBoundaries.Add(ctx, 1, t.duplicate)
	default:
		t.reject(ctx, outcome.String())
	}
}

// reject counts a boundary record that was not taken in, and says so now and then.
func (t *tally) reject(ctx context.Context, reason string) {
	t.telemetry.ProcessorPhaseAttrBoundaries.Add(ctx, 1, t.rejected[reason])
	t.warnings[reason].Do(func() {
		t.logger.Warn("Phase boundary rejected; the record goes on as it came. "+
			"The next minute's are only counted, in processor_phase_attr_boundaries.",
			zap.String("reason", reason))
	})
}

// answered counts the answers that one batch was given.
func (t *tally) answered(ctx context.Context, signal int, answers *answerCounts) {
	for i, resolution := range answers.resolutions() {
		if n := answers[i]; n > 0 {
			t.telemetry.ProcessorPhaseAttrAnswers.Add(ctx, n, t.answers[signal][resolution])
		}
	}
}

// answerCounts are the answers of one batch by resolution.
type answerCounts [3]int64

func (answerCounts) resolutions() [3]string { return [3]string{policy.Unique, policy.Ambiguous, none} }
