// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/open-telemetry/opentelemetry-collector-contrib/processor/attributesprocessor"
	"github.com/open-telemetry/opentelemetry-collector-contrib/processor/k8sattributesprocessor"
	"github.com/open-telemetry/opentelemetry-collector-contrib/processor/transformprocessor"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/processor"

	"github.com/phaseattr/phaseattr/benchmarks/internal/pipeline"
)

// The two attributes that all contenders write, except the Kubernetes enricher.
const (
	keyResolution, unique = "phase_resolution", "unique"
	keyPath, constantPath = "phase_path", "train / step / forward"
)

// pipelines are the started processors of one configuration for the three signals. Their
// output is discarded.
type pipelines struct {
	name    string
	logs    processor.Logs
	metrics processor.Metrics
	traces  processor.Traces
}

// start creates and starts the processors of a factory with a configuration as in YAML.
func start(ctx context.Context, factory processor.Factory, config map[string]any) (*pipelines, error) {
	name := factory.Type().String()
	set, cfg, err := pipeline.Configure(factory, config)
	if err != nil {
		return nil, err
	}
	sink := consumertest.NewNop()
	var errs [3]error
	p := &pipelines{name: name}
	p.logs, errs[0] = factory.CreateLogs(ctx, set, cfg, sink)
	p.metrics, errs[1] = factory.CreateMetrics(ctx, set, cfg, sink)
	p.traces, errs[2] = factory.CreateTraces(ctx, set, cfg, sink)
	if err = errors.Join(errs[:]...); err != nil {
		return nil, fmt.Errorf("create %s: %w", name, err)
	}
	for _, c := range p.components() {
		if err := c.Start(ctx, componenttest.NewNopHost()); err != nil {
			return nil, fmt.Errorf("start %s: %w", name, err)
		}
	}
	return p, nil
}

func (p *pipelines) components() []component.Component {
	return []component.Component{p.logs, p.metrics, p.traces}
}

func (p *pipelines) shutdown(ctx context.Context) error {
	var errs []error
	for _, c := range p.components() {
		errs = append(errs, c.Shutdown(ctx))
	}
	return errors.Join(errs...)
}

// startPeers starts the processors that phase_attr is compared to.
func startPeers(ctx context.Context, c *cluster) ([]*pipelines, error) {
	if err := c.announce(); err != nil {
		return nil, err
	}
	upsert := func(key, value string) map[string]any {
		return map[string]any{"key": key, "value": value, "action": "upsert"}
	}
	set := func(record string) []any {
		return []any{
			fmt.Sprintf(`set(%s.attributes[%q], %q)`, record, keyResolution, unique),
			fmt.Sprintf(`set(%s.attributes[%q], %q)`, record, keyPath, constantPath),
		}
	}
	var all []*pipelines
	for _, peer := range []struct {
		factory processor.Factory
		config  map[string]any
	}{
		{attributesprocessor.NewFactory(), map[string]any{
			"actions": []any{upsert(keyResolution, unique), upsert(keyPath, constantPath)},
		}},
		{transformprocessor.NewFactory(), map[string]any{
			"metric_statements": set("datapoint"),
			"log_statements":    set("log"),
			"trace_statements":  set("span"),
		}},
		{k8sattributesprocessor.NewFactory(), map[string]any{
			"auth_type":         "kubeConfig",
			"wait_for_metadata": true,
			"extract":           map[string]any{"metadata": []any{keyPodName, keyNamespace}},
			"pod_association": []any{map[string]any{
				"sources": []any{map[string]any{"from": "resource_attribute", "name": "k8s.pod.ip"}},
			}},
		}},
	} {
		p, err := start(ctx, peer.factory, peer.config)
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	return all, nil
}

func shutdown(ctx context.Context, all []*pipelines) error {
	var errs []error
	for _, p := range all {
		errs = append(errs, p.shutdown(ctx))
	}
	return errors.Join(errs...)
}
