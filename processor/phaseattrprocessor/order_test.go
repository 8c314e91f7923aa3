// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/processor"
	"go.opentelemetry.io/collector/processor/processortest"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/metadata"
)

// eventOf is a batch with an event of a session; see event.
func eventOf(session string, at int64, name string) plog.Logs {
	ld := plog.NewLogs()
	event(ld, at, name)
	ld.ResourceLogs().At(0).ScopeLogs().At(0).LogRecords().At(0).Attributes().PutStr("session_id", session)
	return ld
}

// lineOf is a batch with a log line of a session, which is no event.
func lineOf(session string, at int64) plog.Logs {
	ld := eventOf(session, at, "")
	ld.ResourceLogs().At(0).ScopeLogs().At(0).LogRecords().At(0).SetEventName("")
	return ld
}

func gaugeOf(session string, at int64) pmetric.Metrics {
	md := pmetric.NewMetrics()
	gauge(md, session, at)
	return md
}

func spanOf(session string, at int64) ptrace.Traces {
	td := ptrace.NewTraces()
	span := td.ResourceSpans().AppendEmpty().ScopeSpans().AppendEmpty().Spans().AppendEmpty()
	span.SetStartTimestamp(pcommon.Timestamp(at - 1))
	span.SetEndTimestamp(pcommon.Timestamp(at))
	span.Attributes().PutStr("session_id", session)
	return td
}

// streams refuses, as deltatocumulative does, what is older than what came before it in
// its stream.
type streams struct {
	delay time.Duration

	mu              sync.Mutex
	newest          map[string]pcommon.Timestamp
	items, outdated int
	// repeated counts those of the same time as what came before.
	repeated int
}

func (s *streams) take(session string, at pcommon.Timestamp) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.items++
	switch newest := s.newest[session]; {
	case at < newest:
		s.outdated++
	case at == newest:
		s.repeated++
	}
	s.newest[session] = at
}

func sessionOf(attributes pcommon.Map) string {
	value, _ := attributes.Get("session_id")
	return value.Str()
}

func (s *streams) consumeLogs(_ context.Context, ld plog.Logs) error {
	time.Sleep(s.delay)
	for _, resource := range ld.ResourceLogs().All() {
		for _, record := range resource.ScopeLogs().At(0).LogRecords().All() {
			s.take(sessionOf(record.Attributes()), record.Timestamp())
		}
	}
	return nil
}

func (s *streams) consumeMetrics(_ context.Context, md pmetric.Metrics) error {
	time.Sleep(s.delay)
	for _, resource := range md.ResourceMetrics().All() {
		for _, dp := range resource.ScopeMetrics().At(0).Metrics().At(0).Gauge().DataPoints().All() {
			s.take(sessionOf(resource.Resource().Attributes()), dp.Timestamp())
		}
	}
	return nil
}

func (s *streams) consumeTraces(_ context.Context, td ptrace.Traces) error {
	time.Sleep(s.delay)
	for _, resource := range td.ResourceSpans().All() {
		for _, span := range resource.ScopeSpans().At(0).Spans().All() {
			s.take(sessionOf(span.Attributes()), span.EndTimestamp())
		}
	}
	return nil
}

// startLogs starts a pipeline of a configuration before a consumer. It is shut down when
// the test ends.
func startLogs(t *testing.T, factory processor.Factory, cfg *Config, next consumer.ConsumeLogsFunc) processor.Logs {
	t.Helper()
	to, err := consumer.NewLogs(next)
	require.NoError(t, err)
	p, err := factory.CreateLogs(t.Context(), processortest.NewNopSettings(metadata.Type), cfg, to)
	require.NoError(t, err)
	started(t, p)
	return p
}

func startMetrics(t *testing.T, factory processor.Factory, cfg *Config, next consumer.ConsumeMetricsFunc) processor.Metrics {
	t.Helper()
	to, err := consumer.NewMetrics(next)
	require.NoError(t, err)
	p, err := factory.CreateMetrics(t.Context(), processortest.NewNopSettings(metadata.Type), cfg, to)
	require.NoError(t, err)
	started(t, p)
	return p
}

func startTraces(t *testing.T, factory processor.Factory, cfg *Config, next consumer.ConsumeTracesFunc) processor.Traces {
	t.Helper()
	to, err := consumer.NewTraces(next)
	require.NoError(t, err)
	p, err := factory.CreateTraces(t.Context(), processortest.NewNopSettings(metadata.Type), cfg, to)
	require.NoError(t, err)
	started(t, p)
	return p
}

func started(t *testing.T, c component.Component) {
	t.Helper()
	require.NoError(t, c.Start(t.Context(), componenttest.NewNopHost()))
	t.Cleanup(func() { assert.NoError(t, c.Shutdown(context.WithoutCancel(t.Context()))) })
}

// Telemetry that waits, that lines up behind it, and that need not wait comes out in order,
// also while the next component is slow and the events come at the same moment.
func TestTelemetryOfASessionComesOutInOrder(t *testing.T) {
	const sessions, rounds = 4, 100
	for _, delay := range []time.Duration{0, time.Millisecond} {
		for s := range signals {
			t.Run(fmt.Sprintf("%s, next component takes %s", s, delay), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					factory, cfg := NewFactory(), newConfig(t, withGrace)
					out := &streams{delay: delay, newest: map[string]pcommon.Timestamp{}}
					events := startLogs(t, factory, cfg, func(context.Context, plog.Logs) error { return nil })
					logs := startLogs(t, factory, cfg, out.consumeLogs)
					metrics := startMetrics(t, factory, cfg, out.consumeMetrics)
					traces := startTraces(t, factory, cfg, out.consumeTraces)
					send := func(session string, at int64) {
						switch s {
						case signalLogs:
							assert.NoError(t, logs.ConsumeLogs(t.Context(), lineOf(session, at)))
						case signalMetrics:
							assert.NoError(t, metrics.ConsumeMetrics(t.Context(), gaugeOf(session, at)))
						case signalTraces:
							assert.NoError(t, traces.ConsumeTraces(t.Context(), spanOf(session, at)))
						}
					}
					var wg sync.WaitGroup
					for i := range sessions {
						session := fmt.Sprint("run-", i)
						random := rand.New(rand.NewPCG(1, uint64(i)))
						require.NoError(t, events.ConsumeLogs(t.Context(), eventOf(session, 1, "train")))
						wg.Go(func() {
							for round := int64(1); round <= rounds; round++ {
								send(session, 10*round) // waits
								if random.IntN(2) == 0 {
									send(session, 10*round+1)
								}
								if err := events.ConsumeLogs(t.Context(), eventOf(session, 10*round+3, "")); err != nil {
									t.Error(err)
								}
								send(session, 10*round+3) // need not wait
								time.Sleep(time.Duration(random.IntN(3)) * time.Millisecond)
							}
						})
					}
					wg.Wait()
					time.Sleep(2 * gracePeriod)
					synctest.Wait()
					assert.Zero(t, out.outdated, "of %d items", out.items)
					assert.GreaterOrEqual(t, out.items, 2*sessions*rounds)
				})
			})
		}
	}
}

// The events of a session are log records too: they stay behind the line that waits for
// them.
func TestEventsStayBehindTheLineThatWaitsForThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		factory, cfg := NewFactory(), newConfig(t, withGrace)
		out := &streams{delay: time.Millisecond, newest: map[string]pcommon.Timestamp{}}
		logs := startLogs(t, factory, cfg, out.consumeLogs)
		require.NoError(t, logs.ConsumeLogs(t.Context(), eventOf("s", 1, "train")))
		for at := int64(10); at < 3000; at += 10 {
			require.NoError(t, logs.ConsumeLogs(t.Context(), lineOf("s", at)))
			require.NoError(t, logs.ConsumeLogs(t.Context(), eventOf("s", at+1, "")))
		}
		synctest.Wait()
		time.Sleep(time.Second)
		synctest.Wait()
		assert.Zero(t, out.outdated)
		assert.Equal(t, 1+2*299, out.items)
	})
}

// At a full buffer what came first goes first, whoever gives up in the meantime.
func TestTelemetryComesOutInOrderAtAFullBuffer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		factory, cfg := NewFactory(), newConfig(t, withGrace, func(cfg *Config) { cfg.Grace.MaxBatches = 1 })
		events := startLogs(t, factory, cfg, func(context.Context, plog.Logs) error { return nil })
		var out []int64
		metrics := startMetrics(t, factory, cfg, func(_ context.Context, md pmetric.Metrics) error {
			time.Sleep(4 * time.Second)
			for _, resource := range md.ResourceMetrics().All() {
				out = append(out, int64(resource.ScopeMetrics().At(0).Metrics().At(0).Gauge().DataPoints().At(0).Timestamp()))
			}
			return nil
		})
		require.NoError(t, events.ConsumeLogs(t.Context(), eventOf("s", 1, "train")))
		errs := make([]error, 5)
		for i := range errs {
			timeout := time.Hour
			if i == 2 { // it gives up while the first one is being forwarded
				timeout = time.Second
			}
			go func() {
				ctx, cancel := context.WithTimeout(t.Context(), timeout)
				defer cancel()
				errs[i] = metrics.ConsumeMetrics(ctx, gaugeOf("s", int64(100+i)))
			}()
			synctest.Wait()
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		assert.Equal(t, []int64{100, 101, 103, 104}, out)
		require.ErrorIs(t, errs[2], context.DeadlineExceeded)
		for _, i := range []int{0, 1, 3, 4} {
			assert.NoError(t, errs[i])
		}
	})
}

// Callers that send again what was refused, a next component that fails now and then, a
// buffer that is full most of the time: everything comes out, once and in order.
func TestEverythingComesOutOnceAndInOrder(t *testing.T) {
	const sessions, rounds = 3, 40
	for seed := range uint64(20) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var mu sync.Mutex
				random := rand.New(rand.NewPCG(seed, 1))
				chance := func(n int) int {
					mu.Lock()
					defer mu.Unlock()
					return random.IntN(n)
				}
				factory, cfg := NewFactory(), newConfig(t, withGrace, func(cfg *Config) { cfg.Grace.MaxBatches = 3 })
				events := startLogs(t, factory, cfg, discardLogs)
				out := &streams{newest: map[string]pcommon.Timestamp{}}
				metrics := startMetrics(t, factory, cfg, func(ctx context.Context, md pmetric.Metrics) error {
					time.Sleep(time.Duration(chance(3)) * 100 * time.Millisecond)
					if chance(5) == 0 {
						return errTryAgain
					}
					return out.consumeMetrics(ctx, md)
				})
				var wg sync.WaitGroup
				for i := range sessions {
					session, other := fmt.Sprint("run-", i), fmt.Sprint("peer-", i)
					for _, name := range []string{session, other} {
						require.NoError(t, events.ConsumeLogs(t.Context(), eventOf(name, 1, "train")))
					}
					wg.Go(func() {
						for at := int64(2); at < 2+rounds; at++ {
							md := gaugeOf(session, at)
							gauge(md, other, at)
							for {
								ctx, cancel := context.WithTimeout(t.Context(), time.Second)
								err := metrics.ConsumeMetrics(ctx, md)
								cancel()
								if err == nil {
									break
								}
								assert.Equal(t, 2, md.DataPointCount(), "the caller has it all: %v", err)
							}
							for _, name := range []string{session, other} {
								if chance(2) == 0 {
									assert.NoError(t, events.ConsumeLogs(t.Context(), eventOf(name, at+int64(chance(2)), "")))
								}
							}
						}
					})
				}
				wg.Wait()
				time.Sleep(time.Hour)
				synctest.Wait()
				assert.Equal(t, 2*sessions*rounds, out.items)
				assert.Zero(t, out.outdated)
				assert.Zero(t, out.repeated)
			})
		})
	}
}

// A part that lines up behind one whose batch is still being forwarded makes room once that
// is over.
func TestNoCallerWaitsBehindAPartThatIsCommittedLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		factory, cfg := NewFactory(), newConfig(t, withGrace, func(cfg *Config) { cfg.Grace.MaxBatches = 4 })
		events := startLogs(t, factory, cfg, discardLogs)
		metrics := startMetrics(t, factory, cfg, func(_ context.Context, md pmetric.Metrics) error {
			if sessionOf(md.ResourceMetrics().At(0).Resource().Attributes()) == "other" {
				time.Sleep(time.Second)
			}
			return nil
		})
		for _, session := range []string{"s", "other"} {
			require.NoError(t, events.ConsumeLogs(t.Context(), eventOf(session, 1, "train")))
		}
		require.NoError(t, events.ConsumeLogs(t.Context(), eventOf("other", 200, "")))
		start := time.Now()
		first := gaugeOf("s", 100)
		gauge(first, "other", 100)
		var wg sync.WaitGroup
		for _, md := range []pmetric.Metrics{first, gaugeOf("s", 101), gaugeOf("s", 102), gaugeOf("s", 103)} {
			wg.Go(func() { assert.NoError(t, metrics.ConsumeMetrics(t.Context(), md)) })
			synctest.Wait()
		}
		wg.Wait()
		assert.Equal(t, time.Second, time.Since(start))
	})
}
