// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/confmap"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/annotate"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/policy"
)

// Config is the configuration of the processor.
type Config struct {
	// Attributes lists the attributes that are written to telemetry that was in a phase.
	// Default: [phase_resolution, phase_path].
	Attributes []Attribute `mapstructure:"attributes"`

	// ScopeAttributes lists keys of the phases' own attributes (such as epoch or split)
	// that are written too, under the same keys. Each value comes from the matching scope
	// or from its nearest ancestor that has the key. Default: none.
	ScopeAttributes []string `mapstructure:"scope_attributes"`

	// Boundaries says whether boundary records are forwarded (keep) or removed once
	// they have been read (drop). Default: keep.
	Boundaries BoundaryMode `mapstructure:"boundaries"`

	// Cumulative says whether cumulative sums, histograms and summaries keep their
	// attributes (skip) or are annotated as of their time (annotate). A counter whose
	// attributes change with every phase becomes several broken counters. Default: skip.
	Cumulative CumulativeMode `mapstructure:"cumulative"`

	// Split divides delta points by phase.
	Split SplitConfig `mapstructure:"split"`

	// Repair repairs the effects of lost boundaries, using the parent and the path in
	// every boundary. Without it, one lost exit spoils the results of a thread until its
	// session ends. Default: true.
	Repair bool `mapstructure:"repair"`

	// Threads chooses the threads whose phases count if several are in phases.
	// Default: all, so that the result is ambiguous.
	Threads ThreadsConfig `mapstructure:"threads"`

	// Metrics chooses the metrics whose data points are annotated. Default: all.
	Metrics MetricsConfig `mapstructure:"metrics"`

	// SessionAttribute is the attribute that holds the session ID, in boundary records
	// and in telemetry. Default: session_id.
	SessionAttribute string `mapstructure:"session_attribute"`

	// RankAttribute is the attribute that holds the rank; a boundary record without it
	// belongs to rank 0. Default: rank.
	RankAttribute string `mapstructure:"rank_attribute"`

	// Association lists the rules that associate telemetry with ranks; the first one that
	// finds a single live rank applies. Default: session and rank, then process, pod, job and
	// device.
	Association []AssociationRule `mapstructure:"association"`

	// DeviceMap maps devices to local ranks, on hosts where CUDA_VISIBLE_DEVICES or MIG
	// renumbers them. Default: none.
	DeviceMap []DeviceMapping `mapstructure:"device_map"`

	// Window is how much event time is kept, counted back from the newest event of each
	// rank. Open scopes are kept regardless of their age. Default: 10m.
	Window time.Duration `mapstructure:"window"`

	// SessionTimeout is how long after its last event arrived a session counts as ended
	// if it sent no stop event. Default: 15m.
	SessionTimeout time.Duration `mapstructure:"session_timeout"`

	// Grace lets telemetry wait for boundaries that may still be on their way.
	Grace GraceConfig `mapstructure:"grace"`

	// Limits bounds what is kept.
	Limits LimitsConfig `mapstructure:"limits"`

	// Storage is the storage extension that keeps the index across restarts.
	// Default: none.
	Storage *component.ID `mapstructure:"storage"`

	// prevent unkeyed literal initialization
	_ struct{}
}

// SplitConfig says whether, and how far, delta points are divided by phase.
type SplitConfig struct {
	// Enabled divides each data point of a delta sum or a delta histogram into one per
	// phase that its interval spans, each with its share of the value by time.
	// Default: false.
	Enabled bool `mapstructure:"enabled"`

	// MaxParts bounds the parts of a data point. A point that would have more stays
	// whole. Default: 1000.
	MaxParts int `mapstructure:"max_parts"`

	// MaxPointsPerBatch bounds the data points that splitting adds to a batch. Later
	// points of the batch stay whole. Default: 10000.
	MaxPointsPerBatch int `mapstructure:"max_points_per_batch"`

	_ struct{}
}

// GraceConfig says how long, and how much, telemetry waits for its boundaries.
type GraceConfig struct {
	// Period is how long telemetry of a live rank waits, at most, for the rank's events
	// to reach its time. Metrics of a session, process or device that is not known yet
	// wait once, for this long but no more than 5s. 0 annotates at once. Default: 5s.
	Period time.Duration `mapstructure:"period"`

	// MaxBytes bounds the memory of waiting telemetry, in bytes on the heap. At the bound,
	// the oldest is forwarded early. Default: 268435456 (256 MiB).
	MaxBytes int `mapstructure:"max_bytes"`

	// MaxBatches bounds the batches, or parts of batches, that wait. At the bound, the
	// oldest is forwarded early. Default: 10000.
	MaxBatches int `mapstructure:"max_batches"`

	_ struct{}
}

// LimitsConfig bounds what is kept, and what is written.
type LimitsConfig struct {
	// MaxRanks bounds the ranks of all sessions. A new rank beyond it is refused.
	// Default: 20000.
	MaxRanks int `mapstructure:"max_ranks"`

	// MaxThreadsPerRank bounds the threads of a rank that have open scopes or boundaries
	// in the window. A new thread beyond it is refused. Default: 256.
	MaxThreadsPerRank int `mapstructure:"max_threads_per_rank"`

	// MaxOpenScopesPerThread bounds the open scopes of a thread. An enter beyond it is
	// refused. Default: 1024.
	MaxOpenScopesPerThread int `mapstructure:"max_open_scopes_per_thread"`

	// MaxBoundariesPerRank bounds the boundaries in the window of one rank. Beyond it the
	// rank's oldest are evicted. Default: 100000.
	MaxBoundariesPerRank int `mapstructure:"max_boundaries_per_rank"`

	// MaxBoundaries bounds the boundaries in the windows of all ranks together. Beyond it
	// the oldest of the rank that adds one are evicted. Default: 6000000.
	MaxBoundaries int `mapstructure:"max_boundaries"`

	// MaxScopeDepth bounds the elements of a boundary's path. A boundary beyond it is
	// refused. Default: 64.
	MaxScopeDepth int `mapstructure:"max_scope_depth"`

	// MaxLabelBytes bounds the length of a path's label. A boundary beyond it is refused.
	// Default: 1024.
	MaxLabelBytes int `mapstructure:"max_label_bytes"`

	// MaxTextBytes bounds the length of a session ID, a scope ID, a thread name and a
	// phase name. A boundary beyond it is refused. Default: 256.
	MaxTextBytes int `mapstructure:"max_text_bytes"`

	// MaxPaths bounds the different paths that are written to data points within a
	// window. Beyond it, data points get the path "other". Default: 1000.
	MaxPaths int `mapstructure:"max_paths"`

	_ struct{}
}

// ThreadsConfig chooses threads by patterns of their names: * stands for any text, ?
// for one character, [a-z] for a range.
type ThreadsConfig struct {
	// Prefer lists the threads that decide alone: the first pattern that matches a thread
	// in a phase wins. Default: none.
	Prefer []string `mapstructure:"prefer"`

	// Ignore lists the threads that are ignored. Default: none.
	Ignore []string `mapstructure:"ignore"`

	_ struct{}
}

// MetricsConfig chooses metrics by patterns of their names, like those of threads.
type MetricsConfig struct {
	// Include lists the metrics that are annotated. Default: all.
	Include []string `mapstructure:"include"`

	// Exclude lists the metrics that are not annotated, even if included. Default: none.
	Exclude []string `mapstructure:"exclude"`

	// TruncatePaths truncates the paths on data points to at most this many elements, so
	// that fewer series are stored. Logs and spans keep whole paths. 0 truncates none.
	// Default: 0.
	TruncatePaths int `mapstructure:"truncate_paths"`

	_ struct{}
}

// includes reports whether a metric's data points are annotated.
func (cfg *MetricsConfig) includes(name string) bool {
	matches := func(pattern string) bool { return policy.Matches(pattern, name) }
	return (len(cfg.Include) == 0 || slices.ContainsFunc(cfg.Include, matches)) &&
		!slices.ContainsFunc(cfg.Exclude, matches)
}

func createDefaultConfig() component.Config {
	return &Config{
		Attributes:       []Attribute{"phase_resolution", "phase_path"},
		Boundaries:       BoundariesKeep,
		Cumulative:       CumulativeSkip,
		Split:            SplitConfig{MaxParts: 1000, MaxPointsPerBatch: 10_000},
		Repair:           true,
		SessionAttribute: "session_id",
		RankAttribute:    "rank",
		Window:           10 * time.Minute,
		SessionTimeout:   15 * time.Minute,
		Grace:            GraceConfig{Period: 5 * time.Second, MaxBytes: 256 << 20, MaxBatches: 10_000},
		Limits: LimitsConfig{
			MaxRanks:               20_000,
			MaxThreadsPerRank:      256,
			MaxOpenScopesPerThread: 1024,
			MaxBoundariesPerRank:   100_000,
			MaxBoundaries:          6_000_000,
			MaxScopeDepth:          64,
			MaxLabelBytes:          1024,
			MaxTextBytes:           256,
			MaxPaths:               1000,
		},
	}
}

var (
	_ confmap.Unmarshaler = (*Config)(nil)
	_ confmap.Validator   = (*Config)(nil)
)

// Unmarshal rejects malformed durations, whose values the Collector's errors do not name,
// and numbers, which it reads as nanoseconds.
func (cfg *Config) Unmarshal(conf *confmap.Conf) error {
	return unmarshal(conf, cfg, "window", "session_timeout", "grace::period")
}

func unmarshal(conf *confmap.Conf, into any, durations ...string) error {
	var errs []error
	for _, key := range durations {
		value := conf.Get(key)
		if value == nil {
			continue
		}
		if _, err := time.ParseDuration(fmt.Sprint(value)); err != nil {
			errs = append(errs, fmt.Errorf("%s must be a duration with a unit, such as 10s (got %#v)", key, value))
			conf.Delete(key) // or the Collector reports it again
		}
	}
	return errors.Join(append(errs, conf.Unmarshal(into))...)
}

// Validate returns every problem, each with the YAML key and the value, in the order of
// the configuration.
func (cfg *Config) Validate() error {
	grace, limits := &cfg.Grace, &cfg.Limits
	return errors.Join(
		cfg.validateAttributes(),
		cfg.validateScopeAttributes(),
		keyed("boundaries", oneOf(cfg.Boundaries, boundaryModes())),
		keyed("cumulative", oneOf(cfg.Cumulative, cumulativeModes())),
		positive("split::max_parts", cfg.Split.MaxParts),
		positive("split::max_points_per_batch", cfg.Split.MaxPointsPerBatch),
		patterns("threads::prefer", cfg.Threads.Prefer),
		patterns("threads::ignore", cfg.Threads.Ignore),
		patterns("metrics::include", cfg.Metrics.Include),
		patterns("metrics::exclude", cfg.Metrics.Exclude),
		notNegative("metrics::truncate_paths", cfg.Metrics.TruncatePaths),
		notBlank("session_attribute", cfg.SessionAttribute),
		notBlank("rank_attribute", cfg.RankAttribute),
		checkf(cfg.RankAttribute != cfg.SessionAttribute, "rank_attribute must not be the session_attribute (got %q)", cfg.RankAttribute),
		cfg.validateAssociation(),
		cfg.validateDeviceMap(),
		positive("window", cfg.Window),
		positive("session_timeout", cfg.SessionTimeout),
		notNegative("grace::period", grace.Period),
		checkf(grace.Period < cfg.Window || cfg.Window <= 0, "grace::period must be shorter than window, %s (got %s)", cfg.Window, grace.Period),
		positive("grace::max_bytes", grace.MaxBytes),
		positive("grace::max_batches", grace.MaxBatches),
		positive("limits::max_ranks", limits.MaxRanks),
		positive("limits::max_threads_per_rank", limits.MaxThreadsPerRank),
		positive("limits::max_open_scopes_per_thread", limits.MaxOpenScopesPerThread),
		positive("limits::max_boundaries_per_rank", limits.MaxBoundariesPerRank),
		checkf(limits.MaxBoundariesPerRank <= limits.MaxBoundaries || limits.MaxBoundaries <= 0,
			"limits::max_boundaries_per_rank must not exceed limits::max_boundaries, %d (got %d)",
			limits.MaxBoundaries, limits.MaxBoundariesPerRank),
		positive("limits::max_boundaries", limits.MaxBoundaries),
		positive("limits::max_scope_depth", limits.MaxScopeDepth),
		positive("limits::max_label_bytes", limits.MaxLabelBytes),
		positive("limits::max_text_bytes", limits.MaxTextBytes),
		positive("limits::max_paths", limits.MaxPaths),
	)
}

func (cfg *Config) validateAttributes() error {
	errs := []error{checkf(len(cfg.Attributes)+len(cfg.ScopeAttributes) > 0, "attributes must name at least one attribute (got [])")}
	for i, name := range cfg.Attributes {
		errs = append(errs,
			keyed("attributes", oneOf(name, attributeNames())),
			checkf(!slices.Contains(cfg.Attributes[:i], name), "attributes must name each attribute once (got %q twice)", name))
	}
	return errors.Join(errs...)
}

func (cfg *Config) validateScopeAttributes() error {
	var errs []error
	for i, key := range cfg.ScopeAttributes {
		errs = append(errs,
			notBlank("scope_attributes", key),
			checkf(!slices.Contains(cfg.ScopeAttributes[:i], key), "scope_attributes must name each key once (got %q twice)", key),
			checkf(!slices.Contains(attributeNames(), Attribute(key)),
				"scope_attributes must not name one of the processor's own attributes (got %q)", key),
			checkf(key != cfg.SessionAttribute, "scope_attributes must not name the session_attribute (got %q)", key),
			checkf(key != cfg.RankAttribute, "scope_attributes must not name the rank_attribute (got %q)", key))
	}
	return errors.Join(errs...)
}

// checkf returns an error unless ok.
func checkf(ok bool, format string, args ...any) error {
	if ok {
		return nil
	}
	return fmt.Errorf(format, args...)
}

func positive[T int | time.Duration](key string, value T) error {
	return checkf(value > 0, "%s must be positive (got %v)", key, value)
}

func notNegative[T int | time.Duration](key string, value T) error {
	return checkf(value >= 0, "%s must not be negative (got %v)", key, value)
}

func notBlank(key, value string) error {
	return checkf(strings.TrimSpace(value) != "", "%s must not be blank (got %q)", key, value)
}

func patterns(key string, values []string) error {
	var errs []error
	for _, value := range values {
		errs = append(errs, checkf(policy.ValidPattern(value), "%s must list valid patterns (got %q)", key, value))
	}
	return errors.Join(errs...)
}

// oneOf returns an error, without the key, unless a value is allowed.
func oneOf[T ~string](value T, allowed []T) error {
	var names []string
	for _, name := range allowed {
		if name == value {
			return nil
		}
		names = append(names, string(name))
	}
	return fmt.Errorf("must be one of %s (got %q)", strings.Join(names, ", "), value)
}

func keyed(key string, err error) error {
	if err != nil {
		err = fmt.Errorf("%s %w", key, err)
	}
	return err
}

// Attribute is the name of an attribute that is written to annotated telemetry.
type Attribute string

func attributeNames() []Attribute { return annotate.Names[Attribute]() }

// UnmarshalText accepts the names of the attributes that can be written.
func (a *Attribute) UnmarshalText(text []byte) error {
	*a = Attribute(text)
	return oneOf(*a, attributeNames())
}

// BoundaryMode says what happens to boundary records once they have been read.
type BoundaryMode string

const (
	// BoundariesKeep forwards boundary records.
	BoundariesKeep BoundaryMode = "keep"
	// BoundariesDrop removes boundary records.
	BoundariesDrop BoundaryMode = "drop"
)

func boundaryModes() []BoundaryMode { return []BoundaryMode{BoundariesKeep, BoundariesDrop} }

// UnmarshalText accepts keep and drop.
func (m *BoundaryMode) UnmarshalText(text []byte) error {
	*m = BoundaryMode(text)
	return oneOf(*m, boundaryModes())
}

// CumulativeMode says what happens to cumulative data points.
type CumulativeMode string

const (
	// CumulativeSkip leaves cumulative data points unchanged.
	CumulativeSkip CumulativeMode = "skip"
	// CumulativeAnnotate annotates cumulative data points as of their time.
	CumulativeAnnotate CumulativeMode = "annotate"
)

func cumulativeModes() []CumulativeMode { return []CumulativeMode{CumulativeSkip, CumulativeAnnotate} }

// UnmarshalText accepts skip and annotate.
func (m *CumulativeMode) UnmarshalText(text []byte) error {
	*m = CumulativeMode(text)
	return oneOf(*m, cumulativeModes())
}
