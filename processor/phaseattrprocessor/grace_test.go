// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/metric/metricdata/metricdatatest"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/metadatatest"
)

// withGrace sets the grace period that is the default.
// gracePeriod is the default one.
const gracePeriod = 5 * time.Second

func withGrace(cfg *Config) { cfg.Grace.Period = gracePeriod }

// event is a log record of session s; name is empty for a sample, else a phase that
// is entered.
func event(ld plog.Logs, at int64, name string) {
	record := ld.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty().LogRecords().AppendEmpty()
	record.SetTimestamp(pcommon.Timestamp(at))
	record.Attributes().PutStr("session_id", "s")
	if name == "" {
		record.SetEventName("sample")
		return
	}
	record.SetEventName("phase_enter")
	scope := record.Attributes().PutEmptyMap("phase_scope")
	scope.PutStr("action", "enter")
	scope.PutStr("name", name)
	scope.PutEmptySlice("path").AppendEmpty().SetStr(name)
	scope.PutStr("scope_id", name)
	scope.PutInt("thread_id", 1)
	scope.PutStr("thread_name", "MainThread")
	scope.PutInt("sequence", at)
}

func (p *pipelines) events(t *testing.T, at int64, name string) {
	t.Helper()
	ld := plog.NewLogs()
	event(ld, at, name)
	require.NoError(t, p.logs.ConsumeLogs(t.Context(), ld))
}

// otherEvents has session other train from 10 on, with its newest event at a time.
func (p *pipelines) otherEvents(t *testing.T, newest int64) {
	t.Helper()
	ld := plog.NewLogs()
	event(ld, 10, "train")
	event(ld, newest, "")
	for _, resource := range ld.ResourceLogs().All() {
		resource.ScopeLogs().At(0).LogRecords().At(0).Attributes().PutStr("session_id", "other")
	}
	require.NoError(t, p.logs.ConsumeLogs(t.Context(), ld))
}

// gauge adds a data point of a session to a batch, in a resource of its own.
func gauge(md pmetric.Metrics, session string, at int64) {
	resource := md.ResourceMetrics().AppendEmpty()
	resource.Resource().Attributes().PutStr("session_id", session)
	metric := resource.ScopeMetrics().AppendEmpty().Metrics().AppendEmpty()
	metric.SetEmptyGauge().DataPoints().AppendEmpty().SetTimestamp(pcommon.Timestamp(at))
}

// phases lists the phase_path of every data point that has come out, by session.
func (p *pipelines) phases() map[string][]any {
	phases := map[string][]any{}
	for _, md := range p.metricsSink.AllMetrics() {
		for _, resource := range md.ResourceMetrics().All() {
			session, _ := resource.Resource().Attributes().Get("session_id")
			for _, dp := range resource.ScopeMetrics().At(0).Metrics().At(0).Gauge().DataPoints().All() {
				phases[session.Str()] = append(phases[session.Str()], dp.Attributes().AsRaw()["phase_path"])
			}
		}
	}
	return phases
}

func TestMetricsThatComeBeforeTheirBoundariesWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := startPipelines(t, withGrace)
		p.events(t, 10, "train")
		p.otherEvents(t, 200)
		md := pmetric.NewMetrics()
		gauge(md, "s", 100)
		gauge(md, "other", 100)
		gauge(md, "s", 10)
		require.NoError(t, p.metrics.ConsumeMetrics(t.Context(), md))
		assert.Equal(t, map[string][]any{"other": {"train"}}, p.phases(), "other ranks' points go on at once")

		time.Sleep(2 * time.Second)
		p.events(t, 90, "evaluate")
		synctest.Wait()
		assert.Empty(t, p.phases()["s"], "the events have not come so far")
		p.events(t, 100, "")
		synctest.Wait()
		assert.Equal(t, []any{"evaluate", "train"}, p.phases()["s"], "a rank's points stay together, in order")
		p.shutdown(t)
		assertCounts(t, p.telemetry, "answers", answers("logs", "unique", 5), answers("metrics", "unique", 3))
		assertCounts(t, p.telemetry, "waits", count(2, "signal", "metrics", "reason", "behind"))
		assertCounts(t, p.telemetry, "forwarded_items", count(2, "signal", "metrics"))
	})
}

func answers(signal, resolution string, n int64, reason ...string) metricdata.DataPoint[int64] {
	attributes := []string{"signal", signal, "resolution", resolution}
	if len(reason) > 0 {
		attributes = append(attributes, "reason", reason[0])
	}
	return count(n, attributes...)
}

func TestWithoutGracePeriodMetricsAreAnsweredAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := startPipelines(t)
		p.events(t, 10, "train")
		md := pmetric.NewMetrics()
		gauge(md, "s", 100)
		require.NoError(t, p.metrics.ConsumeMetrics(t.Context(), md))
		p.events(t, 90, "evaluate")
		assert.Equal(t, []any{"train"}, p.phases()["s"], "which is wrong, as the late boundary shows")
		p.shutdown(t)
		assertCounts(t, p.telemetry, "outdated_answers", count(1))
	})
}

func TestGracePeriodRunsOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := startPipelines(t, withGrace)
		p.events(t, 10, "train")
		md := pmetric.NewMetrics()
		gauge(md, "s", 100)
		require.NoError(t, p.metrics.ConsumeMetrics(t.Context(), md))
		time.Sleep(gracePeriod)
		synctest.Wait()
		assert.Equal(t, []any{"train"}, p.phases()["s"])
		assertCounts(t, p.telemetry, "releases", count(1, "outcome", "expired"))
		metadatatest.AssertEqualProcessorPhaseAttrWaitDuration(t, p.telemetry,
			[]metricdata.HistogramDataPoint[float64]{{Attributes: count(0).Attributes}}, metricdatatest.IgnoreTimestamp(), metricdatatest.IgnoreValue())
		p.shutdown(t)
	})
}

func TestEndedSessionIsNotWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := startPipelines(t, withGrace)
		ld := plog.NewLogs()
		event(ld, 10, "train")
		event(ld, 20, "")
		ld.ResourceLogs().At(1).ScopeLogs().At(0).LogRecords().At(0).SetEventName("stop")
		require.NoError(t, p.logs.ConsumeLogs(t.Context(), ld))
		md := pmetric.NewMetrics()
		gauge(md, "s", 100)
		require.NoError(t, p.metrics.ConsumeMetrics(t.Context(), md))
		assert.Equal(t, []any{nil}, p.phases()["s"])
		p.shutdown(t)
	})
}

func TestLogsAndSpansWaitToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := startPipelines(t, withGrace)
		p.events(t, 10, "train")
		ld := plog.NewLogs()
		event(ld, 100, "")
		ld.ResourceLogs().At(0).ScopeLogs().At(0).LogRecords().At(0).SetEventName("") // a log line of the program
		require.NoError(t, p.logs.ConsumeLogs(t.Context(), ld))
		td := ptrace.NewTraces()
		span := td.ResourceSpans().AppendEmpty().ScopeSpans().AppendEmpty().Spans().AppendEmpty()
		span.SetStartTimestamp(95)
		span.SetEndTimestamp(100)
		span.Attributes().PutStr("session_id", "s")
		require.NoError(t, p.traces.ConsumeTraces(t.Context(), td))
		synctest.Wait()
		assert.Equal(t, 1, p.logsSink.LogRecordCount())
		assert.Zero(t, p.tracesSink.SpanCount())

		ld = plog.NewLogs()
		event(ld, 90, "evaluate")
		event(ld, 100, "")
		require.NoError(t, p.logs.ConsumeLogs(t.Context(), ld))
		synctest.Wait()
		require.Equal(t, 4, p.logsSink.LogRecordCount())
		line := p.logsSink.AllLogs()[1].ResourceLogs().At(0).ScopeLogs().At(0).LogRecords().At(0)
		assert.Empty(t, line.EventName(), "it came before the events that it waited for, and stays before them")
		assert.Equal(t, "evaluate", line.Attributes().AsRaw()["phase_path"])
		require.Equal(t, 1, p.tracesSink.SpanCount())
		span = p.tracesSink.AllTraces()[0].ResourceSpans().At(0).ScopeSpans().At(0).Spans().At(0)
		assert.Equal(t, "evaluate", span.Attributes().AsRaw()["phase_path"])
		p.shutdown(t)
	})
}

func TestShutdownForwardsWhatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := startPipelines(t, withGrace)
		p.events(t, 10, "train")
		for range 10 {
			md := pmetric.NewMetrics()
			gauge(md, "s", 100)
			require.NoError(t, p.metrics.ConsumeMetrics(t.Context(), md))
		}
		synctest.Wait()
		assert.Zero(t, p.metricsSink.DataPointCount())
		start := time.Now()
		require.NoError(t, p.metrics.Shutdown(t.Context()))
		assert.Equal(t, 10, p.metricsSink.DataPointCount())
		assert.Zero(t, time.Since(start))
		p.shutdown(t)
	})
}

func TestWhatTheNextComponentRefusesIsCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		factory, cfg := NewFactory(), newConfig(t, withGrace)
		p := newPipelines(t, factory, cfg)
		p.start(t, componenttest.NewNopHost())
		refused, err := factory.CreateMetrics(t.Context(), metadatatest.NewSettings(p.telemetry), cfg,
			consumertest.NewErr(errors.New("full")))
		require.NoError(t, err)
		require.NoError(t, refused.Start(t.Context(), componenttest.NewNopHost()))
		p.events(t, 10, "train")
		md := pmetric.NewMetrics()
		gauge(md, "s", 100)
		gauge(md, "s", 200)
		require.NoError(t, refused.ConsumeMetrics(t.Context(), md))
		require.NoError(t, refused.Shutdown(t.Context()))
		assertCounts(t, p.telemetry, "lost_items", count(2, "signal", "metrics"))
		p.shutdown(t)
	})
}

// At a full buffer the oldest telemetry goes on; while the next component does not take
// it, callers wait, and those who give up get all of their batch back.
func TestCallerThatGivesUpAtAFullBufferMaySendAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		factory, cfg := NewFactory(), newConfig(t, withGrace, func(cfg *Config) { cfg.Grace.MaxBatches = 1 })
		p := newPipelines(t, factory, cfg)
		p.start(t, componenttest.NewNopHost())
		var taken []string
		blocked := make(chan struct{})
		next, err := consumer.NewMetrics(func(_ context.Context, md pmetric.Metrics) error {
			session, _ := md.ResourceMetrics().At(0).Resource().Attributes().Get("session_id")
			if session.Str() == "s" {
				<-blocked
			}
			taken = append(taken, session.Str())
			return nil
		})
		require.NoError(t, err)
		slow, err := factory.CreateMetrics(t.Context(), metadatatest.NewSettings(p.telemetry), cfg, next)
		require.NoError(t, err)
		require.NoError(t, slow.Start(t.Context(), componenttest.NewNopHost()))
		p.events(t, 10, "train")
		p.otherEvents(t, 200)
		batch := func() pmetric.Metrics {
			md := pmetric.NewMetrics()
			gauge(md, "s", 100)
			gauge(md, "other", 100)
			return md
		}
		require.NoError(t, slow.ConsumeMetrics(t.Context(), batch()))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		refused := batch()
		require.ErrorIs(t, slow.ConsumeMetrics(ctx, refused), context.DeadlineExceeded)
		assert.Equal(t, []string{"other"}, taken, "nothing of the refused batch has gone on")
		assert.Equal(t, 2, refused.DataPointCount())
		close(blocked)
		synctest.Wait()
		assert.Equal(t, []string{"other", "s"}, taken)
		require.NoError(t, slow.Shutdown(t.Context()))
		p.shutdown(t)
	})
}

func TestTelemetryThatWaitedDoesNotCountAsOutdated(t *testing.T) {
	p := startPipelines(t, func(cfg *Config) { cfg.Grace.Period = time.Minute })
	run := &program{session: "run"}
	w := run.worker(1)
	p.passLogs(t, records(t, w.enter(1, "train")))
	require.NoError(t, p.metrics.ConsumeMetrics(t.Context(), run.gauge(3)))
	require.Zero(t, p.metricsSink.DataPointCount())
	p.passLogs(t, records(t, w.enter(2, "step"), run.event("sample", 4)))
	require.NoError(t, p.metrics.Shutdown(t.Context()))
	require.Equal(t, "train / step", attributesOfMetrics(p.metricsSink.AllMetrics()[0])[0]["phase_path"])
	// What is answered before a boundary of its time comes is outdated: the point, the sample
	// and the span, but not the point once more for the boundary that it waited for.
	require.NoError(t, p.traces.ConsumeTraces(t.Context(), run.spans(3.5, 3.5)))
	p.passLogs(t, records(t, w.enter(2.5, "forward")))
	assertCounts(t, p.telemetry, "outdated_answers", count(3))
}

// Clocks in the wrong unit, and yesterday's file read again, must not get the phase that
// was open last.
func TestTelemetryBeyondTheSessionTimeoutHasNoPhase(t *testing.T) {
	p := startPipelines(t, withGrace)
	run := &program{session: "run"}
	p.passLogs(t, records(t, run.worker(1).enter(1, "train")))
	timeout := createDefaultConfig().(*Config).SessionTimeout.Seconds()
	md := run.gauge(1+timeout, 1.001+timeout, 1e9)
	require.NoError(t, p.metrics.ConsumeMetrics(t.Context(), md))
	require.NoError(t, p.metrics.Shutdown(t.Context()))
	var got []any
	for _, out := range p.metricsSink.AllMetrics() {
		for _, attributes := range attributesOfMetrics(out) {
			got = append(got, attributes["phase_path"])
		}
	}
	assert.Equal(t, []any{"train", nil, nil}, got)
}

func TestMalformedBoundaryDoesNotWait(t *testing.T) {
	p := startPipelines(t, func(c *Config) { c.Grace.Period = time.Minute })
	run := &program{session: "run"}
	e := with(run.worker(1).enter(1, "train"), object{"metadata": nil, "host": "h", "pid": int64(1)})
	require.Equal(t, 1, p.passLogs(t, records(t, e)).LogRecordCount())
}

// TestProcessesThatStallAreWaitedForOnce has processes that say how often they sample, and
// whose events do not come as far as what their GPU measures.
func TestProcessesThatStallAreWaitedForOnce(t *testing.T) {
	for _, processes := range []int64{1, 2} {
		t.Run(strconv.FormatInt(processes, 10), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := startPipelines(t, withGrace)
				for i := range processes {
					one := entered(fmt.Sprint("s", i), 0, 10+i, 0, 0, 2, "train")
					one.pulse, one.statesPulse = 0.5, true
					one.samples()
					for _, w := range one.written {
						require.NoError(t, p.logs.ConsumeLogs(t.Context(), records(t, w.fields)))
					}
				}
				for i, wait := range []time.Duration{5 * time.Second, 0} {
					md := pmetric.NewMetrics()
					(&reading{stamp: 3 + float64(i), attributes: ofGPU(0)}).appendTo(t, md)
					require.NoError(t, p.metrics.ConsumeMetrics(t.Context(), md))
					if wait > 0 {
						time.Sleep(wait - time.Nanosecond)
						assert.Empty(t, p.paths(), "reading %d waits", i)
						time.Sleep(time.Nanosecond)
					}
					assert.Equal(t, []any{nil}, p.paths(), "reading %d", i)
				}
			})
		})
	}
}
