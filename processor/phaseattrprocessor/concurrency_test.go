// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/processor/processortest"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/metadata"
)

// Pipelines of one configuration come and go, each in a goroutine of its own, and
// send batches of groups that they share while others do. What goes in comes out.
func TestPipelinesMayComeAndGoWhileOthersRun(t *testing.T) {
	const (
		goroutines = 12
		lives      = 4
		batches    = 8
	)
	for name, grace := range map[string]time.Duration{"at once": 0, "held": time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			factory, set := NewFactory(), processortest.NewNopSettings(metadata.Type)
			cfg := newConfig(t, everyAttribute, func(cfg *Config) {
				cfg.Grace.Period = grace
				cfg.Grace.MaxBatches = 4
				cfg.ScopeAttributes = []string{"epoch"}
				cfg.Limits.MaxBoundariesPerRank = 50
			})
			logsSink, metricsSink, tracesSink := new(consumertest.LogsSink), new(consumertest.MetricsSink), new(consumertest.TracesSink)
			live := func(p component.Component, consume func(batch int) error) error {
				err := p.Start(t.Context(), componenttest.NewNopHost())
				for batch := range batches {
					err = errors.Join(err, consume(batch))
				}
				return errors.Join(err, p.Shutdown(t.Context()), p.Shutdown(t.Context()))
			}
			liveLogs := func(run *program, thread int64, at float64) error {
				p, err := factory.CreateLogs(t.Context(), set, cfg, logsSink)
				if err != nil {
					return err
				}
				w := run.worker(thread)
				return live(p, func(batch int) error {
					start := at + float64(batch)
					return p.ConsumeLogs(t.Context(), records(t,
						w.enterWith(start, "train", object{"epoch": thread}), run.event("sample", start), w.exit(start+1)))
				})
			}
			liveMetrics := func(run *program, at float64) error {
				p, err := factory.CreateMetrics(t.Context(), set, cfg, metricsSink)
				if err != nil {
					return err
				}
				return live(p, func(batch int) error {
					return p.ConsumeMetrics(t.Context(), run.gauge(at, at+float64(batch)))
				})
			}
			liveTraces := func(run *program, at float64) error {
				p, err := factory.CreateTraces(t.Context(), set, cfg, tracesSink)
				if err != nil {
					return err
				}
				return live(p, func(batch int) error {
					return p.ConsumeTraces(t.Context(), run.spans(at, at+float64(batch)))
				})
			}
			var wg sync.WaitGroup
			for g := range goroutines {
				wg.Go(func() {
					run := &program{session: fmt.Sprintf("run-%d", g/3%2), rank: int64(g % 2)}
					var err error
					for life := range lives {
						at := float64(life * 100)
						switch g % 3 {
						case 0:
							err = errors.Join(err, liveLogs(run, int64(g), at))
						case 1:
							err = errors.Join(err, liveMetrics(run, at))
						case 2:
							err = errors.Join(err, liveTraces(run, at))
						}
					}
					assert.NoError(t, err)
				})
			}
			wg.Wait()
			const each = goroutines / 3 * lives * batches
			assert.Equal(t, 3*each, logsSink.LogRecordCount())
			assert.Equal(t, 2*each, metricsSink.DataPointCount())
			assert.Equal(t, each, tracesSink.SpanCount())
		})
	}
}

// One set of pipelines is used by many goroutines at a time.
func TestPipelinesMayBeUsedByManyGoroutines(t *testing.T) {
	const goroutines, batches = 8, 20
	p := startPipelines(t, everyAttribute, func(cfg *Config) { cfg.ScopeAttributes = []string{"epoch"} })
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			run := &program{session: "run", rank: int64(g % 2)}
			w := run.worker(int64(g))
			var err error
			for batch := range batches {
				at := float64(batch)
				_, metricErr := p.telemetry.GetMetric("otelcol_processor_phase_attr_ranks")
				err = errors.Join(err, metricErr,
					p.logs.ConsumeLogs(t.Context(), records(t,
						w.enterWith(at, "train", object{"epoch": int64(g)}), w.enter(at+0.25, "step"), w.exit(at+0.5), w.exit(at+0.75))),
					p.metrics.ConsumeMetrics(t.Context(), run.gauge(at+0.1, at+0.3)),
					p.traces.ConsumeTraces(t.Context(), run.spans(at, at+0.5)))
			}
			assert.NoError(t, err)
		})
	}
	wg.Wait()
	require.Equal(t, goroutines*batches*4, p.logsSink.LogRecordCount())
	require.Equal(t, goroutines*batches*2, p.metricsSink.DataPointCount())
	require.Equal(t, goroutines*batches, p.tracesSink.SpanCount())
}
