// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"context"
	"errors"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"golang.org/x/time/rate"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/association"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/boundary"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/checkpoint"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/hold"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/metadata"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/policy"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/replay"
)

// warnEvery is how often, at most, the log repeats a warning of one kind.
const warnEvery = time.Minute

// signal is the signal of a pipeline.
type signal int

const (
	signalLogs signal = iota
	signalMetrics
	signalTraces
	signals // the number of signals
)

// String returns the signal's name in the processor's metrics.
func (s signal) String() string { return [signals]string{"logs", "metrics", "traces"}[s] }

// resolution is the result of looking up an item.
type resolution int

const (
	unique resolution = iota
	ambiguous
	// none: no phase was active, or nothing is known of the rank.
	none
	// beforeWindow: the item is older than what is kept of its rank.
	beforeWindow
	resolutions // the number of resolutions
)

// String returns the resolution's name in the processor's metrics.
func (r resolution) String() string {
	return [resolutions]string{policy.Unique, policy.Ambiguous, "none", "before_window"}[r]
}

// batchStats counts what became of the items of a batch.
type batchStats struct {
	answers [resolutions]int64
	// otherPaths counts the data points that got resolve.OtherPath, unsplit those that
	// stayed whole at a bound.
	otherPaths, unsplit int64
}

// recorder records the metrics of a component ID, and logs what an operator must know.
// Its attribute sets are made once, so that recording allocates nothing.
type recorder struct {
	telemetry *metadata.TelemetryBuilder
	logger    *zap.Logger

	processor, accepted, duplicate metric.MeasurementOption
	// rejections has an entry per reason.
	rejections   map[string]*rejection
	answers      [signals][resolutions]metric.MeasurementOption
	waits        [signals][waitReasons]metric.MeasurementOption
	signals      [signals]metric.MeasurementOption
	releases     [hold.Outcomes]metric.MeasurementOption
	associations [association.MaxRules][association.Outcomes]metric.MeasurementOption
	storage      map[checkpoint.Operation]*rejection
	lost         [signals]rate.Sometimes
	retried      [signals]rate.Sometimes
}

// rejection is a reason for which something is refused or fails.
type rejection struct {
	attributes metric.MeasurementOption
	warning    rate.Sometimes
}

// newRecorder returns the recorder of a component ID.
func newRecorder(set component.TelemetrySettings, id component.ID) (*recorder, error) {
	set = withoutInjectedAttributes(set)
	telemetry, err := metadata.NewTelemetryBuilder(set)
	if err != nil {
		return nil, err
	}
	with := func(attributes ...attribute.KeyValue) metric.MeasurementOption {
		return metric.WithAttributeSet(attribute.NewSet(append(attributes, attribute.Stringer("processor", id))...))
	}
	r := &recorder{
		telemetry: telemetry, logger: set.Logger,
		processor:  with(),
		accepted:   with(attribute.String("outcome", "accepted")),
		duplicate:  with(attribute.String("outcome", "duplicate")),
		rejections: map[string]*rejection{},
		storage:    map[checkpoint.Operation]*rejection{},
	}
	for _, reason := range rejectionReasons() {
		r.rejections[reason] = &rejection{
			attributes: with(attribute.String("outcome", "rejected"), attribute.String("reason", reason)),
			warning:    rate.Sometimes{First: 1, Interval: warnEvery},
		}
	}
	for _, operation := range []checkpoint.Operation{checkpoint.Open, checkpoint.Write, checkpoint.Read} {
		r.storage[operation] = &rejection{
			attributes: with(attribute.String("operation", string(operation))),
			warning:    rate.Sometimes{First: 1, Interval: warnEvery},
		}
	}
	for rule := range association.MaxRules {
		for outcome := range association.Outcomes {
			r.associations[rule][outcome] = with(attribute.Int("rule", rule), attribute.Stringer("outcome", outcome))
		}
	}
	for outcome := range hold.Outcomes {
		r.releases[outcome] = with(attribute.Stringer("outcome", outcome))
	}
	for s := range signals {
		r.lost[s] = rate.Sometimes{First: 1, Interval: warnEvery}
		r.retried[s] = rate.Sometimes{First: 1, Interval: warnEvery}
		r.signals[s] = with(attribute.Stringer("signal", s))
		for resolution := range resolutions {
			r.answers[s][resolution] = with(attribute.Stringer("signal", s), attribute.Stringer("resolution", resolution))
		}
		for reason := range waitReasons {
			r.waits[s][reason] = with(attribute.Stringer("signal", s), attribute.Stringer("reason", reason))
		}
	}
	return r, nil
}

// withoutInjectedAttributes removes the attributes of the first pipeline from the metrics
// and the logger of what all pipelines share. The attribute processor takes their place:
// two component IDs would else write the same series. Settings that offer no way to
// remove them keep them.
func withoutInjectedAttributes(set component.TelemetrySettings) component.TelemetrySettings {
	pipeline := []string{"otelcol.signal", "otelcol.pipeline.id"}
	if provider, ok := set.MeterProvider.(interface {
		DropInjectedAttributes(attributes ...string) metric.MeterProvider
	}); ok {
		set.MeterProvider = provider.DropInjectedAttributes(append(pipeline, "otelcol.component.id", "otelcol.component.kind")...)
	}
	set.Logger = set.Logger.WithOptions(zap.WrapCore(func(core zapcore.Core) zapcore.Core {
		if injected, ok := core.(interface {
			DropInjectedAttributes(attributes ...string) zapcore.Core
		}); ok {
			return injected.DropInjectedAttributes(pipeline...)
		}
		return core
	}))
	return set
}

// rejectionReasons lists every reason for which a boundary can be rejected.
func rejectionReasons() []string {
	var names []string
	for _, reason := range boundary.Reasons() {
		names = append(names, reason.String())
	}
	for _, outcome := range replay.Refusals() {
		names = append(names, outcome.String())
	}
	return names
}

// ingested counts boundaries that were accepted, and answers that late ones would have
// changed.
func (r *recorder) ingested(ctx context.Context, accepted, outdated int64) {
	if accepted > 0 {
		r.telemetry.ProcessorPhaseAttrBoundaries.Add(ctx, accepted, r.accepted)
	}
	if outdated > 0 {
		r.telemetry.ProcessorPhaseAttrOutdatedAnswers.Add(ctx, outdated, r.processor)
	}
}

// added records the outcome of a boundary that was handed to the index, but for those
// that ingested counts.
func (r *recorder) added(ctx context.Context, result replay.AddResult) {
	switch result.Outcome {
	case replay.Accepted:
		if result.Late > 0 {
			r.telemetry.ProcessorPhaseAttrBoundaryLateness.Record(ctx, result.Late.Seconds(), r.processor)
		}
	case replay.Duplicate:
		r.telemetry.ProcessorPhaseAttrBoundaries.Add(ctx, 1, r.duplicate)
	default:
		r.rejected(ctx, result.Outcome.String())
	}
}

// rejected counts a boundary record that was rejected, and logs it now and then.
func (r *recorder) rejected(ctx context.Context, reason string) {
	rejection := r.rejections[reason]
	r.telemetry.ProcessorPhaseAttrBoundaries.Add(ctx, 1, rejection.attributes)
	rejection.warning.Do(func() {
		r.logger.Warn("Rejected boundary record; it is forwarded unchanged",
			zap.String("reason", reason), zap.String("counted_in", "otelcol_processor_phase_attr_boundaries"))
	})
}

// annotated counts what became of the items of a batch.
func (r *recorder) annotated(ctx context.Context, s signal, a *annotator) {
	for resolution, n := range a.stats.answers {
		if n > 0 {
			r.telemetry.ProcessorPhaseAttrAnswers.Add(ctx, n, r.answers[s][resolution])
		}
	}
	for rule := range a.finder.Tried {
		for outcome, n := range a.finder.Tried[rule] {
			if n > 0 {
				r.telemetry.ProcessorPhaseAttrAssociations.Add(ctx, n, r.associations[rule][outcome])
			}
		}
	}
	if a.stats.unsplit > 0 {
		r.telemetry.ProcessorPhaseAttrUnsplitPoints.Add(ctx, a.stats.unsplit, r.processor)
	}
	if a.stats.otherPaths > 0 {
		r.telemetry.ProcessorPhaseAttrOtherPaths.Add(ctx, a.stats.otherPaths, r.processor)
	}
}

// waited counts items that have to wait.
func (r *recorder) waited(ctx context.Context, s signal, reason waitReason, items int) {
	r.telemetry.ProcessorPhaseAttrWaits.Add(ctx, int64(items), r.waits[s][reason])
}

// released records that a part stopped waiting.
func (r *recorder) released(outcome hold.Outcome, waited time.Duration) {
	ctx := context.Background()
	r.telemetry.ProcessorPhaseAttrReleases.Add(ctx, 1, r.releases[outcome])
	r.telemetry.ProcessorPhaseAttrWaitDuration.Record(ctx, waited.Seconds(), r.processor)
}

// forwarded counts items that were forwarded after they had waited.
func (r *recorder) forwarded(ctx context.Context, s signal, items int) {
	r.telemetry.ProcessorPhaseAttrForwardedItems.Add(ctx, int64(items), r.signals[s])
}

// retrying counts a failed attempt to forward items that had waited.
func (r *recorder) retrying(ctx context.Context, s signal, items int, err error) {
	r.telemetry.ProcessorPhaseAttrForwardRetries.Add(ctx, 1, r.signals[s])
	r.retried[s].Do(func() {
		r.logger.Warn("Failed to forward held data; retrying", zap.Stringer("signal", s), zap.Int("items", items), zap.Error(err))
	})
}

// gaveUp counts items that had waited and are lost.
func (r *recorder) gaveUp(ctx context.Context, s signal, items int, err error) {
	r.telemetry.ProcessorPhaseAttrLostItems.Add(ctx, int64(items), r.signals[s])
	r.lost[s].Do(func() {
		r.logger.Error("Failed to forward held data; it is lost", zap.Stringer("signal", s), zap.Int("items", items), zap.Error(err))
	})
}

// storageFailed counts failures of the storage.
func (r *recorder) storageFailed(ctx context.Context, operation checkpoint.Operation, times int, err error) {
	failure := r.storage[operation]
	r.telemetry.ProcessorPhaseAttrStorageFailures.Add(ctx, int64(times), failure.attributes)
	failure.warning.Do(func() {
		r.logger.Error("Storage operation failed; it is retried", zap.String("operation", string(operation)), zap.Error(err))
	})
}

// instrument is a metric that is read off.
type instrument struct {
	register func(metric.Int64Callback) error
	value    func() int64
}

// observe registers instruments until the telemetry is shut down, after an error too.
func (r *recorder) observe(instruments []instrument) error {
	var errs []error
	for _, i := range instruments {
		errs = append(errs, i.register(func(_ context.Context, o metric.Int64Observer) error {
			o.Observe(i.value(), r.processor)
			return nil
		}))
	}
	return errors.Join(errs...)
}
