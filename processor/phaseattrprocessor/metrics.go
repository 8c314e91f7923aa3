// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"context"
	"math"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/processor"
)

// metricsProcessor is the processor of a metrics pipeline. The embedded one passes on
// what has been answered.
type metricsProcessor struct {
	processor.Metrics
	pipeline[pmetric.Metrics]
}

func newMetricsProcessor(p *instance, next processor.Metrics) processor.Metrics {
	return &metricsProcessor{next, pipeline[pmetric.Metrics]{
		instance:  p,
		signal:    signalMetrics,
		resources: func(batch pmetric.Metrics) int { return batch.ResourceMetrics().Len() },
		records:   pmetric.Metrics.DataPointCount,
		join:      func(from, to pmetric.Metrics) { from.ResourceMetrics().MoveAndAppendTo(to.ResourceMetrics()) },
		bytes:     new(pmetric.ProtoMarshaler).MetricsSize,
		answer:    (*asker).metrics,
		next:      next.ConsumeMetrics,
	}}
}

// ConsumeMetrics answers the data points of a batch.
func (p *metricsProcessor) ConsumeMetrics(ctx context.Context, md pmetric.Metrics) error {
	return p.consume(ctx, md)
}

// metrics answers the data points of a batch: those of a gauge at their time, delta
// points over their interval. It returns the resources that are held, a zero batch when
// there are none.
func (a *asker) metrics(md pmetric.Metrics) (held pmetric.Metrics) {
	md.ResourceMetrics().RemoveIf(func(resource pmetric.ResourceMetrics) bool {
		early := a.holds(func() {
			a.eachMetric(resource, a.metric)
		})
		if early {
			if held == (pmetric.Metrics{}) {
				held = pmetric.NewMetrics()
			}
			resource.MoveTo(held.ResourceMetrics().AppendEmpty())
			return true
		}
		if a.config.Split {
			a.split(resource)
		}
		return false
	})
	return held
}

// eachMetric calls f for each metric of a resource, once it has entered its scope.
func (a *asker) eachMetric(resource pmetric.ResourceMetrics, f func(pmetric.Metric)) {
	for _, scope := range resource.ScopeMetrics().All() {
		a.enter(scope.Scope().Attributes(), resource.Resource().Attributes())
		for _, metric := range scope.Metrics().All() {
			f(metric)
		}
	}
}

func (a *asker) metric(metric pmetric.Metric) {
	if !a.config.Metrics.includes(metric.Name()) {
		return
	}
	//exhaustive:enforce
	switch metric.Type() {
	case pmetric.MetricTypeGauge:
		for _, dp := range metric.Gauge().DataPoints().All() {
			a.interval(dp.Attributes(), dp.Timestamp(), dp.Timestamp())
		}
	case pmetric.MetricTypeSum:
		for _, dp := range metric.Sum().DataPoints().All() {
			a.aggregated(dp, metric.Sum().AggregationTemporality())
		}
	case pmetric.MetricTypeHistogram:
		for _, dp := range metric.Histogram().DataPoints().All() {
			a.aggregated(dp, metric.Histogram().AggregationTemporality())
		}
	case pmetric.MetricTypeExponentialHistogram:
		for _, dp := range metric.ExponentialHistogram().DataPoints().All() {
			a.aggregated(dp, metric.ExponentialHistogram().AggregationTemporality())
		}
	case pmetric.MetricTypeSummary: // cumulative by definition
		for _, dp := range metric.Summary().DataPoints().All() {
			a.aggregated(dp, pmetric.AggregationTemporalityCumulative)
		}
	case pmetric.MetricTypeEmpty:
	}
}

// dataPoint is what the data points of all metric types have.
type dataPoint interface {
	Attributes() pcommon.Map
	StartTimestamp() pcommon.Timestamp
	Timestamp() pcommon.Timestamp
}

// aggregated answers a data point that stands for an interval.
func (a *asker) aggregated(dp dataPoint, temporality pmetric.AggregationTemporality) {
	if temporality != pmetric.AggregationTemporalityDelta {
		if a.config.Cumulative == CumulativeAnnotate {
			a.dataPoint(dp)
		}
		return
	}
	if a.config.Split { // once it is certain that the resource is not held
		a.await(dp)
		return
	}
	a.delta(dp)
}

// delta answers a delta point over its interval.
func (a *asker) delta(dp dataPoint) {
	from, to := dp.StartTimestamp(), dp.Timestamp()
	if from == 0 { // the start is not known
		from = to
	}
	a.interval(dp.Attributes(), from, to)
}

// dataPoint answers a data point at its time.
func (a *asker) dataPoint(dp dataPoint) {
	a.interval(dp.Attributes(), dp.Timestamp(), dp.Timestamp())
}

// interval answers what stands for the time between two timestamps. What has no
// time, or one that no event can have, stays as it is.
func (a *asker) interval(attrs pcommon.Map, from, to pcommon.Timestamp) {
	if from == 0 || to == 0 || from > math.MaxInt64 || to > math.MaxInt64 {
		return
	}
	a.read(attrs, pcommon.Map{})
	a.during(attrs, int64(from), int64(to))
}
