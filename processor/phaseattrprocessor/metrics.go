// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"iter"
	"strings"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/resolve"
)

// metrics walks data points: those of gauges are annotated as of their time, delta points
// over their interval.
type metrics struct{ config *Config }

func (m metrics) items(md pmetric.Metrics) iter.Seq[*item] {
	return func(yield func(*item) bool) {
		w := pointWalk{yield: yield}
		ends := m.config.Metrics.ends()
		for _, resource := range md.ResourceMetrics().All() {
			w.it.resource = resource.Resource().Attributes()
			for _, scope := range resource.ScopeMetrics().All() {
				w.it.scope = scope.Scope().Attributes()
				for _, metric := range scope.Metrics().All() {
					w.it.gpu = strings.HasPrefix(metric.Name(), gpuMetricPrefix)
					w.ends = ends && (metric.Type() == pmetric.MetricTypeGauge || isUpDownCounter(metric))
					if !w.metric(metric, m.use(metric)) {
						return
					}
				}
			}
		}
	}
}

// gpuMetricPrefix begins the names of the GPU metrics of the semantic conventions.
const gpuMetricPrefix = "hw.gpu."

// use says how the data points of a metric are annotated.
type use uint8

const (
	// skipped: not at all, since their streams are cumulative.
	skipped use = iota
	// excluded: not at all, by the configuration.
	excluded
	// atTime: as of their time.
	atTime
	// overInterval: over their interval.
	overInterval
	// divided: over their interval, divided by phase.
	divided
)

// reason is why data points are not annotated, if so.
func (u use) reason() resolve.Reason {
	switch u {
	case skipped:
		return resolve.SkippedCumulative
	case excluded:
		return resolve.Excluded
	case atTime, overInterval, divided:
	}
	return resolve.NoReason
}

func (m metrics) use(metric pmetric.Metric) use {
	switch {
	case !m.config.Metrics.includes(metric.Name()):
		return excluded
	case m.config.Metrics.Mode == ModeInfo: // it tells a device and a time
		return atTime
	}
	temporality := pmetric.AggregationTemporalityCumulative
	//exhaustive:enforce
	switch metric.Type() {
	case pmetric.MetricTypeGauge:
		return atTime
	case pmetric.MetricTypeSum:
		temporality = metric.Sum().AggregationTemporality()
		if isUpDownCounter(metric) {
			return atTime // a value of its moment
		}
	case pmetric.MetricTypeHistogram:
		temporality = metric.Histogram().AggregationTemporality()
	case pmetric.MetricTypeExponentialHistogram:
		temporality = metric.ExponentialHistogram().AggregationTemporality()
	case pmetric.MetricTypeSummary, pmetric.MetricTypeEmpty: // cumulative by definition, and nothing
	}
	switch {
	case temporality == pmetric.AggregationTemporalityDelta && m.config.Split.Enabled:
		return divided
	case temporality == pmetric.AggregationTemporalityDelta:
		return overInterval
	case m.config.Cumulative == CumulativeAnnotate:
		return atTime
	}
	return skipped
}

// isUpDownCounter reports whether a metric is a sum that may fall, such as of memory.
func isUpDownCounter(metric pmetric.Metric) bool {
	return metric.Type() == pmetric.MetricTypeSum && !metric.Sum().IsMonotonic() &&
		metric.Sum().AggregationTemporality() == pmetric.AggregationTemporalityCumulative
}

// pointWalk yields data points.
type pointWalk struct {
	it item
	// ends is true when a point without a value ends its series.
	ends  bool
	yield func(*item) bool
}

// metric yields the data points of a metric. It returns false when the walk is over.
func (w *pointWalk) metric(metric pmetric.Metric, use use) bool {
	//exhaustive:enforce
	switch metric.Type() {
	case pmetric.MetricTypeGauge:
		return yieldPoints(w, metric.Gauge().DataPoints(), use)
	case pmetric.MetricTypeSum:
		return yieldPoints(w, metric.Sum().DataPoints(), use)
	case pmetric.MetricTypeHistogram:
		return yieldPoints(w, metric.Histogram().DataPoints(), use)
	case pmetric.MetricTypeExponentialHistogram:
		return yieldPoints(w, metric.ExponentialHistogram().DataPoints(), use)
	case pmetric.MetricTypeSummary:
		return yieldPoints(w, metric.Summary().DataPoints(), use)
	case pmetric.MetricTypeEmpty:
	}
	return true
}

// points is what the slices of all types of data points have.
type points[P any] interface {
	Len() int
	At(i int) P
}

// dataPoint is what the data points of all types have.
type dataPoint interface {
	Attributes() pcommon.Map
	StartTimestamp() pcommon.Timestamp
	Timestamp() pcommon.Timestamp
	Flags() pmetric.DataPointFlags
}

func yieldPoints[S points[P], P dataPoint](w *pointWalk, points S, use use) bool {
	for i := range points.Len() {
		dp := points.At(i)
		w.it.attributes, w.it.skip, w.it.split = dp.Attributes(), use.reason(), use == divided
		w.it.end = w.ends && dp.Flags().NoRecordedValue()
		from, to := dp.StartTimestamp(), dp.Timestamp()
		if from == 0 || use == atTime { // the start is not known, or does not count
			from = to
		}
		w.it.between(from, to)
		if !w.yield(&w.it) {
			return false
		}
	}
	return true
}

func (metrics) partition(md pmetric.Metrics, c *cursor, parts []pmetric.Metrics) {
	md.ResourceMetrics().RemoveIf(func(resource pmetric.ResourceMetrics) bool {
		toResource := perPart(func(part int32) pmetric.ResourceMetrics {
			return copyResource(resource, parts[part].ResourceMetrics().AppendEmpty())
		})
		return emptied(resource.ScopeMetrics(), func(scope pmetric.ScopeMetrics) bool {
			toScope := perPart(func(part int32) pmetric.ScopeMetrics {
				return copyScope(scope, toResource(part).ScopeMetrics().AppendEmpty())
			})
			return emptied(scope.Metrics(), func(metric pmetric.Metric) bool {
				return partitionMetric(metric, c, func(part int32) pmetric.Metric {
					return copyMetric(metric, toScope(part).Metrics().AppendEmpty())
				})
			})
		})
	})
}

// copyMetric copies a metric without its data.
func copyMetric(from, to pmetric.Metric) pmetric.Metric {
	to.SetName(from.Name())
	to.SetDescription(from.Description())
	to.SetUnit(from.Unit())
	from.Metadata().CopyTo(to.Metadata())
	return to
}

// partitionMetric moves the data points of a metric into metrics of their parts, made by
// shell. It reports whether it has moved all.
func partitionMetric(metric pmetric.Metric, c *cursor, shell func(part int32) pmetric.Metric) bool {
	//exhaustive:enforce
	switch metric.Type() {
	case pmetric.MetricTypeGauge:
		return moveItems(metric.Gauge().DataPoints(), c, func(part int32) pmetric.NumberDataPointSlice {
			return shell(part).SetEmptyGauge().DataPoints()
		})
	case pmetric.MetricTypeSum:
		return moveItems(metric.Sum().DataPoints(), c, func(part int32) pmetric.NumberDataPointSlice {
			sum := shell(part).SetEmptySum()
			sum.SetAggregationTemporality(metric.Sum().AggregationTemporality())
			sum.SetIsMonotonic(metric.Sum().IsMonotonic())
			return sum.DataPoints()
		})
	case pmetric.MetricTypeHistogram:
		return moveItems(metric.Histogram().DataPoints(), c, func(part int32) pmetric.HistogramDataPointSlice {
			histogram := shell(part).SetEmptyHistogram()
			histogram.SetAggregationTemporality(metric.Histogram().AggregationTemporality())
			return histogram.DataPoints()
		})
	case pmetric.MetricTypeExponentialHistogram:
		return moveItems(metric.ExponentialHistogram().DataPoints(), c, func(part int32) pmetric.ExponentialHistogramDataPointSlice {
			histogram := shell(part).SetEmptyExponentialHistogram()
			histogram.SetAggregationTemporality(metric.ExponentialHistogram().AggregationTemporality())
			return histogram.DataPoints()
		})
	case pmetric.MetricTypeSummary:
		return moveItems(metric.Summary().DataPoints(), c, func(part int32) pmetric.SummaryDataPointSlice {
			return shell(part).SetEmptySummary().DataPoints()
		})
	case pmetric.MetricTypeEmpty:
	}
	return false
}

func (metrics) append(to, from pmetric.Metrics) {
	from.ResourceMetrics().MoveAndAppendTo(to.ResourceMetrics())
}

func (metrics) empty() pmetric.Metrics          { return pmetric.NewMetrics() }
func (metrics) isEmpty(md pmetric.Metrics) bool { return md.ResourceMetrics().Len() == 0 }
func (metrics) count(md pmetric.Metrics) int    { return md.DataPointCount() }

func (metrics) bytes(md pmetric.Metrics) int {
	return (&pmetric.ProtoMarshaler{}).MetricsSize(md) + metricBytes*md.MetricCount() + pointBytes*md.DataPointCount()
}
