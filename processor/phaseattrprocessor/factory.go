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
func (f *factory) acquire(set processor.Settings, cfg component.Config) (*shared, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	config := cfg.(*Config)
	s, ok := f.shared[config]
	if !ok {
		var err error
		if s, err = newShared(set, config); err != nil {
			return nil, err
		}
		f.shared[config] = s
	}
	s.pipelines++
	return s, nil
}

// release forgets what a component ID shares with its last pipeline.
func (f *factory) release(s *shared) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s.pipelines--
	if s.pipelines == 0 {
		delete(f.shared, s.config)
	}
}

func newPipeline[T any](
	f *factory, set processor.Settings, cfg component.Config, signal signal, telemetry telemetry[T], send func(context.Context, T) error,
) (*pipeline[T], error) {
	s, err := f.acquire(set, cfg)
	if err != nil {
		return nil, err
	}
	return &pipeline[T]{shared: s, signal: signal, telemetry: telemetry, send: send, release: func() { f.release(s) }}, nil
}

// logsProcessor is the processor of a logs pipeline: the helper, and what is before it.
type logsProcessor struct {
	processor.Logs
	pipeline *pipeline[plog.Logs]
}

// ConsumeLogs ingests and annotates a batch.
func (p *logsProcessor) ConsumeLogs(ctx context.Context, ld plog.Logs) error {
	return p.pipeline.consume(ctx, ld, p.Logs.ConsumeLogs)
}

func (f *factory) createLogs(
	ctx context.Context, set processor.Settings, cfg component.Config, next consumer.Logs,
) (processor.Logs, error) {
	p, err := newPipeline(f, set, cfg, signalLogs, telemetry[plog.Logs](logs{}), next.ConsumeLogs)
	if err != nil {
		return nil, err
	}
	helper, err := processorhelper.NewLogs(ctx, set, cfg, next, p.process, p.options()...)
	if err != nil {
		p.release()
		return nil, err
	}
	return &logsProcessor{helper, p}, nil
}

// metricsProcessor is the processor of a metrics pipeline: the helper, and what is before
// it.
type metricsProcessor struct {
	processor.Metrics
	pipeline *pipeline[pmetric.Metrics]
}

// ConsumeMetrics annotates a batch.
func (p *metricsProcessor) ConsumeMetrics(ctx context.Context, md pmetric.Metrics) error {
	return p.pipeline.consume(ctx, md, p.Metrics.ConsumeMetrics)
}

func (f *factory) createMetrics(
	ctx context.Context, set processor.Settings, cfg component.Config, next consumer.Metrics,
) (processor.Metrics, error) {
	p, err := newPipeline(f, set, cfg, signalMetrics, telemetry[pmetric.Metrics](metrics{cfg.(*Config)}), next.ConsumeMetrics)
	if err != nil {
		return nil, err
	}
	helper, err := processorhelper.NewMetrics(ctx, set, cfg, next, p.process, p.options()...)
	if err != nil {
		p.release()
		return nil, err
	}
	return &metricsProcessor{helper, p}, nil
}

// tracesProcessor is the processor of a traces pipeline: the helper, and what is before
// it.
type tracesProcessor struct {
	processor.Traces
	pipeline *pipeline[ptrace.Traces]
}

// ConsumeTraces annotates a batch.
func (p *tracesProcessor) ConsumeTraces(ctx context.Context, td ptrace.Traces) error {
	return p.pipeline.consume(ctx, td, p.Traces.ConsumeTraces)
}

func (f *factory) createTraces(
	ctx context.Context, set processor.Settings, cfg component.Config, next consumer.Traces,
) (processor.Traces, error) {
	p, err := newPipeline(f, set, cfg, signalTraces, telemetry[ptrace.Traces](traces{}), next.ConsumeTraces)
	if err != nil {
		return nil, err
	}
	helper, err := processorhelper.NewTraces(ctx, set, cfg, next, p.process, p.options()...)
	if err != nil {
		p.release()
		return nil, err
	}
	return &tracesProcessor{helper, p}, nil
}
