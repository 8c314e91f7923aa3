// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/processor"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/metadatatest"
)

// logging returns settings whose log is observed.
func logging(t *testing.T) (processor.Settings, *observer.ObservedLogs) {
	t.Helper()
	core, logged := observer.New(zap.DebugLevel)
	set := metadatatest.NewSettings(componenttest.NewTelemetry())
	set.Logger = zap.New(core)
	return set, logged
}

// TestLogSaysOnceThatBatchesAreLost holds 1,000 batches that the next component refuses for good.
func TestLogSaysOnceThatBatchesAreLost(t *testing.T) {
	for name, refusal := range map[string]error{
		"for good":        consumererror.NewPermanent(errors.New("never")),
		"until it closes": errTryAgain,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const batches = 1000
				set, logged := logging(t)
				factory, cfg := NewFactory(), newConfig(t, withGrace)
				logs, err := factory.CreateLogs(t.Context(), set, cfg, consumertest.NewNop())
				require.NoError(t, err)
				refused := 0
				next, err := consumer.NewMetrics(func(context.Context, pmetric.Metrics) error {
					refused++
					return refusal
				})
				require.NoError(t, err)
				metrics, err := factory.CreateMetrics(t.Context(), set, cfg, next)
				require.NoError(t, err)
				require.NoError(t, logs.Start(t.Context(), componenttest.NewNopHost()))
				require.NoError(t, metrics.Start(t.Context(), componenttest.NewNopHost()))
				require.NoError(t, logs.ConsumeLogs(t.Context(), eventOf("s", 0, "train")))
				for i := range int64(batches) {
					require.NoError(t, metrics.ConsumeMetrics(t.Context(), gaugeOf("s", i+1)))
					require.NoError(t, logs.ConsumeLogs(t.Context(), eventOf("s", i+1, "")))
					synctest.Wait()
				}
				require.NoError(t, metrics.Shutdown(t.Context()))
				require.NoError(t, logs.Shutdown(t.Context()))
				lines := logged.FilterMessageSnippet("held data").Len()
				t.Logf("%d calls refused, %d lines", refused, lines)
				assert.Positive(t, refused)
				assert.LessOrEqual(t, lines, 2)
			})
		})
	}
}

// TestLogNamesASessionOnceAMinute sends 1,000 events of each kind whose times or whose effects an
// operator must know.
func TestLogNamesASessionOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		set, logged := logging(t)
		logs, err := NewFactory().CreateLogs(t.Context(), set, newConfig(t), consumertest.NewNop())
		require.NoError(t, err)
		started(t, logs)
		place := on("node", 10, 0)
		since := func(seconds float64) float64 {
			return sinceStart(0) + time.Since(time.Unix(0, clusterStart)).Seconds() + seconds
		}
		for i := range 1000 {
			run, restart := &program{session: fmt.Sprint("run-", i)}, &program{session: fmt.Sprint("run-", i, "-again")}
			require.NoError(t, logs.ConsumeLogs(t.Context(), records(t,
				with(run.event("start", since(0)), place),
				with(run.event("stop", since(3600)), place),
				with(run.event("stop", since(0.02)), place),
				with(run.event("sample", since(0.9)), place),
				with(restart.event("start", since(0.95)), place),
				with(run.event("sample", since(60)), place), with(run.event("sample", since(61)), place))))
			time.Sleep(100 * time.Millisecond)
		}
		said := map[string]int{}
		for _, entry := range logged.All() {
			said[entry.Message]++
			assert.Contains(t, entry.ContextMap()["session_id"], "run-", entry.Message)
		}
		t.Logf("7000 events in 100 s: %v", said)
		for _, message := range []string{
			"Ignored event dated ahead of the collector's clock", "Process stopped", "Process was replaced at its place by a restart",
			"Process has a clock that is ahead of the collector's", "Process goes on after it was stopped or replaced",
		} {
			assert.Contains(t, said, message)
			assert.LessOrEqual(t, said[message], 2, message)
		}
	})
}

// TestClockThatIsAheadSurvivesARestart lets a run say that its clock is ahead, and stops it with a
// single event after a restart of the collector.
func TestClockThatIsAheadSurvivesARestart(t *testing.T) {
	directory := t.TempDir()
	ahead := float64(time.Now().UnixNano()-moment(0))/1e9 + 60
	p := startOn(t, directory)
	run := &program{session: "run"}
	w, place := run.worker(1), on("node", 10, 0)
	p.passLogs(t, records(t, with(w.enter(ahead, "train"), place)))
	assert.Nil(t, p.path(t, run, ahead+1), "it is doubted")
	left := killed(t, directory)
	p.passLogs(t, records(t, with(w.enter(ahead+0.1, "step"), place)))
	assert.Equal(t, "train / step", p.path(t, run, ahead+1))

	p = startOn(t, killed(t, directory))
	assert.Equal(t, "train / step", p.path(t, run, ahead+1))
	p.passLogs(t, records(t, with(run.event("stop", ahead+0.2), place)))
	assert.Nil(t, p.path(t, run, ahead+1), "it has stopped")

	p = startOn(t, left)
	assert.Nil(t, p.path(t, run, ahead+1), "what was doubted is forgotten")
}
