// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

// Package pipeline runs phase_attr without a collector around it.
package pipeline

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"github.com/open-telemetry/opentelemetry-collector-contrib/extension/storage/filestorage"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/extension"
	"go.opentelemetry.io/collector/extension/extensiontest"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/processor"
	"go.opentelemetry.io/collector/processor/processortest"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor"
)

// Pipelines are phase_attr's processors for logs and metrics, started.
type Pipelines struct {
	Logs    processor.Logs
	Metrics processor.Metrics

	storage extension.Extension
}

// Options say how phase_attr runs.
type Options struct {
	// Config is its configuration, as in YAML.
	Config map[string]any
	// Storage is a folder that it keeps its index in, by way of file_storage. Empty is none.
	Storage string
	// Next takes what it passes on.
	Next interface {
		consumer.Logs
		consumer.Metrics
	}
}

// Start makes and starts the processors.
func Start(ctx context.Context, o Options) (*Pipelines, error) {
	p := &Pipelines{}
	config := maps.Clone(o.Config)
	host := host{}
	if o.Storage != "" {
		factory := filestorage.NewFactory()
		cfg := factory.CreateDefaultConfig().(*filestorage.Config)
		cfg.Directory = o.Storage
		var err error
		if p.storage, err = factory.Create(ctx, extensiontest.NewNopSettings(factory.Type()), cfg); err != nil {
			return nil, fmt.Errorf("make the storage: %w", err)
		}
		if err := p.storage.Start(ctx, host); err != nil {
			return nil, fmt.Errorf("start the storage: %w", err)
		}
		id := component.NewID(factory.Type())
		host[id] = p.storage
		config["storage"] = id.String()
	}

	factory := phaseattrprocessor.NewFactory()
	set, cfg, err := Configure(factory, config)
	if err != nil {
		return nil, err
	}
	var errs [2]error
	p.Logs, errs[0] = factory.CreateLogs(ctx, set, cfg, o.Next)
	p.Metrics, errs[1] = factory.CreateMetrics(ctx, set, cfg, o.Next)
	if err = errors.Join(errs[:]...); err != nil {
		return nil, fmt.Errorf("make the processors: %w", err)
	}
	return p, errors.Join(p.Logs.Start(ctx, host), p.Metrics.Start(ctx, host))
}

// Configure returns what a processor of a factory is made of, from its configuration as
// in YAML.
func Configure(factory processor.Factory, config map[string]any) (processor.Settings, component.Config, error) {
	set, cfg := processortest.NewNopSettings(factory.Type()), factory.CreateDefaultConfig()
	// A running collector counts what its processors do.
	set.MeterProvider = sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader()))
	if err := confmap.NewFromStringMap(config).Unmarshal(cfg); err != nil {
		return set, nil, fmt.Errorf("configure %s: %w", factory.Type(), err)
	}
	if err := confmap.Validate(cfg); err != nil {
		return set, nil, fmt.Errorf("configure %s: %w", factory.Type(), err)
	}
	return set, cfg, nil
}

// Clone copies a batch for the processors, which change what they are handed.
func Clone(batch plog.Logs) plog.Logs {
	own := plog.NewLogs()
	batch.CopyTo(own)
	return own
}

// Shutdown stops the processors, and their storage.
func (p *Pipelines) Shutdown(ctx context.Context) error {
	err := errors.Join(p.Logs.Shutdown(ctx), p.Metrics.Shutdown(ctx))
	if p.storage != nil {
		err = errors.Join(err, p.storage.Shutdown(ctx))
	}
	return err
}

// host is a collector that has nothing but extensions.
type host map[component.ID]component.Component

// GetExtensions returns them.
func (h host) GetExtensions() map[component.ID]component.Component { return h }
