// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/processor/processortest"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/metadata"
)

// ofProcess is a gauge of a process, which does not name its session.
func ofProcess(host string, pid int64, at float64) pmetric.Metrics {
	md := pmetric.NewMetrics()
	resource := md.ResourceMetrics().AppendEmpty()
	resource.Resource().Attributes().PutStr("host.name", host)
	resource.Resource().Attributes().PutInt("process.pid", pid)
	metric := resource.ScopeMetrics().AppendEmpty().Metrics().AppendEmpty()
	metric.SetName("process.memory.usage")
	metric.SetEmptyGauge().DataPoints().AppendEmpty().SetTimestamp(timestamp(at))
	return md
}

// paths lists the phase_path of every data point that has come out, and forgets them.
func (p *pipelines) paths() (paths []any) {
	synctest.Wait()
	for _, md := range p.metricsSink.AllMetrics() {
		for _, attributes := range attributesOfMetrics(md) {
			paths = append(paths, attributes["phase_path"])
		}
	}
	p.metricsSink.Reset()
	return paths
}

func TestMetricsWaitForTheFirstEventOfTheirRank(t *testing.T) {
	for name, point := range map[string]func(at float64) pmetric.Metrics{
		"named by their session": func(at float64) pmetric.Metrics { return (&program{session: "run"}).gauge(at) },
		"named by their process": func(at float64) pmetric.Metrics { return ofProcess("node", 10, at) },
		"named by their device":  func(at float64) pmetric.Metrics { return gpu("node", "0", at) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := startPipelines(t, withGrace)
				require.NoError(t, p.metrics.ConsumeMetrics(t.Context(), point(1.5)))
				require.NoError(t, p.metrics.ConsumeMetrics(t.Context(), point(0.5)))
				time.Sleep(4 * time.Second)
				require.Empty(t, p.paths())
				p.runsOn(t, on("elsewhere", 10, 0), 1, "other", 0, "serve")
				require.Empty(t, p.paths())
				p.runsOn(t, on("node", 10, 0), 1, "run", 0, "train")
				require.NoError(t, p.metrics.ConsumeMetrics(t.Context(), point(1.2)))
				assert.Equal(t, []any{"train", nil, "train"}, p.paths())
				p.shutdown(t)
				assert.Equal(t, int64(2), waitsFor(t, p, "unknown"))
			})
		})
	}
}

// waitsFor is the number of points that had to wait for a reason.
func waitsFor(t *testing.T, p *pipelines, reason string) (n int64) {
	t.Helper()
	return valueOf(t, p.telemetry, "otelcol_processor_phase_attr_waits", "reason", reason)
}

func TestMetricsWaitOnceForWhatStaysUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := startPipelines(t, func(cfg *Config) { cfg.Grace.Period = 30 * time.Second })
		send := func() {
			t.Helper()
			require.NoError(t, p.metrics.ConsumeMetrics(t.Context(), gaugeOf("web shop", 100)))
		}
		send()
		time.Sleep(3 * time.Second)
		send()
		require.Empty(t, p.paths())
		time.Sleep(2*time.Second - time.Millisecond)
		require.Empty(t, p.paths())
		time.Sleep(time.Millisecond)
		require.Equal(t, []any{nil, nil}, p.paths(), "5 s after the session was first named")
		for range 599 {
			time.Sleep(time.Second)
			send()
			require.Len(t, p.paths(), 1)
		}
		time.Sleep(time.Second)
		send()
		require.Empty(t, p.paths(), "ten minutes later it waits again")
		time.Sleep(5 * time.Second)
		require.Len(t, p.paths(), 1)
		p.shutdown(t)
	})
}

func TestMetricsWaitForTheUnknownNoLongerThanTheGracePeriod(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := startPipelines(t, func(cfg *Config) { cfg.Grace.Period = 2 * time.Second })
		require.NoError(t, p.metrics.ConsumeMetrics(t.Context(), gaugeOf("web shop", 100)))
		time.Sleep(2*time.Second - time.Millisecond)
		require.Empty(t, p.paths())
		time.Sleep(time.Millisecond)
		require.Len(t, p.paths(), 1)
		p.shutdown(t)
	})
}

// What may never be known has a quarter of the room.
func TestMetricsThatWaitForTheUnknownLeaveRoomForOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := startPipelines(t, withGrace, func(cfg *Config) { cfg.Grace.MaxBytes = 100_000 })
		for i := range 200 {
			require.NoError(t, p.metrics.ConsumeMetrics(t.Context(), gaugeOf(fmt.Sprint("shop ", i), 100)))
		}
		waiting := 200 - len(p.paths())
		bytes := valueOf(t, p.telemetry, "otelcol_processor_phase_attr_waiting_bytes", "processor", "phase_attr")
		assert.LessOrEqual(t, bytes, int64(25_000))
		assert.Greater(t, bytes, int64(23_000))
		assert.Greater(t, waiting, 10)
		p.shutdown(t)
	})
}

func TestLogsAndSpansDoNotWaitForTheUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := startPipelines(t, withGrace)
		require.NoError(t, p.logs.ConsumeLogs(t.Context(), lineOf("web shop", 100)))
		require.NoError(t, p.traces.ConsumeTraces(t.Context(), spanOf("web shop", 100)))
		assert.Equal(t, 1, p.logsSink.LogRecordCount())
		assert.Equal(t, 1, p.tracesSink.SpanCount())
		p.shutdown(t)
	})
}

// cut returns where a file of events can be cut, after at least some of them: the emitter's
// threads write a few events up to 0.2 ms late, and such an event must be read together
// with those that should have followed it.
func cut(events []object, least int) int {
	newest := int64(0)
	for i, e := range events {
		at := e["timestamp_ns"].(int64)
		late := slices.ContainsFunc(events[i:], func(e object) bool { return e["timestamp_ns"].(int64) < newest })
		if i >= least && !late {
			return i
		}
		newest = max(newest, at)
	}
	return len(events)
}

// The events and the metrics of a run are two files: however they are read, all points get
// their answers.
func TestEventsAndMetricsOfACaptureMayBeReadInAnyInterleaving(t *testing.T) {
	run := readCapture(t, "rank1")
	answers := map[int64]object{}
	for i, e := range run.events {
		answers[e["timestamp_ns"].(int64)] = asAttributes(run.answers[i])
	}
	var lines [][]byte
	for _, line := range readLines(t, "rank1.metrics.jsonl") {
		data, err := json.Marshal(line)
		require.NoError(t, err)
		lines = append(lines, data)
	}
	for seed := range uint64(22) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				random := rand.New(rand.NewPCG(seed, 15))
				time.Sleep(time.Until(time.Unix(0, run.events[len(run.events)-1]["timestamp_ns"].(int64)))) // it is read later
				p := startPipelines(t, withGrace, everyAttributeOfTheReference)
				events, metrics := run.events, lines
				for len(events)+len(metrics) > 0 {
					time.Sleep(10 * time.Millisecond)
					first := random.IntN(2) == 0
					switch seed {
					case 0: // the metrics first
						first = true
					case 1: // the events first
						first = false
					}
					if len(events) == 0 || first && len(metrics) > 0 {
						md, err := (&pmetric.JSONUnmarshaler{}).UnmarshalMetrics(metrics[0])
						require.NoError(t, err)
						require.NoError(t, p.metrics.ConsumeMetrics(t.Context(), md))
						metrics = metrics[1:]
						continue
					}
					n := cut(events, 1+random.IntN(60))
					require.NoError(t, p.logs.ConsumeLogs(t.Context(), records(t, events[:n]...)))
					events = events[n:]
				}
				synctest.Wait()
				points := 0
				for _, md := range p.metricsSink.AllMetrics() {
					for _, resource := range md.ResourceMetrics().All() {
						for _, metric := range resource.ScopeMetrics().At(0).Metrics().All() {
							for _, dp := range metric.Gauge().DataPoints().All() {
								got := dp.Attributes().AsRaw()
								delete(got, "device_id")
								require.Equal(t, answers[int64(dp.Timestamp())], got)
								points++
							}
						}
					}
				}
				assert.Equal(t, 216, points)
				p.shutdown(t)
			})
		})
	}
}

// hookedMeters is a meter provider that calls a hook when boundaries are counted.
type hookedMeters struct {
	noop.MeterProvider
	hook func()
}

type hookedMeter struct {
	metric.Meter
	hook func()
}

type hookedCounter struct {
	noop.Int64Counter
	hook func()
}

func (p hookedMeters) Meter(string, ...metric.MeterOption) metric.Meter {
	return hookedMeter{noop.Meter{}, p.hook}
}

func (m hookedMeter) Int64Counter(name string, _ ...metric.Int64CounterOption) (metric.Int64Counter, error) {
	if name == "otelcol_processor_phase_attr_boundaries" {
		return hookedCounter{hook: m.hook}, nil
	}
	return noop.Int64Counter{}, nil
}

func (c hookedCounter) Add(_ context.Context, n int64, _ ...metric.AddOption) {
	if n > 0 {
		c.hook()
	}
}

// While the batch that makes a device known is still being read, what waits for the device
// must not be overtaken by what finds its rank.
func TestMetricsOfADeviceStayInOrderWhileItBecomesKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		blocked := make(chan struct{})
		set := processortest.NewNopSettings(metadata.Type)
		set.MeterProvider = hookedMeters{hook: func() { <-blocked }}
		cfg, factory := newConfig(t, withGrace), NewFactory()
		logs, err := factory.CreateLogs(t.Context(), set, cfg, consumertest.NewNop())
		require.NoError(t, err)
		started(t, logs)
		var out []float64
		metrics := startMetrics(t, factory, cfg, func(_ context.Context, md pmetric.Metrics) error {
			for _, resource := range md.ResourceMetrics().All() {
				dp := resource.ScopeMetrics().At(0).Metrics().At(0).Gauge().DataPoints().At(0)
				out = append(out, seconds(dp.Timestamp()))
			}
			return nil
		})
		require.NoError(t, metrics.ConsumeMetrics(t.Context(), gpu("node", "0", 1.5)))
		run, place := &program{session: "run"}, on("node", 10, 0)
		bad := with(run.event("phase_enter", 3), place) // it is rejected, and counted at once
		go func() {
			assert.NoError(t, logs.ConsumeLogs(t.Context(), records(t,
				with(run.worker(1).enter(1, "train"), place), with(run.event("sample", 2), place), bad)))
		}()
		synctest.Wait()
		go func() {
			assert.NoError(t, metrics.ConsumeMetrics(t.Context(), gpu("node", "0", 1.6)))
		}()
		synctest.Wait()
		close(blocked)
		synctest.Wait()
		assert.Equal(t, []float64{1.5, 1.6}, out)
	})
}

// Once the first event has come, the wait for later ones takes up to the grace period,
// however long the rank had been unknown.
func TestMetricsOfARankThatBecameKnownWaitForItsEvents(t *testing.T) {
	for name, point := range map[string]func(at float64) pmetric.Metrics{
		"named by their session": func(at float64) pmetric.Metrics { return (&program{session: "run"}).gauge(at) },
		"named by their device":  func(at float64) pmetric.Metrics { return gpu("node", "0", at) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := startPipelines(t, withGrace)
				require.NoError(t, p.metrics.ConsumeMetrics(t.Context(), point(0)))
				time.Sleep(4500 * time.Millisecond)
				require.NoError(t, p.metrics.ConsumeMetrics(t.Context(), point(10)))
				run := &program{session: "run"}
				w := run.worker(1)
				p.passLogs(t, records(t, with(w.enter(0, "train"), on("node", 10, 0))))
				require.Equal(t, []any{"train"}, p.paths())
				time.Sleep(time.Second)
				require.Empty(t, p.paths())
				p.passLogs(t, records(t, with(w.exit(1), on("node", 10, 0)), with(w.enter(2, "evaluate"), on("node", 10, 0)), with(run.event("sample", 10), on("node", 10, 0))))
				require.Equal(t, []any{"evaluate"}, p.paths())
				require.NoError(t, p.metrics.ConsumeMetrics(t.Context(), point(20)))
				start := time.Now()
				for synctest.Wait(); len(p.metricsSink.AllMetrics()) == 0; synctest.Wait() {
					time.Sleep(100 * time.Millisecond)
				}
				assert.Equal(t, 5*time.Second, time.Since(start))
			})
		})
	}
}
