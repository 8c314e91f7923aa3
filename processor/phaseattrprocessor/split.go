// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"iter"
	"math"
	"math/bits"
	"slices"
	"sort"

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
	Exemplars() pmetric.ExemplarSlice
	CopyTo(Self)
	MoveTo(Self)
}

// splitPoints annotates data points, and puts the parts of each in its place: a stream's
// points stay in the order of their time. room is empty. divide returns what gives a
// part its share, or nil when a point cannot be divided by these weights.
func splitPoints[S splittablePoints[S, P], P splittable[P]](
	w *splitter, all, room S, divide func(dp P, weights []uint64) (set func(part P, i int)),
) {
	all.MoveAndAppendTo(room)
	all.EnsureCapacity(room.Len())
	for _, dp := range room.All() {
		d := w.next()
		parts := w.parts(d, dp.StartTimestamp() != 0 && !dp.Flags().NoRecordedValue())
		if len(parts) > 1 {
			if set := divide(dp, weights(parts)); set != nil {
				splitPoint(w, all, dp, d, parts, set)
				continue
			}
		}
		if len(parts) == 1 {
			w.annotatePart(&parts[0], dp.Attributes(), d)
		} else {
			w.annotateItem(d)
		}
		dp.MoveTo(all.AppendEmpty())
	}
}

// splitPoint appends the parts of a data point. Each gets the exemplars of its time.
func splitPoint[S splittablePoints[S, P], P splittable[P]](
	w *splitter, all S, dp P, d *decision, parts []resolve.Part, set func(part P, i int),
) {
	w.room -= len(parts) - 1
	exemplars := pmetric.NewExemplarSlice()
	dp.Exemplars().MoveAndAppendTo(exemplars)
	made := make([]P, len(parts))
	for i := range parts {
		made[i] = all.AppendEmpty()
		dp.CopyTo(made[i])
		if i > 0 {
			made[i-1].SetTimestamp(timeOf(d, parts[i].From))
			made[i].SetStartTimestamp(timeOf(d, parts[i].From))
		}
		set(made[i], i)
		w.annotatePart(&parts[i], made[i].Attributes(), d)
	}
	for _, exemplar := range exemplars.All() {
		i := sort.Search(len(parts)-1, func(i int) bool {
			return timeOf(d, parts[i].To) >= exemplar.Timestamp()
		})
		exemplar.MoveTo(made[i].Exemplars().AppendEmpty())
	}
}

// timeOf returns the time of an item, by its own clock, at which its ranks are asked about
// a moment of its interval.
func timeOf(d *decision, at int64) pcommon.Timestamp {
	return pcommon.Timestamp(before(at, -d.offset)) //nolint:gosec // it lies between two timestamps
}

func weights(parts []resolve.Part) []uint64 {
	weights := make([]uint64, len(parts))
	for i, p := range parts {
		weights[i] = uint64(p.To - p.From) //nolint:gosec // a part ends after its start
	}
	return weights
}

// parts returns the parts of a delta point, none when it is annotated as a whole: it
// belongs to no rank, perhaps to another one, to several, or to one of which nothing is known, has no interval,
// begins before the window, or has too many parts.
func (w *splitter) parts(d *decision, divisible bool) []resolve.Part {
	if d.ranks != 1 || d.ambiguous || d.from >= d.to || !divisible {
		return nil
	}
	parts, tooMany := w.resolver.Parts(w.lookup(d, d.rank), w.config.Split.MaxParts, w.table.Equal)
	if tooMany || len(parts)-1 > w.room {
		w.stats.unsplit++
		return nil
	}
	return parts
}

// annotatePart annotates what a part of a data point stands for.
func (w *splitter) annotatePart(p *resolve.Part, attributes pcommon.Map, d *decision) {
	w.resolver.Parted().Annotated++
	if p.Limited {
		w.stats.otherPaths++
	}
	if !p.Found {
		w.stats.answers[none][p.Reason]++
		w.table.WriteReason(attributes, p.Reason.String())
		return
	}
	w.count(p.Attribution.Resolution, p.Reason)
	w.write(attributes, &p.Attribution, d)
}

// apportionNumber divides a number.
func apportionNumber(dp pmetric.NumberDataPoint, weights []uint64) func(pmetric.NumberDataPoint, int) {
	switch dp.ValueType() {
	case pmetric.NumberDataPointValueTypeInt:
		shares := apportion.Int(dp.IntValue(), weights)
		return func(part pmetric.NumberDataPoint, i int) { part.SetIntValue(shares[i]) }
	case pmetric.NumberDataPointValueTypeDouble:
		if finite(dp.DoubleValue()) {
			shares := apportion.Double(dp.DoubleValue(), weights)
			return func(part pmetric.NumberDataPoint, i int) { part.SetDoubleValue(shares[i]) }
		}
	case pmetric.NumberDataPointValueTypeEmpty:
	}
	return nil
}

func finite(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }

// apportionHistogram divides the count of each bucket. A part's count is that of its
// buckets.
func apportionHistogram(dp pmetric.HistogramDataPoint, weights []uint64) func(pmetric.HistogramDataPoint, int) {
	if dp.BucketCounts().Len() == 0 {
		return apportionObservations(dp, []uint64{dp.Count()}, weights, func(pmetric.HistogramDataPoint, []uint64) {})
	}
	return apportionObservations(dp, dp.BucketCounts().AsRaw(), weights, func(part pmetric.HistogramDataPoint, counts []uint64) {
		part.BucketCounts().FromRaw(counts)
	})
}

// apportionExponentialHistogram divides like apportionHistogram.
func apportionExponentialHistogram(dp pmetric.ExponentialHistogramDataPoint, weights []uint64) func(pmetric.ExponentialHistogramDataPoint, int) {
	negative, positive := dp.Negative().BucketCounts().AsRaw(), dp.Positive().BucketCounts().AsRaw()
	counts := slices.Concat(negative, []uint64{dp.ZeroCount()}, positive)
	zero := len(negative)
	return apportionObservations(dp, counts, weights, func(part pmetric.ExponentialHistogramDataPoint, counts []uint64) {
		part.Negative().BucketCounts().FromRaw(counts[:zero])
		part.SetZeroCount(counts[zero])
		part.Positive().BucketCounts().FromRaw(counts[zero+1:])
	})
}

// histogramPoint is what the data points of both types of histograms have.
type histogramPoint interface {
	Count() uint64
	SetCount(n uint64)
	HasSum() bool
	Sum() float64
	SetSum(sum float64)
	RemoveMin()
	RemoveMax()
}

// apportionObservations divides a histogram, of which counts are all buckets. The sum goes
// with the counts, so that a part without observations has none. It returns nil when
// that cannot be exact: the buckets do not add up to the count, or the sum is none of these
// observations.
func apportionObservations[P histogramPoint](
	dp P, counts, weights []uint64, setCounts func(part P, counts []uint64),
) func(part P, i int) {
	total, ok := add(counts)
	if !ok || total != dp.Count() || dp.HasSum() && (!finite(dp.Sum()) || total == 0 && dp.Sum() != 0) {
		return nil
	}
	shares := apportion.Counts(counts, weights)
	totals := make([]uint64, len(shares))
	for i, counts := range shares {
		totals[i], _ = add(counts)
	}
	sums := make([]float64, len(shares))
	if dp.HasSum() && total > 0 {
		sums = apportion.Double(dp.Sum(), totals)
	}
	return func(part P, i int) {
		part.SetCount(totals[i])
		setCounts(part, shares[i])
		if part.HasSum() {
			part.SetSum(sums[i])
		}
		part.RemoveMin()
		part.RemoveMax()
	}
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
