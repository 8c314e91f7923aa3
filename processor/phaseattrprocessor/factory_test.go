// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"context"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/processor"
	"go.opentelemetry.io/collector/processor/processortest"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/metadata"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/metadatatest"
)

// pipelines are a logs, a metrics and a traces pipeline of one configuration, and
// what came out of them.
type pipelines struct {
	logs    processor.Logs
	metrics processor.Metrics
	traces  processor.Traces

	logsSink    consumertest.LogsSink
	metricsSink consumertest.MetricsSink
	tracesSink  consumertest.TracesSink

	telemetry *componenttest.Telemetry
}

// newConfig is the default configuration, edited, without a grace period: what goes
// in comes out at once.
func newConfig(tb testing.TB, edits ...func(*Config)) *Config {
	tb.Helper()
	cfg := createDefaultConfig().(*Config)
	cfg.Grace.Period = 0
	for _, edit := range edits {
		edit(cfg)
	}
	require.NoError(tb, cfg.Validate())
	return cfg
}

// newPipelines makes pipelines that are not started yet. They are shut down when the
// test ends.
func newPipelines(tb testing.TB, factory processor.Factory, cfg *Config) *pipelines {
	tb.Helper()
	p := &pipelines{telemetry: componenttest.NewTelemetry()}
	set := metadatatest.NewSettings(p.telemetry)
	set.ID = component.NewID(metadata.Type)
	var err error
	p.logs, err = factory.CreateLogs(tb.Context(), set, cfg, &p.logsSink)
	require.NoError(tb, err)
	p.metrics, err = factory.CreateMetrics(tb.Context(), set, cfg, &p.metricsSink)
	require.NoError(tb, err)
	p.traces, err = factory.CreateTraces(tb.Context(), set, cfg, &p.tracesSink)
	require.NoError(tb, err)
	tb.Cleanup(func() {
		p.shutdown(tb)
		assert.NoError(tb, p.telemetry.Shutdown(context.WithoutCancel(tb.Context())))
	})
	return p
}

// startPipelines makes pipelines of a new factory and starts them.
func startPipelines(tb testing.TB, edits ...func(*Config)) *pipelines {
	tb.Helper()
	p := newPipelines(tb, NewFactory(), newConfig(tb, edits...))
	p.start(tb, componenttest.NewNopHost())
	return p
}

func (p *pipelines) components() []component.Component {
	return []component.Component{p.logs, p.metrics, p.traces}
}

func (p *pipelines) start(tb testing.TB, host component.Host) {
	tb.Helper()
	for _, c := range p.components() {
		require.NoError(tb, c.Start(tb.Context(), host))
	}
}

func (p *pipelines) shutdown(tb testing.TB) {
	tb.Helper()
	for _, c := range p.components() {
		assert.NoError(tb, c.Shutdown(context.WithoutCancel(tb.Context())))
	}
}

// passLogs sends a batch through the logs pipeline and returns what came out.
func (p *pipelines) passLogs(t *testing.T, ld plog.Logs) plog.Logs {
	t.Helper()
	p.logsSink.Reset()
	require.NoError(t, p.logs.ConsumeLogs(t.Context(), ld))
	out := plog.NewLogs()
	for _, batch := range p.logsSink.AllLogs() {
		batch.ResourceLogs().MoveAndAppendTo(out.ResourceLogs())
	}
	return out
}

// passMetrics sends a batch through the metrics pipeline and returns what came out.
func (p *pipelines) passMetrics(t *testing.T, md pmetric.Metrics) pmetric.Metrics {
	t.Helper()
	p.metricsSink.Reset()
	require.NoError(t, p.metrics.ConsumeMetrics(t.Context(), md))
	out := pmetric.NewMetrics()
	for _, batch := range p.metricsSink.AllMetrics() {
		batch.ResourceMetrics().MoveAndAppendTo(out.ResourceMetrics())
	}
	return out
}

// passTraces sends a batch through the traces pipeline and returns what came out.
func (p *pipelines) passTraces(t *testing.T, td ptrace.Traces) ptrace.Traces {
	t.Helper()
	p.tracesSink.Reset()
	require.NoError(t, p.traces.ConsumeTraces(t.Context(), td))
	out := ptrace.NewTraces()
	for _, batch := range p.tracesSink.AllTraces() {
		batch.ResourceSpans().MoveAndAppendTo(out.ResourceSpans())
	}
	return out
}

// path asks the metrics pipeline which phase a program was in.
func (p *pipelines) path(t *testing.T, run *program, at float64) any {
	t.Helper()
	return attributesOfMetrics(p.passMetrics(t, run.gauge(at)))[0]["phase_path"]
}

func TestPipelinesOfOneConfigurationShareTheirIndex(t *testing.T) {
	p := startPipelines(t)
	run := &program{session: "run"}
	p.passLogs(t, records(t, run.worker(1).enter(1, "train")))

	assert.Equal(t, "train", attributesOfMetrics(p.passMetrics(t, run.gauge(2)))[0]["phase_path"])
	assert.Equal(t, "train", attributesOfTraces(p.passTraces(t, run.spans(2, 3)))[0]["phase_path"])
	assert.Equal(t, "train", attributesOfLogs(p.passLogs(t, records(t, run.event("sample", 2))))[0]["phase_path"])
}

func TestConfigurationsShareNothing(t *testing.T) {
	factory := NewFactory()
	first, second := newPipelines(t, factory, newConfig(t)), newPipelines(t, factory, newConfig(t))
	first.start(t, componenttest.NewNopHost())
	second.start(t, componenttest.NewNopHost())
	run := &program{session: "run"}
	first.passLogs(t, records(t, run.worker(1).enter(1, "train")))
	assert.Equal(t, "train", first.path(t, run, 2))
	assert.Nil(t, second.path(t, run, 2))
}

func TestFactoriesShareNothing(t *testing.T) {
	cfg := newConfig(t)
	first, second := newPipelines(t, NewFactory(), cfg), newPipelines(t, NewFactory(), cfg)
	first.start(t, componenttest.NewNopHost())
	second.start(t, componenttest.NewNopHost())
	run := &program{session: "run"}
	first.passLogs(t, records(t, run.worker(1).enter(1, "train")))
	assert.Equal(t, "train", first.path(t, run, 2))
	assert.Nil(t, second.path(t, run, 2))
}

func TestShutdownMayComeWithoutAStartAndTwiceInAnyOrder(t *testing.T) {
	for _, order := range [][3]int{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}} {
		factory, cfg := NewFactory(), newConfig(t)
		p := newPipelines(t, factory, cfg)
		p.start(t, componenttest.NewNopHost())
		unused := newPipelines(t, factory, cfg)
		unused.shutdown(t) // without a start
		require.Error(t, unused.logs.Start(t.Context(), componenttest.NewNopHost()))
		for _, i := range order {
			for range 2 {
				require.NoError(t, p.components()[i].Shutdown(t.Context()))
			}
		}
	}
}

func TestIndexLivesUntilTheLastPipelineIsShutDown(t *testing.T) {
	factory, cfg := NewFactory(), newConfig(t)
	p := newPipelines(t, factory, cfg)
	p.start(t, componenttest.NewNopHost())
	run := &program{session: "run"}
	p.passLogs(t, records(t, run.worker(1).enter(1, "train")))

	for range 2 { // a pipeline that is shut down twice counts once
		require.NoError(t, p.logs.Shutdown(t.Context()))
	}
	require.NoError(t, p.traces.Shutdown(t.Context()))
	assert.Equal(t, "train", p.path(t, run, 2))

	// A pipeline that comes later still finds it.
	sink := new(consumertest.TracesSink)
	late, err := factory.CreateTraces(t.Context(), processortest.NewNopSettings(metadata.Type), cfg, sink)
	require.NoError(t, err)
	require.NoError(t, late.Start(t.Context(), componenttest.NewNopHost()))
	require.NoError(t, late.ConsumeTraces(t.Context(), run.spans(2, 3)))
	assert.Equal(t, "train", attributesOfTraces(sink.AllTraces()[0])[0]["phase_path"])

	require.NoError(t, p.metrics.Shutdown(t.Context()))
	require.NoError(t, late.Shutdown(t.Context()))
	again := newPipelines(t, factory, cfg)
	again.start(t, componenttest.NewNopHost())
	assert.Nil(t, again.path(t, run, 2))
}

func TestSharedIsReleasedWithTheLastPipeline(t *testing.T) {
	f := &factory{shared: map[*Config]*shared{}}
	cfg, other := newConfig(t), newConfig(t)
	set := processortest.NewNopSettings(metadata.Type)
	var started []component.Component
	for _, cfg := range []*Config{cfg, cfg, other} {
		p, err := f.createMetrics(t.Context(), set, cfg, consumertest.NewNop())
		require.NoError(t, err)
		require.NoError(t, p.Start(t.Context(), componenttest.NewNopHost()))
		started = append(started, p)
	}
	require.Len(t, f.shared, 2)

	for _, i := range []int{0, 0, 2, 1} {
		require.NoError(t, started[i].Shutdown(t.Context()))
		switch i {
		case 0:
			assert.Len(t, f.shared, 2)
		case 2:
			assert.Contains(t, f.shared, cfg)
			assert.Len(t, f.shared, 1)
		}
	}
	assert.Empty(t, f.shared)
}

func TestProcessorsMutateTheirData(t *testing.T) {
	p := newPipelines(t, NewFactory(), newConfig(t))
	for _, c := range []consumer.Capabilities{p.logs.Capabilities(), p.metrics.Capabilities(), p.traces.Capabilities()} {
		assert.True(t, c.MutatesData)
	}
}

func TestNothingComesOutAfterShutdown(t *testing.T) {
	processortest.VerifyShutdown(t, NewFactory(), createDefaultConfig())
	processortest.VerifyShutdown(t, NewFactory(), newConfig(t))
}

func TestErrorsOfTheNextConsumerGoBackToTheCaller(t *testing.T) {
	set, cfg, next := processortest.NewNopSettings(metadata.Type), newConfig(t), consumertest.NewErr(assert.AnError)
	factory := NewFactory()
	run := &program{session: "run"}
	logs, err := factory.CreateLogs(t.Context(), set, cfg, next)
	require.NoError(t, err)
	metrics, err := factory.CreateMetrics(t.Context(), set, cfg, next)
	require.NoError(t, err)
	traces, err := factory.CreateTraces(t.Context(), set, cfg, next)
	require.NoError(t, err)
	for _, c := range []component.Component{logs, metrics, traces} {
		require.NoError(t, c.Start(t.Context(), componenttest.NewNopHost()))
		defer func() { assert.NoError(t, c.Shutdown(t.Context())) }()
	}
	require.ErrorIs(t, logs.ConsumeLogs(t.Context(), records(t, run.worker(1).enter(1, "train"))), assert.AnError)
	require.ErrorIs(t, metrics.ConsumeMetrics(t.Context(), run.gauge(2)), assert.AnError)
	require.ErrorIs(t, traces.ConsumeTraces(t.Context(), run.spans(2, 3)), assert.AnError)
}

type contextKey struct{}

func TestContextIsPassedOn(t *testing.T) {
	set, cfg, factory := processortest.NewNopSettings(metadata.Type), newConfig(t), NewFactory()
	run := &program{session: "run"}
	var seen []any
	see := func(ctx context.Context) error {
		seen = append(seen, ctx.Value(contextKey{}))
		return ctx.Err()
	}
	nextLogs, err := consumer.NewLogs(func(ctx context.Context, _ plog.Logs) error { return see(ctx) })
	require.NoError(t, err)
	nextMetrics, err := consumer.NewMetrics(func(ctx context.Context, _ pmetric.Metrics) error { return see(ctx) })
	require.NoError(t, err)
	nextTraces, err := consumer.NewTraces(func(ctx context.Context, _ ptrace.Traces) error { return see(ctx) })
	require.NoError(t, err)
	logs, err := factory.CreateLogs(t.Context(), set, cfg, nextLogs)
	require.NoError(t, err)
	metrics, err := factory.CreateMetrics(t.Context(), set, cfg, nextMetrics)
	require.NoError(t, err)
	traces, err := factory.CreateTraces(t.Context(), set, cfg, nextTraces)
	require.NoError(t, err)
	for _, c := range []component.Component{logs, metrics, traces} {
		require.NoError(t, c.Start(t.Context(), componenttest.NewNopHost()))
		defer func() { assert.NoError(t, c.Shutdown(t.Context())) }()
	}

	ctx, cancel := context.WithCancel(context.WithValue(t.Context(), contextKey{}, "value"))
	consume := func() []error {
		return []error{
			logs.ConsumeLogs(ctx, records(t, run.worker(1).enter(1, "train"))),
			metrics.ConsumeMetrics(ctx, run.gauge(2)),
			traces.ConsumeTraces(ctx, run.spans(2, 3)),
		}
	}
	assert.Equal(t, []error{nil, nil, nil}, consume())
	cancel()
	assert.Equal(t, slices.Repeat([]error{context.Canceled}, 3), consume())
	assert.Equal(t, slices.Repeat([]any{"value"}, 6), seen)
}

func TestPipelineThatNeverStartedIsForgotten(t *testing.T) {
	f := &factory{shared: map[*Config]*shared{}}
	p, err := f.createLogs(t.Context(), metadatatest.NewSettings(componenttest.NewTelemetry()), newConfig(t), consumertest.NewNop())
	require.NoError(t, err)
	require.NoError(t, p.Shutdown(t.Context()))
	assert.Empty(t, f.shared)
}
