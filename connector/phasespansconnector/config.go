// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phasespansconnector

import (
	"errors"
	"slices"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/confmap"

	"github.com/phaseattr/phaseattr/internal/option"
)

// Config is the configuration of the connector.
type Config struct {
	// Root says which phases are units of work, each with a trace of its own.
	Root RootConfig `mapstructure:"root"`

	// ServiceName is the service.name of spans whose resource has none. Default: training.
	ServiceName string `mapstructure:"service_name"`

	// RecordAttributes lists the attributes of boundary records that their spans get too.
	// Default: [host, pid, device_id].
	RecordAttributes []string `mapstructure:"record_attributes"`

	// ScopeAttributes lists keys of the phases' own attributes, such as epoch or step,
	// that their spans get too. Default: none.
	ScopeAttributes []string `mapstructure:"scope_attributes"`

	// SessionAttribute is the attribute of boundary records that holds the session ID.
	// Default: session_id.
	SessionAttribute string `mapstructure:"session_attribute"`

	// RankAttribute is the attribute of boundary records that holds the rank.
	// Default: rank.
	RankAttribute string `mapstructure:"rank_attribute"`

	// ProcessTimeout is how long after its last event arrived a process counts as ended if
	// it sent no stop event. Default: 15m.
	ProcessTimeout time.Duration `mapstructure:"process_timeout"`

	// Limits bounds what is kept.
	Limits LimitsConfig `mapstructure:"limits"`

	// prevent unkeyed literal initialization
	_ struct{}
}

// RootConfig says which phases are units of work. A phase inside a unit belongs to the
// unit's trace; one outside of all units has a trace of its own.
type RootConfig struct {
	// Depth is the number of elements of a unit's path: 2 for train / step. Default: 2.
	Depth int `mapstructure:"depth"`

	// Name is the name of the phase that is a unit; of nested ones, the outermost. Paths
	// without it are divided by depth. Default: none.
	Name string `mapstructure:"name"`

	_ struct{}
}

// LimitsConfig bounds what is kept.
type LimitsConfig struct {
	// MaxProcesses bounds the processes that are known, and the threads whose previous
	// units are. Beyond it, those that were silent for longest are forgotten.
	// Default: 20000.
	MaxProcesses int `mapstructure:"max_processes"`

	// MaxOpenScopes bounds the phases of all processes that were entered and not exited.
	// Further ones get spans only when they are exited. Default: 100000.
	MaxOpenScopes int `mapstructure:"max_open_scopes"`

	// MaxScopeDepth bounds the elements of a boundary's path. A boundary beyond it is
	// skipped. Default: 64.
	MaxScopeDepth int `mapstructure:"max_scope_depth"`

	// MaxLabelBytes bounds the length of a path's label. A boundary beyond it is skipped.
	// Default: 1024.
	MaxLabelBytes int `mapstructure:"max_label_bytes"`

	// MaxTextBytes bounds the length of a session ID, a scope ID, a thread name and a
	// phase name. A boundary beyond it is skipped. Default: 256.
	MaxTextBytes int `mapstructure:"max_text_bytes"`

	_ struct{}
}

func createDefaultConfig() component.Config {
	return &Config{
		Root:             RootConfig{Depth: 2},
		ServiceName:      "training",
		RecordAttributes: []string{"host", "pid", "device_id"},
		SessionAttribute: "session_id",
		RankAttribute:    "rank",
		ProcessTimeout:   15 * time.Minute,
		Limits: LimitsConfig{
			MaxProcesses:  20_000,
			MaxOpenScopes: 100_000,
			MaxScopeDepth: 64,
			MaxLabelBytes: 1024,
			MaxTextBytes:  256,
		},
	}
}

var (
	_ confmap.Unmarshaler = (*Config)(nil)
	_ confmap.Validator   = (*Config)(nil)
)

// Unmarshal rejects a malformed duration, whose value the Collector's error does not name,
// and a number, which it reads as nanoseconds.
func (cfg *Config) Unmarshal(conf *confmap.Conf) error {
	return option.Unmarshal(conf, cfg, "process_timeout")
}

// Validate returns every problem, each with the YAML key and the value, in the order of
// the configuration.
func (cfg *Config) Validate() error {
	limits := &cfg.Limits
	return errors.Join(
		option.Positive("root::depth", cfg.Root.Depth),
		option.NotBlank("service_name", cfg.ServiceName),
		keys("record_attributes", cfg.RecordAttributes),
		keys("scope_attributes", cfg.ScopeAttributes),
		option.NotBlank("session_attribute", cfg.SessionAttribute),
		option.NotBlank("rank_attribute", cfg.RankAttribute),
		option.Checkf(cfg.RankAttribute != cfg.SessionAttribute, "rank_attribute must not be the session_attribute (got %q)", cfg.RankAttribute),
		option.Positive("process_timeout", cfg.ProcessTimeout),
		option.Positive("limits::max_processes", limits.MaxProcesses),
		option.Positive("limits::max_open_scopes", limits.MaxOpenScopes),
		option.Positive("limits::max_scope_depth", limits.MaxScopeDepth),
		option.Positive("limits::max_label_bytes", limits.MaxLabelBytes),
		option.Positive("limits::max_text_bytes", limits.MaxTextBytes),
	)
}

func keys(name string, values []string) error {
	var errs []error
	for i, key := range values {
		errs = append(errs,
			option.NotBlank(name, key),
			option.Checkf(!slices.Contains(values[:i], key), "%s must name each key once (got %q twice)", name, key),
			option.Checkf(!slices.Contains(ownAttributes(), key), "%s must not name one of the connector's own attributes (got %q)", name, key))
	}
	return errors.Join(errs...)
}
