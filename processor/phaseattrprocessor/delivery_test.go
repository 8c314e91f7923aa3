// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/metadatatest"
)

var errTryAgain = errors.New("try again")

// discardLogs takes log records and forgets them.
func discardLogs(context.Context, plog.Logs) error { return nil }

// valueOf is the sum of the processor's metric over the series with an attribute.
func valueOf(t *testing.T, telemetry *componenttest.Telemetry, name, key, value string) (sum int64) {
	t.Helper()
	metric, err := telemetry.GetMetric(name)
	if err != nil {
		return 0 // nothing has been counted
	}
	for _, point := range metric.Data.(metricdata.Sum[int64]).DataPoints {
		if got, _ := point.Attributes.Value(attribute.Key(key)); got.AsString() == value {
			sum += point.Value
		}
	}
	return sum
}

// recipient is a next component that fails as often as it is told, and keeps the sessions
// and times of the points that it takes.
type recipient struct {
	fails []error
	taken []string
}

func (r *recipient) consume(_ context.Context, md pmetric.Metrics) error {
	if len(r.fails) > 0 {
		err := r.fails[0]
		r.fails = r.fails[1:]
		return err
	}
	r.taken = append(r.taken, pointsOf(md)...)
	return nil
}

// pointsOf lists the session and the time of every point of a batch of gauges.
func pointsOf(md pmetric.Metrics) []string {
	var points []string
	for _, resource := range md.ResourceMetrics().All() {
		session := sessionOf(resource.Resource().Attributes())
		for _, dp := range resource.ScopeMetrics().At(0).Metrics().At(0).Gauge().DataPoints().All() {
			points = append(points, fmt.Sprint(session, " ", int64(dp.Timestamp())))
		}
	}
	return points
}

// A point that was not early itself must not be written to before its batch is held: what
// is known by the time that the batch goes on may be less than what was written.
func TestHeldPointsAreNotWrittenBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := startPipelines(t, withGrace, scoped)
		ld := eventOf("s", 10, "train")
		phase, _ := ld.ResourceLogs().At(0).ScopeLogs().At(0).LogRecords().At(0).Attributes().Get("phase_scope")
		phase.Map().PutEmptyMap("attributes").PutInt("epoch", 3)
		require.NoError(t, p.logs.ConsumeLogs(t.Context(), ld))
		p.events(t, 20, "")

		md := gaugeOf("s", 15)
		points := md.ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().At(0).Gauge().DataPoints()
		points.AppendEmpty().SetTimestamp(11)
		points.AppendEmpty().SetTimestamp(100)
		require.NoError(t, p.metrics.ConsumeMetrics(t.Context(), md))
		exit := eventOf("s", 12, "train")
		record := exit.ResourceLogs().At(0).ScopeLogs().At(0).LogRecords().At(0)
		record.SetEventName("phase_exit")
		phase, _ = record.Attributes().Get("phase_scope")
		phase.Map().PutStr("action", "exit")
		require.NoError(t, p.logs.ConsumeLogs(t.Context(), exit))
		p.events(t, 100, "")
		synctest.Wait()
		require.Len(t, p.metricsSink.AllMetrics(), 1)
		assert.Equal(t, []object{{}, {"phase_resolution": "unique", "phase_path": "train", "epoch": int64(3)}, {}},
			attributesOfMetrics(p.metricsSink.AllMetrics()[0]))
		p.shutdown(t)
	})
}

func TestRefusedBatchThatIsSentAgainComesOutOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		factory, cfg := NewFactory(), newConfig(t, withGrace)
		events := startLogs(t, factory, cfg, discardLogs)
		next := &recipient{fails: []error{errTryAgain, errTryAgain}}
		metrics := startMetrics(t, factory, cfg, next.consume)
		for _, session := range []string{"early", "late"} {
			require.NoError(t, events.ConsumeLogs(t.Context(), eventOf(session, 10, "train")))
		}
		require.NoError(t, events.ConsumeLogs(t.Context(), eventOf("late", 100, "")))
		md := gaugeOf("early", 50)
		gauge(md, "late", 60)
		gauge(md, "early", 70)
		for range 2 {
			require.ErrorIs(t, metrics.ConsumeMetrics(t.Context(), md), errTryAgain)
			points := pointsOf(md)
			slices.Sort(points)
			require.Equal(t, []string{"early 50", "early 70", "late 60"}, points, "the caller has it all")
		}
		require.NoError(t, metrics.ConsumeMetrics(t.Context(), md))
		require.NoError(t, events.ConsumeLogs(t.Context(), eventOf("early", 100, "")))
		synctest.Wait()
		assert.Equal(t, []string{"late 60", "early 50", "early 70"}, next.taken)
	})
}

func TestHeldTelemetryIsSentAgainAfterAPassingError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		factory, cfg := NewFactory(), newConfig(t, withGrace)
		events := startLogs(t, factory, cfg, discardLogs)
		next := &recipient{fails: slices.Repeat([]error{errTryAgain}, 10)}
		var attempts []time.Time
		metrics := startMetrics(t, factory, cfg, func(ctx context.Context, md pmetric.Metrics) error {
			attempts = append(attempts, time.Now())
			return next.consume(ctx, md)
		})
		require.NoError(t, events.ConsumeLogs(t.Context(), eventOf("s", 10, "train")))
		require.NoError(t, metrics.ConsumeMetrics(t.Context(), gaugeOf("s", 50)))
		require.NoError(t, events.ConsumeLogs(t.Context(), eventOf("s", 50, "")))
		synctest.Wait()
		require.NoError(t, metrics.ConsumeMetrics(t.Context(), gaugeOf("s", 49)), "the next one lines up")
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		assert.Equal(t, []string{"s 50", "s 49"}, next.taken)
		require.Len(t, attempts, 12)
		assert.Greater(t, attempts[10].Sub(attempts[0]), 10*time.Second, "ever less often")
	})
}

func TestRetriesAndLossesAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		factory, cfg := NewFactory(), newConfig(t, withGrace)
		p := newPipelines(t, factory, cfg)
		p.start(t, componenttest.NewNopHost())
		next := &recipient{fails: []error{errTryAgain, errTryAgain, consumererror.NewPermanent(errors.New("never"))}}
		to, err := consumer.NewMetrics(next.consume)
		require.NoError(t, err)
		metrics, err := factory.CreateMetrics(t.Context(), metadatatest.NewSettings(p.telemetry), cfg, to)
		require.NoError(t, err)
		started(t, metrics)
		p.events(t, 10, "train")
		md := gaugeOf("s", 50)
		gauge(md, "s", 60)
		require.NoError(t, metrics.ConsumeMetrics(t.Context(), md))
		p.events(t, 60, "")
		time.Sleep(time.Minute)
		synctest.Wait()
		assert.Empty(t, next.taken)
		assert.Empty(t, next.fails)
		assertCounts(t, p.telemetry, "forward_retries", count(2, "signal", "metrics"))
		assertCounts(t, p.telemetry, "lost_items", count(2, "signal", "metrics"))
		require.NoError(t, metrics.ConsumeMetrics(t.Context(), gaugeOf("s", 60)))
		assert.Equal(t, []string{"s 60"}, next.taken, "what follows goes on")
	})
}

// A full buffer does not hold up the events that would empty it.
func TestLogsDoNotWaitAtAFullBuffer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out []int64
		factory, cfg := NewFactory(), newConfig(t, withGrace, func(cfg *Config) { cfg.Grace.MaxBatches = 2 })
		metrics := startMetrics(t, factory, cfg, func(context.Context, pmetric.Metrics) error { return nil })
		logs := startLogs(t, factory, cfg, func(_ context.Context, ld plog.Logs) error {
			for _, resource := range ld.ResourceLogs().All() {
				out = append(out, int64(resource.ScopeLogs().At(0).LogRecords().At(0).Timestamp()))
			}
			return nil
		})
		require.NoError(t, logs.ConsumeLogs(t.Context(), eventOf("s", 10, "train")))
		go func() {
			for range 4 {
				assert.NoError(t, metrics.ConsumeMetrics(t.Context(), gaugeOf("s", 1000)))
			}
		}()
		synctest.Wait()
		start := time.Now()
		want := []int64{10}
		for at := int64(100); at < 120; at++ {
			require.NoError(t, logs.ConsumeLogs(t.Context(), lineOf("s", at)))
			want = append(want, at)
		}
		require.NoError(t, logs.ConsumeLogs(t.Context(), eventOf("s", 1000, "")))
		assert.Zero(t, time.Since(start))
		synctest.Wait()
		assert.Equal(t, append(want, 1000), out)
	})
}

// The end of a session ends the wait for its events, whatever ends it.
func TestEndOfASessionEndsTheWaitForIt(t *testing.T) {
	for name, tc := range map[string]struct {
		end  func(t *testing.T, p *pipelines)
		most time.Duration
	}{
		"stop": {func(t *testing.T, p *pipelines) {
			p.passLogs(t, records(t, (&program{session: "old"}).event("stop", 3)))
		}, 0},
		"another session takes over its process": {func(t *testing.T, p *pipelines) {
			p.runsOn(t, on("node", 10, 0), 4, "new", 0, "serve")
		}, 0},
		"no event for the session timeout": {func(*testing.T, *pipelines) {}, 13 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := startPipelines(t, func(cfg *Config) { cfg.Grace.Period, cfg.SessionTimeout = time.Minute, 10*time.Second })
				p.runsOn(t, on("node", 10, 0), 1, "old", 0, "train")
				require.NoError(t, p.metrics.ConsumeMetrics(t.Context(), (&program{session: "old"}).gauge(8)))
				synctest.Wait()
				require.Empty(t, p.metricsSink.AllMetrics())
				start := time.Now()
				tc.end(t, p)
				for synctest.Wait(); len(p.metricsSink.AllMetrics()) == 0; synctest.Wait() {
					time.Sleep(100 * time.Millisecond)
				}
				assert.LessOrEqual(t, time.Since(start), tc.most)
				p.shutdown(t)
			})
		})
	}
}

// The Collector's own counters cover what came in, and the work on it.
func TestCountersOfTheCollectorCoverAllThatCameIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		counted := func(p *pipelines, signal string) (incoming, outgoing int64) {
			return valueOf(t, p.telemetry, "otelcol_processor_incoming_items", "otel.signal", signal),
				valueOf(t, p.telemetry, "otelcol_processor_outgoing_items", "otel.signal", signal)
		}
		p := startPipelines(t, split, withGrace, func(cfg *Config) { cfg.Boundaries = BoundariesDrop })
		run := &program{session: "run"}
		w := run.worker(1)
		var all []object
		for at := 1.0; at <= 8; at++ {
			all = append(all, w.enter(at, "step"))
		}
		p.passLogs(t, records(t, append(all, run.event("sample", 9))...))
		incoming, outgoing := counted(p, "logs")
		assert.Equal(t, []int64{9, 1}, []int64{incoming, outgoing}, "eight boundaries were dropped")

		p.passMetrics(t, counter(1, 8, int64(70)))
		incoming, outgoing = counted(p, "metrics")
		assert.Equal(t, []int64{1, 7}, []int64{incoming, outgoing}, "one point was split into seven")

		require.NoError(t, p.metrics.ConsumeMetrics(t.Context(), counter(7, 100, int64(70))))
		incoming, outgoing = counted(p, "metrics")
		assert.Equal(t, []int64{2, 7}, []int64{incoming, outgoing}, "one point waits")
		p.shutdown(t)
		assertCounts(t, p.telemetry, "forwarded_items", count(2, "signal", "metrics"))
	})
}

// Waiting for room is part of the work on a batch; the next component's work is not.
func TestInternalDurationCoversTheWaitForRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		factory, cfg := NewFactory(), newConfig(t, withGrace, func(cfg *Config) { cfg.Grace.MaxBatches = 1 })
		events := startLogs(t, factory, cfg, discardLogs)
		telemetry := componenttest.NewTelemetry()
		to, err := consumer.NewMetrics(func(context.Context, pmetric.Metrics) error {
			time.Sleep(3 * time.Second)
			return nil
		})
		require.NoError(t, err)
		metrics, err := factory.CreateMetrics(t.Context(), metadatatest.NewSettings(telemetry), cfg, to)
		require.NoError(t, err)
		started(t, metrics)
		require.NoError(t, events.ConsumeLogs(t.Context(), eventOf("s", 10, "train")))
		for range 2 {
			require.NoError(t, metrics.ConsumeMetrics(t.Context(), gaugeOf("s", 50)))
		}
		require.NoError(t, metrics.ConsumeMetrics(t.Context(), gaugeOf("unheard of", 0)))
		duration, err := telemetry.GetMetric("otelcol_processor_internal_duration")
		require.NoError(t, err)
		assert.InDelta(t, 3, duration.Data.(metricdata.Histogram[float64]).DataPoints[0].Sum, 0.001)
		assert.NoError(t, telemetry.Shutdown(t.Context()))
	})
}

// What waits is looked up when it goes on, and counted then.
func TestItemsThatWaitedAreCountedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := startPipelines(t, withGrace)
		p.runsOn(t, on("node", 10, 0), 1, "run", 0, "train")
		md := gpu("node", "0", 1.5)
		gpu("node", "0", 100).ResourceMetrics().MoveAndAppendTo(md.ResourceMetrics())
		gpu("elsewhere", "0", 1.5).ResourceMetrics().MoveAndAppendTo(md.ResourceMetrics())
		(&program{session: "run"}).gauge(1.5).ResourceMetrics().MoveAndAppendTo(md.ResourceMetrics())
		require.NoError(t, p.metrics.ConsumeMetrics(t.Context(), md))
		p.shutdown(t)
		assertCounts(t, p.telemetry, "answers", answers("logs", "unique", 2), answers("metrics", "unique", 3), answers("metrics", "none", 1, "unknown_session"))
		assertCounts(t, p.telemetry, "associations",
			tried(0, "matched", 3), tried(0, "missing_key", 3), tried(1, "missing_key", 3), tried(2, "missing_key", 3),
			tried(3, "missing_key", 3), tried(4, "missing_key", 3), tried(5, "no_rank", 3), tried(6, "missing_key", 3),
			tried(7, "matched", 2), tried(7, "no_rank", 1),
		)
	})
}

// A rank that no item belongs to has nothing that waits, even if other telemetry of it does.
func TestNothingIsSentForRanksThatNoItemBelongsTo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		factory, cfg := NewFactory(), newConfig(t, withGrace)
		p := newPipelines(t, factory, cfg)
		p.start(t, componenttest.NewNopHost())
		var mu sync.Mutex // the forwarder and a caller may be in the next component at a time
		var sizes []int
		to, err := consumer.NewMetrics(func(_ context.Context, md pmetric.Metrics) error {
			time.Sleep(3 * time.Second)
			mu.Lock()
			defer mu.Unlock()
			sizes = append(sizes, md.DataPointCount())
			return nil
		})
		require.NoError(t, err)
		metrics, err := factory.CreateMetrics(t.Context(), metadatatest.NewSettings(p.telemetry), cfg, to)
		require.NoError(t, err)
		started(t, metrics)
		p.runsOn(t, on("node", 10, 0), 1, "run", 0, "train")
		require.NoError(t, metrics.ConsumeMetrics(t.Context(), (&program{session: "run"}).gauge(100)))
		p.passLogs(t, records(t, (&program{session: "run"}).event("sample", 100)))
		synctest.Wait() // it is being forwarded
		// A point of the device from before the session.
		require.NoError(t, metrics.ConsumeMetrics(t.Context(), gpu("node", "0", 0.5)))
		time.Sleep(time.Minute)
		synctest.Wait()
		assert.Equal(t, []int{1, 1}, sizes)
	})
}

// The next component of an HTTP receiver's pipeline may panic: net/http recovers.
func TestPanicOfTheNextComponentHoldsNothingUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		factory, cfg := NewFactory(), newConfig(t, withGrace)
		events := startLogs(t, factory, cfg, discardLogs)
		next := &recipient{}
		panics := true
		metrics := startMetrics(t, factory, cfg, func(ctx context.Context, md pmetric.Metrics) error {
			if panics {
				panic("next component")
			}
			return next.consume(ctx, md)
		})
		for _, session := range []string{"early", "late"} {
			require.NoError(t, events.ConsumeLogs(t.Context(), eventOf(session, 10, "train")))
		}
		require.NoError(t, events.ConsumeLogs(t.Context(), eventOf("late", 100, "")))
		md := gaugeOf("early", 50)
		gauge(md, "late", 60)
		require.Panics(t, func() { _ = metrics.ConsumeMetrics(t.Context(), md) })
		panics = false
		require.NoError(t, metrics.ConsumeMetrics(t.Context(), gaugeOf("early", 70)))
		time.Sleep(time.Minute)
		synctest.Wait()
		assert.Equal(t, []string{"early 70"}, next.taken)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		assert.NoError(t, metrics.Shutdown(ctx))
	})
}

// What cannot be forwarded because a shutdown ran out of time is lost, and counted.
func TestLossAfterAShutdownThatRanOutOfTimeIsCounted(t *testing.T) {
	for name, others := range map[string]bool{"other pipelines run": true, "all pipelines have been shut down": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				factory, cfg := NewFactory(), newConfig(t, withGrace)
				p := newPipelines(t, factory, cfg)
				p.start(t, componenttest.NewNopHost())
				unblock := make(chan struct{})
				to, err := consumer.NewMetrics(func(context.Context, pmetric.Metrics) error { <-unblock; return nil })
				require.NoError(t, err)
				metrics, err := factory.CreateMetrics(t.Context(), metadatatest.NewSettings(p.telemetry), cfg, to)
				require.NoError(t, err)
				require.NoError(t, metrics.Start(t.Context(), componenttest.NewNopHost()))
				p.events(t, 10, "train")
				p.otherEvents(t, 200)
				done := make(chan error)
				go func() {
					md := gaugeOf("s", 50)
					gauge(md, "other", 100)
					done <- metrics.ConsumeMetrics(t.Context(), md)
				}()
				synctest.Wait()
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				require.ErrorIs(t, metrics.Shutdown(ctx), context.DeadlineExceeded)
				if !others {
					p.shutdown(t)
				}
				close(unblock)
				require.NoError(t, <-done)
				synctest.Wait()
				assert.Equal(t, int64(1), valueOf(t, p.telemetry, "otelcol_processor_phase_attr_lost_items", "signal", "metrics"))
			})
		})
	}
}
