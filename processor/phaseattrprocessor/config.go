// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"errors"
	"slices"
	"strings"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/confmap"

	"github.com/phaseattr/phaseattr/internal/option"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/annotate"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/policy"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/source"
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

	// Sources lists what the phases are read from: the records of stormlog, the spans of
	// Megatron-LM, of NeMo-RL or of any program, the records of TorchTitan. Default: stormlog.
	Sources []SourceConfig `mapstructure:"sources"`

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

	// MetadataKeys lists keys of the client metadata, such as X-Scope-OrgID, whose values tell
	// tenants apart. Each tenant has sessions and places of its own: records of one never
	// answer for, end or take over those of another. Default: none, for one tenant.
	MetadataKeys []string `mapstructure:"metadata_keys"`

	// MetadataCardinalityLimit bounds the tenants. The boundaries of one beyond it are
	// refused, and its telemetry gets no phase. Default: 1000.
	MetadataCardinalityLimit int `mapstructure:"metadata_cardinality_limit"`

	// DefaultTenant is the tenant of telemetry that has none of the metadata keys, as that of
	// receivers that read files or scrape: the value of the key. Those of several keys are
	// joined by "/". Default: one of its own.
	DefaultTenant string `mapstructure:"default_tenant"`

	// DeviceMap maps devices to local ranks, on hosts where CUDA_VISIBLE_DEVICES or MIG
	// renumbers them. Default: none.
	DeviceMap []DeviceMapping `mapstructure:"device_map"`

	// Window is how much event time is kept, counted back from the newest event of each
	// rank. Open scopes are kept regardless of their age. Default: 10m.
	Window time.Duration `mapstructure:"window"`

	// SessionTimeout is how long after its last event arrived a session counts as ended
	// if it sent no stop event. Default: 15m.
	SessionTimeout time.Duration `mapstructure:"session_timeout"`

	// MaxFuture is how far ahead of the collector's clock, at its arrival, an event may be
	// dated. One that is dated further ahead takes no part. Default: 10m.
	MaxFuture time.Duration `mapstructure:"max_future"`

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
	// MaxRanks bounds the ranks of all sessions that have sent a boundary or a start event.
	// At the bound, those that have ended make room; without any, a new rank is refused.
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
	// the oldest of the rank that takes most are evicted. Default: 6000000.
	MaxBoundaries int `mapstructure:"max_boundaries"`

	// Memory bounds what the index takes, in bytes on the heap. Beyond it the oldest
	// boundaries are evicted of the rank that takes most. Default: 738197504 (704 MiB).
	Memory int `mapstructure:"memory"`

	// MemoryPerRank bounds what one rank takes, in bytes on the heap. Beyond it the rank's
	// oldest boundaries are evicted; without any, its boundaries are refused.
	// Default: 33554432 (32 MiB).
	MemoryPerRank int `mapstructure:"memory_per_rank"`

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
	// window. Beyond it, data points get the path "other", first those of sessions with more
	// than an equal share. Default: 1000.
	MaxPaths int `mapstructure:"max_paths"`

	// MaxStreams bounds the streams of each metrics pipeline whose series are ended. The
	// series of others are not. A stream that has had no data point for a window is
	// forgotten. Default: 200000.
	MaxStreams int `mapstructure:"max_streams"`

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

	// Mode says whether the phase is written to the data points (labels), or they are left
	// unchanged and each device gets a gauge phase.active instead (info), to join with;
	// cumulative, split and end_series have no effect then. Default: labels.
	Mode MetricsMode `mapstructure:"mode"`

	// EndSeries ends the series of a gauge or an UpDownCounter when its phase changes: it
	// gets a last point, flagged as having no recorded value. Otherwise Prometheus shows it
	// for five more minutes. phase.active always ends like that. Default: false.
	EndSeries bool `mapstructure:"end_series"`

	_ struct{}
}

// includes reports whether a metric's data points are annotated.
func (cfg *MetricsConfig) includes(name string) bool {
	matches := func(pattern string) bool { return policy.Matches(pattern, name) }
	return (len(cfg.Include) == 0 || slices.ContainsFunc(cfg.Include, matches)) &&
		!slices.ContainsFunc(cfg.Exclude, matches)
}

// ends reports whether series are ended.
func (cfg *MetricsConfig) ends() bool { return cfg.EndSeries || cfg.Mode == ModeInfo }

func createDefaultConfig() component.Config {
	return &Config{
		Attributes:       []Attribute{"phase_resolution", "phase_path"},
		Boundaries:       BoundariesKeep,
		Cumulative:       CumulativeSkip,
		Split:            SplitConfig{MaxParts: 1000, MaxPointsPerBatch: 10_000},
		Repair:           true,
		Metrics:          MetricsConfig{Mode: ModeLabels},
		Sources:          []SourceConfig{{Preset: source.Stormlog}},
		SessionAttribute: "session_id",
		RankAttribute:    "rank",

		MetadataCardinalityLimit: 1000,

		Window:         10 * time.Minute,
		SessionTimeout: 15 * time.Minute,
		MaxFuture:      10 * time.Minute,
		Grace:          GraceConfig{Period: 5 * time.Second, MaxBytes: 256 << 20, MaxBatches: 10_000},
		Limits: LimitsConfig{
			MaxRanks:               20_000,
			MaxThreadsPerRank:      256,
			MaxOpenScopesPerThread: 1024,
			MaxBoundariesPerRank:   100_000,
			MaxBoundaries:          6_000_000,
			Memory:                 704 << 20,
			MemoryPerRank:          32 << 20,
			MaxScopeDepth:          64,
			MaxLabelBytes:          1024,
			MaxTextBytes:           256,
			MaxPaths:               1000,
			MaxStreams:             200_000,
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
	return option.Unmarshal(conf, cfg, "window", "session_timeout", "max_future", "grace::period")
}

// Validate returns every problem, each with the YAML key and the value, in the order of
// the configuration.
func (cfg *Config) Validate() error {
	grace, limits := &cfg.Grace, &cfg.Limits
	return errors.Join(
		cfg.validateAttributes(),
		cfg.validateScopeAttributes(),
		option.Keyed("boundaries", option.OneOf(cfg.Boundaries, boundaryModes())),
		option.Keyed("cumulative", option.OneOf(cfg.Cumulative, cumulativeModes())),
		option.Positive("split::max_parts", cfg.Split.MaxParts),
		option.Positive("split::max_points_per_batch", cfg.Split.MaxPointsPerBatch),
		patterns("threads::prefer", cfg.Threads.Prefer),
		patterns("threads::ignore", cfg.Threads.Ignore),
		patterns("metrics::include", cfg.Metrics.Include),
		patterns("metrics::exclude", cfg.Metrics.Exclude),
		option.NotNegative("metrics::truncate_paths", cfg.Metrics.TruncatePaths),
		option.Keyed("metrics::mode", option.OneOf(cfg.Metrics.Mode, metricsModes())),
		cfg.validateSources(),
		option.NotBlank("session_attribute", cfg.SessionAttribute),
		option.NotBlank("rank_attribute", cfg.RankAttribute),
		option.Checkf(cfg.RankAttribute != cfg.SessionAttribute, "rank_attribute must not be the session_attribute (got %q)", cfg.RankAttribute),
		cfg.validateAssociation(),
		cfg.validateTenants(),
		cfg.validateDeviceMap(),
		option.Positive("window", cfg.Window),
		option.Positive("session_timeout", cfg.SessionTimeout),
		option.Positive("max_future", cfg.MaxFuture),
		option.NotNegative("grace::period", grace.Period),
		option.Checkf(grace.Period < cfg.Window || cfg.Window <= 0, "grace::period must be shorter than window, %s (got %s)", cfg.Window, grace.Period),
		option.Positive("grace::max_bytes", grace.MaxBytes),
		option.Positive("grace::max_batches", grace.MaxBatches),
		option.Positive("limits::max_ranks", limits.MaxRanks),
		option.Positive("limits::max_threads_per_rank", limits.MaxThreadsPerRank),
		option.Positive("limits::max_open_scopes_per_thread", limits.MaxOpenScopesPerThread),
		option.Positive("limits::max_boundaries_per_rank", limits.MaxBoundariesPerRank),
		option.Checkf(limits.MaxBoundariesPerRank <= limits.MaxBoundaries || limits.MaxBoundaries <= 0,
			"limits::max_boundaries_per_rank must not exceed limits::max_boundaries, %d (got %d)",
			limits.MaxBoundaries, limits.MaxBoundariesPerRank),
		option.Positive("limits::max_boundaries", limits.MaxBoundaries),
		option.Positive("limits::memory", limits.Memory),
		option.Positive("limits::memory_per_rank", limits.MemoryPerRank),
		option.Checkf(limits.MemoryPerRank <= limits.Memory || limits.Memory <= 0,
			"limits::memory_per_rank must not exceed limits::memory, %d (got %d)", limits.Memory, limits.MemoryPerRank),
		option.Positive("limits::max_scope_depth", limits.MaxScopeDepth),
		option.Positive("limits::max_label_bytes", limits.MaxLabelBytes),
		option.Positive("limits::max_text_bytes", limits.MaxTextBytes),
		option.Positive("limits::max_paths", limits.MaxPaths),
		option.Positive("limits::max_streams", limits.MaxStreams),
	)
}

func (cfg *Config) validateAttributes() error {
	errs := []error{option.Checkf(len(cfg.Attributes)+len(cfg.ScopeAttributes) > 0, "attributes must name at least one attribute (got [])")}
	for i, name := range cfg.Attributes {
		errs = append(errs,
			option.Keyed("attributes", option.OneOf(name, attributeNames())),
			option.Checkf(!slices.Contains(cfg.Attributes[:i], name), "attributes must name each attribute once (got %q twice)", name))
	}
	return errors.Join(errs...)
}

func (cfg *Config) validateScopeAttributes() error {
	var errs []error
	for i, key := range cfg.ScopeAttributes {
		errs = append(errs,
			option.NotBlank("scope_attributes", key),
			option.Checkf(!slices.Contains(cfg.ScopeAttributes[:i], key), "scope_attributes must name each key once (got %q twice)", key),
			option.Checkf(!slices.Contains(attributeNames(), Attribute(key)),
				"scope_attributes must not name one of the processor's own attributes (got %q)", key),
			option.Checkf(key != cfg.SessionAttribute, "scope_attributes must not name the session_attribute (got %q)", key),
			option.Checkf(key != cfg.RankAttribute, "scope_attributes must not name the rank_attribute (got %q)", key))
	}
	return errors.Join(errs...)
}

func (cfg *Config) validateTenants() error {
	var errs []error
	for i, key := range cfg.MetadataKeys {
		same := func(other string) bool { return strings.EqualFold(other, key) }
		errs = append(errs,
			option.NotBlank("metadata_keys", key),
			option.Checkf(!slices.ContainsFunc(cfg.MetadataKeys[:i], same), "metadata_keys must name each key once, in whatever case (got %q twice)", key))
	}
	return errors.Join(append(errs,
		option.Positive("metadata_cardinality_limit", cfg.MetadataCardinalityLimit),
		option.Checkf(cfg.DefaultTenant == "" || len(cfg.MetadataKeys) > 0, "default_tenant needs metadata_keys (got %q)", cfg.DefaultTenant),
	)...)
}

func patterns(key string, values []string) error {
	var errs []error
	for _, value := range values {
		errs = append(errs, option.Checkf(policy.ValidPattern(value), "%s must list valid patterns (got %q)", key, value))
	}
	return errors.Join(errs...)
}

// Attribute is the name of an attribute that is written to annotated telemetry.
type Attribute string

func attributeNames() []Attribute { return annotate.Names[Attribute]() }

// UnmarshalText accepts the names of the attributes that can be written.
func (a *Attribute) UnmarshalText(text []byte) error {
	*a = Attribute(text)
	return option.OneOf(*a, attributeNames())
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
	return option.OneOf(*m, boundaryModes())
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
	return option.OneOf(*m, cumulativeModes())
}

// MetricsMode says where the phase of data points is written.
type MetricsMode string

const (
	// ModeLabels writes it to the data points.
	ModeLabels MetricsMode = "labels"
	// ModeInfo writes it to a gauge, and leaves the data points unchanged.
	ModeInfo MetricsMode = "info"
)

func metricsModes() []MetricsMode { return []MetricsMode{ModeLabels, ModeInfo} }

// UnmarshalText accepts labels and info.
func (m *MetricsMode) UnmarshalText(text []byte) error {
	*m = MetricsMode(text)
	return option.OneOf(*m, metricsModes())
}
