// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/confmap"
	"go.uber.org/zap"

	"github.com/phaseattr/phaseattr/internal/boundary"
	"github.com/phaseattr/phaseattr/internal/option"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/association"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/replay"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/source"
)

// maxSources bounds the sources, each of which has a look at what passes.
const maxSources = 16

// SourceConfig is what phases are read from: a preset, of which keys may be overridden, or
// spans, log records, or both.
type SourceConfig struct {
	// Preset is the name of a source that is known: stormlog, megatron, nemo_rl, torchtitan or
	// otel. Default: none.
	Preset string `mapstructure:"preset"`

	// GracePeriod is how long telemetry of the ranks that the source feeds waits for it, in
	// place of grace::period. Default: that of the preset, or else grace::period.
	GracePeriod time.Duration `mapstructure:"grace_period"`

	// Processes says what the processes of a rank are to each other: one is the main one, of
	// which the others are workers (main), or they are peers, and several in phases at once
	// are ambiguous (peers). Default: main.
	Processes ProcessMode `mapstructure:"processes"`

	// LocalRankIsGPU says that the index of a process's GPU is its local rank, where it names
	// no GPU. Default: that of the preset, or else false.
	LocalRankIsGPU bool `mapstructure:"local_rank_is_gpu"`

	// Association lists the rules that telemetry of the source's ranks needs. They follow the
	// default ones, and do not apply if association is set. Default: none.
	Association []AssociationRule `mapstructure:"association"`

	// Spans says which spans are phases. Default: those of the preset.
	Spans *source.Spans `mapstructure:"spans"`

	// Logs says which log records begin and end phases. Default: those of the preset.
	Logs *source.Logs `mapstructure:"logs"`

	// prevent unkeyed literal initialization
	_ struct{}
}

// ProcessMode says what the processes of a rank are to each other.
type ProcessMode string

const (
	// ProcessesMain: one answers for the rank.
	ProcessesMain ProcessMode = "main"
	// ProcessesPeers: all do.
	ProcessesPeers ProcessMode = "peers"
)

func processModes() []ProcessMode { return []ProcessMode{ProcessesMain, ProcessesPeers} }

// UnmarshalText accepts main and peers.
func (m *ProcessMode) UnmarshalText(text []byte) error {
	*m = ProcessMode(text)
	return option.OneOf(*m, processModes())
}

var _ confmap.Unmarshaler = (*SourceConfig)(nil)

// Unmarshal takes from the preset what is not set. An unknown preset is left to Validate.
func (s *SourceConfig) Unmarshal(conf *confmap.Conf) error {
	if name, ok := conf.Get("preset").(string); ok {
		if merged, err := source.Preset(name); err == nil {
			if err := errors.Join(merged.Merge(conf), conf.Merge(merged)); err != nil {
				return err
			}
		}
	}
	return option.Unmarshal(conf, s, "grace_period")
}

// validateSources returns the problems of the sources.
func (cfg *Config) validateSources() error {
	errs := []error{
		option.Checkf(len(cfg.Sources) > 0, "sources must name at least one source (got [])"),
		option.Checkf(len(cfg.Sources) <= maxSources, "sources must have at most %d sources (got %d)", maxSources, len(cfg.Sources)),
	}
	for i := range cfg.Sources {
		s, path := &cfg.Sources[i], fmt.Sprintf("sources::%d::", i)
		same := func(other SourceConfig) bool { return s.Preset != "" && other.Preset == s.Preset }
		errs = append(errs,
			option.Checkf(!slices.ContainsFunc(cfg.Sources[:i], same), "%spreset must be named once (got %q twice)", path, s.Preset),
			option.NotNegative(path+"grace_period", s.GracePeriod),
			option.Checkf(s.GracePeriod < cfg.Window || cfg.Window <= 0, "%sgrace_period must be shorter than window, %s (got %s)", path, cfg.Window, s.GracePeriod),
			s.validate(path))
	}
	errs = append(errs, option.Checkf(len(cfg.rules()) <= association.MaxRules,
		"sources must bring at most %d association rules, with the others (got %d)", association.MaxRules, len(cfg.rules())))
	return errors.Join(errs...)
}

func (s *SourceConfig) validate(path string) error {
	var errs []error
	switch _, err := source.Preset(s.Preset); {
	case s.Preset == source.Stormlog:
		return option.Checkf(s.Spans == nil && s.Logs == nil && len(s.Association) == 0 && s.Processes == "" && !s.LocalRankIsGPU,
			"%spreset stormlog has a grace_period only (got more)", path)
	case s.Preset != "" && err != nil:
		return option.Keyed(path+"preset", err)
	case s.Preset == "" && s.Spans == nil && s.Logs == nil:
		return fmt.Errorf("%spreset must be set, or spans, or logs (got none of them)", path)
	}
	if s.Processes != "" {
		errs = append(errs, option.Keyed(path+"processes", option.OneOf(s.Processes, processModes())))
	}
	for i, rule := range s.Association {
		errs = append(errs, rule.validate(fmt.Sprintf("%sassociation::%d::keys", path, i)))
	}
	if s.Spans != nil {
		errs = append(errs, validateSpans(path+"spans::", s.Spans))
	}
	if s.Logs != nil {
		errs = append(errs, validateLogs(path+"logs::", s.Logs))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	// The rest is for the compiler of conditions to say.
	_, err := source.New([]source.Options{{Spans: s.Spans, Logs: s.Logs}}, boundary.Limits{}, nil, component.TelemetrySettings{Logger: zap.NewNop()})
	if err != nil {
		err = fmt.Errorf("%s%w", path, err)
	}
	return err
}

func validateSpans(path string, s *source.Spans) error {
	return errors.Join(
		patterns(path+"scopes", s.Scopes),
		patterns(path+"include", s.Include),
		patterns(path+"exclude", s.Exclude),
		names(path+"session", s.Session, true),
		names(path+"rank", s.Rank, false),
		names(path+"group", s.Group, false),
		names(path+"lane", s.Lane, false),
		names(path+"truncated", s.Truncated, false),
		names(path+"inverted", s.Inverted, false),
		oneOf(path+"path::from", s.Path.From, source.FromParents, source.FromName),
		patterns(path+"path::roots", s.Path.Roots),
		option.Checkf(s.Main.Field != "" || len(s.Main.Values) == 0, "%smain must have a field (got %q)", path, s.Main.Values),
		option.Checkf(s.Pending == source.Pending{} || s.Pending.Field != "" && s.Pending.Value != "" && s.Pending.Parent != "",
			"%spending must have a field, a value and a parent, or none of them (got %q, %q and %q)",
			path, s.Pending.Field, s.Pending.Value, s.Pending.Parent),
	)
}

// oneOf checks a text that may be missing.
func oneOf(key, text string, allowed ...string) error {
	if text == "" {
		return nil
	}
	return option.Keyed(key, option.OneOf(text, allowed))
}

func validateLogs(path string, s *source.Logs) error {
	units := slices.Sorted(maps.Keys(source.Units()))
	unit := func(key, field, unit string) error {
		if field == "" {
			return option.Checkf(unit == "", "%s%s must have a field for its unit (got %q)", path, key, unit)
		}
		return option.Keyed(path+key+"::unit", option.OneOf(unit, units))
	}
	pair := s.Enter.Suffix != "" && s.Exit.Suffix != ""
	return errors.Join(
		names(path+"name", s.Name, true),
		option.Checkf(pair != (s.Duration.Field != ""),
			"%senter and exit must both have a suffix, or duration a field (got %q, %q and %q)", path, s.Enter.Suffix, s.Exit.Suffix, s.Duration.Field),
		option.Checkf(!pair || s.Enter.Suffix != s.Exit.Suffix, "%senter and exit must have different suffixes (got %q)", path, s.Enter.Suffix),
		unit("exit::took", s.Exit.Took.Field, s.Exit.Took.Unit),
		unit("duration", s.Duration.Field, s.Duration.Unit),
		oneOf(path+"duration::time", s.Duration.Time, source.AtStart, source.AtEnd),
		option.Checkf(len(s.Session) > 0 || s.SessionPath.Field != "", "%ssession must name attributes, or session_path a field (got [])", path),
		names(path+"session", s.Session, false),
		option.Checkf((s.SessionPath.Field == "") == (s.SessionPath.Before == ""),
			"%ssession_path must have a field and a directory (got %q and %q)", path, s.SessionPath.Field, s.SessionPath.Before),
		names(path+"rank", s.Rank, false),
		names(path+"group", s.Group, false),
		names(path+"lane", s.Lane, false),
		names(path+"sequence", s.Sequence, false),
		unit("time", s.Time.Field, s.Time.Unit),
		names(path+"scope_attributes", s.ScopeAttributes, false),
	)
}

// names checks a list of attributes, none of which may be blank.
func names(key string, values []string, needed bool) error {
	blank := func(name string) bool { return strings.TrimSpace(name) == "" }
	return option.Checkf((!needed || len(values) > 0) && !slices.ContainsFunc(values, blank), "%s must name attributes (got %q)", key, values)
}

// readsStormlog reports whether the records of stormlog are read.
func (cfg *Config) readsStormlog() bool {
	return slices.ContainsFunc(cfg.Sources, func(s SourceConfig) bool { return s.Preset == source.Stormlog })
}

// name returns the name of a source in the processor's metrics.
func (s *SourceConfig) name(position int) string { return cmp.Or(s.Preset, strconv.Itoa(position)) }

// newSources compiles the sources but stormlog.
func newSources(cfg *Config, set component.TelemetrySettings) (*source.Set, error) {
	var options []source.Options
	for i := range cfg.Sources {
		s := &cfg.Sources[i]
		options = append(options, source.Options{
			Spans: s.Spans, Logs: s.Logs, LocalRankIsGPU: s.LocalRankIsGPU,
			Feed: replay.Feed{
				Name: s.name(i), Grace: s.GracePeriod, Peers: s.Processes == ProcessesPeers,
				Anchors: s.Spans != nil && s.Spans.Anchor.Suffix != "",
			},
		})
	}
	limits := boundary.Limits{TextBytes: cfg.Limits.MaxTextBytes, LabelBytes: cfg.Limits.MaxLabelBytes, Depth: cfg.Limits.MaxScopeDepth}
	return source.New(options, limits, cfg.ScopeAttributes, set)
}

// sourceRules returns the association rules that the sources bring.
func (cfg *Config) sourceRules() []association.Rule {
	var rules []association.Rule
	for i := range cfg.Sources {
		for _, rule := range rulesOf(cfg.Sources[i].Association) {
			rule.OfSource = true
			rules = append(rules, rule)
		}
	}
	return rules
}

// sourceKeys returns the attributes by which the sources name the session and the rank, but
// for the configured ones.
func (cfg *Config) sourceKeys() (session, rank []string) {
	add := func(to, names []string, but string) []string {
		for _, name := range names {
			if name != but && !slices.Contains(to, name) {
				to = append(to, name)
			}
		}
		return to
	}
	for i := range cfg.Sources {
		if s := cfg.Sources[i].Spans; s != nil {
			session, rank = add(session, s.Session, cfg.SessionAttribute), add(rank, s.Rank, cfg.RankAttribute)
		}
		if s := cfg.Sources[i].Logs; s != nil {
			session, rank = add(session, s.Session, cfg.SessionAttribute), add(rank, s.Rank, cfg.RankAttribute)
		}
	}
	return session, rank
}
