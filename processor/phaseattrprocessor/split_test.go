// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/open-telemetry/opentelemetry-collector-contrib/pkg/pdatatest/pmetrictest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"pgregory.net/rapid"
)

func split(cfg *Config) { cfg.Split.Enabled = true }

// seconds is a moment as moment takes it.
func seconds(at pcommon.Timestamp) float64 { return float64(int64(at)-moment(0)) / 1e9 }

// counter is a batch of one delta sum of the session "run", with an int or a double.
func counter(from, to float64, value any) pmetric.Metrics {
	return metricType{"energy", func(m pmetric.Metric) newPoint {
		sum := m.SetEmptySum()
		sum.SetAggregationTemporality(pmetric.AggregationTemporalityDelta)
		dp := sum.DataPoints().AppendEmpty()
		switch value := value.(type) {
		case int64:
			dp.SetIntValue(value)
		case float64:
			dp.SetDoubleValue(value)
		}
		return dp
	}}.point(timestamp(from), timestamp(to))
}

func sumsOf(md pmetric.Metrics) []pmetric.NumberDataPoint {
	var all []pmetric.NumberDataPoint
	for _, resource := range md.ResourceMetrics().All() {
		for _, dp := range resource.ScopeMetrics().At(0).Metrics().At(0).Sum().DataPoints().All() {
			all = append(all, dp)
		}
	}
	return all
}

// lines describes data points: start, end, value and phase.
func lines(points []pmetric.NumberDataPoint) []string {
	var all []string
	for _, dp := range points {
		value := any(dp.IntValue())
		if dp.ValueType() == pmetric.NumberDataPointValueTypeDouble {
			value = dp.DoubleValue()
		}
		phase := dp.Attributes().AsRaw()["phase_path"]
		if phase == nil {
			phase = dp.Attributes().AsRaw()["phase_resolution"]
		}
		all = append(all, fmt.Sprintf("%v-%v: %v %v", seconds(dp.StartTimestamp()), seconds(dp.Timestamp()), value, phase))
	}
	return all
}

func TestDeltaSumBecomesAPointPerPhase(t *testing.T) {
	p := startPipelines(t, split)
	p.feed(t)
	for name, tc := range map[string]struct {
		from, to float64
		value    any
		want     []string
	}{
		"int": {0, 10, int64(100), []string{
			"0-1: 10 <nil>", "1-2: 10 train", "2-3: 10 train / load", "3-4: 10 train",
			"4-5: 10 train / forward", "5-9: 40 train", "9-10: 10 <nil>",
		}},
		"int with a remainder": {3.5, 5.5, int64(3), []string{
			"3.5-4: 1 train", "4-5: 1 train / forward", "5-5.5: 1 train",
		}},
		"less than there are parts": {2.5, 5, int64(1), []string{
			"2.5-3: 0 train / load", "3-4: 1 train", "4-5: 0 train / forward",
		}},
		"negative":                        {3.5, 5.5, int64(-4), []string{"3.5-4: -1 train", "4-5: -2 train / forward", "5-5.5: -1 train"}},
		"double":                          {3.5, 5.5, 10.0, []string{"3.5-4: 2.5 train", "4-5: 5 train / forward", "5-5.5: 2.5 train"}},
		"in one phase":                    {4.2, 4.8, int64(7), []string{"4.2-4.8: 7 train / forward"}},
		"a scope's own interval":          {4, 5, int64(7), []string{"4-5: 7 train / forward"}},
		"in no phase":                     {10, 12, int64(7), []string{"10-12: 7 <nil>"}},
		"right after a phase":             {9, 12, int64(7), []string{"9-12: 7 <nil>"}},
		"from one root scope to another":  {8, 21, 13.0, []string{"8-9: 1 train", "9-20: 11 <nil>", "20-21: 1 eval"}},
		"an instant":                      {4.5, 4.5, int64(7), []string{"4.5-4.5: 7 train / forward"}},
		"end before start":                {4.5, 2.5, int64(7), []string{"4.5-2.5: 7 train / load"}},
		"no value":                        {0, 10, nil, []string{"0-10: 0 train"}},
		"a double that is not finite":     {3.5, 5.5, math.Inf(1), []string{"3.5-5.5: +Inf train"}},
		"ahead of all events: open scope": {19, 25, int64(6), []string{"19-20: 1 <nil>", "20-25: 5 eval"}},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, tc.want, lines(sumsOf(p.passMetrics(t, counter(tc.from, tc.to, tc.value)))))
		})
	}
}

func TestDeltaSumWithoutAStartIsNotSplit(t *testing.T) {
	p := startPipelines(t, split)
	p.feed(t)
	in := counter(0, 4.5, int64(7))
	sumsOf(in)[0].SetStartTimestamp(0)
	out := sumsOf(p.passMetrics(t, in))
	require.Len(t, out, 1)
	assert.Equal(t, "train / forward", out[0].Attributes().AsRaw()["phase_path"])
}

func TestPointWithoutRecordedValueIsNotSplit(t *testing.T) {
	p := startPipelines(t, split)
	p.feed(t)
	in := counter(3.5, 5.5, int64(0))
	sumsOf(in)[0].SetFlags(pmetric.DefaultDataPointFlags.WithNoRecordedValue(true))
	assert.Equal(t, []string{"3.5-5.5: 0 train"}, lines(sumsOf(p.passMetrics(t, in))))
}

func TestPointsAreNotSplitUnlessAskedFor(t *testing.T) {
	p := startPipelines(t)
	p.feed(t)
	assert.Equal(t, []string{"3.5-5.5: 4 train"}, lines(sumsOf(p.passMetrics(t, counter(3.5, 5.5, int64(4))))))
}

func TestCumulativePointsAreNotSplit(t *testing.T) {
	p := startPipelines(t, split, func(cfg *Config) { cfg.Cumulative = CumulativeAnnotate })
	p.feed(t)
	for _, kind := range append(metricTypes(pmetric.AggregationTemporalityCumulative), summaryType(), gaugeType()) {
		out := attributesOfMetrics(p.passMetrics(t, kind.point(timestamp(0), timestamp(4.5))))
		assert.Equal(t, []object{{"phase_resolution": "unique", "phase_path": "train / forward"}}, out, kind.name)
	}
}

func TestTimeInNoPhaseKeepsThePointsOwnAttributes(t *testing.T) {
	p := startPipelines(t, split)
	p.feed(t)
	in := counter(8, 10, int64(4))
	require.NoError(t, sumsOf(in)[0].Attributes().FromRaw(object{"phase_path": "upstream", "gpu": "0"}))
	assert.Equal(t, []object{
		{"phase_path": "train", "phase_resolution": "unique", "gpu": "0"},
		{"phase_path": "upstream", "gpu": "0"},
	}, attributesOfMetrics(p.passMetrics(t, in)))
}

func TestPartsStandWhereTheirPointStood(t *testing.T) {
	p := startPipelines(t, split)
	p.feed(t)
	in := counter(4, 6, int64(4))
	points := in.ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().At(0).Sum().DataPoints()
	second := points.AppendEmpty()
	points.At(0).CopyTo(second)
	second.SetStartTimestamp(timestamp(6))
	second.SetTimestamp(timestamp(10))
	assert.Equal(t, []string{"4-5: 2 train / forward", "5-6: 2 train", "6-9: 3 train", "9-10: 1 <nil>"},
		lines(sumsOf(p.passMetrics(t, in))))
}

func TestScopesInARowThatAreWrittenAlikeAreOnePart(t *testing.T) {
	feed := func(p *pipelines) {
		run := &program{session: "run"}
		w := run.worker(1)
		p.passLogs(t, records(t, w.enterWith(1, "step", object{"step": int64(1)}), w.exit(2),
			w.enterWith(2, "step", object{"step": int64(2)}), w.exit(3), run.event("sample", 5)))
	}
	for name, tc := range map[string]struct {
		edit func(*Config)
		want []string
	}{
		"by default":         {func(*Config) {}, []string{"1-3: 4 step"}},
		"the scope's ID":     {func(cfg *Config) { cfg.Attributes = attributeNames() }, []string{"1-2: 2 step", "2-3: 2 step"}},
		"a scope's own step": {func(cfg *Config) { cfg.ScopeAttributes = []string{"step"} }, []string{"1-2: 2 step", "2-3: 2 step"}},
	} {
		t.Run(name, func(t *testing.T) {
			p := startPipelines(t, split, tc.edit)
			feed(p)
			assert.Equal(t, tc.want, lines(sumsOf(p.passMetrics(t, counter(1, 3, int64(4))))))
		})
	}
}

func TestAmbiguousStretchIsAPart(t *testing.T) {
	run := &program{session: "run"}
	main, loader := run.worker(1), run.worker(2)
	events := []object{
		main.enter(1, "train"), loader.enter(2, "load"), loader.exit(3), loader.enter(3, "decode"), loader.exit(4),
		main.exit(6), run.event("stop", 8),
	}
	for name, tc := range map[string]struct {
		edit func(*Config)
		want []string
	}{
		"one, whoever is in it": {func(*Config) {}, []string{"0-1: 1 <nil>", "1-2: 1 train", "2-4: 2 ambiguous", "4-6: 2 train", "6-10: 4 <nil>"}},
		"one for each set of paths": {
			func(cfg *Config) { cfg.Attributes = attributeNames() },
			[]string{"0-1: 1 <nil>", "1-2: 1 train", "2-3: 1 ambiguous", "3-4: 1 ambiguous", "4-6: 2 train", "6-10: 4 <nil>"},
		},
		"none with a preferred thread": {
			func(cfg *Config) { cfg.Threads.Ignore = []string{"worker-2"} },
			[]string{"0-1: 1 <nil>", "1-6: 5 train", "6-10: 4 <nil>"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := startPipelines(t, split, tc.edit)
			p.passLogs(t, records(t, events...))
			assert.Equal(t, tc.want, lines(sumsOf(p.passMetrics(t, counter(0, 10, int64(10))))))
		})
	}
}

func TestPointThatNamesItsThreadIsSplitByThatThread(t *testing.T) {
	p := startPipelines(t, split)
	run := &program{session: "run"}
	main, loader := run.worker(1), run.worker(2)
	p.passLogs(t, records(t, main.enter(0, "train"), loader.enter(2, "load"), loader.exit(3), main.exit(4), run.event("sample", 5)))
	in := counter(1, 4, int64(3))
	sumsOf(in)[0].Attributes().PutInt("origin_thread_id", 2)
	assert.Equal(t, []string{"1-2: 1 train", "2-3: 1 load", "3-4: 1 train"}, lines(sumsOf(p.passMetrics(t, in))))
}

func TestPartsBeyondAnEndedSessionHaveNoPhase(t *testing.T) {
	p := startPipelines(t, split)
	run := &program{session: "run"}
	p.passLogs(t, records(t, run.worker(1).enter(1, "train"), run.event("stop", 5)))
	assert.Equal(t, []string{"1-5: 4 train", "5-9: 4 <nil>"}, lines(sumsOf(p.passMetrics(t, counter(1, 9, int64(8))))))
}

func TestPointFromBeforeTheWindowIsNotSplit(t *testing.T) {
	p := startPipelines(t, split)
	run := &program{session: "run"}
	w := run.worker(1)
	p.passLogs(t, records(t, w.enter(1, "old"), w.exit(5), w.enter(10_000, "train"), w.enter(10_001, "step"),
		run.event("sample", 10_001), run.event("sample", 10_002), run.event("sample", 10_003)))
	assert.Len(t, sumsOf(p.passMetrics(t, counter(2, 10_002, int64(4)))), 1)
	assert.Len(t, sumsOf(p.passMetrics(t, counter(9_999, 10_002, int64(4)))), 3)
}

func TestPointOfManyPhasesStaysWhole(t *testing.T) {
	run := &program{session: "run"}
	w, loader := run.worker(1), run.worker(2)
	var events []object
	for i := range 10 {
		events = append(events, w.enter(float64(2*i), "step"), w.exit(float64(2*i+1)))
	}
	for i := range 100 {
		events = append(events, loader.enter(float64(i)/100, "load"), loader.exit(float64(i)/100+0.005))
	}
	p := startPipelines(t, split, func(cfg *Config) {
		cfg.Split.MaxParts = 5
		cfg.Threads.Ignore = []string{"worker-2"}
	})
	p.passLogs(t, records(t, append(events, run.event("sample", 30))...))
	assert.Len(t, sumsOf(p.passMetrics(t, counter(2, 7, int64(4)))), 5)
	assert.Equal(t, []string{"2-8: 4 step"}, lines(sumsOf(p.passMetrics(t, counter(2, 8, int64(4))))))
	assert.Len(t, sumsOf(p.passMetrics(t, counter(0, 2, int64(4)))), 1, "what makes no part is bounded too")
	assertCounts(t, p.telemetry, "unsplit_points", count(2))
}

func TestPartsAreCountedAsTheyAreAnswered(t *testing.T) {
	p := startPipelines(t, split)
	p.feed(t)
	p.passMetrics(t, counter(0, 10, int64(7)))
	assertCounts(t, p.telemetry, "answers", answers("logs", "unique", 7), answers("metrics", "unique", 5), answers("metrics", "none", 2, "between_phases"))
}

func TestExemplarsGoWithThePartOfTheirTime(t *testing.T) {
	p := startPipelines(t, split)
	p.feed(t)
	in := counter(3.5, 5.5, int64(4))
	for i, at := range []float64{5.2, 3, 3.5, 3.7, 4, 4.5, 5, 5.5, 9} {
		exemplar := sumsOf(in)[0].Exemplars().AppendEmpty()
		exemplar.SetTimestamp(timestamp(at))
		exemplar.SetIntValue(int64(i))
	}
	var got [][]int64
	for _, dp := range sumsOf(p.passMetrics(t, in)) {
		var values []int64
		for _, exemplar := range dp.Exemplars().All() {
			values = append(values, exemplar.IntValue())
		}
		got = append(got, values)
	}
	assert.Equal(t, [][]int64{{1, 2, 3, 4}, {5, 6}, {0, 7, 8}}, got, "a point's interval ends with its end")
}

func TestDeltaHistogramIsSplitByBucket(t *testing.T) {
	p := startPipelines(t, split)
	p.feed(t)
	histogram := func(edit func(pmetric.HistogramDataPoint)) pmetric.Metrics {
		return metricType{"duration", func(m pmetric.Metric) newPoint {
			h := m.SetEmptyHistogram()
			h.SetAggregationTemporality(pmetric.AggregationTemporalityDelta)
			dp := h.DataPoints().AppendEmpty()
			dp.ExplicitBounds().FromRaw([]float64{1, 2})
			dp.BucketCounts().FromRaw([]uint64{4, 1, 3})
			dp.SetCount(8)
			dp.SetSum(16)
			dp.SetMin(0.5)
			dp.SetMax(5)
			edit(dp)
			return dp
		}}.point(timestamp(3.5), timestamp(5.5))
	}
	points := func(md pmetric.Metrics) pmetric.HistogramDataPointSlice {
		return md.ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().At(0).Histogram().DataPoints()
	}
	out := points(p.passMetrics(t, histogram(func(pmetric.HistogramDataPoint) {})))
	require.Equal(t, 3, out.Len())
	for i, want := range []struct {
		buckets []uint64
		sum     float64
		path    string
	}{
		{[]uint64{1, 0, 1}, 4, "train"}, {[]uint64{2, 1, 1}, 8, "train / forward"}, {[]uint64{1, 0, 1}, 4, "train"},
	} {
		dp := out.At(i)
		assert.Equal(t, want.buckets, dp.BucketCounts().AsRaw())
		assert.Equal(t, want.buckets[0]+want.buckets[1]+want.buckets[2], dp.Count())
		assert.InDelta(t, want.sum, dp.Sum(), 0)
		assert.Equal(t, want.path, dp.Attributes().AsRaw()["phase_path"])
		assert.Equal(t, []float64{1, 2}, dp.ExplicitBounds().AsRaw())
		assert.False(t, dp.HasMin() || dp.HasMax(), "they are of the whole")
	}

	for name, edit := range map[string]func(pmetric.HistogramDataPoint){
		"the buckets do not add up":  func(dp pmetric.HistogramDataPoint) { dp.SetCount(9) },
		"the buckets overflow":       func(dp pmetric.HistogramDataPoint) { dp.BucketCounts().FromRaw([]uint64{math.MaxUint64, 9}) },
		"the sum is not finite":      func(dp pmetric.HistogramDataPoint) { dp.SetSum(math.Inf(1)) },
		"a sum without observations": func(dp pmetric.HistogramDataPoint) { dp.SetCount(0); dp.BucketCounts().FromRaw(nil) },
		"there is no value in it": func(dp pmetric.HistogramDataPoint) {
			dp.SetFlags(pmetric.DefaultDataPointFlags.WithNoRecordedValue(true))
		},
	} {
		t.Run(name, func(t *testing.T) {
			in := histogram(edit)
			want := pmetric.NewMetrics()
			in.CopyTo(want)
			points(want).At(0).Attributes().PutStr("phase_path", "train")
			points(want).At(0).Attributes().PutStr("phase_resolution", "unique")
			require.NoError(t, pmetrictest.CompareMetrics(want, p.passMetrics(t, in)))
		})
	}

	t.Run("without buckets or sum", func(t *testing.T) {
		out := points(p.passMetrics(t, histogram(func(dp pmetric.HistogramDataPoint) {
			dp.BucketCounts().FromRaw(nil)
			dp.ExplicitBounds().FromRaw(nil)
			dp.RemoveSum()
		})))
		require.Equal(t, 3, out.Len())
		for i, want := range []uint64{2, 4, 2} {
			assert.Equal(t, want, out.At(i).Count())
			assert.False(t, out.At(i).HasSum())
		}
	})
}

func TestDeltaExponentialHistogramIsSplitByBucket(t *testing.T) {
	p := startPipelines(t, split)
	p.feed(t)
	in := metricType{"duration", func(m pmetric.Metric) newPoint {
		h := m.SetEmptyExponentialHistogram()
		h.SetAggregationTemporality(pmetric.AggregationTemporalityDelta)
		dp := h.DataPoints().AppendEmpty()
		dp.SetScale(2)
		dp.Negative().SetOffset(-1)
		dp.Negative().BucketCounts().FromRaw([]uint64{4})
		dp.SetZeroCount(8)
		dp.Positive().SetOffset(3)
		dp.Positive().BucketCounts().FromRaw([]uint64{12, 16})
		dp.SetCount(40)
		dp.SetSum(100)
		dp.SetMin(-1)
		dp.SetMax(9)
		return dp
	}}.point(timestamp(3.5), timestamp(5.5))
	out := p.passMetrics(t, in).ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().At(0).ExponentialHistogram().DataPoints()
	require.Equal(t, 3, out.Len())
	for i, n := range []uint64{1, 2, 1} {
		dp := out.At(i)
		assert.Equal(t, []uint64{n}, dp.Negative().BucketCounts().AsRaw())
		assert.Equal(t, 2*n, dp.ZeroCount())
		assert.Equal(t, []uint64{3 * n, 4 * n}, dp.Positive().BucketCounts().AsRaw())
		assert.Equal(t, 10*n, dp.Count())
		assert.InDelta(t, 25*float64(n), dp.Sum(), 0)
		assert.Equal(t, int32(3), dp.Positive().Offset())
		assert.False(t, dp.HasMin() || dp.HasMax())
	}
}

// TestHeldPointIsSplitOnceAllIsKnown holds back a resource of which one point could be
// answered at once, and one could not.
func TestHeldPointIsSplitOnceAllIsKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := startPipelines(t, withGrace, split)
		run := &program{session: "run"}
		w := run.worker(1)
		p.passLogs(t, records(t, w.enter(1, "train"), run.event("sample", 3)))
		in := counter(0, 3, int64(6))
		points := in.ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().At(0).Sum().DataPoints()
		second := points.AppendEmpty()
		second.SetStartTimestamp(timestamp(3))
		second.SetTimestamp(timestamp(6))
		second.SetIntValue(6)
		p.metricsSink.Reset()
		require.NoError(t, p.metrics.ConsumeMetrics(t.Context(), in))
		synctest.Wait()
		assert.Zero(t, p.metricsSink.DataPointCount())

		p.passLogs(t, records(t, w.exit(2), w.enter(4, "eval"), run.event("sample", 6)))
		synctest.Wait()
		require.Len(t, p.metricsSink.AllMetrics(), 1)
		assert.Equal(t, []string{"0-1: 2 <nil>", "1-2: 2 train", "2-3: 2 <nil>", "3-4: 2 <nil>", "4-6: 4 eval"},
			lines(sumsOf(p.metricsSink.AllMetrics()[0])), "nothing of the first look is left")
		p.shutdown(t)
		assertCounts(t, p.telemetry, "answers", answers("logs", "unique", 5), answers("metrics", "unique", 2), answers("metrics", "none", 3, "between_phases"))
	})
}

func TestPointWhoseGracePeriodRanOutIsSplitByWhatIsKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := startPipelines(t, withGrace, split)
		p.passLogs(t, records(t, (&program{session: "run"}).worker(1).enter(1, "train")))
		require.NoError(t, p.metrics.ConsumeMetrics(t.Context(), counter(0, 3, int64(6))))
		time.Sleep(gracePeriod)
		synctest.Wait()
		require.Len(t, p.metricsSink.AllMetrics(), 1)
		assert.Equal(t, []string{"0-1: 2 <nil>", "1-3: 4 train"}, lines(sumsOf(p.metricsSink.AllMetrics()[0])))
		p.shutdown(t)
	})
}

func TestPartsAreNotSplitAgain(t *testing.T) {
	p := startPipelines(t, split)
	p.feed(t)
	once := p.passMetrics(t, counter(0, 10, int64(100)))
	want := lines(sumsOf(once))
	again := pmetric.NewMetrics()
	once.CopyTo(again)
	assert.Equal(t, want, lines(sumsOf(p.passMetrics(t, again))))
}

// drawEvents draws what a program of up to three threads emits, its times whole
// milliseconds, and when its last event is.
func drawEvents(t *rapid.T, run *program) (events []object, last int) {
	workers := []*worker{run.worker(1), run.worker(2), run.worker(3)}[:rapid.IntRange(1, 3).Draw(t, "threads")]
	for range rapid.IntRange(1, 40).Draw(t, "boundaries") {
		last += rapid.IntRange(0, 4).Draw(t, "gap")
		w := rapid.SampledFrom(workers).Draw(t, "thread")
		if at := float64(last) / 1000; len(w.open) == 0 || len(w.open) < 4 && rapid.Bool().Draw(t, "enter") {
			events = append(events, w.enter(at, rapid.SampledFrom([]string{"train", "step", "forward"}).Draw(t, "name")))
		} else {
			events = append(events, w.exit(at))
		}
	}
	kind := rapid.SampledFrom([]string{"sample", "stop"}).Draw(t, "last")
	return rapid.Permutation(append(events, run.event(kind, float64(last)/1000))).Draw(t, "arrival"), last
}

// drawDelta draws a batch of a delta metric with a point of each kind over an interval.
func drawDelta(t *rapid.T, run *program, from, to float64) pmetric.Metrics {
	const delta = pmetric.AggregationTemporalityDelta
	md := pmetric.NewMetrics()
	resource := md.ResourceMetrics().AppendEmpty()
	resource.Resource().Attributes().PutStr("session_id", run.session)
	metrics := resource.ScopeMetrics().AppendEmpty().Metrics()
	sum, histogram := metrics.AppendEmpty().SetEmptySum(), metrics.AppendEmpty().SetEmptyHistogram()
	sum.SetAggregationTemporality(delta)
	histogram.SetAggregationTemporality(delta)
	ints, doubles := sum.DataPoints().AppendEmpty(), sum.DataPoints().AppendEmpty()
	ints.SetIntValue(rapid.OneOf(rapid.Int64(), rapid.Int64Range(-20, 20)).Draw(t, "int"))
	doubles.SetDoubleValue(rapid.Float64Range(-math.MaxFloat64, math.MaxFloat64).Draw(t, "double"))
	buckets := rapid.SliceOfN(rapid.Uint64Range(0, 20), 1, 6).Draw(t, "buckets")
	observed := histogram.DataPoints().AppendEmpty()
	observed.BucketCounts().FromRaw(buckets)
	for _, n := range buckets {
		observed.SetCount(observed.Count() + n)
	}
	if observed.Count() > 0 {
		observed.SetSum(rapid.Float64Range(0, 1e6).Draw(t, "sum"))
	}
	for _, dp := range []newPoint{ints, doubles, observed} {
		dp.SetStartTimestamp(timestamp(from))
		dp.SetTimestamp(timestamp(to))
	}
	return md
}

// TestSplitKeepsTotals holds for any run: the parts of a point are its interval without
// gaps, their values add up to its value, and each says what a gauge says inside it.
func TestSplitKeepsTotals(t *testing.T) {
	p := startPipelines(t, split, everyAttribute)
	runs, splits := 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		runs++
		run := &program{session: fmt.Sprintf("run-%d", runs)}
		events, last := drawEvents(rt, run)
		p.passLogs(t, records(t, events...))
		first := rapid.IntRange(-3, last+3).Draw(rt, "from")
		length := rapid.IntRange(1, 100).Draw(rt, "length")
		from, to := float64(first)/1000, float64(first+length)/1000
		in := drawDelta(rt, run, from, to)
		whole := pmetric.NewMetrics()
		in.CopyTo(whole)
		var moments []float64 // none of them is that of a boundary
		for i := range length {
			moments = append(moments, (float64(first+i)+0.5)/1000)
		}
		answers := attributesOfMetrics(p.passMetrics(t, run.gauge(moments...)))
		for _, answer := range answers {
			delete(answer, "session_id")
			delete(answer, "rank")
			delete(answer, "phase_reason") // parts know it for phases only
		}

		metrics := p.passMetrics(t, in).ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics()
		before := whole.ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics()
		var points [3][]dataPoint
		ints, double, observed, sum := int64(0), 0.0, uint64(0), 0.0
		buckets := make([]uint64, before.At(1).Histogram().DataPoints().At(0).BucketCounts().Len())
		for _, dp := range metrics.At(0).Sum().DataPoints().All() {
			if dp.ValueType() == pmetric.NumberDataPointValueTypeInt {
				ints += dp.IntValue()
				points[0] = append(points[0], dp)
				continue
			}
			double += dp.DoubleValue()
			points[1] = append(points[1], dp)
		}
		for _, dp := range metrics.At(1).Histogram().DataPoints().All() {
			n := uint64(0)
			for i, count := range dp.BucketCounts().All() {
				buckets[i] += count
				n += count
			}
			require.Equal(rt, n, dp.Count())
			if n == 0 {
				require.Zero(rt, dp.Sum())
			}
			observed += n
			sum += dp.Sum()
			points[2] = append(points[2], dp)
		}
		want := before.At(1).Histogram().DataPoints().At(0)
		require.Equal(rt, before.At(0).Sum().DataPoints().At(0).IntValue(), ints)
		require.Equal(rt, before.At(0).Sum().DataPoints().At(1).DoubleValue(), double) //nolint:testifylint // it is exact
		require.Equal(rt, want.BucketCounts().AsRaw(), buckets)
		require.Equal(rt, want.Count(), observed)
		require.Equal(rt, want.Sum(), sum) //nolint:testifylint // it is exact

		for _, parts := range points {
			if len(parts) > 1 {
				splits++
			}
			end, i := timestamp(from), 0
			for n, part := range parts {
				require.Equal(rt, end, part.StartTimestamp())
				require.Less(rt, part.StartTimestamp(), part.Timestamp())
				end = part.Timestamp()
				got := part.Attributes().AsRaw()
				delete(got, "phase_reason")
				for ; i < len(moments) && timestamp(moments[i]) < end; i++ {
					require.Equal(rt, answers[i], got, "at %v", moments[i])
				}
				if n > 0 {
					require.NotEqual(rt, parts[n-1].Attributes().AsRaw(), part.Attributes().AsRaw(), "one part, not two")
				}
			}
			require.Equal(rt, timestamp(to), end)
			require.Equal(rt, len(moments), i)
		}
	})
	t.Logf("%d runs, %d of %d points split", runs, splits, 3*runs)
	assert.Positive(t, splits)
}

// timeByPhase is how long a recorded run of one thread was in each path, and in none,
// from one moment to another.
func timeByPhase(events []object, from, to int64) map[string]float64 {
	times := map[string]float64{}
	stack, last := []string{""}, from
	for _, e := range events {
		metadata, _ := e["metadata"].(object)
		scope, ok := metadata["phase_scope"].(object)
		if !ok {
			continue
		}
		at := min(e["timestamp_ns"].(int64), to)
		times[stack[len(stack)-1]] += float64(max(at-last, 0)) / 1e9
		last = max(at, last)
		if scope["action"] == "exit" {
			stack = stack[:len(stack)-1]
			continue
		}
		var path []string
		for _, name := range scope["path"].([]any) {
			path = append(path, name.(string))
		}
		stack = append(stack, strings.Join(path, " / "))
	}
	times[stack[len(stack)-1]] += float64(to-last) / 1e9
	return times
}

// TestEnergyByPhaseOfARecordedRun reads an energy counter of a GPU that draws 250 W ten
// times a second: the joules of each phase are then 250 times its seconds.
func TestEnergyByPhaseOfARecordedRun(t *testing.T) {
	const watts, scrape = 250, int64(100 * time.Millisecond)
	run := readCapture(t, "single")
	slices.SortStableFunc(run.events, func(a, b object) int { return cmp.Compare(a["timestamp_ns"].(int64), b["timestamp_ns"].(int64)) })
	begin, end := run.events[0]["timestamp_ns"].(int64), run.events[len(run.events)-1]["timestamp_ns"].(int64)
	p := startPipelines(t, split)
	p.passLogs(t, records(t, run.events...))

	md := pmetric.NewMetrics()
	resource := md.ResourceMetrics().AppendEmpty()
	resource.Resource().Attributes().PutStr("session_id", run.events[0]["session_id"].(string))
	metric := resource.ScopeMetrics().AppendEmpty().Metrics().AppendEmpty()
	metric.SetName("hw.energy")
	metric.SetUnit("J")
	sum := metric.SetEmptySum()
	sum.SetIsMonotonic(true)
	sum.SetAggregationTemporality(pmetric.AggregationTemporalityDelta)
	total := 0.0
	for from := begin; from < end; from += scrape {
		dp := sum.DataPoints().AppendEmpty()
		to := min(from+scrape, end)
		dp.SetStartTimestamp(pcommon.Timestamp(from))
		dp.SetTimestamp(pcommon.Timestamp(to))
		dp.SetDoubleValue(watts * float64(to-from) / 1e9)
		total += dp.DoubleValue()
	}
	scrapes := sum.DataPoints().Len()

	joules, parts, sumOfParts := map[string]float64{}, sumsOf(p.passMetrics(t, md)), 0.0
	for _, dp := range parts {
		path, _ := dp.Attributes().AsRaw()["phase_path"].(string)
		joules[path] += dp.DoubleValue()
		sumOfParts += dp.DoubleValue()
	}
	times := timeByPhase(run.events, begin, end)
	for path, seconds := range times {
		assert.InDelta(t, watts*seconds, joules[path], 1e-6, path)
		t.Logf("%-32s %8.3f J", path, joules[path])
	}
	assert.Len(t, joules, len(times))
	assert.InDelta(t, total, sumOfParts, 1e-9)
	t.Logf("%d points became %d parts", scrapes, len(parts))
}
