// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/confmap/confmaptest"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/metric/metricdata/metricdatatest"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/boundary"
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
	metadatatest.AssertEqualProcessorPhaseAttrBoundaries(t, p.telemetry, []metricdata.DataPoint[int64]{
		count(4, "outcome", "accepted"),
		count(2, "outcome", "duplicate"),
		count(1, "outcome", "rejected", "reason", "max_open_scopes_per_thread"),
		count(1, "outcome", "rejected", "reason", "max_threads_per_rank"),
		count(1, "outcome", "rejected", "reason", "max_ranks"),
		count(1, "outcome", "rejected", "reason", "too_long"),
		count(2, "outcome", "rejected", "reason", "name"),
		count(2, "outcome", "rejected", "reason", "session_id"),
	}, metricdatatest.IgnoreTimestamp())
}

func TestBoundariesPastTheWindowAreCountedAsTooOld(t *testing.T) {
	p := startPipelines(t)
	run := &program{session: "run"}
	w := run.worker(1)
	old := w.enter(1, "old")
	p.passLogs(t, records(t,
		run.worker(2).enter(10_000, "train"), run.event("sample", 10_001), run.event("sample", 10_002), run.event("sample", 10_003)))
	p.passLogs(t, records(t, old))
	metadatatest.AssertEqualProcessorPhaseAttrBoundaries(t, p.telemetry, []metricdata.DataPoint[int64]{
		count(1, "outcome", "accepted"),
		count(1, "outcome", "rejected", "reason", "too_old"),
	}, metricdatatest.IgnoreTimestamp())

	p.passMetrics(t, run.gauge(1, 10_002))
	metadatatest.AssertEqualProcessorPhaseAttrAnswers(t, p.telemetry, []metricdata.DataPoint[int64]{
		count(4, "signal", "logs", "resolution", "unique"),
		count(1, "signal", "logs", "resolution", "none", "reason", "before_window"),
		count(1, "signal", "metrics", "resolution", "unique"),
		count(1, "signal", "metrics", "resolution", "none", "reason", "before_window"),
	}, metricdatatest.IgnoreTimestamp())
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

	metadatatest.AssertEqualProcessorPhaseAttrAnswers(t, p.telemetry, []metricdata.DataPoint[int64]{
		answers("logs", "unique", 1), answers("logs", "ambiguous", 1, "threads"),
		answers("logs", "none", 2, "between_phases"), answers("logs", "none", 1, "no_time"),
		answers("metrics", "unique", 3), answers("metrics", "ambiguous", 2, "threads"),
		answers("metrics", "none", 2, "between_phases"), answers("metrics", "none", 1, "skipped_cumulative"),
		answers("traces", "unique", 1), answers("traces", "ambiguous", 1, "threads"), answers("traces", "none", 1, "no_time"),
	}, metricdatatest.IgnoreTimestamp())
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
	assert.Equal(t, reasons, listed("reason"))
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
