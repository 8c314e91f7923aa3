// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"math"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/ending"
)

// ender ends the series that gauges leave, each with a point that is flagged as having no
// recorded value. A pipeline has its own, since each forwards the points of all streams.
type ender struct {
	config  *Config
	hasher  *ending.Hasher
	tracker *ending.Tracker
}

func newEnder(config *Config) *ender {
	e := &ender{config: config, hasher: ending.NewHasher(nil)}
	if config.Metrics.Mode == ModeLabels {
		keys := append([]string{}, config.ScopeAttributes...)
		for _, attribute := range config.Attributes {
			keys = append(keys, string(attribute))
		}
		e.hasher = ending.NewHasher(keys)
	}
	e.tracker = ending.New(e.hasher, config.Limits.MaxStreams, config.Window)
	return e
}

// end adds to a batch that has been annotated the ends of the series that its gauges leave.
func (e *ender) end(md pmetric.Metrics, stats *batchStats) []ending.Move {
	batch := e.tracker.Begin()
	defer batch.End()
	w := endWriter{ender: e, batch: batch, stats: stats}
	for _, resource := range md.ResourceMetrics().All() {
		of := e.hasher.HashAll(resource.Resource().Attributes())
		for _, scope := range resource.ScopeMetrics().All() {
			in := ending.With(of, e.hasher.HashAll(scope.Scope().Attributes()))
			in = e.hasher.Text(e.hasher.Text(in, scope.Scope().Name()), scope.Scope().Version())
			w.write(scope.Metrics(), func(metric pmetric.Metric, _ int, attributes pcommon.Map) (stream, series uint64) {
				series, others := e.hasher.Hash(attributes)
				return ending.With(e.hasher.Text(in, metric.Name()), others), series
			})
		}
	}
	stats.untracked += batch.Untracked
	return batch.Moves
}

// ended returns the data points of a metric whose series end: of gauges and UpDownCounters
// that are annotated.
func (e *ender) ended(metric pmetric.Metric) (points pmetric.NumberDataPointSlice, ok bool) {
	switch {
	case e.config.Metrics.Mode == ModeLabels && !e.config.Metrics.includes(metric.Name()):
	case metric.Type() == pmetric.MetricTypeGauge:
		return metric.Gauge().DataPoints(), true
	case isUpDownCounter(metric):
		return metric.Sum().DataPoints(), true
	}
	return points, false
}

// endWriter writes the ends of series into the metrics of one scope at a time. The
// prometheus exporter drops a series at a flagged point, and ignores what is behind it in
// the same metric, so each of these points is in a metric of its own.
type endWriter struct {
	*ender
	batch *ending.Batch
	stats *batchStats

	// edits are what there is to do, in order of the points.
	edits []edit
	// ends has the series, with their streams, whose ends are behind the points at hand.
	ends map[uint64]struct{}
}

// edit is what there is to do at a point of a scope.
type edit struct {
	metric, point int
	kind          editKind
	end           ending.End
}

type editKind uint8

const (
	// endBehind: a series ends at the point.
	endBehind editKind = iota
	// flagged: the point itself ends a series.
	flagged
	// removed: the point ends nothing.
	removed
	// endsBefore: the ends so far must be before the point, whose series is among them.
	endsBefore
)

// write adds the ends of the series that the points of a scope leave. identify returns the
// hashes of a point's stream and series.
func (w *endWriter) write(all pmetric.MetricSlice, identify func(pmetric.Metric, int, pcommon.Map) (stream, series uint64)) {
	w.edits = w.edits[:0]
	clear(w.ends)
	for i, metric := range all.All() {
		points, ok := w.ended(metric)
		if !ok {
			continue
		}
		for j, dp := range points.All() {
			if at := dp.Timestamp(); at > 0 && at <= math.MaxInt64 {
				stream, series := identify(metric, j, dp.Attributes())
				w.observe(edit{metric: i, point: j}, dp, int64(at), stream, series)
			}
		}
	}
	if len(w.edits) > 0 {
		w.apply(all)
	}
}

func (w *endWriter) observe(e edit, dp pmetric.NumberDataPoint, at int64, stream, series uint64) {
	if dp.Flags().NoRecordedValue() {
		e.kind = flagged
		if left := w.batch.Stop(stream, at); left != nil {
			w.hasher.Put(dp.Attributes(), left)
			series = left.Hash
			w.stats.ended++
		} else if w.config.Metrics.Mode == ModeInfo { // it was made for nothing else
			e.kind = removed
		}
		w.edit(e, ending.With(stream, series))
		return
	}
	if _, ok := w.ends[ending.With(stream, series)]; ok {
		clear(w.ends)
		e.kind = endsBefore
		w.edits = append(w.edits, e)
	}
	if e.end = w.batch.Observe(stream, at, series, dp.Attributes()); e.end.Series != nil {
		e.kind = endBehind
		w.stats.ended++
		w.edit(e, ending.With(stream, e.end.Series.Hash))
	}
}

func (w *endWriter) edit(e edit, ends uint64) {
	w.edits = append(w.edits, e)
	if e.kind == removed {
		return
	}
	if w.ends == nil {
		w.ends = map[uint64]struct{}{}
	}
	w.ends[ends] = struct{}{}
}

// apply makes the edits. The ends are behind all metrics of the scope, unless a point must
// be behind them.
func (w *endWriter) apply(all pmetric.MetricSlice) {
	before, ends := pmetric.NewMetricSlice(), pmetric.NewMetricSlice()
	all.MoveAndAppendTo(before)
	edits := w.edits
	for i, metric := range before.All() {
		if len(edits) == 0 || edits[0].metric != i {
			metric.MoveTo(all.AppendEmpty())
			continue
		}
		points, _ := w.ended(metric)
		var to pmetric.NumberDataPointSlice
		open := false
		for j, dp := range points.All() {
			moved := false
			for ; len(edits) > 0 && edits[0].metric == i && edits[0].point == j; edits = edits[1:] {
				switch edits[0].kind {
				case endBehind:
					w.newEnd(dp, edits[0].end, shellOf(metric, ends).AppendEmpty())
				case flagged:
					dp.MoveTo(shellOf(metric, ends).AppendEmpty())
					moved = true
				case removed:
					moved = true
				case endsBefore:
					ends.MoveAndAppendTo(all)
					open = false
				}
			}
			if moved {
				continue
			}
			if !open {
				to, open = shellOf(metric, all), true
			}
			dp.MoveTo(to.AppendEmpty())
		}
	}
	ends.MoveAndAppendTo(all)
}

// newEnd makes the point that ends a series that the stream of a point has left.
func (w *endWriter) newEnd(of pmetric.NumberDataPoint, end ending.End, to pmetric.NumberDataPoint) {
	of.Attributes().CopyTo(to.Attributes())
	w.hasher.Put(to.Attributes(), end.Series)
	to.SetTimestamp(pcommon.Timestamp(end.At)) //nolint:gosec // that of a point, or later
	to.SetFlags(pmetric.DefaultDataPointFlags.WithNoRecordedValue(true))
}

// shellOf appends a metric without points, like a gauge or an UpDownCounter, and returns
// where its points are.
func shellOf(metric pmetric.Metric, to pmetric.MetricSlice) pmetric.NumberDataPointSlice {
	shell := copyMetric(metric, to.AppendEmpty())
	if metric.Type() == pmetric.MetricTypeGauge {
		return shell.SetEmptyGauge().DataPoints()
	}
	sum := shell.SetEmptySum()
	sum.SetAggregationTemporality(metric.Sum().AggregationTemporality())
	return sum.DataPoints()
}
