// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/metadatatest"
)

// randomTelemetry makes batches of all kinds of items.
type randomTelemetry struct {
	*rand.Rand
	programs []*program
	workers  []*worker
	now      float64
}

func newRandomTelemetry(seed uint64) *randomTelemetry {
	r := &randomTelemetry{Rand: rand.New(rand.NewPCG(seed, 1))}
	for rank := range int64(4) {
		run := &program{session: fmt.Sprintf("run-%d", rank/3), rank: rank % 3}
		r.programs = append(r.programs, run)
		r.workers = append(r.workers, run.worker(1), run.worker(2))
	}
	return r
}

// at returns a time around now, seldom far from it.
func (r *randomTelemetry) at() float64 {
	if r.IntN(20) == 0 {
		return r.now - 1000
	}
	return r.now + 4*r.Float64() - 2
}

// place returns where a rank is: two of one session are on one device.
func place(run *program) object { return on("node", 10+run.rank, run.rank/2) }

func (r *randomTelemetry) event(t *testing.T) object {
	w := r.workers[r.IntN(len(r.workers))]
	r.now += r.Float64() / 4
	var e object
	switch n := r.IntN(10); {
	case n < 4 || n < 7 && len(w.open) == 0:
		e = w.enter(r.now, "phase")
	case n < 7:
		e = w.exit(r.now)
	case n == 7:
		return object{"event_type": "phase_enter"} // nobody's
	case n == 8:
		e = w.event("sample", r.at())
		delete(e, "timestamp_ns") // the record has no other time
	default:
		e = w.event([]string{"sample", "start", "message"}[r.IntN(3)], r.at())
	}
	require.NotNil(t, e)
	return with(e, place(w.program))
}

func (r *randomTelemetry) logs(t *testing.T) plog.Logs {
	var events []object
	for range r.IntN(8) {
		events = append(events, r.event(t))
		if r.IntN(4) == 0 {
			events = append(events, events[len(events)-1]) // again
		}
	}
	return records(t, events...)
}

func (r *randomTelemetry) metrics() pmetric.Metrics {
	md := pmetric.NewMetrics()
	types := slices.Concat(metricTypes(pmetric.AggregationTemporalityDelta), metricTypes(pmetric.AggregationTemporalityCumulative),
		metricTypes(pmetric.AggregationTemporalityUnspecified), []metricType{gaugeType(), {"excluded", gaugeType().add}})
	for range r.IntN(8) {
		run := r.programs[r.IntN(len(r.programs))]
		var in pmetric.Metrics
		from := timestamp(r.at())
		switch r.IntN(5) {
		case 0:
			in = gpu("node", strconv.Itoa(r.IntN(3)), r.at())
		case 1:
			in = gpu("elsewhere", "0", r.at())
		default:
			if in = types[r.IntN(len(types))].point(from, from+timestamp(4*r.Float64())-timestamp(0)); r.IntN(5) == 0 {
				in = types[r.IntN(len(types))].point(0, 0)
			}
			resource := in.ResourceMetrics().At(0).Resource().Attributes()
			resource.Clear()
			if r.IntN(6) > 0 {
				resource.PutStr("session_id", run.session)
			}
			if r.IntN(3) > 0 {
				resource.PutInt("rank", run.rank)
			}
		}
		in.ResourceMetrics().MoveAndAppendTo(md.ResourceMetrics())
	}
	return md
}

func (r *randomTelemetry) traces() ptrace.Traces {
	td := ptrace.NewTraces()
	for range r.IntN(4) {
		run, from := r.programs[r.IntN(len(r.programs))], r.at()
		in := run.spans(from, from+2*r.Float64())
		if r.IntN(5) == 0 {
			in = run.spansBetween(0, timestamp(from))
		}
		in.ResourceSpans().MoveAndAppendTo(td.ResourceSpans())
	}
	return td
}

// counted returns the number of answers of each signal.
func counted(t *testing.T, telemetry *componenttest.Telemetry) map[string]int {
	sums := map[string]int{}
	for attributes, n := range seriesOf(t, telemetry, "answers") {
		sums[attributes[strings.LastIndex(attributes, "signal=")+len("signal="):]] += int(n)
	}
	return sums
}

// TestEachItemThatPassesIsCountedOnce compares the answers of random telemetry with what
// came out: a point that is split counts with each of its parts, a boundary that is dropped
// does not. A batch that the next component refuses is sent again.
func TestEachItemThatPassesIsCountedOnce(t *testing.T) {
	for name, edits := range map[string][]func(*Config){
		"at once":           {},
		"at once, split":    {split},
		"waiting":           {withGrace},
		"waiting, split":    {withGrace, split},
		"waiting, dropping": {withGrace, func(cfg *Config) { cfg.Boundaries = BoundariesDrop }},
		"little room":       {withGrace, func(cfg *Config) { cfg.Grace.MaxBatches = 3 }},
		"annotating counters": {withGrace, func(cfg *Config) {
			cfg.Cumulative = CumulativeAnnotate
			cfg.Association = append(lateRules(cfg), AssociationRule{Keys: []AssociationKey{{Field: "job_id", Names: []string{"modelName"}}}})
		}},
	} {
		t.Run(name, func(t *testing.T) {
			seen := map[string]bool{}
			for seed := range uint64(10) {
				synctest.Test(t, func(t *testing.T) { countRandomTelemetry(t, seed, seen, edits) })
			}
			assert.GreaterOrEqual(t, len(seen), 12, "different answers: %v", slices.Sorted(maps.Keys(seen)))
		})
	}
}

// lateRules are rules with a time offset.
func lateRules(cfg *Config) []AssociationRule {
	lateGPUs(time.Second)(cfg)
	return cfg.Association
}

func countRandomTelemetry(t *testing.T, seed uint64, seen map[string]bool, edits []func(*Config)) {
	cfg := newConfig(t, append(edits, func(cfg *Config) { cfg.Metrics.Exclude = []string{"excluded"} })...)
	r := newRandomTelemetry(seed)
	var healthy atomic.Bool
	p := newFaultyPipelines(t, cfg, &healthy)
	begun := seriesOf(t, p.telemetry, "answers")
	in := map[string]int{}
	for range 40 {
		send(t, r, p, in)
		time.Sleep(time.Duration(r.IntN(2000)) * time.Millisecond)
	}
	healthy.Store(true)
	time.Sleep(time.Minute) // for what is repeated
	p.shutdown(t)
	out := map[string]int{
		"logs": p.logsSink.LogRecordCount(), "metrics": p.metricsSink.DataPointCount(), "traces": p.tracesSink.SpanCount(),
	}
	assert.Equal(t, out, counted(t, p.telemetry), "seed %d", seed)
	if cfg.Boundaries == BoundariesKeep && !cfg.Split.Enabled {
		assert.Equal(t, in, out, "seed %d", seed)
	}
	for attributes, n := range seriesOf(t, p.telemetry, "answers") {
		assert.Contains(t, begun, attributes, "seed %d", seed)
		seen[attributes] = seen[attributes] || n > 0
	}
	maps.DeleteFunc(seen, func(_ string, seen bool) bool { return !seen })
}

// send sends a batch until it is taken, and counts what is in it.
func send(t *testing.T, r *randomTelemetry, p *pipelines, in map[string]int) {
	consume := func() error { return nil }
	switch r.IntN(4) {
	case 0, 1:
		ld := r.logs(t)
		in["logs"] += ld.LogRecordCount()
		consume = func() error { return p.logs.ConsumeLogs(t.Context(), ld) }
	case 2:
		md := r.metrics()
		in["metrics"] += md.DataPointCount()
		consume = func() error { return p.metrics.ConsumeMetrics(t.Context(), md) }
	case 3:
		td := r.traces()
		in["traces"] += td.SpanCount()
		consume = func() error { return p.traces.ConsumeTraces(t.Context(), td) }
	}
	for err := consume(); err != nil; err = consume() {
		require.ErrorIs(t, err, errTryAgain)
	}
}

// newFaultyPipelines starts pipelines whose next components refuse every third batch until
// they are healthy.
func newFaultyPipelines(t *testing.T, cfg *Config, healthy *atomic.Bool) *pipelines {
	p := &pipelines{telemetry: componenttest.NewTelemetry()}
	set, factory := metadatatest.NewSettings(p.telemetry), NewFactory()
	var sent atomic.Int64
	refuse := func(take func() error) error {
		if sent.Add(1)%3 == 0 && !healthy.Load() {
			return errTryAgain
		}
		return take()
	}
	logs, err := consumer.NewLogs(func(ctx context.Context, ld plog.Logs) error {
		return refuse(func() error { return p.logsSink.ConsumeLogs(ctx, ld) })
	})
	require.NoError(t, err)
	metrics, err := consumer.NewMetrics(func(ctx context.Context, md pmetric.Metrics) error {
		return refuse(func() error { return p.metricsSink.ConsumeMetrics(ctx, md) })
	})
	require.NoError(t, err)
	traces, err := consumer.NewTraces(func(ctx context.Context, td ptrace.Traces) error {
		return refuse(func() error { return p.tracesSink.ConsumeTraces(ctx, td) })
	})
	require.NoError(t, err)
	p.logs, err = factory.CreateLogs(t.Context(), set, cfg, logs)
	require.NoError(t, err)
	p.metrics, err = factory.CreateMetrics(t.Context(), set, cfg, metrics)
	require.NoError(t, err)
	p.traces, err = factory.CreateTraces(t.Context(), set, cfg, traces)
	require.NoError(t, err)
	p.start(t, componenttest.NewNopHost())
	t.Cleanup(func() { assert.NoError(t, p.telemetry.Shutdown(context.WithoutCancel(t.Context()))) })
	return p
}
