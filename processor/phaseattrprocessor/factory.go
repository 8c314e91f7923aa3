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

// NewFactory returns the factory of the phase_attr processor. The instances that one
// factory makes for one component ID share their index; those of two factories
// share nothing.
func NewFactory() processor.Factory {
	f := &factory{states: map[*Config]*state{}}
	return processor.NewFactory(
		metadata.Type,
		createDefaultConfig,
		processor.WithLogs(f.createLogs, metadata.LogsStability),
		processor.WithMetrics(f.createMetrics, metadata.MetricsStability),
		processor.WithTraces(f.createTraces, metadata.TracesStability),
	)
}

// factory knows the states of the component IDs that are in use.
type factory struct {
	// mu guards states.
	mu sync.Mutex
	// states is keyed by the configuration: the Collector hands all pipelines of a
	// component ID the same one.
	states map[*Config]*state
}

// instance makes the instance of one pipeline, and the state if it is the first.
func (f *factory) instance(set processor.Settings, cfg component.Config) (*instance, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	config := cfg.(*Config)
	s, ok := f.states[config]
	if !ok {
		var err error
		if s, err = newState(set, config); err != nil {
			return nil, err
		}
	}
	p, err := newInstance(set, s, func() { f.release(s) })
	if err != nil {
		return nil, err
	}
	s.instances++
	f.states[config] = s
	return p, nil
}

// release counts an instance of a state less, and lets go of the state with the last.
func (f *factory) release(s *state) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s.instances--
	if s.instances == 0 {
		delete(f.states, s.config)
	}
}

func (f *factory) createLogs(
	ctx context.Context, set processor.Settings, cfg component.Config, next consumer.Logs,
) (processor.Logs, error) {
	p, err := f.instance(set, cfg)
	if err != nil {
		return nil, err
	}
	// The helper counts what goes in and out; all work is done before it, since what is
	// held goes on later.
	pass := func(_ context.Context, batch plog.Logs) (plog.Logs, error) { return batch, nil }
	helper, err := processorhelper.NewLogs(ctx, set, cfg, next, pass, p.options()...)
	if err != nil {
		return nil, err
	}
	return newLogsProcessor(p, helper), nil
}

func (f *factory) createMetrics(
	ctx context.Context, set processor.Settings, cfg component.Config, next consumer.Metrics,
) (processor.Metrics, error) {
	p, err := f.instance(set, cfg)
	if err != nil {
		return nil, err
	}
	// The helper counts what goes in and out; all work is done before it, since what is
	// held goes on later.
	pass := func(_ context.Context, batch pmetric.Metrics) (pmetric.Metrics, error) { return batch, nil }
	helper, err := processorhelper.NewMetrics(ctx, set, cfg, next, pass, p.options()...)
	if err != nil {
		return nil, err
	}
	return newMetricsProcessor(p, helper), nil
}

func (f *factory) createTraces(
	ctx context.Context, set processor.Settings, cfg component.Config, next consumer.Traces,
) (processor.Traces, error) {
	p, err := f.instance(set, cfg)
	if err != nil {
		return nil, err
	}
	// The helper counts what goes in and out; all work is done before it, since what is
	// held goes on later.
	pass := func(_ context.Context, batch ptrace.Traces) (ptrace.Traces, error) { return batch, nil }
	helper, err := processorhelper.NewTraces(ctx, set, cfg, next, pass, p.options()...)
	if err != nil {
		return nil, err
	}
	return newTracesProcessor(p, helper), nil
}
