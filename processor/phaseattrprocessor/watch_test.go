// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/processor/processortest"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/metadata"
)

const (
	noBoundary = "No phase boundary has been accepted; nothing gets a phase"
	noMatch    = "No telemetry has matched a rank; nothing gets a phase"
	splitKey   = "Metrics name ranks of which no event has come, while events of others have; is the routing key split?"
)

// watched runs pipelines through 25 minutes, with something passing every minute, and
// returns the warnings about what does not work, each with the minute.
func watched(t *testing.T, edit func(*Config), pass func(t *testing.T, p *pipelines, minute float64)) (warnings []observer.LoggedEntry, minutes []int) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		core, logged := observer.New(zapcore.WarnLevel)
		set := processortest.NewNopSettings(metadata.Type)
		set.Logger = zap.New(core)
		factory, cfg := NewFactory(), newConfig(t, edit)
		p := &pipelines{}
		var err error
		p.logs, err = factory.CreateLogs(t.Context(), set, cfg, &p.logsSink)
		require.NoError(t, err)
		p.metrics, err = factory.CreateMetrics(t.Context(), set, cfg, &p.metricsSink)
		require.NoError(t, err)
		p.traces, err = factory.CreateTraces(t.Context(), set, cfg, consumertest.NewNop()) // not started
		require.NoError(t, err)
		started(t, p.logs)
		started(t, p.metrics)
		for minute := range 25 {
			pass(t, p, float64(minute))
			time.Sleep(time.Minute)
		}
		for _, entry := range logged.All() {
			if strings.Contains(entry.Message, "nothing gets a phase") || entry.Message == splitKey {
				warnings = append(warnings, entry)
				minutes = append(minutes, int(entry.Time.Sub(begin).Minutes()))
			}
		}
		require.NoError(t, p.traces.Shutdown(t.Context()))
	})
	return warnings, minutes
}

func TestLogSaysThatNoBoundaryComes(t *testing.T) {
	warnings, minutes := watched(t, func(cfg *Config) { cfg.SessionAttribute = "run.id" }, func(t *testing.T, p *pipelines, minute float64) {
		run := &program{session: "run"}
		p.passMetrics(t, run.gauge(60*minute))
		p.passLogs(t, records(t, run.worker(1).enter(60*minute, "train"))) // without run.id
	})
	require.Len(t, warnings, 3)
	assert.Equal(t, []int{2, 12, 22}, minutes)
	for _, warning := range warnings {
		assert.Equal(t, noBoundary, warning.Message)
		assert.Equal(t, []any{"logs", "metrics"}, warning.ContextMap()["pipelines"])
		assert.Equal(t, "run.id", warning.ContextMap()["session_attribute"])
		assert.Contains(t, warning.ContextMap()["check"], "their event_type, or event name, is phase_enter or phase_exit")
	}
}

func TestLogSaysThatNothingMatches(t *testing.T) {
	run := &program{session: "run"}
	w := run.worker(1)
	warnings, minutes := watched(t, func(cfg *Config) { cfg.Boundaries = BoundariesDrop }, func(t *testing.T, p *pipelines, minute float64) {
		p.passLogs(t, records(t, w.enter(60*minute, "train"), w.exit(60*minute+1), run.event("sample", 60*minute+1),
			object{"message": "of something else"}))
		p.passMetrics(t, gpu("elsewhere", "0", 60*minute))
		p.passMetrics(t, (&program{session: "another"}).gauge(60*minute))
	})
	require.Len(t, warnings, 3)
	assert.Equal(t, []int{2, 12, 22}, minutes)
	for _, warning := range warnings {
		assert.Equal(t, noMatch, warning.Message)
		assert.Equal(t, []any{"logs", "metrics"}, warning.ContextMap()["pipelines"])
		assert.Equal(t, "session_id", warning.ContextMap()["session_attribute"])
		assert.Equal(t, "rank", warning.ContextMap()["rank_attribute"])
		rules := warning.ContextMap()["association"].([]any)
		require.Len(t, rules, 8)
		assert.Equal(t, "session_id; and rank", rules[0])
		assert.Equal(t, "host.name or host or Hostname or hostname; and process.pid or pid", rules[1])
	}
}

func TestLogIsSilentOnceSomethingMatchesAndWhileNothingPasses(t *testing.T) {
	run := &program{session: "run"}
	w := run.worker(1)
	for name, pass := range map[string]func(t *testing.T, p *pipelines, minute float64){
		"nothing passes": func(*testing.T, *pipelines, float64) {},
		"the first minute is not over": func(t *testing.T, p *pipelines, minute float64) {
			if minute > 0 {
				p.passLogs(t, records(t, w.enter(60*minute, "train"), w.exit(60*minute+1)))
			}
			p.passMetrics(t, run.gauge(60*minute))
		},
		"something has matched once": func(t *testing.T, p *pipelines, minute float64) {
			if minute == 0 {
				p.passLogs(t, records(t, w.enter(0, "train")))
				p.passMetrics(t, run.gauge(1))
			}
			p.passMetrics(t, gpu("elsewhere", "0", 60*minute))
		},
		"a plain log record matches": func(t *testing.T, p *pipelines, minute float64) {
			plain := run.event("", 60*minute+2)
			delete(plain, "event_type")
			p.passLogs(t, records(t, w.enter(60*minute, "train"), w.exit(60*minute+1), plain))
			p.passMetrics(t, gpu("elsewhere", "0", 60*minute))
		},
		"metrics are counters, which are skipped": func(t *testing.T, p *pipelines, minute float64) {
			p.passLogs(t, records(t, w.enter(60*minute, "train"), w.exit(60*minute+1)))
			p.passMetrics(t, metricTypes(pmetric.AggregationTemporalityCumulative)[0].point(timestamp(60*minute), timestamp(60*minute+1)))
		},
	} {
		t.Run(name, func(t *testing.T) {
			warnings, _ := watched(t, func(*Config) {}, pass)
			assert.Empty(t, warnings)
		})
	}
}

func TestLogSaysThatTheRoutingKeyIsSplit(t *testing.T) {
	run := &program{session: "run"}
	w := run.worker(1)
	warnings, minutes := watched(t, withGrace, func(t *testing.T, p *pipelines, minute float64) {
		p.passLogs(t, records(t, w.enter(60*minute, "train"), w.exit(60*minute+1)))
		p.passMetrics(t, run.gauge(60*minute))
		p.passMetrics(t, (&program{session: "elsewhere"}).gauge(60*minute))
		p.passMetrics(t, gpu("idle", "0", 60*minute)) // an unused GPU is nothing to warn of
	})
	require.Len(t, warnings, 3)
	assert.Equal(t, []int{2, 12, 24}, minutes) // in minute 22, the session is waited for again
	for _, warning := range warnings {
		assert.Equal(t, splitKey, warning.Message)
		assert.Equal(t, int64(1), warning.ContextMap()["ranks"])
		assert.Equal(t, "elsewhere", warning.ContextMap()["session"])
		assert.Equal(t, int64(0), warning.ContextMap()["rank"])
	}
}

func TestUnknownIdentitiesAreThoseThatStayUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := startPipelines(t, withGrace)
		identities := func(identity string) int64 {
			return valueOf(t, p.telemetry, "otelcol_processor_phase_attr_unknown_identities", "identity", identity)
		}
		p.runsOn(t, on("node", 10, 0), 1, "run", 0, "train")
		for range 2 {
			p.passMetrics(t, gpu("node", "0", 0.5))
			p.passMetrics(t, gpu("idle", "0", 0.5))
			p.passMetrics(t, (&program{session: "elsewhere"}).gauge(0.5))
			p.passMetrics(t, (&program{session: "late"}).gauge(0.5))
		}
		assert.Zero(t, identities("rank"), "while they wait")
		time.Sleep(6 * time.Second)
		assert.Equal(t, int64(2), identities("rank"))
		assert.Equal(t, int64(1), identities("location"))
		p.runsOn(t, on("another", 11, 0), 1, "late", 0, "train")
		assert.Equal(t, int64(1), identities("rank"), "once an event of one has come")
		time.Sleep(11 * time.Minute)
		assert.Zero(t, identities("rank"), "once nothing names it")
		p.shutdown(t)
	})
}
