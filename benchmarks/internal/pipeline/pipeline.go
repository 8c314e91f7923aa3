// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

// Package pipeline runs phase_attr without a collector.
package pipeline

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"

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

// Pipelines are the started processors for logs and metrics.
type Pipelines struct {
	Logs    processor.Logs
	Metrics processor.Metrics

	storage extension.Extension
}

// Options configure the pipelines.
type Options struct {
	// Config is the configuration of phase_attr, as in YAML.
	Config map[string]any
	// Storage is the directory of a file_storage for the index. Default: no storage.
	Storage string
	// Next is the next consumer.
	Next interface {
		consumer.Logs
		consumer.Metrics
	}
}

// Start creates and starts the processors.
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
			return nil, fmt.Errorf("create the storage: %w", err)
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
		return nil, fmt.Errorf("create the processors: %w", err)
	}
	return p, errors.Join(p.Logs.Start(ctx, host), p.Metrics.Start(ctx, host))
}

// Configure returns the settings and the configuration for a factory, from a configuration
// as in YAML.
func Configure(factory processor.Factory, config map[string]any) (processor.Settings, component.Config, error) {
	set, cfg := processortest.NewNopSettings(factory.Type()), factory.CreateDefaultConfig()
	// As in a collector, the processor's own metrics are recorded.
	set.MeterProvider = sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader()))
	if err := confmap.NewFromStringMap(config).Unmarshal(cfg); err != nil {
		return set, nil, fmt.Errorf("configure %s: %w", factory.Type(), err)
	}
	if err := confmap.Validate(cfg); err != nil {
		return set, nil, fmt.Errorf("configure %s: %w", factory.Type(), err)
	}
	return set, cfg, nil
}

// Key returns the key of an option by its last part, so that a configuration suits
// versions that nest it differently.
func Key(factory processor.Factory, name string) (string, error) {
	defaults := confmap.New()
	if err := defaults.Marshal(factory.CreateDefaultConfig()); err != nil {
		return "", fmt.Errorf("list the options of %s: %w", factory.Type(), err)
	}
	for _, key := range defaults.AllKeys() {
		if key == name || strings.HasSuffix(key, confmap.KeyDelimiter+name) {
			return key, nil
		}
	}
	return "", fmt.Errorf("%s has no option %q", factory.Type(), name)
}

// Clone copies a batch for the processors, which modify their input.
func Clone(batch plog.Logs) plog.Logs {
	own := plog.NewLogs()
	batch.CopyTo(own)
	return own
}

// Shutdown stops the processors and their storage.
func (p *Pipelines) Shutdown(ctx context.Context) error {
	err := errors.Join(p.Logs.Shutdown(ctx), p.Metrics.Shutdown(ctx))
	if p.storage != nil {
		err = errors.Join(err, p.storage.Shutdown(ctx))
	}
	return err
}

// host is a collector that has only extensions.
type host map[component.ID]component.Component

// GetExtensions returns the extensions.
func (h host) GetExtensions() map[component.ID]component.Component { return h }
