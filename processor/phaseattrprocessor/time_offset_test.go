// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
)

// lateGPUs are the default rules, of which those of devices have a time offset.
func lateGPUs(offset time.Duration) func(*Config) {
	return func(cfg *Config) {
		for _, rule := range defaultRules(cfg) {
			var r AssociationRule
			for _, key := range rule.Keys {
				r.Keys = append(r.Keys, AssociationKey{Field: key.Field, Names: key.Names})
				if key.Field == "device_id" {
					r.TimeOffset = offset
				}
			}
			cfg.Association = append(cfg.Association, r)
		}
	}
}

func TestTelemetryOfARuleIsAnsweredAsOfItsTimeLessTheOffset(t *testing.T) {
	for name, tc := range map[string]struct {
		offset time.Duration
		at     float64
	}{
		"late":  {5 * time.Second, 6.5},
		"early": {-time.Second / 2, 1},
		"exact": {0, 1.5},
	} {
		t.Run(name, func(t *testing.T) {
			p := startPipelines(t, lateGPUs(tc.offset))
			run := &program{session: "run"}
			w, place := run.worker(1), on("node", 10, 0)
			p.passLogs(t, records(t, with(w.enter(1, "load"), place), with(w.exit(2), place), with(w.enter(2, "train"), place),
				with(run.event("sample", 10), place)))
			for range 3 { // found, and then remembered
				_, path := p.ofGPU(t, "node", "0", tc.at)
				assert.Equal(t, "load", path)
				_, path = p.ofGPU(t, "node", "0", tc.at+1)
				assert.Equal(t, "train", path)
			}
			assert.Equal(t, "load", p.path(t, run, 1.5), "telemetry that names its session and rank is on the rank's clock")
			assert.Equal(t, "train", p.path(t, run, 6.5))
		})
	}
}

// The rank of a device is the one that was there when the device was read.
func TestRanksOfARuleAreThoseAliveAtTheTimeLessTheOffset(t *testing.T) {
	p := startPipelines(t, lateGPUs(5*time.Second))
	p.runsOn(t, on("node", 10, 0), 1, "first", 0, "train")
	p.runsOn(t, on("node", 11, 0), 4, "second", 0, "evaluate")
	for at, want := range map[float64]any{2: nil, 6.5: "train", 7: "train", 9: "evaluate", 9.5: "evaluate"} {
		_, path := p.ofGPU(t, "node", "0", at)
		assert.Equal(t, want, path, "at %g", at)
	}
}

func TestSessionRuleMayHaveATimeOffset(t *testing.T) {
	p := startPipelines(t, func(cfg *Config) {
		cfg.Association = []AssociationRule{{
			Keys:       []AssociationKey{{Field: "session_id", Names: []string{"session_id"}}, {Field: "rank", Names: []string{"rank"}}},
			TimeOffset: time.Second,
		}}
	})
	run := &program{session: "run"}
	w := run.worker(1)
	p.passLogs(t, records(t, w.enter(1, "load"), w.exit(2), w.enter(2, "train")))
	assert.Equal(t, "load", p.path(t, run, 2.5))
	assert.Equal(t, "train", p.path(t, run, 3.5))
}

func TestTelemetryWaitsForItsTimeLessTheOffset(t *testing.T) {
	for name, tc := range map[string]struct {
		offset time.Duration
		at     float64
		waits  int
	}{
		"late":                {5 * time.Second, 6.9, 0},
		"late, not so much":   {time.Second, 6.9, 1},
		"early":               {-time.Second, 1.5, 1},
		"early, not so early": {-time.Second / 4, 1.5, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := startPipelines(t, withGrace, lateGPUs(tc.offset))
				p.runsOn(t, on("node", 10, 0), 1, "run", 0, "train") // until 2
				require.NoError(t, p.metrics.ConsumeMetrics(t.Context(), gpu("node", "0", tc.at)))
				synctest.Wait()
				assert.Equal(t, 1-tc.waits, p.metricsSink.DataPointCount())
				p.passLogs(t, records(t, with((&program{session: "run"}).event("sample", 6), on("node", 10, 0))))
				synctest.Wait()
				assert.Equal(t, 1, p.metricsSink.DataPointCount(), "the events have come as far")
			})
		})
	}
}

// The parts of a point are on its own clock.
func TestPointIsSplitByPhasesAsOfItsTimeLessTheOffset(t *testing.T) {
	p := startPipelines(t, split, lateGPUs(5*time.Second))
	w, place := (&program{session: "run"}).worker(1), on("node", 10, 0)
	p.passLogs(t, records(t, with(w.enter(1, "train"), place), with(w.exit(2), place), with(w.enter(2, "evaluate"), place), with(w.exit(4), place)))
	md := counter(6, 8, int64(100))
	md.ResourceMetrics().At(0).Resource().Attributes().Clear() // of the run's session
	dp := md.ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().At(0).Sum().DataPoints().At(0)
	dp.Attributes().Clear()
	dp.Attributes().PutStr("Hostname", "node")
	dp.Attributes().PutStr("gpu", "0")
	for _, at := range []float64{6.5, 7.5} {
		exemplar := dp.Exemplars().AppendEmpty()
		exemplar.SetTimestamp(timestamp(at))
		exemplar.SetDoubleValue(at)
	}
	out := sumsOf(p.passMetrics(t, md))
	assert.Equal(t, []string{"6-7: 50 train", "7-8: 50 evaluate"}, lines(out))
	for i, want := range []float64{6.5, 7.5} {
		require.Equal(t, 1, out[i].Exemplars().Len())
		assert.InDelta(t, want, out[i].Exemplars().At(0).DoubleValue(), 0)
	}
}

func TestTimesBeyondAllTimesStayInOrder(t *testing.T) {
	assert.Equal(t, int64(math.MinInt64), before(math.MinInt64+1, time.Second))
	assert.Equal(t, int64(math.MaxInt64), before(math.MaxInt64, -time.Second))
	assert.Equal(t, int64(-1), before(1, 2))
	p := startPipelines(t, split, lateGPUs(-time.Second))
	p.runsOn(t, on("node", 10, 0), 1, "run", 0, "train")
	md := gpu("node", "0", 1)
	md.ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().At(0).Gauge().DataPoints().At(0).SetTimestamp(pcommon.Timestamp(math.MaxInt64))
	out := p.passMetrics(t, md).ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().At(0)
	require.Equal(t, pmetric.MetricTypeGauge, out.Type())
	assert.NotContains(t, out.Gauge().DataPoints().At(0).Attributes().AsRaw(), "phase_path")
}
