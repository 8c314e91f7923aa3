// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"math"
	"testing"

	"github.com/open-telemetry/opentelemetry-collector-contrib/pkg/pdatatest/pmetrictest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
)

// gauge is a batch of a gauge with a data point of the program at each time.
func (p *program) gauge(at ...float64) pmetric.Metrics {
	md := pmetric.NewMetrics()
	metric := md.ResourceMetrics().AppendEmpty().ScopeMetrics().AppendEmpty().Metrics().AppendEmpty()
	metric.SetName("memory")
	points := metric.SetEmptyGauge().DataPoints()
	for _, at := range at {
		dp := points.AppendEmpty()
		dp.SetTimestamp(timestamp(at))
		dp.Attributes().PutStr("session_id", p.session)
		dp.Attributes().PutInt("rank", p.rank)
	}
	return md
}

// newPoint is what the data points of all types have.
type newPoint interface {
	Attributes() pcommon.Map
	SetStartTimestamp(pcommon.Timestamp)
	SetTimestamp(pcommon.Timestamp)
}

// metricType makes a metric of one type and temporality with one data point.
type metricType struct {
	name string
	add  func(pmetric.Metric) newPoint
}

func metricTypes(temporality pmetric.AggregationTemporality) []metricType {
	return []metricType{
		{"sum", func(m pmetric.Metric) newPoint {
			sum := m.SetEmptySum()
			sum.SetAggregationTemporality(temporality)
			sum.SetIsMonotonic(true)
			return sum.DataPoints().AppendEmpty()
		}},
		{"histogram", func(m pmetric.Metric) newPoint {
			histogram := m.SetEmptyHistogram()
			histogram.SetAggregationTemporality(temporality)
			return histogram.DataPoints().AppendEmpty()
		}},
		{"exponential histogram", func(m pmetric.Metric) newPoint {
			histogram := m.SetEmptyExponentialHistogram()
			histogram.SetAggregationTemporality(temporality)
			return histogram.DataPoints().AppendEmpty()
		}},
	}
}

func gaugeType() metricType {
	return metricType{"gauge", func(m pmetric.Metric) newPoint { return m.SetEmptyGauge().DataPoints().AppendEmpty() }}
}

func summaryType() metricType {
	return metricType{"summary", func(m pmetric.Metric) newPoint { return m.SetEmptySummary().DataPoints().AppendEmpty() }}
}

// point is a batch of one data point of the session "run", which its resource names.
func (m metricType) point(from, to pcommon.Timestamp) pmetric.Metrics {
	md := pmetric.NewMetrics()
	resource := md.ResourceMetrics().AppendEmpty()
	resource.Resource().Attributes().PutStr("session_id", "run")
	metric := resource.ScopeMetrics().AppendEmpty().Metrics().AppendEmpty()
	metric.SetName(m.name)
	dp := m.add(metric)
	dp.SetStartTimestamp(from)
	dp.SetTimestamp(to)
	return md
}

// attributesOfMetrics lists the attributes of all data points of a batch.
func attributesOfMetrics(md pmetric.Metrics) []object {
	var all []object
	for _, resource := range md.ResourceMetrics().All() {
		for _, scope := range resource.ScopeMetrics().All() {
			for _, metric := range scope.Metrics().All() {
				switch metric.Type() {
				case pmetric.MetricTypeGauge:
					for _, dp := range metric.Gauge().DataPoints().All() {
						all = append(all, dp.Attributes().AsRaw())
					}
				case pmetric.MetricTypeSum:
					for _, dp := range metric.Sum().DataPoints().All() {
						all = append(all, dp.Attributes().AsRaw())
					}
				case pmetric.MetricTypeHistogram:
					for _, dp := range metric.Histogram().DataPoints().All() {
						all = append(all, dp.Attributes().AsRaw())
					}
				case pmetric.MetricTypeExponentialHistogram:
					for _, dp := range metric.ExponentialHistogram().DataPoints().All() {
						all = append(all, dp.Attributes().AsRaw())
					}
				case pmetric.MetricTypeSummary:
					for _, dp := range metric.Summary().DataPoints().All() {
						all = append(all, dp.Attributes().AsRaw())
					}
				case pmetric.MetricTypeEmpty:
				}
			}
		}
	}
	return all
}

// feed takes in a run: train from 1 to 9, in it load from 2 to 3 and forward from 4
// to 5; later, eval from 20 on.
func (p *pipelines) feed(t *testing.T) {
	t.Helper()
	w := (&program{session: "run"}).worker(1)
	p.passLogs(t, records(t,
		w.enter(1, "train"), w.enter(2, "load"), w.exit(3), w.enter(4, "forward"), w.exit(5), w.exit(9), w.enter(20, "eval")))
}

// intervalCases are intervals of the run that feed takes in.
var intervalCases = []struct {
	name     string
	from, to float64
	want     object // the default attributes
}{
	{"inside a scope", 4.2, 4.8, object{"phase_resolution": "unique", "phase_path": "train / forward"}},
	{"a scope's own interval", 4, 5, object{"phase_resolution": "unique", "phase_path": "train / forward"}},
	{"in two scopes of one parent", 2.5, 4.5, object{"phase_resolution": "unique", "phase_path": "train"}},
	{"over a whole scope", 3.5, 5.5, object{"phase_resolution": "unique", "phase_path": "train"}},
	{"in a scope for half of it", 4, 6, object{"phase_resolution": "unique", "phase_path": "train"}},
	{"in two scopes, in neither for half of it", 1, 29, object{"phase_resolution": "ambiguous"}},
	{"in two scopes, mostly in the later one", 8, 40, object{"phase_resolution": "unique", "phase_path": "eval"}},
	{"in two scopes, mostly between them", 4.5, 21, object{}},
	{"from before all scopes into one", 0.5, 2.5, object{"phase_resolution": "unique", "phase_path": "train"}},
	{"from a scope to after it", 8, 12, object{}},
	{"over all of a scope from outside", 0.5, 12, object{"phase_resolution": "unique", "phase_path": "train"}},
	{"between scopes", 10, 12, object{}},
	{"an instant", 4.5, 4.5, object{"phase_resolution": "unique", "phase_path": "train / forward"}},
	{"an instant at which one scope ends", 5, 5, object{"phase_resolution": "unique", "phase_path": "train / forward"}},
	{"end before start: at its end", 4.5, 2.5, object{"phase_resolution": "unique", "phase_path": "train / load"}},
	{"open end", 21, 25, object{"phase_resolution": "unique", "phase_path": "eval"}},
}

func TestGaugePointsAreAnsweredAtTheirTime(t *testing.T) {
	p := startPipelines(t)
	p.feed(t)
	for _, tc := range []struct {
		name string
		from pcommon.Timestamp
		at   float64
		want any
	}{
		{"before all scopes", 0, 0.5, nil},
		{"at an enter", 0, 1, "train"},
		{"in a scope", 0, 4.5, "train / forward"},
		{"whatever its start", timestamp(2.5), 4.5, "train / forward"},
		{"after a scope", 0, 6, "train"},
		{"between scopes", 0, 12, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			out := p.passMetrics(t, gaugeType().point(tc.from, timestamp(tc.at)))
			assert.Equal(t, tc.want, attributesOfMetrics(out)[0]["phase_path"])
		})
	}
}

func TestDeltaPointsAreAnsweredOverTheirInterval(t *testing.T) {
	p := startPipelines(t)
	p.feed(t)
	for _, kind := range metricTypes(pmetric.AggregationTemporalityDelta) {
		for _, tc := range intervalCases {
			t.Run(kind.name+" "+tc.name, func(t *testing.T) {
				out := p.passMetrics(t, kind.point(timestamp(tc.from), timestamp(tc.to)))
				assert.Equal(t, []object{tc.want}, attributesOfMetrics(out))
			})
		}
		t.Run(kind.name+" without a start", func(t *testing.T) {
			out := p.passMetrics(t, kind.point(0, timestamp(4.5)))
			assert.Equal(t, "train / forward", attributesOfMetrics(out)[0]["phase_path"])
		})
	}
}

func TestDeltaPointsOfNoPhaseInParticularCarryAllInTheirInterval(t *testing.T) {
	p := startPipelines(t, everyAttributeOfTheReference)
	p.feed(t)
	out := p.passMetrics(t, metricTypes(pmetric.AggregationTemporalityDelta)[0].point(timestamp(1), timestamp(29)))
	assert.Equal(t, []object{{
		"phase_resolution": "ambiguous", "phase_paths": []any{"eval", "train", "train / forward", "train / load"}, "phase_rank": int64(0),
	}}, attributesOfMetrics(out))
}

// An UpDownCounter, such as memory in use, is a value of its moment, not a counter whose
// attributes must stay.
func TestUpDownCountersAreAnnotatedAsGauges(t *testing.T) {
	p := startPipelines(t)
	run := &program{session: "run"}
	w := run.worker(1)
	p.passLogs(t, records(t, w.enter(1, "train"), w.enter(3, "step")))
	md := metricTypes(pmetric.AggregationTemporalityCumulative)[0].point(timestamp(1), timestamp(2))
	md.ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().At(0).Sum().SetIsMonotonic(false)
	md.ResourceMetrics().At(0).Resource().Attributes().PutStr("session_id", "run")
	assert.Equal(t, "train", attributesOfMetrics(p.passMetrics(t, md))[0]["phase_path"])
}

func TestCumulativePointsKeepTheirAttributesUnlessAskedFor(t *testing.T) {
	kinds := append(metricTypes(pmetric.AggregationTemporalityCumulative), summaryType())
	for _, kind := range metricTypes(pmetric.AggregationTemporalityUnspecified) {
		kinds = append(kinds, metricType{kind.name + " of no temporality", kind.add})
	}
	for _, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			in := kind.point(timestamp(2.5), timestamp(4.5))
			before := pmetric.NewMetrics()
			in.CopyTo(before)
			p := startPipelines(t)
			p.feed(t)
			require.NoError(t, pmetrictest.CompareMetrics(before, p.passMetrics(t, in)))

			p = startPipelines(t, func(cfg *Config) { cfg.Cumulative = CumulativeAnnotate })
			p.feed(t)
			assert.Equal(t, []object{{"phase_resolution": "unique", "phase_path": "train / forward"}},
				attributesOfMetrics(p.passMetrics(t, before)))
		})
	}
}

func TestAttributesOfDataPointsComeBeforeThoseOfTheirScopeAndResource(t *testing.T) {
	p := startPipelines(t)
	first, second := &program{session: "run"}, &program{session: "run", rank: 1}
	other := &program{session: "other"}
	p.passLogs(t, records(t,
		first.worker(1).enter(1, "first"), second.worker(1).enter(1, "second"), other.worker(1).enter(1, "other")))

	md := pmetric.NewMetrics()
	resource := md.ResourceMetrics().AppendEmpty()
	resource.Resource().Attributes().PutStr("session_id", "run")
	scope := resource.ScopeMetrics().AppendEmpty()
	scope.Scope().Attributes().PutInt("rank", 1)
	points := scope.Metrics().AppendEmpty().SetEmptyGauge().DataPoints()
	for _, fields := range []object{{}, {"rank": int64(0)}, {"rank": 0.0}, {"rank": "1"}, {"session_id": "other", "rank": int64(0)}, {"rank": true}, {"session_id": int64(1)}} {
		dp := points.AppendEmpty()
		dp.SetTimestamp(timestamp(2))
		require.NoError(t, dp.Attributes().FromRaw(fields))
	}
	var got []any
	for _, attributes := range attributesOfMetrics(p.passMetrics(t, md)) {
		got = append(got, attributes["phase_path"])
	}
	assert.Equal(t, []any{"second", "first", "first", "second", "other", nil, nil}, got)
}

func TestDataPointsWithoutATimeThatAnEventCanHaveStayAsTheyAre(t *testing.T) {
	p := startPipelines(t, func(cfg *Config) { cfg.Cumulative = CumulativeAnnotate })
	p.feed(t)
	kinds := append(metricTypes(pmetric.AggregationTemporalityDelta), gaugeType(), summaryType())
	kinds = append(kinds, metricTypes(pmetric.AggregationTemporalityCumulative)...)
	for _, kind := range kinds {
		for name, to := range map[string]pcommon.Timestamp{
			"no time": 0, "past all events": math.MaxInt64 + 1, "the latest": math.MaxUint64,
		} {
			t.Run(kind.name+" "+name, func(t *testing.T) {
				in := kind.point(timestamp(2.5), to)
				before := pmetric.NewMetrics()
				in.CopyTo(before)
				require.NoError(t, pmetrictest.CompareMetrics(before, p.passMetrics(t, in)))
			})
		}
	}
	for _, kind := range metricTypes(pmetric.AggregationTemporalityDelta) {
		t.Run(kind.name+" with a start past all events", func(t *testing.T) {
			out := p.passMetrics(t, kind.point(math.MaxUint64, timestamp(4.5)))
			assert.Equal(t, []object{{}}, attributesOfMetrics(out))
		})
	}
}

func TestIntervalFromBeforeTheWindow(t *testing.T) {
	p := startPipelines(t)
	run := &program{session: "run"}
	w := run.worker(1)
	p.passLogs(t, records(t, w.enter(1, "old"), w.exit(5), w.enter(10_000, "train"),
		run.event("sample", 10_001), run.event("sample", 10_002), run.event("sample", 10_003)))
	out := attributesOfMetrics(p.passMetrics(t, metricTypes(pmetric.AggregationTemporalityDelta)[0].point(timestamp(2), timestamp(10_002))))
	assert.NotEqual(t, "unique", out[0]["phase_resolution"])
}
