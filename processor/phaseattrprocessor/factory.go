// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"context"
	"sync"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/processor"
	"go.opentelemetry.io/collector/processor/processorhelper"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/metadata"
)

// NewFactory returns the factory of the phase_attr processor. The pipelines of one
// component ID share an index; those of two factories share nothing.
func NewFactory() processor.Factory {
	f := &factory{shared: map[*Config]*shared{}}
	return processor.NewFactory(
		metadata.Type,
		createDefaultConfig,
		processor.WithLogs(f.createLogs, metadata.LogsStability),
		processor.WithMetrics(f.createMetrics, metadata.MetricsStability),
		processor.WithTraces(f.createTraces, metadata.TracesStability),
	)
}

// factory knows what the component IDs that are in use share.
type factory struct {
	// mu guards shared.
	mu sync.Mutex
	// shared is keyed by the configuration: the Collector hands all pipelines of a component
	// ID the same one.
	shared map[*Config]*shared
}

// acquire returns what a component ID shares. Each call is for one pipeline, which must be
// released.
func (f *factory) acquire(set processor.Settings, config *Config) (*shared, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s, ok := f.shared[config]
	if !ok {
		recorder, err := newRecorder(set.TelemetrySettings, set.ID)
		if err != nil {
			return nil, err
		}
		s = &shared{factory: f, id: set.ID, config: config, recorder: recorder, settings: set.TelemetrySettings}
		f.shared[config] = s
	}
	s.pipelines++
	return s, nil
}

// shared is what the pipelines of one component ID share.
type shared struct {
	factory  *factory
	id       component.ID
	config   *Config
	recorder *recorder
	settings component.TelemetrySettings
	// pipelines is the number of pipelines that have not been shut down. The factory's mu
	// guards it.
	pipelines int

	// mu guards engine, which is there once a pipeline has been started.
	mu     sync.Mutex
	engine *engine
}

// start returns the engine, which the first pipeline to start makes.
func (s *shared) start(ctx context.Context, host component.Host) (*engine, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var err error
	if s.engine == nil {
		s.engine, err = newEngine(ctx, s, host)
	}
	return s.engine, err
}

// release ends the engine, and forgets what the component ID shares, with its last pipeline.
func (s *shared) release(ctx context.Context) {
	if s.leave() && s.engine != nil {
		s.engine.close(ctx)
	}
}

// leave reports whether the pipeline that leaves was the last one.
func (s *shared) leave() bool {
	s.factory.mu.Lock()
	defer s.factory.mu.Unlock()
	s.pipelines--
	if s.pipelines == 0 {
		delete(s.factory.shared, s.config)
	}
	return s.pipelines == 0
}

// logsProcessor is the helper of a logs pipeline, and what is before it.
type logsProcessor struct {
	processor.Logs
	pipeline *pipeline[plog.Logs]
}

func (p *logsProcessor) ConsumeLogs(ctx context.Context, ld plog.Logs) error {
	return p.pipeline.consume(ctx, ld, p.Logs.ConsumeLogs)
}

func (f *factory) createLogs(
	ctx context.Context, set processor.Settings, cfg component.Config, next consumer.Logs,
) (processor.Logs, error) {
	p := &pipeline[plog.Logs]{signal: signalLogs, telemetry: logs{}, send: next.ConsumeLogs}
	helper, err := processorhelper.NewLogs(ctx, set, cfg, next, p.process, p.options()...)
	if err != nil {
		return nil, err
	}
	if p.shared, err = f.acquire(set, cfg.(*Config)); err != nil {
		return nil, err
	}
	return &logsProcessor{helper, p}, nil
}

// metricsProcessor is the helper of a metrics pipeline, and what is before it.
type metricsProcessor struct {
	processor.Metrics
	pipeline *pipeline[pmetric.Metrics]
}

func (p *metricsProcessor) ConsumeMetrics(ctx context.Context, md pmetric.Metrics) error {
	return p.pipeline.consume(ctx, md, p.Metrics.ConsumeMetrics)
}

func (f *factory) createMetrics(
	ctx context.Context, set processor.Settings, cfg component.Config, next consumer.Metrics,
) (processor.Metrics, error) {
	p := &pipeline[pmetric.Metrics]{signal: signalMetrics, telemetry: metrics{cfg.(*Config)}, send: next.ConsumeMetrics}
	helper, err := processorhelper.NewMetrics(ctx, set, cfg, next, p.process, p.options()...)
	if err != nil {
		return nil, err
	}
	if p.shared, err = f.acquire(set, cfg.(*Config)); err != nil {
		return nil, err
	}
	return &metricsProcessor{helper, p}, nil
}

// tracesProcessor is the helper of a traces pipeline, and what is before it.
type tracesProcessor struct {
	processor.Traces
	pipeline *pipeline[ptrace.Traces]
}

func (p *tracesProcessor) ConsumeTraces(ctx context.Context, td ptrace.Traces) error {
	return p.pipeline.consume(ctx, td, p.Traces.ConsumeTraces)
}

func (f *factory) createTraces(
	ctx context.Context, set processor.Settings, cfg component.Config, next consumer.Traces,
) (processor.Traces, error) {
	p := &pipeline[ptrace.Traces]{signal: signalTraces, telemetry: traces{}, send: next.ConsumeTraces}
	helper, err := processorhelper.NewTraces(ctx, set, cfg, next, p.process, p.options()...)
	if err != nil {
		return nil, err
	}
	if p.shared, err = f.acquire(set, cfg.(*Config)); err != nil {
		return nil, err
	}
	return &tracesProcessor{helper, p}, nil
}
