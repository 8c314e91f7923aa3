// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
)

// held is the value of a metric of what is held.
func (p *pipelines) held(t *testing.T, name string) int64 {
	t.Helper()
	m, err := p.telemetry.GetMetric("otelcol_processor_phase_attr_" + name)
	require.NoError(t, err)
	return m.Data.(metricdata.Sum[int64]).DataPoints[0].Value
}

func (p *pipelines) indexBytes(t *testing.T) int64 {
	t.Helper()
	return p.held(t, "index_bytes")
}

// longTexts are boundaries of a session with texts as long as they may be.
func longTexts(t *testing.T, session string, n int, at float64) plog.Logs {
	t.Helper()
	w := (&program{session: session}).worker(1)
	var events []object
	for i := range n {
		enter := w.enter(at+float64(i)/1000, fmt.Sprint(strings.Repeat("n", 230), i))
		events = append(events, enter, w.exit(at+float64(i)/1000+0.0005))
	}
	return records(t, events...)
}

// The sizes of texts do not move the bounds of memory, that of one rank and that of all.
func TestTheMemoryOfTheIndexIsBounded(t *testing.T) {
	const memory, perRank = 2 << 20, 256 << 10
	p := startPipelines(t, func(cfg *Config) { cfg.Limits.Memory, cfg.Limits.MemoryPerRank = memory, perRank })
	p.passLogs(t, longTexts(t, "one", 3000, 1))
	ofOne := p.indexBytes(t)
	assert.LessOrEqual(t, ofOne, int64(perRank))
	assert.Greater(t, ofOne, int64(perRank/2), "there is as much as fits")
	most := int64(0)
	for i := range 60 {
		p.passLogs(t, longTexts(t, fmt.Sprint("session-", i), 200, 10))
		most = max(most, p.indexBytes(t))
	}
	t.Logf("memory of one rank: %d bytes of at most %d, of all: %d of at most %d", ofOne, perRank, most, memory)
	assert.LessOrEqual(t, most, int64(memory+memory/16))
	assert.Greater(t, most, int64(memory/2), "there is as much as fits")

	live := (&program{session: "live"}).worker(1)
	p.passLogs(t, records(t, live.enter(20, "train")))
	p.metricsSink.Reset()
	require.NoError(t, p.metrics.ConsumeMetrics(t.Context(), live.gauge(20)))
	assert.Equal(t, "train", attributesOfMetrics(p.metricsSink.AllMetrics()[0])[0]["phase_path"], "whoever takes little is not refused")
}

func TestTheBoundariesOfTheWindowsAreBounded(t *testing.T) {
	const perRank, all = 100, 250
	p := startPipelines(t, func(cfg *Config) { cfg.Limits.MaxBoundariesPerRank, cfg.Limits.MaxBoundaries = perRank, all })
	for i := range 10 {
		p.passLogs(t, longTexts(t, fmt.Sprint("session-", i), 200, 10))
		if i == 0 {
			assert.Equal(t, int64(perRank), p.held(t, "window_boundaries"))
		}
		assert.LessOrEqual(t, p.held(t, "window_boundaries"), int64(all))
	}
	assert.Greater(t, p.held(t, "window_boundaries"), int64(all/2))
}

// leftovers send what may stay in the index, each many records of a session.
var leftovers = map[string]func(t *testing.T, p *pipelines, session string){
	"pairs": func(t *testing.T, p *pipelines, session string) { p.passLogs(t, longTexts(t, session, 500, 10)) },
	"scopes that stay open": func(t *testing.T, p *pipelines, session string) {
		flood(t, p, session, func(_ *program, w *worker, i int) object {
			w.open = nil // it would be too deep
			return w.enter(10, longName(i))
		})
	},
	"threads": func(t *testing.T, p *pipelines, session string) {
		flood(t, p, session, func(r *program, _ *worker, i int) object { return r.worker(int64(i)).enter(10, longName(i)) })
	},
	"processes": func(t *testing.T, p *pipelines, session string) {
		flood(t, p, session, func(_ *program, w *worker, i int) object {
			return with(w.enter(10, longName(i)), on("node", int64(i), 0))
		})
	},
	"pending spans": func(t *testing.T, p *pipelines, session string) {
		td, spans := trainerSpans()
		td.ResourceSpans().At(0).Resource().Attributes().PutStr("session_id", session)
		for i := range 500 {
			addPending(spans, uint64(i+1), uint64(i+1001), longName(i), 10)
		}
		p.passTraces(t, td)
	},
}

func longName(i int) string { return fmt.Sprint(strings.Repeat("n", 230), i) }

// flood sends what each of many events of a session is.
func flood(t *testing.T, p *pipelines, session string, event func(*program, *worker, int) object) {
	t.Helper()
	run := &program{session: session}
	main := run.worker(1)
	var events []object
	for i := range 500 {
		events = append(events, event(run, main, i))
	}
	p.passLogs(t, records(t, events...))
}

// While memory_limiter refuses everything, nothing arrives that could advance the window of
// what a flood has left.
func TestWhatAFloodLeftGoesWhileAllIsRefused(t *testing.T) {
	for name, send := range leftovers {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const window = time.Minute
				p := startPipelines(t, withSources(t, "[{preset: stormlog}, {preset: otel}]"), func(cfg *Config) {
					cfg.Window, cfg.SessionTimeout = window, 15*time.Minute
				})
				quiet := &program{session: "quiet"}
				p.passLogs(t, records(t, quiet.worker(1).enter(1, "train")))
				before := p.indexBytes(t)
				for i := range 20 {
					send(t, p, fmt.Sprint("flood-", i))
				}
				flooded := p.indexBytes(t)
				time.Sleep(window + window/sweepsPerTimeout + time.Second) // nothing arrives
				synctest.Wait()
				after := p.indexBytes(t)
				t.Logf("bytes of the index: %d; after a flood: %d; a window later: %d", before, flooded, after)
				assert.Greater(t, flooded, 20*before)
				assert.Less(t, after, flooded/10)
				got := attributesOfMetrics(p.passMetrics(t, quiet.gauge(2)))[0]
				assert.Equal(t, "train", got["phase_path"], "a rank that takes little")
				p.shutdown(t)
			})
		})
	}
}

func TestBoundariesBeyondTheLimitsAreRefused(t *testing.T) {
	for _, tc := range []struct {
		name, reason string
		limit        func(*LimitsConfig)
		path         []string
	}{
		{"deep enough", "", func(l *LimitsConfig) { l.MaxScopeDepth = 3 }, []string{"a", "b", "c"}},
		{"too deep", "too_deep", func(l *LimitsConfig) { l.MaxScopeDepth = 2 }, []string{"a", "b", "c"}},
		{"short enough", "", func(l *LimitsConfig) { l.MaxLabelBytes = 9 }, []string{"a", "b", "c"}},
		{"too long", "too_long", func(l *LimitsConfig) { l.MaxLabelBytes = 8 }, []string{"a", "b", "c"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := startPipelines(t, func(cfg *Config) { tc.limit(&cfg.Limits) })
			w := (&program{session: "run"}).worker(1)
			var events []object
			for i, name := range tc.path {
				events = append(events, w.enter(float64(i+1), name))
			}
			p.passLogs(t, records(t, events...))
			want := []metricdata.DataPoint[int64]{count(int64(len(tc.path)), "outcome", "accepted")}
			if tc.reason != "" {
				want = []metricdata.DataPoint[int64]{count(int64(len(tc.path)-1), "outcome", "accepted"), count(1, "outcome", "rejected", "reason", tc.reason)}
			}
			assertCounts(t, p.telemetry, "boundaries", want...)
		})
	}
}

// Spans have the paths of their parents: past the bounds, that of the nearest one that fits.
func TestPathsOfSpansAreBounded(t *testing.T) {
	for name, tc := range map[string]struct {
		limit func(*LimitsConfig)
		want  string
	}{
		"depth":  {func(l *LimitsConfig) { l.MaxScopeDepth = 2 }, "a / b"},
		"length": {func(l *LimitsConfig) { l.MaxLabelBytes = 5 }, "a / b"},
		"none":   {func(*LimitsConfig) {}, "a / b / c"},
	} {
		t.Run(name, func(t *testing.T) {
			p := startPipelines(t, withSources(t, "[{preset: otel}]"), func(cfg *Config) { tc.limit(&cfg.Limits) })
			td, spans := trainerSpans()
			addSpan(spans, 1, 0, "a", 1, 10)
			addSpan(spans, 2, 1, "b", 2, 9)
			addSpan(spans, 3, 2, "c", 3, 8)
			p.passTraces(t, td)
			got := attributesOfMetrics(p.passMetrics(t, (&program{session: "run"}).gauge(5)))[0]
			assert.Equal(t, tc.want, got["phase_path"])
		})
	}
}

func TestTheBodyOfAPartialSpanIsBounded(t *testing.T) {
	const most = 64 << 10
	for size, reason := range map[int]string{most: "span", most + 1: "too_long"} {
		p := startPipelines(t, withSources(t, "[{preset: otel}]"))
		ld := plog.NewLogs()
		record := ld.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty().LogRecords().AppendEmpty()
		record.Attributes().PutStr("partial.event", "heartbeat")
		record.Attributes().PutStr("partial.body.type", "json/v1")
		record.Body().SetStr(strings.Repeat("x", size))
		p.passLogs(t, ld)
		assert.Equal(t, int64(1), valueOf(t, p.telemetry, "otelcol_processor_phase_attr_boundaries", "reason", reason), "%d bytes", size)
	}
}

// Telemetry that waits takes no more room than it may: the oldest goes on with what is known.
func TestWaitingTelemetryIsBoundedInBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const most, points = 64 << 10, 2000
		p := startPipelines(t, func(cfg *Config) {
			cfg.Grace.Period, cfg.Grace.MaxBytes, cfg.Grace.MaxBatches = time.Minute, most, 1_000_000
		})
		run := &program{session: "run"}
		w := run.worker(1)
		p.passLogs(t, records(t, w.enter(1, "train"), run.event("sample", 1.5), run.event("sample", 2)))
		waiting := int64(0)
		for i := range points {
			require.NoError(t, p.metrics.ConsumeMetrics(t.Context(), run.gauge(3+float64(i)/1000)))
			waiting = max(waiting, p.held(t, "waiting_bytes"))
			synctest.Wait()
		}
		t.Logf("%d points: %d bytes waited at most, of %d", points, waiting, most)
		assert.LessOrEqual(t, waiting, int64(most))
		assert.Greater(t, waiting, int64(most/4))
		p.shutdown(t)
		assert.Equal(t, points, p.metricsSink.DataPointCount())
	})
}

// Whoever makes up sessions that never come takes no more memory than so many ranks.
func TestUnknownSessionsAreRememberedUpToABound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const most = 10
		p := startPipelines(t, func(cfg *Config) { cfg.Limits.MaxRanks, cfg.Grace.Period = most, time.Second })
		for i := range 3 * most {
			require.NoError(t, p.metrics.ConsumeMetrics(t.Context(), (&program{session: fmt.Sprint("made-up-", i)}).gauge(1)))
		}
		time.Sleep(10 * time.Second)
		ranks, locations := p.metrics.(*metricsProcessor).pipeline.engine.unknownIdentities()
		assert.Len(t, ranks, most)
		assert.Zero(t, locations)
		p.shutdown(t)
		assert.Equal(t, 3*most, p.metricsSink.DataPointCount())
	})
}

// What a record says of its place, or a client of its tenant, is not kept when it is longer than
// a text may be.
func TestLongPlacesAndTenantsTakeNoMemory(t *testing.T) {
	const megabyte = 1 << 20
	t.Run("places", func(t *testing.T) {
		p := startPipelines(t)
		run := &program{session: "run"}
		w := run.worker(1)
		place := object{"device_id": int64(0), "job_id": "job"}
		for _, field := range []string{"host", "container_id", "pod_uid", "pod", "namespace", "job_id", "gpu_uuid"} {
			place[field] = strings.Repeat("x", megabyte)
		}
		p.passLogs(t, records(t, with(w.enter(1, "train"), place)))
		bytes := p.indexBytes(t)
		assert.Positive(t, bytes)
		assert.Less(t, bytes, int64(megabyte/10))
		got := attributesOfMetrics(p.passMetrics(t, run.gauge(1)))[0]
		assert.Equal(t, "train", got["phase_path"], "the boundary counts all the same")
	})
	t.Run("tenants", func(t *testing.T) {
		p := startPipelines(t, withTenants)
		for i, phase := range []string{"train", "serve"} {
			org := fmt.Sprint(strings.Repeat("x", megabyte), i)
			run := p.trains(t, from(t, org), phase)
			assert.Equal(t, phase, p.answersTo(t, from(t, org), run.gauge(2))["phase_path"], "they are told apart")
		}
		for name := range p.logs.(*logsProcessor).pipeline.engine.tenants.known {
			assert.Less(t, len(name), 100)
		}
	})
}
