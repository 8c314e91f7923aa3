// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"iter"
	"math"
	"math/bits"
	"slices"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/apportion"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/resolve"
)

// annotateSplit annotates the data points that have been decided, and divides the delta
// points among them by phase.
func (a *annotator) annotateSplit(m metrics, md pmetric.Metrics) {
	w := splitter{annotator: a, cursor: a.decisions, room: a.config.Split.MaxPointsPerBatch}
	for _, resource := range md.ResourceMetrics().All() {
		for _, scope := range resource.ScopeMetrics().All() {
			for _, metric := range scope.Metrics().All() {
				if m.use(metric) == divided {
					w.split(metric)
				} else {
					w.annotatePoints(metric)
				}
			}
		}
	}
}

// splitter divides the delta points of a batch.
type splitter struct {
	*annotator
	cursor
	// room is how many more points the batch may get.
	room int
}

// annotatePoints annotates the data points of a metric that are not divided.
func (w *splitter) annotatePoints(metric pmetric.Metric) {
	walk := pointWalk{yield: func(*item) bool {
		w.annotateItem(w.next())
		return true
	}}
	walk.metric(metric, skipped)
}

func (w *splitter) split(metric pmetric.Metric) {
	//exhaustive:enforce
	switch metric.Type() {
	case pmetric.MetricTypeSum:
		splitPoints(w, metric.Sum().DataPoints(), pmetric.NewNumberDataPointSlice(), apportionNumber)
	case pmetric.MetricTypeHistogram:
		splitPoints(w, metric.Histogram().DataPoints(), pmetric.NewHistogramDataPointSlice(), apportionHistogram)
	case pmetric.MetricTypeExponentialHistogram:
		splitPoints(w, metric.ExponentialHistogram().DataPoints(), pmetric.NewExponentialHistogramDataPointSlice(),
			apportionExponentialHistogram)
	case pmetric.MetricTypeGauge, pmetric.MetricTypeSummary, pmetric.MetricTypeEmpty:
	}
}

// splittablePoints is what the slices of all types of data points have that can be
// divided.
type splittablePoints[Self, P any] interface {
	All() iter.Seq2[int, P]
	AppendEmpty() P
	EnsureCapacity(n int)
	Len() int
	MoveAndAppendTo(Self)
}

// splittable is what the data points have that can be divided.
type splittable[Self any] interface {
	dataPoint
	SetStartTimestamp(pcommon.Timestamp)
	SetTimestamp(pcommon.Timestamp)
	Flags() pmetric.DataPointFlags
	Exemplars() pmetric.ExemplarSlice
	CopyTo(Self)
	MoveTo(Self)
}

// splitPoints annotates data points, and puts the parts of each in its place: a stream's
// points stay in the order of their time. room is empty. divide returns what gives a
// part its share, or false when a point cannot be divided by these weights.
func splitPoints[S splittablePoints[S, P], P splittable[P]](
	w *splitter, all, room S, divide func(dp P, weights []uint64) (func(part P, i int), bool),
) {
	all.MoveAndAppendTo(room)
	all.EnsureCapacity(room.Len())
	for _, dp := range room.All() {
		d := w.next()
		parts := w.parts(d, dp.StartTimestamp() != 0 && !dp.Flags().NoRecordedValue())
		if len(parts) == 1 {
			w.annotatePart(&parts[0], dp.Attributes(), d)
			dp.MoveTo(all.AppendEmpty())
			continue
		}
		set, ok := (func(P, int))(nil), false
		if len(parts) > 1 {
			set, ok = divide(dp, weights(parts))
		}
		if !ok {
			w.annotateItem(d)
			dp.MoveTo(all.AppendEmpty())
			continue
		}
		w.room -= len(parts) - 1
		exemplars := pmetric.NewExemplarSlice()
		dp.Exemplars().MoveAndAppendTo(exemplars)
		made := make([]P, len(parts))
		for i := range parts {
			made[i] = all.AppendEmpty()
			dp.CopyTo(made[i])
			made[i].SetStartTimestamp(pcommon.Timestamp(parts[i].From)) //nolint:gosec // it was a timestamp, or lies between two
			made[i].SetTimestamp(pcommon.Timestamp(parts[i].To))        //nolint:gosec // as above
			set(made[i], i)
			w.annotatePart(&parts[i], made[i].Attributes(), d)
		}
		for _, exemplar := range exemplars.All() {
			i, _ := slices.BinarySearchFunc(parts, exemplar.Timestamp(), func(p resolve.Part, at pcommon.Timestamp) int {
				if pcommon.Timestamp(p.To) < at { //nolint:gosec // as above
					return -1
				}
				return 1
			})
			exemplar.MoveTo(made[min(i, len(made)-1)].Exemplars().AppendEmpty())
		}
	}
}

func weights(parts []resolve.Part) []uint64 {
	weights := make([]uint64, len(parts))
	for i, p := range parts {
		weights[i] = uint64(p.To - p.From) //nolint:gosec // a part ends after its start
	}
	return weights
}

// parts returns the parts of a delta point, none when it is annotated as a whole: it
// belongs to no rank, to several, or to one of which nothing is known, has no interval,
// begins before the window, or has too many parts.
func (w *splitter) parts(d *decision, divisible bool) []resolve.Part {
	if d.ranks != 1 || d.from >= d.to || !divisible {
		return nil
	}
	parts, tooMany := w.resolver.Parts(w.lookup(d, d.rank), w.config.Split.MaxParts, w.table)
	if tooMany || len(parts)-1 > w.room {
		w.stats.unsplit++
		return nil
	}
	return parts
}

// annotatePart annotates what a part of a data point stands for.
func (w *splitter) annotatePart(p *resolve.Part, attributes pcommon.Map, d *decision) {
	w.count(w.resolver.Parted(), p.Found, &p.Attribution)
	if p.Limited {
		w.stats.otherPaths++
	}
	if p.Found {
		w.write(attributes, &p.Attribution, d)
	}
}

// apportionNumber divides a number.
func apportionNumber(dp pmetric.NumberDataPoint, weights []uint64) (func(pmetric.NumberDataPoint, int), bool) {
	switch dp.ValueType() {
	case pmetric.NumberDataPointValueTypeInt:
		shares := apportion.Int(dp.IntValue(), weights)
		return func(part pmetric.NumberDataPoint, i int) { part.SetIntValue(shares[i]) }, true
	case pmetric.NumberDataPointValueTypeDouble:
		if !finite(dp.DoubleValue()) {
			return nil, false
		}
		shares := apportion.Double(dp.DoubleValue(), weights)
		return func(part pmetric.NumberDataPoint, i int) { part.SetDoubleValue(shares[i]) }, true
	case pmetric.NumberDataPointValueTypeEmpty:
	}
	return nil, false
}

func finite(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }

// apportionHistogram divides the count of each bucket. A part's count is that of its
// buckets.
func apportionHistogram(dp pmetric.HistogramDataPoint, weights []uint64) (func(pmetric.HistogramDataPoint, int), bool) {
	cells := dp.BucketCounts().AsRaw()
	bucketed := len(cells) > 0
	if !bucketed {
		cells = []uint64{dp.Count()}
	}
	shares, ok := apportionObservations(dp.Count(), cells, dp.HasSum(), dp.Sum(), weights)
	return func(part pmetric.HistogramDataPoint, i int) {
		part.SetCount(shares[i].count)
		if bucketed {
			part.BucketCounts().FromRaw(shares[i].cells)
		}
		if dp.HasSum() {
			part.SetSum(shares[i].sum)
		}
		part.RemoveMin()
		part.RemoveMax()
	}, ok
}

// apportionExponentialHistogram divides like apportionHistogram.
func apportionExponentialHistogram(
	dp pmetric.ExponentialHistogramDataPoint, weights []uint64,
) (func(pmetric.ExponentialHistogramDataPoint, int), bool) {
	negative, positive := dp.Negative().BucketCounts().AsRaw(), dp.Positive().BucketCounts().AsRaw()
	cells := slices.Concat(negative, []uint64{dp.ZeroCount()}, positive)
	shares, ok := apportionObservations(dp.Count(), cells, dp.HasSum(), dp.Sum(), weights)
	return func(part pmetric.ExponentialHistogramDataPoint, i int) {
		part.SetCount(shares[i].count)
		n := len(negative)
		part.Negative().BucketCounts().FromRaw(shares[i].cells[:n])
		part.SetZeroCount(shares[i].cells[n])
		part.Positive().BucketCounts().FromRaw(shares[i].cells[n+1:])
		if dp.HasSum() {
			part.SetSum(shares[i].sum)
		}
		part.RemoveMin()
		part.RemoveMax()
	}, ok
}

// observations are a part of those of a histogram.
type observations struct {
	count uint64
	cells []uint64
	sum   float64
}

// apportionObservations divides a histogram. The sum goes with the counts, so that a part
// without observations has none. It returns false when that cannot be exact: the
// cells do not add up to the count, or the sum is none of these observations.
func apportionObservations(count uint64, cells []uint64, hasSum bool, sum float64, weights []uint64) ([]observations, bool) {
	if total, ok := add(cells); !ok || total != count {
		return nil, false
	}
	if hasSum && (!finite(sum) || count == 0 && sum != 0) {
		return nil, false
	}
	shares, counts := make([]observations, len(weights)), make([]uint64, len(weights))
	for i, cells := range apportion.Counts(cells, weights) {
		counts[i], _ = add(cells)
		shares[i] = observations{count: counts[i], cells: cells}
	}
	if hasSum && count > 0 {
		for i, sum := range apportion.Double(sum, counts) {
			shares[i].sum = sum
		}
	}
	return shares, true
}

// add returns false when the sum does not fit.
func add(counts []uint64) (uint64, bool) {
	sum, carry := uint64(0), uint64(0)
	for _, n := range counts {
		if sum, carry = bits.Add64(sum, n, 0); carry > 0 {
			return 0, false
		}
	}
	return sum, true
}
