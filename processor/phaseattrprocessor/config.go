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

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/policy"
)

// Config is what a user can set.
type Config struct {
	// Attributes lists what is written to a record that has an answer.
	// Default: [phase_resolution, phase_path].
	Attributes []Attribute `mapstructure:"attributes"`

	// ScopeAttributes lists keys of the phases' own attributes (epoch, split) that are
	// written too, under the same keys: those of the answering scope, or of its
	// nearest ancestor that has them. Default: none.
	ScopeAttributes []string `mapstructure:"scope_attributes"`

	// Boundaries says whether boundary records go on (keep) or end here once they
	// have been read (drop). Default: keep.
	Boundaries BoundaryMode `mapstructure:"boundaries"`

	// Cumulative says whether cumulative sums, histograms and summaries keep their
	// attributes (skip) or are answered at their time (annotate). A counter whose
	// attributes change at every phase is several broken counters. Default: skip.
	Cumulative CumulativeMode `mapstructure:"cumulative"`

	// Split makes a data point of a delta sum or a delta histogram several: one for
	// each stretch of its interval that has an answer of its own, with its share of the
	// value by time. Default: false.
	Split bool `mapstructure:"split"`

	// MaxParts bounds the data points that one is split into. One that would be more
	// stays whole. Default: 1000.
	MaxParts int `mapstructure:"max_parts"`

	// Repair mends the replay when boundaries were lost, by the parent and the path
	// that every boundary names. Without it, one lost exit leaves a thread wrong until
	// its session ends. Default: true.
	Repair bool `mapstructure:"repair"`

	// Threads says which threads answer where several are in phases. Default: all, so
	// that the answer is ambiguous.
	Threads ThreadsConfig `mapstructure:"threads"`

	// Metrics chooses the metrics whose data points are answered. Default: all.
	Metrics MetricsConfig `mapstructure:"metrics"`

	// MaxPathDepth cuts the paths on data points to so many parts, so that fewer series
	// are stored. Logs and spans keep them whole. 0 cuts nothing. Default: 0.
	MaxPathDepth int `mapstructure:"max_path_depth"`

	// MaxPaths bounds the different paths that are written on data points. Past it a
	// data point gets the path "other". Default: 1000.
	MaxPaths int `mapstructure:"max_paths"`

	// SessionAttribute is the attribute that holds the session ID, in boundary records
	// and in telemetry. Default: session_id.
	SessionAttribute string `mapstructure:"session_attribute"`

	// RankAttribute is the attribute that holds the rank; a record without it is of
	// rank 0. Default: rank.
	RankAttribute string `mapstructure:"rank_attribute"`

	// Association lists the rules by which telemetry finds its group; the first one that
	// names a live group counts. Default: session and rank, then host and pid, then
	// host and device.
	Association []AssociationRule `mapstructure:"association"`

	// DeviceMap says whose devices are whose, on hosts where CUDA_VISIBLE_DEVICES or MIG
	// renumbers them. Default: none.
	DeviceMap []DeviceMapping `mapstructure:"device_map"`

	// DeviceMapFile is a YAML file with more entries of the device map. Default: none.
	DeviceMapFile string `mapstructure:"device_map_file"`

	// Window is how much event time is kept behind the newest event of each group.
	// Scopes that are still open stay, however old. Default: 10m.
	Window time.Duration `mapstructure:"window"`

	// SessionTimeout is how long after the arrival of its last event a session counts
	// as ended, if no stop event came. Default: 15m.
	SessionTimeout time.Duration `mapstructure:"session_timeout"`

	// GracePeriod is how long telemetry of a live group is held, at most, until the
	// group's events have come as far as the telemetry's time. 0 answers at once.
	// Default: 3s.
	GracePeriod time.Duration `mapstructure:"grace_period"`

	// MaxHeldBytes bounds the telemetry that is held at a time. Past it callers wait.
	// Default: 67108864 (64 MiB).
	MaxHeldBytes int `mapstructure:"max_held_bytes"`

	// MaxHeldBatches bounds the batches that are held at a time. Past it callers wait.
	// Default: 10000.
	MaxHeldBatches int `mapstructure:"max_held_batches"`

	// MaxGroups bounds the groups (session and rank). A new group past it is refused.
	// Default: 20000.
	MaxGroups int `mapstructure:"max_groups"`

	// MaxThreadsPerGroup bounds the threads of a group that have open scopes or
	// boundaries in the window. A new thread past it is refused. Default: 256.
	MaxThreadsPerGroup int `mapstructure:"max_threads_per_group"`

	// MaxOpenScopesPerThread bounds the open scopes of a thread. An enter past it is
	// refused. Default: 1024.
	MaxOpenScopesPerThread int `mapstructure:"max_open_scopes_per_thread"`

	// MaxBoundariesPerGroup bounds the boundaries kept of one group. Past it the oldest
	// of the group's window go. Default: 100000.
	MaxBoundariesPerGroup int `mapstructure:"max_boundaries_per_group"`

	// MaxBoundaries bounds the boundaries kept of all groups together. Past it the
	// oldest of the window of the group that wants more go. Default: 6000000.
	MaxBoundaries int `mapstructure:"max_boundaries"`

	// MaxDepth bounds the parts of a path. A boundary past it is refused. Default: 64.
	MaxDepth int `mapstructure:"max_depth"`

	// MaxLabelBytes bounds the length of a path's label. A boundary past it is refused.
	// Default: 1024.
	MaxLabelBytes int `mapstructure:"max_label_bytes"`

	// MaxTextBytes bounds the length of a session ID, a scope ID, a thread name and a
	// phase name. A boundary past it is refused. Default: 256.
	MaxTextBytes int `mapstructure:"max_text_bytes"`

	// Storage is the storage extension that the index is kept in, so that it outlives the
	// process. Default: none.
	Storage *component.ID `mapstructure:"storage"`

	// prevent unkeyed literal initialization
	_ struct{}
}

// ThreadsConfig chooses threads by patterns of their names: * stands for any text, ?
// for one character, [a-z] for a range.
type ThreadsConfig struct {
	// Prefer lists the threads that answer alone, the first one that is in a phase.
	// Default: none.
	Prefer []string `mapstructure:"prefer"`

	// Ignore lists the threads that do not answer. Default: none.
	Ignore []string `mapstructure:"ignore"`

	// prevent unkeyed literal initialization
	_ struct{}
}

// MetricsConfig chooses metrics by patterns of their names, like those of threads.
type MetricsConfig struct {
	// Include lists the metrics that are answered. Default: all.
	Include []string `mapstructure:"include"`

	// Exclude lists the metrics that are not, even if included. Default: none.
	Exclude []string `mapstructure:"exclude"`

	// prevent unkeyed literal initialization
	_ struct{}
}

// includes tells whether a metric's data points are answered.
func (cfg *MetricsConfig) includes(name string) bool {
	matches := func(pattern string) bool { return policy.Matches(pattern, name) }
	return (len(cfg.Include) == 0 || slices.ContainsFunc(cfg.Include, matches)) &&
		!slices.ContainsFunc(cfg.Exclude, matches)
}

const (
	defaultSessionAttribute       = "session_id"
	defaultRankAttribute          = "rank"
	defaultWindow                 = 10 * time.Minute
	defaultSessionTimeout         = 15 * time.Minute
	defaultGracePeriod            = 3 * time.Second
	defaultMaxHeldBytes           = 64 << 20
	defaultMaxHeldBatches         = 10_000
	defaultMaxPaths               = 1000
	defaultMaxParts               = 1000
	defaultMaxGroups              = 20_000
	defaultMaxThreadsPerGroup     = 256
	defaultMaxOpenScopesPerThread = 1024
	defaultMaxBoundariesPerGroup  = 100_000
	defaultMaxBoundaries          = 6_000_000
	defaultMaxDepth               = 64
	defaultMaxLabelBytes          = 1024
	defaultMaxTextBytes           = 256
)

func createDefaultConfig() component.Config {
	return &Config{
		Attributes:             []Attribute{AttributeResolution, AttributePath},
		Boundaries:             BoundariesKeep,
		Cumulative:             CumulativeSkip,
		Repair:                 true,
		SessionAttribute:       defaultSessionAttribute,
		RankAttribute:          defaultRankAttribute,
		Window:                 defaultWindow,
		SessionTimeout:         defaultSessionTimeout,
		GracePeriod:            defaultGracePeriod,
		MaxHeldBytes:           defaultMaxHeldBytes,
		MaxHeldBatches:         defaultMaxHeldBatches,
		MaxPaths:               defaultMaxPaths,
		MaxParts:               defaultMaxParts,
		MaxGroups:              defaultMaxGroups,
		MaxThreadsPerGroup:     defaultMaxThreadsPerGroup,
		MaxOpenScopesPerThread: defaultMaxOpenScopesPerThread,
		MaxBoundariesPerGroup:  defaultMaxBoundariesPerGroup,
		MaxBoundaries:          defaultMaxBoundaries,
		MaxDepth:               defaultMaxDepth,
		MaxLabelBytes:          defaultMaxLabelBytes,
		MaxTextBytes:           defaultMaxTextBytes,
	}
}

var _ confmap.Validator = (*Config)(nil)

// Validate returns all that is wrong, each with the YAML key and the value.
func (cfg *Config) Validate() error {
	var errs []error
	reject := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }

	if len(cfg.Attributes) == 0 && len(cfg.ScopeAttributes) == 0 {
		reject("attributes must name at least one attribute (got [])")
	}
	for i, a := range cfg.Attributes {
		if slices.Contains(cfg.Attributes[:i], a) {
			reject("attributes must name each attribute once (got %q twice)", a)
		}
		if err := oneOf(a, attributeNames()); err != nil {
			reject("attributes %w", err)
		}
	}
	for i, key := range cfg.ScopeAttributes {
		switch {
		case strings.TrimSpace(key) == "":
			reject("scope_attributes must not name a blank key (got %q)", key)
		case slices.Contains(cfg.ScopeAttributes[:i], key):
			reject("scope_attributes must name each key once (got %q twice)", key)
		case slices.Contains(attributeNames(), Attribute(key)):
			reject("scope_attributes must not name an attribute of the answer (got %q)", key)
		case key == cfg.SessionAttribute || key == cfg.RankAttribute:
			reject("scope_attributes must not name the attribute of the session or of the rank (got %q)", key)
		}
	}
	for key, patterns := range map[string][]string{
		"threads::prefer":  cfg.Threads.Prefer,
		"threads::ignore":  cfg.Threads.Ignore,
		"metrics::include": cfg.Metrics.Include,
		"metrics::exclude": cfg.Metrics.Exclude,
	} {
		for _, pattern := range patterns {
			if err := policy.CheckPattern(pattern); err != nil {
				reject("%s must list patterns of names (%w)", key, err)
			}
		}
	}
	for _, text := range []struct{ key, value string }{
		{"session_attribute", cfg.SessionAttribute},
		{"rank_attribute", cfg.RankAttribute},
	} {
		if strings.TrimSpace(text.value) == "" {
			reject("%s must not be blank (got %q)", text.key, text.value)
		}
	}
	if cfg.SessionAttribute == cfg.RankAttribute {
		reject("rank_attribute must not be the session_attribute (got %q)", cfg.RankAttribute)
	}
	if err := oneOf(cfg.Boundaries, boundaryModes()); err != nil {
		reject("boundaries %w", err)
	}
	if err := oneOf(cfg.Cumulative, cumulativeModes()); err != nil {
		reject("cumulative %w", err)
	}
	for _, span := range []struct {
		key   string
		value time.Duration
	}{
		{"window", cfg.Window},
		{"session_timeout", cfg.SessionTimeout},
	} {
		if span.value <= 0 {
			reject("%s must be positive (got %s)", span.key, span.value)
		}
	}
	if cfg.GracePeriod < 0 {
		reject("grace_period must not be negative (got %s)", cfg.GracePeriod)
	}
	if cfg.MaxPathDepth < 0 {
		reject("max_path_depth must not be negative (got %d)", cfg.MaxPathDepth)
	}
	for _, bound := range []struct {
		key   string
		value int
	}{
		{"max_paths", cfg.MaxPaths},
		{"max_parts", cfg.MaxParts},
		{"max_held_bytes", cfg.MaxHeldBytes},
		{"max_held_batches", cfg.MaxHeldBatches},
		{"max_groups", cfg.MaxGroups},
		{"max_threads_per_group", cfg.MaxThreadsPerGroup},
		{"max_open_scopes_per_thread", cfg.MaxOpenScopesPerThread},
		{"max_boundaries_per_group", cfg.MaxBoundariesPerGroup},
		{"max_boundaries", cfg.MaxBoundaries},
		{"max_depth", cfg.MaxDepth},
		{"max_label_bytes", cfg.MaxLabelBytes},
		{"max_text_bytes", cfg.MaxTextBytes},
	} {
		if bound.value <= 0 {
			reject("%s must be positive (got %d)", bound.key, bound.value)
		}
	}
	return errors.Join(append(errs, cfg.validateAssociation())...)
}

// Attribute is the name of an attribute that an answer can be written to.
type Attribute string

// The attributes that an answer can be written to.
const (
	// AttributeResolution is "unique" or "ambiguous".
	AttributeResolution Attribute = "phase_resolution"
	// AttributePath is the path of a unique phase: "train / step / forward".
	AttributePath Attribute = "phase_path"
	// AttributeSource says what the answer rests on: exact, thread_local or heuristic.
	AttributeSource Attribute = "phase_source"
	// AttributePaths lists the paths that may be meant.
	AttributePaths Attribute = "phase_paths"
	// AttributeSummary is the likely path of an ambiguous answer.
	AttributeSummary Attribute = "phase_summary"
	// AttributeLabel is the answer in one line, whether unique or not.
	AttributeLabel Attribute = "phase_label"
	// AttributeScopeID is the ID of the answering scope.
	AttributeScopeID Attribute = "phase_scope_id"
	// AttributeThreadID is the ID of the thread that was in the phase.
	AttributeThreadID Attribute = "phase_thread_id"
	// AttributeThreadName is the name of the thread that was in the phase.
	AttributeThreadName Attribute = "phase_thread_name"
	// AttributeRank is the rank of the group that answered. It is not written when groups
	// of several ranks answered, or one for others.
	AttributeRank Attribute = "phase_rank"
)

func attributeNames() []Attribute {
	return []Attribute{
		AttributeResolution, AttributePath, AttributeSource, AttributePaths, AttributeSummary,
		AttributeLabel, AttributeScopeID, AttributeThreadID, AttributeThreadName, AttributeRank,
	}
}

// UnmarshalText accepts the names of the attributes of an answer.
func (a *Attribute) UnmarshalText(text []byte) error {
	return unmarshalOneOf(a, text, attributeNames())
}

// BoundaryMode says what becomes of boundary records.
type BoundaryMode string

const (
	// BoundariesKeep lets boundary records go on.
	BoundariesKeep BoundaryMode = "keep"
	// BoundariesDrop takes boundary records out once they have been read.
	BoundariesDrop BoundaryMode = "drop"
)

func boundaryModes() []BoundaryMode { return []BoundaryMode{BoundariesKeep, BoundariesDrop} }

// UnmarshalText accepts keep and drop.
func (m *BoundaryMode) UnmarshalText(text []byte) error {
	return unmarshalOneOf(m, text, boundaryModes())
}

// CumulativeMode says what becomes of cumulative data points.
type CumulativeMode string

const (
	// CumulativeSkip leaves cumulative data points as they are.
	CumulativeSkip CumulativeMode = "skip"
	// CumulativeAnnotate answers cumulative data points at their time.
	CumulativeAnnotate CumulativeMode = "annotate"
)

func cumulativeModes() []CumulativeMode { return []CumulativeMode{CumulativeSkip, CumulativeAnnotate} }

// UnmarshalText accepts skip and annotate.
func (m *CumulativeMode) UnmarshalText(text []byte) error {
	return unmarshalOneOf(m, text, cumulativeModes())
}

// unmarshalOneOf sets a field to one of the values allowed. The caller of an
// UnmarshalText names the key.
func unmarshalOneOf[T ~string](field *T, text []byte, allowed []T) error {
	if err := oneOf(T(text), allowed); err != nil {
		return err
	}
	*field = T(text)
	return nil
}

func oneOf[T ~string](value T, allowed []T) error {
	if slices.Contains(allowed, value) {
		return nil
	}
	names := make([]string, len(allowed))
	for i, name := range allowed {
		names[i] = string(name)
	}
	return fmt.Errorf("must be one of %s (got %q)", strings.Join(names, ", "), value)
}
