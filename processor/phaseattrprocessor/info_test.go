// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"testing"
	"testing/synctest"

	"github.com/open-telemetry/opentelemetry-collector-contrib/pkg/pdatatest/pmetrictest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pmetric"
)

func infoMode(cfg *Config) { cfg.Metrics.Mode = ModeInfo }

// scraped is a batch of gauges as of dcgm-exporter: of each device, its attributes, all at
// the same time.
func scraped(t *testing.T, at float64, devices ...object) pmetric.Metrics {
	t.Helper()
	md := pmetric.NewMetrics()
	scope := md.ResourceMetrics().AppendEmpty().ScopeMetrics().AppendEmpty()
	for _, name := range []string{"DCGM_FI_DEV_GPU_UTIL", "DCGM_FI_DEV_FB_USED"} {
		metric := scope.Metrics().AppendEmpty()
		metric.SetName(name)
		points := metric.SetEmptyGauge().DataPoints()
		for _, device := range devices {
			dp := points.AppendEmpty()
			dp.SetTimestamp(timestamp(at))
			dp.SetIntValue(7)
			require.NoError(t, dp.Attributes().FromRaw(device))
		}
	}
	return md
}

// infoOf returns the data points of phase.active in order, and removes them from a batch.
func infoOf(t *testing.T, md pmetric.Metrics) (points []object) {
	t.Helper()
	for _, resource := range md.ResourceMetrics().All() {
		resource.ScopeMetrics().RemoveIf(func(scope pmetric.ScopeMetrics) bool {
			if scope.Scope().Name() == "" {
				return false
			}
			for _, metric := range scope.Metrics().All() {
				require.Equal(t, infoName, metric.Name())
				for _, dp := range metric.Gauge().DataPoints().All() {
					point := dp.Attributes().AsRaw()
					point["@"] = float64(int64(dp.Timestamp())-moment(0)) / 1e9
					if dp.Flags().NoRecordedValue() {
						point["x"] = true
					} else {
						assert.Equal(t, int64(1), dp.IntValue())
					}
					points = append(points, point)
				}
			}
			return true
		})
	}
	return points
}

// onGPU are the attributes of a device of a node.
func onGPU(index string, more object) object {
	return with(object{"gpu": index, "UUID": "GPU-" + index, "Hostname": "node", "modelName": "H100"}, more)
}

// info is a data point of phase.active of such a device.
func info(at float64, index, path string, rank int64, more object) object {
	return with(object{
		"@": at, "gpu": index, "UUID": "GPU-" + index, "Hostname": "node",
		"phase_resolution": "unique", "phase_path": path, "phase_rank": rank,
	}, more)
}

// onNode has two ranks on the node: rank 0 on GPU 0 in load from 2 to 3 and in forward from 4
// to 5, rank 1 on GPU 1 in train from 1 on.
func (p *pipelines) onNode(t *testing.T) {
	t.Helper()
	of := func(rank int64) *worker { return (&program{session: "run", rank: rank}).worker(1) }
	first, second := of(0), of(1)
	events := []object{first.enter(2, "load"), first.exit(3), first.enter(4, "forward"), first.exit(5), second.enter(1, "train"), second.event("sample", 20), first.event("sample", 20)}
	for _, e := range events {
		with(e, object{"host": "node", "device_id": e["rank"]})
	}
	p.passLogs(t, records(t, events...))
}

func TestInfoModeAddsAGaugeAndLeavesThePointsUnchanged(t *testing.T) {
	p := startPipelines(t, infoMode)
	p.onNode(t)
	pass := func(at float64) []object {
		md := scraped(t, at, onGPU("0", nil), onGPU("1", nil), onGPU("2", nil))
		unchanged := pmetric.NewMetrics()
		md.CopyTo(unchanged)
		out := p.passMetrics(t, md)
		points := infoOf(t, out)
		require.NoError(t, pmetrictest.CompareMetrics(unchanged, out))
		return points
	}
	x := object{"x": true}
	assert.Equal(t, []object{info(2.5, "0", "load", 0, nil), info(2.5, "1", "train", 1, nil)}, pass(2.5))
	assert.Equal(t, []object{info(2.75, "0", "load", 0, nil), info(2.75, "1", "train", 1, nil)}, pass(2.75))
	assert.Equal(t, []object{info(3.5, "1", "train", 1, nil), info(3.5, "0", "load", 0, x)}, pass(3.5), "between two phases")
	assert.Equal(t, []object{info(4.5, "0", "forward", 0, nil), info(4.5, "1", "train", 1, nil)}, pass(4.5))
	assert.Equal(t, []object{info(5.5, "1", "train", 1, nil), info(5.5, "0", "forward", 0, x)}, pass(5.5))
	assert.Equal(t, []object{info(6, "1", "train", 1, nil)}, pass(6))
	assertCounts(t, p.telemetry, "ended_series", count(2))
}

func TestAPhaseThatFollowsAnotherEndsIt(t *testing.T) {
	p := startPipelines(t, infoMode)
	p.onNode(t)
	infoOf(t, p.passMetrics(t, scraped(t, 2.5, onGPU("0", nil))))
	assert.Equal(t, []object{info(4.5, "0", "forward", 0, nil), info(4.5, "0", "load", 0, object{"x": true})},
		infoOf(t, p.passMetrics(t, scraped(t, 4.5, onGPU("0", nil)))))
}

func TestADeviceHasOneAnswer(t *testing.T) {
	for name, tc := range map[string]struct {
		points []object
		want   []object
	}{
		"of its points of one time": {
			[]object{onGPU("0", nil), onGPU("0", nil)}, []object{info(2.5, "0", "load", 0, nil)},
		},
		"with the attributes of all of them": {
			[]object{onGPU("0", nil), onGPU("0", object{"pod": "trainer"}), onGPU("0", object{"pod": ""})},
			[]object{info(2.5, "0", "load", 0, object{"pod": "trainer"})},
		},
		"without what they contradict each other in": {
			[]object{onGPU("0", object{"job_id": "a"}), onGPU("0", object{"job_id": "b"}), onGPU("0", object{"job_id": "a"})},
			[]object{info(2.5, "0", "load", 0, nil)},
		},
		"ambiguous, if they are of several ranks": {
			[]object{onGPU("0", nil), onGPU("0", object{"session_id": "run", "rank": int64(1)})},
			[]object{{
				"@": 2.5, "gpu": "0", "UUID": "GPU-0", "Hostname": "node", "session_id": "run", "rank": int64(1),
				"phase_resolution": "ambiguous",
			}},
		},
		"by its instance": {
			[]object{onGPU("0", nil), onGPU("0", object{"GPU_I_ID": "7", "session_id": "run", "rank": int64(1)})},
			[]object{info(2.5, "0", "load", 0, nil), info(2.5, "0", "train", 1, object{"GPU_I_ID": "7", "session_id": "run", "rank": int64(1)})},
		},
		"by its index and its host": {
			[]object{{"gpu": "0", "Hostname": "node"}, {"gpu": "1", "Hostname": "node"}},
			[]object{
				{"@": 2.5, "gpu": "0", "Hostname": "node", "phase_resolution": "unique", "phase_path": "load", "phase_rank": int64(0)},
				{"@": 2.5, "gpu": "1", "Hostname": "node", "phase_resolution": "unique", "phase_path": "train", "phase_rank": int64(1)},
			},
		},
		"or by its rank": {
			[]object{{"session_id": "run", "rank": int64(1), "other": "x"}},
			[]object{{"@": 2.5, "session_id": "run", "rank": int64(1), "phase_resolution": "unique", "phase_path": "train", "phase_rank": int64(1)}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := startPipelines(t, infoMode)
			p.onNode(t)
			assert.Equal(t, tc.want, infoOf(t, p.passMetrics(t, scraped(t, 2.5, tc.points...))))
		})
	}
}

func TestADeviceWhosePodChangesHasOneSeries(t *testing.T) {
	p := startPipelines(t, infoMode)
	p.onNode(t)
	infoOf(t, p.passMetrics(t, scraped(t, 2.5, onGPU("0", nil))))
	assert.Equal(t, []object{info(2.75, "0", "load", 0, object{"pod": "trainer"}), info(2.75, "0", "load", 0, object{"x": true})},
		infoOf(t, p.passMetrics(t, scraped(t, 2.75, onGPU("0", object{"pod": "trainer"})))))
}

func TestADeviceThatIsGoneEndsItsPhase(t *testing.T) {
	p := startPipelines(t, infoMode)
	p.onNode(t)
	infoOf(t, p.passMetrics(t, scraped(t, 2.5, onGPU("0", nil))))
	md := scraped(t, 2.75, onGPU("0", nil))
	assert.Equal(t, []object{info(2.75, "0", "load", 0, nil)}, infoOf(t, p.passMetrics(t, flag(md, 0))), "it has another metric")
	md = scraped(t, 2.875, onGPU("0", nil))
	md.ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().RemoveIf(func(m pmetric.Metric) bool { return m.Name() == "DCGM_FI_DEV_FB_USED" })
	assert.Equal(t, []object{info(2.875, "0", "load", 0, object{"x": true})}, infoOf(t, p.passMetrics(t, flag(md, 0))))
}

func TestEachTimeOfADeviceHasItsPhase(t *testing.T) {
	p := startPipelines(t, infoMode)
	p.onNode(t)
	md := scraped(t, 2.5, onGPU("0", nil), onGPU("0", nil), onGPU("0", nil))
	for _, metric := range md.ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().All() {
		for i, dp := range metric.Gauge().DataPoints().All() {
			dp.SetTimestamp(timestamp([]float64{2.5, 3.5, 4.5}[i]))
		}
	}
	assert.Equal(t, []object{info(2.5, "0", "load", 0, nil), info(4.5, "0", "forward", 0, nil), info(3.5, "0", "load", 0, object{"x": true})},
		infoOf(t, p.passMetrics(t, md)))
}

func TestCountersTellADeviceToo(t *testing.T) {
	p := startPipelines(t, infoMode)
	p.onNode(t)
	md := scraped(t, 2.5, onGPU("0", nil))
	md.ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().RemoveIf(func(m pmetric.Metric) bool { return m.Name() == "DCGM_FI_DEV_FB_USED" })
	metric := md.ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().At(0)
	sum := pmetric.NewMetric().SetEmptySum()
	metric.Gauge().DataPoints().MoveAndAppendTo(sum.DataPoints())
	sum.SetIsMonotonic(true)
	sum.SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
	sum.MoveTo(metric.SetEmptySum())
	assert.Equal(t, []object{info(2.5, "0", "load", 0, nil)}, infoOf(t, p.passMetrics(t, md)))
}

func TestExcludedMetricsTellNoDevice(t *testing.T) {
	p := startPipelines(t, infoMode, func(cfg *Config) { cfg.Metrics.Exclude = []string{"DCGM_*"} })
	p.onNode(t)
	assert.Empty(t, infoOf(t, p.passMetrics(t, scraped(t, 2.5, onGPU("0", nil)))))
}

func TestABatchThatIsNotForwardedHasNoGauge(t *testing.T) {
	factory, cfg := NewFactory(), newConfig(t, infoMode)
	events := startLogs(t, factory, cfg, discardLogs)
	next := &recipient{fails: []error{errTryAgain}}
	metrics := startMetrics(t, factory, cfg, next.consume)
	require.NoError(t, events.ConsumeLogs(t.Context(), records(t, (&program{session: "run"}).worker(1).enter(1, "train"))))
	md := (&program{session: "run"}).gauge(2)
	require.ErrorIs(t, metrics.ConsumeMetrics(t.Context(), md), errTryAgain)
	assert.Empty(t, infoOf(t, md))
	require.NoError(t, metrics.ConsumeMetrics(t.Context(), md))
	assert.Len(t, infoOf(t, md), 1)
}

func TestWhatWaitedHasItsPhaseInTheGauge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := startPipelines(t, withGrace, infoMode)
		w := (&program{session: "run"}).worker(1)
		on := func(e object) object { return with(e, object{"host": "node", "device_id": int64(0)}) }
		p.passLogs(t, records(t, on(w.enter(2, "load"))))
		for _, at := range []float64{2.5, 4.5} {
			require.NoError(t, p.metrics.ConsumeMetrics(t.Context(), scraped(t, at, onGPU("0", nil))))
		}
		require.Empty(t, p.metricsSink.AllMetrics())
		p.passLogs(t, records(t, on(w.exit(3)), on(w.enter(4, "forward")), on(w.event("sample", 5))))
		synctest.Wait()
		var points []object
		for _, md := range p.metricsSink.AllMetrics() {
			points = append(points, infoOf(t, md)...)
		}
		assert.Equal(t, []object{
			info(2.5, "0", "load", 0, nil), info(4.5, "0", "forward", 0, nil), info(4.5, "0", "load", 0, object{"x": true}),
		}, points)
	})
}
