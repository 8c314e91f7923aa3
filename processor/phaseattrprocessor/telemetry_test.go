// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/confmap/confmaptest"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/metric/metricdata/metricdatatest"

	"github.com/phaseattr/phaseattr/internal/boundary"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/metadata"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/metadatatest"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/replay"
)

// count is a data point with attributes of pairs of names and values.
func count(value int64, pairs ...string) metricdata.DataPoint[int64] {
	attributes := []attribute.KeyValue{attribute.Stringer("processor", metadata.Type)}
	for i := 0; i < len(pairs); i += 2 {
		attributes = append(attributes, attribute.String(pairs[i], pairs[i+1]))
	}
	return metricdata.DataPoint[int64]{Attributes: attribute.NewSet(attributes...), Value: value}
}

// assertCounts compares the series of a counter that are not 0.
func assertCounts(t *testing.T, telemetry *componenttest.Telemetry, name string, want ...metricdata.DataPoint[int64]) {
	t.Helper()
	metric, err := telemetry.GetMetric("otelcol_processor_phase_attr_" + name)
	require.NoError(t, err)
	got := metricdata.Sum[int64]{Temporality: metricdata.CumulativeTemporality, IsMonotonic: true}
	for _, point := range metric.Data.(metricdata.Sum[int64]).DataPoints {
		if point.Value != 0 {
			got.DataPoints = append(got.DataPoints, point)
		}
	}
	metricdatatest.AssertAggregationsEqual(t,
		metricdata.Sum[int64]{Temporality: got.Temporality, IsMonotonic: true, DataPoints: want}, got, metricdatatest.IgnoreTimestamp())
}

// seriesOf returns the series of a counter by their attributes beside the processor.
func seriesOf(t *testing.T, telemetry *componenttest.Telemetry, name string) map[string]int64 {
	t.Helper()
	series := map[string]int64{}
	metric, err := telemetry.GetMetric("otelcol_processor_phase_attr_" + name)
	if err != nil {
		return series
	}
	for _, point := range metric.Data.(metricdata.Sum[int64]).DataPoints {
		attributes, _ := point.Attributes.Filter(func(kv attribute.KeyValue) bool { return kv.Key != "processor" })
		series[attributes.Encoded(attribute.DefaultEncoder())] = point.Value
	}
	return series
}

func TestCountersBeginAtZero(t *testing.T) {
	p := startPipelines(t, withGrace, split)
	for name, want := range map[string]int{
		"boundaries":       2 + len(boundary.Reasons()) + len(replay.Refusals()) + len(rejecting()),
		"doubted_events":   len(disbeliefs()),
		"transitions":      5,
		"waits":            2 + 3 + 2,
		"releases":         4,
		"forwarded_items":  3,
		"forward_retries":  3,
		"lost_items":       3,
		"outdated_answers": 1,
		"other_paths":      1,
		"unsplit_points":   1,
		"storage_failures": 0,              // there is no storage
		"associations":     4 + 3*4 + 4*5,  // session and rank; pod UID, pod and job; process and devices
		"answers":          (1+6+11)*3 + 2, // cumulative and excluded points
	} {
		series := seriesOf(t, p.telemetry, name)
		assert.Len(t, series, want, name)
		for attributes, n := range series {
			assert.Zero(t, n, "%s{%s}", name, attributes)
		}
	}
	answers := seriesOf(t, p.telemetry, "answers")
	assert.Contains(t, answers, "resolution=unique,signal=traces")
	assert.Contains(t, answers, "reason=shared_device,resolution=ambiguous,signal=metrics")
	assert.Contains(t, answers, "reason=skipped_cumulative,resolution=none,signal=metrics")
	assert.NotContains(t, answers, "reason=skipped_cumulative,resolution=none,signal=logs")
	assert.NotContains(t, answers, "reason=threads,resolution=none,signal=logs")
	assert.NotContains(t, answers, "resolution=none,signal=logs")
}

// A Collector that has no pipeline of a signal has no series of it.
func TestCountersBeginWithTheirPipeline(t *testing.T) {
	p := newPipelines(t, NewFactory(), newConfig(t))
	started(t, p.logs)
	assert.Len(t, seriesOf(t, p.telemetry, "answers"), 1+6+11)
	assert.Empty(t, seriesOf(t, p.telemetry, "waits"), "nothing waits without a grace period")
	assert.Empty(t, seriesOf(t, p.telemetry, "unsplit_points"))
}

func TestBoundariesAreCountedByWhatBecameOfThem(t *testing.T) {
	p := startPipelines(t, func(cfg *Config) {
		cfg.Limits.MaxRanks, cfg.Limits.MaxThreadsPerRank, cfg.Limits.MaxOpenScopesPerThread, cfg.Limits.MaxTextBytes = 2, 2, 2, 16
	})
	run, second, third := &program{session: "run"}, &program{session: "run", rank: 1}, &program{session: "run", rank: 2}
	first := run.worker(1)
	enter := first.enter(1, "train")
	p.passLogs(t, records(t,
		enter, enter, enter, // one accepted, two duplicates
		first.enter(2, "step"), first.enter(3, "scope too many"),
		run.worker(2).enter(3, "load"), run.worker(3).enter(3, "thread too many"),
		second.worker(1).enter(3, "eval"), third.worker(1).enter(3, "group too many"),
		first.enter(4, "a name past the limit"), first.enter(4, " "), first.enter(4, ""),
		run.event("sample", 5), object{"event_type": "phase_enter"}, object{"event_type": "phase_exit"},
	))
	assertCounts(t, p.telemetry, "boundaries",
		count(4, "outcome", "accepted"),
		count(2, "outcome", "duplicate"),
		count(1, "outcome", "rejected", "reason", "max_open_scopes_per_thread"),
		count(1, "outcome", "rejected", "reason", "max_threads_per_rank"),
		count(1, "outcome", "rejected", "reason", "max_ranks"),
		count(1, "outcome", "rejected", "reason", "too_long"),
		count(2, "outcome", "rejected", "reason", "name"),
		count(2, "outcome", "rejected", "reason", "session_id"),
	)
}

func TestBoundariesPastTheWindowAreCountedAsTooOld(t *testing.T) {
	p := startPipelines(t)
	run := &program{session: "run"}
	w := run.worker(1)
	old := w.enter(1, "old")
	p.passLogs(t, records(t,
		run.worker(2).enter(10_000, "train"), run.event("sample", 10_001), run.event("sample", 10_002), run.event("sample", 10_003)))
	p.passLogs(t, records(t, old))
	assertCounts(t, p.telemetry, "boundaries",
		count(1, "outcome", "accepted"),
		count(1, "outcome", "rejected", "reason", "too_old"),
	)

	p.passMetrics(t, run.gauge(1, 10_002))
	assertCounts(t, p.telemetry, "answers",
		count(4, "signal", "logs", "resolution", "unique"),
		count(1, "signal", "logs", "resolution", "none", "reason", "before_window"),
		count(1, "signal", "metrics", "resolution", "unique"),
		count(1, "signal", "metrics", "resolution", "none", "reason", "before_window"),
	)
}

func TestAnswersAreCountedBySignalAndResolution(t *testing.T) {
	p := startPipelines(t)
	run, other := &program{session: "run"}, &program{session: "other"}
	first, second := run.worker(1), run.worker(2)
	p.passLogs(t, records(t,
		first.enter(1, "train"), second.enter(3, "load"), // unique, ambiguous
		run.event("sample", 0.5), other.event("sample", 2), object{"event_type": "sample"})) // none, none, no session
	p.passMetrics(t, run.gauge(0.5, 2, 2, 2, 4, 4))
	p.passMetrics(t, other.gauge(2))
	p.passMetrics(t, metricTypes(pmetric.AggregationTemporalityCumulative)[0].point(timestamp(1), timestamp(2))) // skipped
	p.passTraces(t, run.spans(2, 3.5))
	p.passTraces(t, run.spans(4, 5))
	p.passTraces(t, run.spansBetween(0, timestamp(2))) // no time

	assertCounts(t, p.telemetry, "answers",
		answers("logs", "unique", 1), answers("logs", "ambiguous", 1, "threads"),
		answers("logs", "none", 2, "between_phases"), answers("logs", "none", 1, "no_time"),
		answers("metrics", "unique", 3), answers("metrics", "ambiguous", 2, "threads"),
		answers("metrics", "none", 2, "between_phases"), answers("metrics", "none", 1, "skipped_cumulative"),
		answers("traces", "unique", 1), answers("traces", "ambiguous", 1, "threads"), answers("traces", "none", 1, "no_time"),
	)
}

func TestWhatTheIndexHoldsCanBeReadOff(t *testing.T) {
	p := startPipelines(t)
	assertHeld := func(groups, open, boundaries int64) {
		t.Helper()
		metadatatest.AssertEqualProcessorPhaseAttrRanks(t, p.telemetry,
			[]metricdata.DataPoint[int64]{count(groups)}, metricdatatest.IgnoreTimestamp())
		metadatatest.AssertEqualProcessorPhaseAttrOpenScopes(t, p.telemetry,
			[]metricdata.DataPoint[int64]{count(open)}, metricdatatest.IgnoreTimestamp())
		metadatatest.AssertEqualProcessorPhaseAttrWindowBoundaries(t, p.telemetry,
			[]metricdata.DataPoint[int64]{count(boundaries)}, metricdatatest.IgnoreTimestamp())
	}
	assertHeld(0, 0, 0)

	run, other := &program{session: "run"}, &program{session: "run", rank: 1}
	w := run.worker(1)
	p.passLogs(t, records(t, w.enter(1, "train"), w.enter(2, "step"), other.worker(1).enter(1, "eval")))
	assertHeld(2, 3, 3)
	p.passLogs(t, records(t, w.exit(3), w.exit(4)))
	assertHeld(2, 1, 5)
	p.passMetrics(t, (&program{session: "unknown"}).gauge(1)) // a question makes no group
	assertHeld(2, 1, 5)
}

func TestMetadataListsTheAttributeValuesThatAreCounted(t *testing.T) {
	conf, err := confmaptest.LoadConf("metadata.yaml")
	require.NoError(t, err)
	listed := func(name string) []string {
		var values []string
		for _, value := range conf.Get("attributes::" + name + "::enum").([]any) {
			values = append(values, value.(string))
		}
		return values
	}
	var reasons []string
	for _, reason := range boundary.Reasons() {
		reasons = append(reasons, reason.String())
	}
	for _, outcome := range replay.Refusals() {
		reasons = append(reasons, outcome.String())
	}
	reasons = append(reasons, tooManyTenants)
	for _, outcome := range rejecting() {
		reasons = append(reasons, string(outcome))
	}
	assert.Equal(t, reasons, listed("reason"))
	var outcomes, transitions []string
	for _, outcome := range disbeliefs() {
		outcomes = append(outcomes, string(outcome))
	}
	for transition := range replay.AllTransitions().Each {
		transitions = append(transitions, transition.String())
	}
	assert.Equal(t, outcomes, listed("disbelief"))
	assert.Equal(t, transitions, listed("transition"))
	assert.Equal(t, []string{"accepted", "duplicate", "rejected"}, listed("outcome"))
	var resolutionNames, signalNames []string
	for r := range resolutions {
		resolutionNames = append(resolutionNames, r.String())
	}
	for s := range signals {
		signalNames = append(signalNames, s.String())
	}
	assert.Equal(t, resolutionNames, listed("resolution"))
	assert.Equal(t, signalNames, listed("signal"))
}
