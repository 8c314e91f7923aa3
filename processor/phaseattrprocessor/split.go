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

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/association"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/boundary"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/policy"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/replay"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/apportion"
)

// boundariesPerPart bounds the boundaries that are looked at for a point, as a multiple
// of the parts that it may have: those of ignored threads and of a loop that repeats
// one phase make no parts, but take time.
const boundariesPerPart = 16

// part is a stretch of a data point's interval with one answer.
type part struct {
	from, to int64
	answer   policy.Attribution
	found    bool
	// other is true when a path of the answer was one too many to be stored.
	other bool
}

// await notes, without answering it, that a delta point waits for its group's events.
// What is held is asked about once more later: it must not carry anything by then, nor
// be in parts already.
func (a *asker) await(dp dataPoint) {
	to := dp.Timestamp()
	if !a.patient || to == 0 || to > math.MaxInt64 || dp.StartTimestamp() > math.MaxInt64 {
		return
	}
	defer a.forgetTries(a.account.tried) // they count when the point is answered
	a.read(dp.Attributes(), pcommon.Map{})
	groups, _ := a.find(int64(min(dp.StartTimestamp(), to)), int64(to))
	for _, group := range groups {
		if !a.index.Reached(group, a.to) {
			a.early = true
			a.waits[group] = max(a.waits[group], a.to)
		}
	}
}

// forgetTries takes back what has been counted of the association rules.
func (a *asker) forgetTries(before [maxRules][association.Outcomes]int64) { a.account.tried = before }

// split answers the delta points of a resource that is not held, in as many parts as
// they have answers.
func (a *asker) split(resource pmetric.ResourceMetrics) {
	// A group that comes back to life now holds nothing anymore.
	patient := a.patient
	a.patient = false
	defer func() { a.patient = patient }()
	a.eachMetric(resource, a.splitMetric)
}

func (a *asker) splitMetric(metric pmetric.Metric) {
	if !a.config.Metrics.includes(metric.Name()) {
		return
	}
	const delta = pmetric.AggregationTemporalityDelta
	//exhaustive:enforce
	switch metric.Type() {
	case pmetric.MetricTypeSum:
		if sum := metric.Sum(); sum.AggregationTemporality() == delta {
			splitPoints(a, sum.DataPoints(), pmetric.NewNumberDataPointSlice(), shareNumber)
		}
	case pmetric.MetricTypeHistogram:
		if histogram := metric.Histogram(); histogram.AggregationTemporality() == delta {
			splitPoints(a, histogram.DataPoints(), pmetric.NewHistogramDataPointSlice(), shareHistogram)
		}
	case pmetric.MetricTypeExponentialHistogram:
		if histogram := metric.ExponentialHistogram(); histogram.AggregationTemporality() == delta {
			splitPoints(a, histogram.DataPoints(), pmetric.NewExponentialHistogramDataPointSlice(),
				shareExponentialHistogram)
		}
	case pmetric.MetricTypeGauge, pmetric.MetricTypeSummary, pmetric.MetricTypeEmpty:
	}
}

// points is what the slices of all types of data points have.
type points[Self, P any] interface {
	All() iter.Seq2[int, P]
	AppendEmpty() P
	EnsureCapacity(n int)
	Len() int
	MoveAndAppendTo(Self)
}

// point is what the data points that can be split have.
type point[Self any] interface {
	dataPoint
	SetStartTimestamp(pcommon.Timestamp)
	SetTimestamp(pcommon.Timestamp)
	Flags() pmetric.DataPointFlags
	Exemplars() pmetric.ExemplarSlice
	CopyTo(Self)
	MoveTo(Self)
}

// splitPoints answers data points, and puts the parts of each in its place: a stream's
// points stay in the order of their time. room is empty. divide returns what gives a
// part its share, or false when a point cannot be divided by these weights.
func splitPoints[S points[S, P], P point[P]](
	a *asker, all, room S, divide func(dp P, weights []uint64) (func(part P, i int), bool),
) {
	all.MoveAndAppendTo(room)
	all.EnsureCapacity(room.Len())
	for _, dp := range room.All() {
		parts := a.divide(dp)
		if len(parts) == 0 {
			a.delta(dp)
			dp.MoveTo(all.AppendEmpty())
			continue
		}
		if len(parts) == 1 {
			a.givePart(&parts[0], dp.Attributes())
			dp.MoveTo(all.AppendEmpty())
			continue
		}
		weights := make([]uint64, len(parts))
		for i, p := range parts {
			weights[i] = uint64(p.to - p.from) //nolint:gosec // a part ends after its start
		}
		set, ok := divide(dp, weights)
		if !ok || dp.Flags().NoRecordedValue() {
			a.delta(dp)
			dp.MoveTo(all.AppendEmpty())
			continue
		}
		exemplars := pmetric.NewExemplarSlice()
		dp.Exemplars().MoveAndAppendTo(exemplars)
		made := make([]P, len(parts))
		for i := range parts {
			made[i] = all.AppendEmpty()
			dp.CopyTo(made[i])
			made[i].SetStartTimestamp(pcommon.Timestamp(parts[i].from)) //nolint:gosec // it was a timestamp, or lies between two
			made[i].SetTimestamp(pcommon.Timestamp(parts[i].to))        //nolint:gosec // as above
			set(made[i], i)
			a.givePart(&parts[i], made[i].Attributes())
		}
		for _, exemplar := range exemplars.All() {
			i, _ := slices.BinarySearchFunc(parts, exemplar.Timestamp(), func(p part, at pcommon.Timestamp) int {
				if pcommon.Timestamp(p.to) < at { //nolint:gosec // as above
					return -1
				}
				return 1
			})
			exemplar.MoveTo(made[min(i, len(made)-1)].Exemplars().AppendEmpty())
		}
	}
}

// givePart answers what a part stands for.
func (a *asker) givePart(p *part, attrs pcommon.Map) {
	r := reply{status: replay.Known, other: p.other}
	a.count(&r, p.found, &p.answer)
	a.divided.records += r.records
	if p.found {
		a.write(attrs, &p.answer)
	}
}

// divide returns the parts of a delta point's interval, at least one. It returns none
// when the point is to be answered as a whole: it belongs to no group, to several, or
// to one of which nothing is known, has no interval, begins before the window, or has
// too many parts.
func (a *asker) divide(dp dataPoint) []part {
	tried := a.account.tried
	parts := a.intervalParts(dp)
	if len(parts) == 0 {
		a.forgetTries(tried) // the rules are tried again for the whole
	}
	return parts
}

func (a *asker) intervalParts(dp dataPoint) []part {
	from, to := dp.StartTimestamp(), dp.Timestamp()
	if from == 0 || from >= to || to > math.MaxInt64 {
		return nil
	}
	a.read(dp.Attributes(), pcommon.Map{})
	groups, representative := a.find(int64(from), int64(to)) //nolint:gosec // from is before to
	if len(groups) != 1 {
		return nil
	}
	if r := a.recall(&groups[0]); r != a.divided || !r.divided {
		a.divided, r.divided = r, true
		a.parts, a.excess = a.partsOf(groups[0], r, representative)
	}
	if a.excess {
		a.account.unsplit++
	}
	return a.parts
}

// partsOf divides an interval by its answers. It returns true when there are more
// parts than one point may have.
func (a *asker) partsOf(group boundary.RankKey, r *reply, representative bool) ([]part, bool) {
	parts, most := a.parts[:0], a.config.MaxParts
	boundaries := boundariesPerPart * min(most, math.MaxInt/boundariesPerPart)
	_, complete := a.index.Segments(group, r.from, r.to, r.origin.ScopeID != "", boundaries, func(s replay.Segment) bool {
		answer, other := &policy.Attribution{}, false
		found := a.policy.Attribute(answer, s.Active, r.origin)
		if found {
			if representative {
				represent(answer)
			}
			other = a.bind(answer)
		}
		if n := len(parts); n > 0 && parts[n-1].found == found && (!found || a.alike(&parts[n-1].answer, answer)) {
			parts[n-1].to = s.To
			return true
		}
		if len(parts) == most {
			return false
		}
		parts = append(parts, part{from: s.From, to: s.To, answer: *answer, found: found, other: other})
		return true
	})
	if !complete {
		return parts[:0], true
	}
	return parts, false
}

// alike tells whether two answers write the same: steps that follow each other are one
// part, unless their scope or an attribute of theirs is written.
func (a *asker) alike(x, y *policy.Attribution) bool {
	for _, attribute := range a.config.Attributes {
		same := true
		switch attribute {
		case AttributeResolution:
			same = x.Resolution == y.Resolution
		case AttributePath:
			same = x.Path == y.Path
		case AttributeSource:
			same = x.Source == y.Source
		case AttributePaths:
			same = slices.Equal(x.Paths, y.Paths)
		case AttributeSummary:
			same = x.Summary.Path == y.Summary.Path
		case AttributeLabel:
			same = x.Label() == y.Label()
		case AttributeScopeID:
			same = x.ScopeID == y.ScopeID
		case AttributeThreadID:
			same = x.HasScope == y.HasScope && x.ThreadID == y.ThreadID
		case AttributeThreadName:
			same = x.ThreadName == y.ThreadName
		case AttributeRank:
			same = x.Rank == y.Rank
		}
		if !same {
			return false
		}
	}
	return slices.Equal(x.Attributes, y.Attributes)
}

// shareNumber divides a number.
func shareNumber(dp pmetric.NumberDataPoint, weights []uint64) (func(pmetric.NumberDataPoint, int), bool) {
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

// shareHistogram divides the count of each bucket. A part's count is that of its
// buckets.
func shareHistogram(dp pmetric.HistogramDataPoint, weights []uint64) (func(pmetric.HistogramDataPoint, int), bool) {
	cells := dp.BucketCounts().AsRaw()
	bucketed := len(cells) > 0
	if !bucketed {
		cells = []uint64{dp.Count()}
	}
	shares, ok := shareObservations(dp.Count(), cells, dp.HasSum(), dp.Sum(), weights)
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

// shareExponentialHistogram divides like shareHistogram.
func shareExponentialHistogram(
	dp pmetric.ExponentialHistogramDataPoint, weights []uint64,
) (func(pmetric.ExponentialHistogramDataPoint, int), bool) {
	negative, positive := dp.Negative().BucketCounts().AsRaw(), dp.Positive().BucketCounts().AsRaw()
	cells := slices.Concat(negative, []uint64{dp.ZeroCount()}, positive)
	shares, ok := shareObservations(dp.Count(), cells, dp.HasSum(), dp.Sum(), weights)
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

// shareObservations divides a histogram. The sum goes with the counts, so that a part
// without observations has none. It returns false when that cannot be exact: the
// cells do not add up to the count, or the sum is none of these observations.
func shareObservations(count uint64, cells []uint64, hasSum bool, sum float64, weights []uint64) ([]observations, bool) {
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
