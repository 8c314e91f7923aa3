// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/metric/metricdata/metricdatatest"

	"github.com/phaseattr/phaseattr/internal/boundary"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/metadatatest"
)

// sinceStart returns a test's time of so many seconds after the start of synctest's clock.
func sinceStart(seconds float64) float64 { return seconds + float64(clusterStart-moment(0))/1e9 }

func TestSkewIsThatOfTheNewestBoundaryOfEachRankOfABatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := startPipelines(t)
		time.Sleep(100 * time.Second)
		run, other, ahead := &program{session: "run"}, &program{session: "run", rank: 1}, &program{session: "ahead"}
		w, v := run.worker(1), other.worker(1)
		batch := []object{
			w.enter(sinceStart(90), "train"), v.enter(sinceStart(40), "train"), w.enter(sinceStart(98), "step"),
			v.exit(sinceStart(60)), w.exit(sinceStart(95)), ahead.worker(1).enter(sinceStart(100.5), "train"), run.event("sample", sinceStart(99)),
		}
		p.passLogs(t, records(t, batch...))
		skews := func() metricdata.HistogramDataPoint[float64] {
			metric, err := p.telemetry.GetMetric("otelcol_processor_phase_attr_boundary_skew")
			require.NoError(t, err)
			points := metric.Data.(metricdata.Histogram[float64]).DataPoints
			require.Len(t, points, 1)
			source, _ := points[0].Attributes.Value("source")
			assert.Equal(t, "logs", source.AsString())
			return points[0]
		}
		assert.Equal(t, uint64(3), skews().Count)
		assert.InDelta(t, 2+40-0.5, skews().Sum, 1e-3)
		least, _ := skews().Min.Value()
		most, _ := skews().Max.Value()
		assert.InDelta(t, -0.5, least, 1e-3)
		assert.InDelta(t, 40, most, 1e-3)

		time.Sleep(time.Minute)
		p.passLogs(t, records(t, batch...))
		assert.Equal(t, uint64(3), skews().Count, "all had come before")
	})
}

func TestSkewKeepsTheNewestOfEachRank(t *testing.T) {
	newest := func(s *skew) []int64 {
		all := []int64{}
		for at := range s.newest {
			all = append(all, at)
		}
		return all
	}
	var s skew
	assert.Empty(t, newest(&s))
	for i, rank := range []int64{0, 0, 0, 1, 0, 2, 1} {
		s.note(boundary.RankKey{Rank: rank}, []int64{5, 7, 6, -1, 3, 9, 4}[i])
	}
	assert.ElementsMatch(t, []int64{7, 4, 9}, newest(&s))
}

func TestAgeOfTheNewestEventIsThatOfTheRankFurthestBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := startPipelines(t)
		age := func() any {
			metric, err := p.telemetry.GetMetric("otelcol_processor_phase_attr_newest_event_age")
			if err != nil {
				return nil
			}
			return metric.Data.(metricdata.Gauge[float64]).DataPoints[0].Value
		}
		time.Sleep(100 * time.Second)
		assert.Nil(t, age())
		run, other := &program{session: "run"}, &program{session: "other"}
		p.passLogs(t, records(t, run.worker(1).enter(sinceStart(80), "train"), other.worker(1).enter(sinceStart(90), "train")))
		assert.InDelta(t, 20, age(), 1e-3)
		time.Sleep(10 * time.Second)
		assert.InDelta(t, 30, age(), 1e-3)
		p.passLogs(t, records(t, run.event("stop", sinceStart(81))))
		assert.InDelta(t, 20, age(), 1e-3)
		p.passLogs(t, records(t, other.event("stop", sinceStart(91))))
		assert.Nil(t, age())
	})
}

func TestMissingBoundariesAreCountedUntilTheyCome(t *testing.T) {
	p := startPipelines(t)
	w := (&program{session: "run"}).worker(1)
	first, lost, last := w.enter(1, "train"), w.enter(2, "step"), w.exit(3)
	assertMissing := func(n int64) {
		t.Helper()
		metadatatest.AssertEqualProcessorPhaseAttrMissingBoundaries(t, p.telemetry,
			[]metricdata.DataPoint[int64]{count(n)}, metricdatatest.IgnoreTimestamp())
	}
	assertMissing(0)
	p.passLogs(t, records(t, first, last))
	assertMissing(1)
	p.passLogs(t, records(t, lost))
	assertMissing(0)
}
