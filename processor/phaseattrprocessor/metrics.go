// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"iter"
	"strings"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
)

// metrics walks data points: those of gauges are annotated as of their time, delta points
// over their interval.
type metrics struct{ config *Config }

func (m metrics) items(md pmetric.Metrics) iter.Seq[*item] {
	return func(yield func(*item) bool) {
		w := pointWalk{yield: yield}
		for _, resource := range md.ResourceMetrics().All() {
			w.it.resource = resource.Resource().Attributes()
			for _, scope := range resource.ScopeMetrics().All() {
				w.it.scope = scope.Scope().Attributes()
				for _, metric := range scope.Metrics().All() {
					w.it.gpu = strings.HasPrefix(metric.Name(), gpuMetricPrefix)
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
	skipped use = iota
	// atTime: as of their time.
	atTime
	// overInterval: over their interval.
	overInterval
	// divided: over their interval, divided by phase.
	divided
)

func (m metrics) use(metric pmetric.Metric) use {
	if !m.config.Metrics.includes(metric.Name()) {
		return skipped
	}
	temporality := pmetric.AggregationTemporalityCumulative
	//exhaustive:enforce
	switch metric.Type() {
	case pmetric.MetricTypeGauge:
		return atTime
	case pmetric.MetricTypeSum:
		temporality = metric.Sum().AggregationTemporality()
		if temporality == pmetric.AggregationTemporalityCumulative && !metric.Sum().IsMonotonic() {
			return atTime // an UpDownCounter: a value of its moment
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

// pointWalk yields data points.
type pointWalk struct {
	it    item
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
}

func yieldPoints[S points[P], P dataPoint](w *pointWalk, points S, use use) bool {
	for i := range points.Len() {
		dp := points.At(i)
		w.it.attributes, w.it.skipped, w.it.split = dp.Attributes(), use == skipped, use == divided
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

func (m metrics) partition(md pmetric.Metrics, c *cursor, n int) []pmetric.Metrics {
	parts := make([]pmetric.Metrics, n)
	for i := range parts {
		parts[i] = pmetric.NewMetrics()
	}
	md.ResourceMetrics().RemoveIf(func(resource pmetric.ResourceMetrics) bool {
		inResource := shells[pmetric.ResourceMetrics]{}
		resource.ScopeMetrics().RemoveIf(func(scope pmetric.ScopeMetrics) bool {
			inScope := shells[pmetric.ScopeMetrics]{}
			scope.Metrics().RemoveIf(func(metric pmetric.Metric) bool {
				return partitionMetric(metric, c, func(part int32) pmetric.Metric {
					to := inScope.of(part, func() pmetric.ScopeMetrics {
						outer := inResource.of(part, func() pmetric.ResourceMetrics {
							shell := parts[part].ResourceMetrics().AppendEmpty()
							resource.Resource().CopyTo(shell.Resource())
							shell.SetSchemaUrl(resource.SchemaUrl())
							return shell
						})
						shell := outer.ScopeMetrics().AppendEmpty()
						scope.Scope().CopyTo(shell.Scope())
						shell.SetSchemaUrl(scope.SchemaUrl())
						return shell
					})
					shell := to.Metrics().AppendEmpty()
					shell.SetName(metric.Name())
					shell.SetDescription(metric.Description())
					shell.SetUnit(metric.Unit())
					metric.Metadata().CopyTo(shell.Metadata())
					return shell
				})
			})
			return len(inScope) > 0 && scope.Metrics().Len() == 0
		})
		return len(inResource) > 0 && resource.ScopeMetrics().Len() == 0
	})
	return parts
}

// partitionMetric moves the data points of a metric into metrics of their parts, made by
// shell. It reports whether it has moved all.
func partitionMetric(metric pmetric.Metric, c *cursor, shell func(part int32) pmetric.Metric) bool {
	//exhaustive:enforce
	switch metric.Type() {
	case pmetric.MetricTypeGauge:
		return movePoints(metric.Gauge().DataPoints(), c, func(part int32) pmetric.NumberDataPointSlice {
			return shell(part).SetEmptyGauge().DataPoints()
		})
	case pmetric.MetricTypeSum:
		return movePoints(metric.Sum().DataPoints(), c, func(part int32) pmetric.NumberDataPointSlice {
			sum := shell(part).SetEmptySum()
			sum.SetAggregationTemporality(metric.Sum().AggregationTemporality())
			sum.SetIsMonotonic(metric.Sum().IsMonotonic())
			return sum.DataPoints()
		})
	case pmetric.MetricTypeHistogram:
		return movePoints(metric.Histogram().DataPoints(), c, func(part int32) pmetric.HistogramDataPointSlice {
			histogram := shell(part).SetEmptyHistogram()
			histogram.SetAggregationTemporality(metric.Histogram().AggregationTemporality())
			return histogram.DataPoints()
		})
	case pmetric.MetricTypeExponentialHistogram:
		return movePoints(metric.ExponentialHistogram().DataPoints(), c, func(part int32) pmetric.ExponentialHistogramDataPointSlice {
			histogram := shell(part).SetEmptyExponentialHistogram()
			histogram.SetAggregationTemporality(metric.ExponentialHistogram().AggregationTemporality())
			return histogram.DataPoints()
		})
	case pmetric.MetricTypeSummary:
		return movePoints(metric.Summary().DataPoints(), c, func(part int32) pmetric.SummaryDataPointSlice {
			return shell(part).SetEmptySummary().DataPoints()
		})
	case pmetric.MetricTypeEmpty:
	}
	return false
}

// movablePoints is what the slices of all types of data points have to move them.
type movablePoints[P any] interface {
	Len() int
	AppendEmpty() P
	RemoveIf(func(P) bool)
}

func movePoints[S movablePoints[P], P interface{ MoveTo(P) }](points S, c *cursor, slice func(part int32) S) bool {
	slices := shells[S]{}
	points.RemoveIf(func(dp P) bool {
		part := c.next()
		if part == stays {
			return false
		}
		dp.MoveTo(slices.of(part, func() S { return slice(part) }).AppendEmpty())
		return true
	})
	return len(slices) > 0 && points.Len() == 0
}

func (metrics) append(to, from pmetric.Metrics) {
	from.ResourceMetrics().MoveAndAppendTo(to.ResourceMetrics())
}

func (metrics) count(md pmetric.Metrics) int  { return md.DataPointCount() }
func (metrics) empty(md pmetric.Metrics) bool { return md.ResourceMetrics().Len() == 0 }
func (metrics) itemBytes() int64              { return pointBytes }

func (metrics) wireBytes(md pmetric.Metrics) int {
	var marshaler pmetric.ProtoMarshaler
	return marshaler.MetricsSize(md)
}
