// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"golang.org/x/time/rate"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/association"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/checkpoint"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/hold"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/metadata"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/policy"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/replay"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/resolve"
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

// resolution is what an item got.
type resolution int

const (
	unique resolution = iota
	ambiguous
	// none: no phase, for a reason.
	none
	resolutions // the number of resolutions
)

// String returns the resolution's name in the processor's metrics.
func (r resolution) String() string {
	return [resolutions]string{policy.Unique, policy.Ambiguous, "none"}[r]
}

// batchStats counts what became of the items of a batch.
type batchStats struct {
	answers [resolutions][resolve.Reasons]int64
	// tried has the outcomes of the association rules.
	tried [association.MaxRules][association.Outcomes]int64
	// otherPaths counts the data points that got resolve.OtherPath, unsplit those that
	// stayed whole at a bound.
	otherPaths, unsplit int64
	// ended counts the series that were ended, untracked the data points whose series are
	// not, at a bound.
	ended, untracked int64
	// events is the number of items that are events of ranks, which match by themselves.
	events int64
}

// recorder records the metrics of a component ID, and logs what an operator must know.
// Its attribute sets are made once, so that recording allocates next to nothing.
type recorder struct {
	telemetry *metadata.TelemetryBuilder
	logger    *zap.Logger
	id        component.ID
	watch     *watch

	processor, accepted, duplicate metric.MeasurementOption
	fromLogs                       metric.MeasurementOption
	unknownRanks, unknownLocations metric.MeasurementOption
	answers                        [signals][resolutions][resolve.Reasons]metric.MeasurementOption
	associations                   [association.MaxRules][association.Outcomes]metric.MeasurementOption
	signals                        [signals]metric.MeasurementOption
	waits                          [signals][waitReasons]metric.MeasurementOption
	releases                       [hold.Outcomes]metric.MeasurementOption
	// others has the *series of what is rejected or fails, by kind.
	others sync.Map
}

// series is a series of a metric, and how often its warning is logged.
type series struct {
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
	r := &recorder{telemetry: telemetry, logger: set.Logger, id: id, watch: newWatch(set.Logger)}
	r.processor = r.with()
	r.accepted = r.with(attribute.String("outcome", "accepted"))
	r.duplicate = r.with(attribute.String("outcome", "duplicate"))
	r.fromLogs = r.with(attribute.String("source", "logs"))
	r.unknownRanks = r.with(attribute.String("identity", "rank"))
	r.unknownLocations = r.with(attribute.String("identity", "location"))
	for s := range signals {
		r.signals[s] = r.with(attribute.Stringer("signal", s))
		for reason := range waitReasons {
			r.waits[s][reason] = r.with(attribute.Stringer("signal", s), attribute.Stringer("reason", reason))
		}
		for resolution := range resolutions {
			for reason := range resolve.Reasons {
				attributes := []attribute.KeyValue{attribute.Stringer("signal", s), attribute.Stringer("resolution", resolution)}
				if reason != resolve.NoReason {
					attributes = append(attributes, attribute.Stringer("reason", reason))
				}
				r.answers[s][resolution][reason] = r.with(attributes...)
			}
		}
	}
	for rule := range association.MaxRules {
		for outcome := range association.Outcomes {
			r.associations[rule][outcome] = r.with(attribute.Int("rule", rule), attribute.Stringer("outcome", outcome))
		}
	}
	for outcome := range hold.Outcomes {
		r.releases[outcome] = r.with(attribute.Stringer("outcome", outcome))
	}
	return r, nil
}

// with returns the attributes of a series.
func (r *recorder) with(attributes ...attribute.KeyValue) metric.MeasurementOption {
	return metric.WithAttributeSet(attribute.NewSet(append(attributes, attribute.Stringer("processor", r.id))...))
}

// other returns the series of some attributes, which kind tells apart.
func (r *recorder) other(kind [2]string, attributes ...attribute.KeyValue) *series {
	s, ok := r.others.Load(kind)
	if !ok {
		s, _ = r.others.LoadOrStore(kind, &series{r.with(attributes...), rate.Sometimes{First: 1, Interval: warnEvery}})
	}
	return s.(*series)
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

// increase adds to a counter. Most of the series of a batch do not change.
func increase(ctx context.Context, counter metric.Int64Counter, n int64, attributes metric.MeasurementOption) {
	if n > 0 {
		counter.Add(ctx, n, attributes)
	}
}

// ingested counts boundaries that were accepted, and answers that late ones would have
// changed.
func (r *recorder) ingested(ctx context.Context, accepted, outdated int64) {
	r.watch.accept(accepted)
	increase(ctx, r.telemetry.ProcessorPhaseAttrBoundaries, accepted, r.accepted)
	increase(ctx, r.telemetry.ProcessorPhaseAttrOutdatedAnswers, outdated, r.processor)
}

// skewed records how long after their event time the newest boundaries of the ranks of a
// batch arrived.
func (r *recorder) skewed(ctx context.Context, arrival time.Time, s *skew) {
	for at := range s.newest {
		seconds := (float64(arrival.UnixNano()) - float64(at)) / float64(time.Second)
		r.telemetry.ProcessorPhaseAttrBoundarySkew.Record(ctx, seconds, r.fromLogs)
	}
}

// added records the outcome of a boundary that was handed to the index, but for those
// that ingested counts.
func (r *recorder) added(ctx context.Context, feed *replay.Feed, result *replay.Added) {
	switch result.Outcome {
	case replay.Accepted:
		if result.Late > 0 {
			r.telemetry.ProcessorPhaseAttrBoundaryLateness.Record(ctx, result.Late.Seconds(), r.processor)
		}
	case replay.Duplicate:
		r.telemetry.ProcessorPhaseAttrBoundaries.Add(ctx, 1, r.duplicate)
	default:
		r.rejected(ctx, feed, result.Outcome.String())
	}
}

// rejected counts a boundary that was rejected, and logs it now and then. feed is that of a
// source other than stormlog.
func (r *recorder) rejected(ctx context.Context, feed *replay.Feed, reason string) {
	series := r.rejectedFor(feed, reason)
	r.telemetry.ProcessorPhaseAttrBoundaries.Add(ctx, 1, series.attributes)
	series.warning.Do(func() {
		r.logger.Warn("Rejected boundary record; it is forwarded unchanged",
			zap.String("reason", reason), zap.String("counted_in", "otelcol_processor_phase_attr_boundaries"))
	})
}

// rejectedFor returns the series of boundaries that are rejected for a reason.
func (r *recorder) rejectedFor(feed *replay.Feed, reason string) *series {
	attributes := []attribute.KeyValue{attribute.String("outcome", "rejected"), attribute.String("reason", reason)}
	if feed == nil {
		return r.other([2]string{"rejected", reason}, attributes...)
	}
	return r.other([2]string{feed.Name, reason}, append(attributes, attribute.String("feed", feed.Name))...)
}

// annotated counts what became of the items of a batch that goes on.
func (r *recorder) annotated(ctx context.Context, s signal, stats *batchStats) {
	r.watch.note(stats)
	for resolution := range stats.answers {
		for reason, n := range stats.answers[resolution] {
			increase(ctx, r.telemetry.ProcessorPhaseAttrAnswers, n, r.answers[s][resolution][reason])
		}
	}
	for rule := range stats.tried {
		for outcome, n := range stats.tried[rule] {
			increase(ctx, r.telemetry.ProcessorPhaseAttrAssociations, n, r.associations[rule][outcome])
		}
	}
	increase(ctx, r.telemetry.ProcessorPhaseAttrUnsplitPoints, stats.unsplit, r.processor)
	increase(ctx, r.telemetry.ProcessorPhaseAttrOtherPaths, stats.otherPaths, r.processor)
	increase(ctx, r.telemetry.ProcessorPhaseAttrEndedSeries, stats.ended, r.processor)
	increase(ctx, r.telemetry.ProcessorPhaseAttrUntrackedPoints, stats.untracked, r.processor)
}

// waited counts items that have to wait.
func (r *recorder) waited(ctx context.Context, s signal, reason waitReason, items int) {
	r.telemetry.ProcessorPhaseAttrWaits.Add(ctx, int64(items), r.waits[s][reason])
}

// retrying counts a failed attempt to forward items that had waited.
func (r *recorder) retrying(ctx context.Context, s signal, items int, err error) {
	r.telemetry.ProcessorPhaseAttrForwardRetries.Add(ctx, 1, r.signals[s])
	r.other([2]string{"retrying", s.String()}).warning.Do(func() {
		r.logger.Warn("Failed to forward held data; retrying", zap.Stringer("signal", s), zap.Int("items", items), zap.Error(err))
	})
}

// lost counts items that had waited and are lost.
func (r *recorder) lost(ctx context.Context, s signal, items int, err error) {
	r.telemetry.ProcessorPhaseAttrLostItems.Add(ctx, int64(items), r.signals[s])
	r.other([2]string{"lost", s.String()}).warning.Do(func() {
		r.logger.Error("Failed to forward held data; it is lost", zap.Stringer("signal", s), zap.Int("items", items), zap.Error(err))
	})
}

// storageFailed counts failures of the storage.
func (r *recorder) storageFailed(ctx context.Context, operation checkpoint.Operation, times int, err error) {
	series := r.storageFailing(operation)
	r.telemetry.ProcessorPhaseAttrStorageFailures.Add(ctx, int64(times), series.attributes)
	series.warning.Do(func() {
		r.logger.Error("Storage operation failed; it is retried", zap.String("operation", string(operation)), zap.Error(err))
	})
}

// storageFailing returns the series of the failures of an operation.
func (r *recorder) storageFailing(operation checkpoint.Operation) *series {
	return r.other([2]string{"storage", string(operation)}, attribute.String("operation", string(operation)))
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
