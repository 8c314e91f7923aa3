// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/pmetric"
)

func endSeries(cfg *Config) { cfg.Metrics.EndSeries = true }

// shown lists the data points of a batch in order, as METRIC STREAM PHASE @TIME, with an x
// before those without a value. Metrics are separated by a bar.
func shown(md pmetric.Metrics) []string {
	var all []string
	for _, resource := range md.ResourceMetrics().All() {
		for _, scope := range resource.ScopeMetrics().All() {
			for i, metric := range scope.Metrics().All() {
				if i > 0 {
					all = append(all, "|")
				}
				points := pmetric.NewNumberDataPointSlice()
				if metric.Type() == pmetric.MetricTypeGauge {
					points = metric.Gauge().DataPoints()
				} else if metric.Type() == pmetric.MetricTypeSum {
					points = metric.Sum().DataPoints()
				}
				for _, dp := range points.All() {
					at := float64(int64(dp.Timestamp())-moment(0)) / 1e9
					text := fmt.Sprintf("%v @%v", dp.Attributes().AsRaw()["phase_path"], at)
					if gpu, ok := dp.Attributes().Get("gpu"); ok {
						text = gpu.AsString() + " " + text
					}
					if dp.Flags().NoRecordedValue() {
						text = "x " + text
					}
					all = append(all, text)
				}
			}
		}
	}
	return all
}

// flag flags data points as having no recorded value, by their position.
func flag(md pmetric.Metrics, positions ...int) pmetric.Metrics {
	points := md.ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().At(0).Gauge().DataPoints()
	for _, i := range positions {
		points.At(i).SetFlags(pmetric.DefaultDataPointFlags.WithNoRecordedValue(true))
	}
	return md
}

func TestASeriesEndsWithItsPhase(t *testing.T) {
	run := &program{session: "run"}
	for name, tc := range map[string]struct {
		batches []pmetric.Metrics
		want    [][]string
	}{
		"another phase": {
			[]pmetric.Metrics{run.gauge(2.5), run.gauge(4.5)},
			[][]string{{"train / load @2.5"}, {"train / forward @4.5", "|", "x train / load @4.5"}},
		},
		"no phase": {
			[]pmetric.Metrics{run.gauge(8), run.gauge(10)},
			[][]string{{"train @8"}, {"<nil> @10", "|", "x train @10"}},
		},
		"the first phase": {
			[]pmetric.Metrics{run.gauge(0.5), run.gauge(1.5)},
			[][]string{{"<nil> @0.5"}, {"train @1.5", "|", "x <nil> @1.5"}},
		},
		"the same phase": {
			[]pmetric.Metrics{run.gauge(6), run.gauge(7), run.gauge(8)},
			[][]string{{"train @6"}, {"train @7"}, {"train @8"}},
		},
		"several phases in one batch": {
			[]pmetric.Metrics{run.gauge(1.5, 2.5, 3.5, 4.5)},
			[][]string{{
				"train @1.5", "train / load @2.5", "|", "x train @2.5", "|", "train @3.5", "train / forward @4.5", "|",
				"x train / load @3.5", "|", "x train @4.5",
			}},
		},
		"a late point": {
			[]pmetric.Metrics{run.gauge(4.5), run.gauge(2.5), run.gauge(4.6)},
			[][]string{{"train / forward @4.5"}, {"train / load @2.5", "|", "x train / load @4.5"}, {"train / forward @4.6"}},
		},
		"a point at the same time": {
			[]pmetric.Metrics{run.gauge(6), run.gauge(6)},
			[][]string{{"train @6"}, {"train @6"}},
		},
		"the end of the stream": {
			[]pmetric.Metrics{run.gauge(2.5), flag(run.gauge(4.5), 0), run.gauge(4.6), run.gauge(8)},
			[][]string{
				{"train / load @2.5"},
				{"x train / load @4.5"},
				{"train / forward @4.6"},
				{"train @8", "|", "x train / forward @8"},
			},
		},
		"the end of an unknown stream": {
			[]pmetric.Metrics{flag(run.gauge(4.5), 0)},
			[][]string{{"x <nil> @4.5"}},
		},
		"the end of a stream before a point": {
			[]pmetric.Metrics{run.gauge(2.5), flag(run.gauge(2.7, 2.8), 0)},
			[][]string{{"train / load @2.5"}, {"x train / load @2.7", "|", "train / load @2.8"}},
		},
		"the end of a stream that has gone on": {
			[]pmetric.Metrics{run.gauge(2.5), flag(run.gauge(2.4), 0), run.gauge(8)},
			[][]string{{"train / load @2.5"}, {"x <nil> @2.4"}, {"train @8", "|", "x train / load @8"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := startPipelines(t, endSeries)
			p.feed(t)
			for i, md := range tc.batches {
				assert.Equal(t, tc.want[i], shown(p.passMetrics(t, md)), "batch %d", i)
			}
		})
	}
}

func TestAnEndHasTheAttributesOfItsSeriesAndNoValue(t *testing.T) {
	p := startPipelines(t, endSeries, func(cfg *Config) { cfg.Attributes = append(cfg.Attributes, "phase_rank", "phase_reason") })
	p.feed(t)
	run := &program{session: "run"}
	p.passMetrics(t, run.gauge(8))
	md := run.gauge(10)
	metric := md.ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().At(0)
	metric.SetUnit("By")
	metric.SetDescription("Memory.")
	metric.Gauge().DataPoints().At(0).SetDoubleValue(3)
	out := p.passMetrics(t, md).ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics()
	assert.Equal(t, object{"session_id": "run", "rank": int64(0), "phase_reason": "between_phases"},
		out.At(0).Gauge().DataPoints().At(0).Attributes().AsRaw())
	end := out.At(1)
	assert.Equal(t, []string{"memory", "By", "Memory."}, []string{end.Name(), end.Unit(), end.Description()})
	dp := end.Gauge().DataPoints().At(0)
	assert.Equal(t, object{
		"session_id": "run", "rank": int64(0), "phase_resolution": "unique", "phase_path": "train", "phase_rank": int64(0),
	}, dp.Attributes().AsRaw())
	assert.Equal(t, pmetric.NumberDataPointValueTypeEmpty, dp.ValueType())
}

func TestEachStreamHasItsOwnSeries(t *testing.T) {
	p := startPipelines(t, endSeries)
	p.feed(t)
	points := func(at float64, gpus ...string) pmetric.Metrics {
		md := (&program{session: "run"}).gauge(make([]float64, len(gpus))...)
		for i, dp := range md.ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().At(0).Gauge().DataPoints().All() {
			dp.Attributes().PutStr("gpu", gpus[i])
			dp.SetTimestamp(timestamp(at))
		}
		return md
	}
	assert.Equal(t, []string{"0 train / load @2.5", "1 train / load @2.5"}, shown(p.passMetrics(t, points(2.5, "0", "1"))))
	assert.Equal(t, []string{"0 train / forward @4.5", "|", "x 0 train / load @4.5"}, shown(p.passMetrics(t, points(4.5, "0"))))
	assert.Equal(t, []string{"1 train @8", "0 train @8", "|", "x 1 train / load @8", "|", "x 0 train / forward @8"},
		shown(p.passMetrics(t, points(8, "1", "0"))), "each end in a metric of its own, behind all points")

	other := points(9.5, "0")
	other.ResourceMetrics().At(0).Resource().Attributes().PutStr("service.name", "other")
	assert.Equal(t, []string{"0 <nil> @9.5"}, shown(p.passMetrics(t, other)), "of another resource")
	other = points(9.5, "0")
	other.ResourceMetrics().At(0).ScopeMetrics().At(0).Scope().SetName("other")
	assert.Equal(t, []string{"0 <nil> @9.5"}, shown(p.passMetrics(t, other)), "of another scope")
	other = points(9.5, "0")
	other.ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().At(0).SetName("other")
	assert.Equal(t, []string{"0 <nil> @9.5"}, shown(p.passMetrics(t, other)), "of another metric")
}

func TestOnlyAnnotatedGaugesAndUpDownCountersEnd(t *testing.T) {
	sum := func(monotonic bool) func(pmetric.Metric) newPoint {
		return func(m pmetric.Metric) newPoint {
			m.SetEmptySum().SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
			m.Sum().SetIsMonotonic(monotonic)
			return m.Sum().DataPoints().AppendEmpty()
		}
	}
	excluded := func(cfg *Config) { cfg.Metrics.Exclude = []string{"gauge"} }
	for name, tc := range map[string]struct {
		of     metricType
		edit   func(*Config)
		passed int
	}{
		"a gauge":               {gaugeType(), endSeries, 2},
		"by default":            {gaugeType(), func(*Config) {}, 1},
		"an excluded gauge":     {gaugeType(), excluded, 1},
		"an UpDownCounter":      {metricType{"memory", sum(false)}, endSeries, 2},
		"a counter":             {metricType{"energy", sum(true)}, endSeries, 1},
		"an annotated counter":  {metricType{"energy", sum(true)}, func(cfg *Config) { cfg.Cumulative = CumulativeAnnotate }, 1},
		"gauges beside a split": {gaugeType(), func(cfg *Config) { cfg.Split.Enabled = true }, 2},
	} {
		t.Run(name, func(t *testing.T) {
			edits := []func(*Config){endSeries, tc.edit}
			if name == "by default" {
				edits = nil
			}
			p := startPipelines(t, edits...)
			p.feed(t)
			p.passMetrics(t, tc.of.point(0, timestamp(2.5)))
			out := p.passMetrics(t, tc.of.point(0, timestamp(4.5)))
			assert.Equal(t, tc.passed, out.MetricCount())
			if tc.passed > 1 {
				end := out.ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().At(1)
				assert.Equal(t, tc.of.name, end.Name())
			}
		})
	}
}

func TestABatchThatIsNotForwardedEndsNothing(t *testing.T) {
	var refuse error
	sink := &consumertest.MetricsSink{}
	factory, cfg := NewFactory(), newConfig(t, endSeries)
	events := startLogs(t, factory, cfg, discardLogs)
	metrics := startMetrics(t, factory, cfg, func(ctx context.Context, md pmetric.Metrics) error {
		if refuse != nil {
			return refuse
		}
		return sink.ConsumeMetrics(ctx, md)
	})
	w := (&program{session: "run"}).worker(1)
	run := w.program
	require.NoError(t, events.ConsumeLogs(t.Context(), records(t,
		w.enter(1, "train"), w.enter(2, "load"), w.exit(3), w.enter(4, "forward"), w.exit(5))))
	require.NoError(t, metrics.ConsumeMetrics(t.Context(), run.gauge(2.5)))
	refuse = errTryAgain
	md := run.gauge(4.5)
	require.ErrorIs(t, metrics.ConsumeMetrics(t.Context(), md), errTryAgain)
	refuse = nil
	require.NoError(t, metrics.ConsumeMetrics(t.Context(), md), "with its end")
	require.NoError(t, metrics.ConsumeMetrics(t.Context(), run.gauge(8)))
	all := sink.AllMetrics()
	assert.Equal(t, []string{"train / forward @4.5", "|", "x train / load @4.5", "|", "x train / load @4.5"}, shown(all[1]))
	assert.Equal(t, []string{"train @8", "|", "x train / forward @8"}, shown(all[2]))
}

func TestWhatWaitedEndsSeriesInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := startPipelines(t, withGrace, endSeries)
		w := (&program{session: "run"}).worker(1)
		run := w.program
		p.passLogs(t, records(t, w.enter(1, "train"), w.enter(2, "load")))
		for _, at := range []float64{2.5, 4.5, 8} {
			require.NoError(t, p.metrics.ConsumeMetrics(t.Context(), run.gauge(at)))
		}
		p.passLogs(t, records(t, w.exit(3), w.enter(4, "forward"), w.exit(5), run.event("sample", 9)))
		time.Sleep(2 * gracePeriod)
		synctest.Wait()
		var all []string
		for _, md := range p.metricsSink.AllMetrics() {
			all = append(all, shown(md)...)
		}
		assert.Equal(t, []string{
			"train / load @2.5", "train / forward @4.5", "|", "x train / load @4.5", "train @8", "|", "x train / forward @8",
		}, all)
	})
}

func TestStreamsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := startPipelines(t, endSeries, func(cfg *Config) { cfg.Limits.MaxStreams, cfg.Window = 2, time.Minute })
		p.feed(t)
		gauge := func(name string, at float64) pmetric.Metrics {
			md := (&program{session: "run"}).gauge(at)
			md.ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().At(0).SetName(name)
			return md
		}
		ends := func(name string) bool {
			p.passMetrics(t, gauge(name, 2.5))
			return p.passMetrics(t, gauge(name, 4.5)).MetricCount() == 2
		}
		assert.True(t, ends("a"))
		assert.True(t, ends("b"))
		assert.False(t, ends("c"))
		for name, want := range map[string]int64{"streams": 2, "ended_series": 2, "untracked_points": 2} {
			assert.Equal(t, map[string]int64{"": want}, seriesOf(t, p.telemetry, name), name)
		}
		minute := func() { // in which the run goes on
			for range 4 {
				time.Sleep(15 * time.Second)
				p.passLogs(t, records(t, (&program{session: "run"}).event("sample", 2)))
			}
		}
		minute()
		p.passMetrics(t, gauge("a", 8))
		minute()
		assert.True(t, ends("c"), "b has been forgotten")
		assert.False(t, ends("b"))
	})
}
