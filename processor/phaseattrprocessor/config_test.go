// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"maps"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/confmap/confmaptest"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/association"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/source"
)

func TestDefaultConfig(t *testing.T) {
	cfg := NewFactory().CreateDefaultConfig()
	require.NoError(t, componenttest.CheckConfigStruct(cfg))
	require.NoError(t, confmap.Validate(cfg))
	assert.Equal(t, &Config{
		Attributes:       []Attribute{"phase_resolution", "phase_path"},
		Boundaries:       "keep",
		Cumulative:       "skip",
		Split:            SplitConfig{MaxParts: 1000, MaxPointsPerBatch: 10_000},
		Repair:           true,
		Metrics:          MetricsConfig{Mode: "labels"},
		Sources:          []SourceConfig{{Preset: "stormlog"}},
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
	}, cfg)
}

// loadYAML reads a YAML file.
func loadYAML(t *testing.T, path ...string) *confmap.Conf {
	t.Helper()
	conf, err := confmaptest.LoadConf(filepath.Join(path...))
	require.NoError(t, err)
	return conf
}

// loadConfig unmarshals and validates one component ID as the Collector does.
func loadConfig(t *testing.T, conf *confmap.Conf, id string) (*Config, error) {
	t.Helper()
	require.True(t, conf.IsSet(id))
	sub, err := conf.Sub(id)
	require.NoError(t, err)
	cfg := NewFactory().CreateDefaultConfig().(*Config)
	if err := sub.Unmarshal(cfg); err != nil {
		return nil, err
	}
	return cfg, confmap.Validate(cfg)
}

// validConfigs returns the valid configurations of testdata/config.yaml.
func validConfigs() map[string]*Config {
	phases := component.MustNewIDWithName("file_storage", "phases")
	edited := func(edit func(*Config)) *Config {
		cfg := createDefaultConfig().(*Config)
		edit(cfg)
		return cfg
	}
	return map[string]*Config{
		"phase_attr":                      createDefaultConfig().(*Config),
		"phase_attr/defaults_spelled_out": createDefaultConfig().(*Config),
		"phase_attr/all": {
			Attributes:      []Attribute{"phase_path", "phase_label"},
			ScopeAttributes: []string{"epoch", "split"},
			Boundaries:      BoundariesDrop,
			Cumulative:      CumulativeAnnotate,
			Split:           SplitConfig{Enabled: true, MaxParts: 11, MaxPointsPerBatch: 12},
			Threads:         ThreadsConfig{Prefer: []string{"MainThread"}, Ignore: []string{"loader-*"}},
			Metrics:         MetricsConfig{Include: []string{"gpu.*"}, Exclude: []string{"gpu.name"}, TruncatePaths: 2, Mode: ModeInfo, EndSeries: true},
			Association: []AssociationRule{{
				Keys: []AssociationKey{{Field: "job_id", Names: []string{"job"}}}, Representative: true, TimeOffset: -2 * time.Second,
			}},
			DeviceMap: []DeviceMapping{{Host: "node", Device: "GPU-7f", Instance: "7", ToHost: "node-1", LocalRank: 3}},
			Sources: []SourceConfig{{
				Preset: "otel", GracePeriod: 20 * time.Second, Processes: ProcessesPeers, LocalRankIsGPU: true,
				Association: []AssociationRule{{
					Keys: []AssociationKey{{Field: "run", Names: []string{"run"}}}, Representative: true, TimeOffset: -time.Second,
				}},
				Spans: &source.Spans{
					Scopes: []string{"trainer*"}, Where: `instrumentation_scope.name == "trainer"`,
					Include: []string{"train.*"}, Exclude: []string{"*.detail.*"},
					Session: []string{"run"}, Rank: []string{"node"}, Group: []string{"role"}, Lane: []string{"thread"},
					Main:      source.Main{Field: "role", Values: []string{"trainer"}},
					Path:      source.Path{From: "name", Strip: []string{"train."}, Split: ".", Roots: []string{"step"}},
					Truncated: []string{"cut"}, Inverted: []string{"skewed"},
					Pending: source.Pending{Field: "type", Value: "pending", Parent: "parent"},
					Anchor:  source.Affix{Suffix: "_start"}, PartialSpans: true,
				},
				Logs: &source.Logs{
					Where: `log.attributes["log_type"] == "event"`, Name: []string{"log_type_name"},
					Enter: source.Affix{Suffix: "_start"}, Exit: source.Exit{Suffix: "_end", Took: source.Number{Field: "value", Unit: "ms"}},
					Session: []string{"run"}, Rank: []string{"global_rank"}, Group: []string{"source"}, Lane: []string{"task_name", "tid"},
					SessionPath: source.SessionPath{Field: "log.file.path", Before: "structured_logs"},
					Sequence:    []string{"seq_id"}, Time: source.Number{Field: "time_us", Unit: "us"}, ScopeAttributes: []string{"step"},
				},
			}},
			SessionAttribute: "job.id",
			RankAttribute:    "node",

			MetadataKeys: []string{"X-Scope-OrgID"}, MetadataCardinalityLimit: 50, DefaultTenant: "ops",

			Window:         time.Minute,
			SessionTimeout: 2 * time.Minute,
			MaxFuture:      3 * time.Minute,
			Grace:          GraceConfig{Period: 500 * time.Millisecond, MaxBytes: 1, MaxBatches: 2},
			Limits: LimitsConfig{
				MaxRanks:               3,
				MaxThreadsPerRank:      4,
				MaxOpenScopesPerThread: 5,
				MaxBoundariesPerRank:   6,
				MaxBoundaries:          7,
				Memory:                 6000,
				MemoryPerRank:          5000,
				MaxScopeDepth:          8,
				MaxLabelBytes:          9,
				MaxTextBytes:           10,
				MaxPaths:               30,
				MaxStreams:             31,
			},
			Storage: &phases,
		},
		"phase_attr/every_attribute": edited(func(cfg *Config) { cfg.Attributes = attributeNames() }),
		"phase_attr/scope_attributes_only": edited(func(cfg *Config) {
			cfg.Attributes, cfg.ScopeAttributes = []Attribute{}, []string{"epoch"}
		}),
		"phase_attr/no_grace_period":              edited(func(cfg *Config) { cfg.Grace.Period = 0 }),
		"phase_attr/no_grace_period_without_unit": edited(func(cfg *Config) { cfg.Grace.Period = 0 }),
		"phase_attr/grace_period_just_below_window": edited(func(cfg *Config) {
			cfg.Window, cfg.Grace.Period = time.Minute, time.Minute-time.Millisecond
		}),
		"phase_attr/boundaries_per_rank_equal_to_total": edited(func(cfg *Config) {
			cfg.Limits.MaxBoundariesPerRank, cfg.Limits.MaxBoundaries = 7, 7
		}),
		"phase_attr/durations_in_every_unit": edited(func(cfg *Config) {
			cfg.Window, cfg.SessionTimeout, cfg.Grace.Period = 90*time.Minute, 100*time.Second, 1500*time.Millisecond
		}),
	}
}

func TestConfigIsReadFromYAML(t *testing.T) {
	conf := loadYAML(t, "testdata", "config.yaml")
	for id, want := range validConfigs() {
		t.Run(id, func(t *testing.T) {
			cfg, err := loadConfig(t, conf, id)
			require.NoError(t, err)
			assert.Equal(t, want, cfg)
		})
	}
}

// TestEveryOptionIsReadFromYAML checks that phase_attr/all sets every option, so that
// TestConfigIsReadFromYAML does not miss a new one.
func TestEveryOptionIsReadFromYAML(t *testing.T) {
	cfg, err := loadConfig(t, loadYAML(t, "testdata", "config.yaml"), "phase_attr/all")
	require.NoError(t, err)
	assertDiffers(t, "phase_attr", reflect.ValueOf(cfg).Elem(), reflect.ValueOf(createDefaultConfig()).Elem())
}

// assertDiffers compares the leaves of two configurations. Elements of lists are compared
// with the zero value.
func assertDiffers(t *testing.T, key string, got, defaults reflect.Value) {
	switch {
	case got.Kind() == reflect.Struct:
		for i := range got.NumField() {
			if field := got.Type().Field(i); field.IsExported() {
				assertDiffers(t, key+confmap.KeyDelimiter+field.Tag.Get("mapstructure"), got.Field(i), defaults.Field(i))
			}
		}
	case got.Kind() == reflect.Slice && got.Type().Elem().Kind() == reflect.Struct:
		assert.Positive(t, got.Len(), key)
		for i := range got.Len() {
			assertDiffers(t, key, got.Index(i), reflect.Zero(got.Type().Elem()))
		}
	default:
		assert.NotEqual(t, defaults.Interface(), got.Interface(), key)
	}
}

// invalidConfigs returns the invalid configurations of testdata/config.yaml, with all of
// their errors.
func invalidConfigs() map[string][]string {
	return map[string][]string{
		"phase_attr/unknown_option":       {"'phaseattrprocessor.Config' has invalid keys: windw"},
		"phase_attr/unknown_limit":        {"'limits' has invalid keys: max_groups"},
		"phase_attr/unknown_grace_option": {"'grace' has invalid keys: max_held_bytes"},
		"phase_attr/unknown_split_option": {"'split' has invalid keys: parts"},
		"phase_attr/split_is_not_a_map":   {`'split' expected a map or struct, got "bool"`},
		"phase_attr/unknown_field_of_a_rule": {
			"'association[0]' decoding failed due to the following error(s):",
			"'phaseattrprocessor.AssociationRule' has invalid keys: sources",
		},

		"phase_attr/unknown_attribute": {
			"'attributes[1]' must be one of phase_resolution, phase_path, phase_source, phase_paths, phase_summary, " +
				`phase_label, phase_scope_id, phase_thread_id, phase_thread_name, phase_rank, phase_start, phase_duration, phase_reason (got "phase")`,
		},
		"phase_attr/unknown_boundaries": {`'boundaries' must be one of keep, drop (got "delete")`},
		"phase_attr/unknown_cumulative": {`'cumulative' must be one of skip, annotate (got "yes")`},

		"phase_attr/no_attributes":         {"attributes must name at least one attribute (got [])"},
		"phase_attr/attribute_twice":       {`attributes must name each attribute once (got "phase_path" twice)`},
		"phase_attr/blank_scope_attribute": {`scope_attributes must not be blank (got " ")`},
		"phase_attr/scope_attribute_twice": {`scope_attributes must name each key once (got "epoch" twice)`},
		"phase_attr/scope_attribute_of_the_processor": {
			`scope_attributes must not name one of the processor's own attributes (got "phase_path")`,
		},
		"phase_attr/scope_attributes_of_the_rank": {
			`scope_attributes must not name the rank_attribute (got "rank")`,
			`scope_attributes must not name the session_attribute (got "session_id")`,
		},
		"phase_attr/malformed_patterns": {
			`threads::prefer must list valid patterns (got "main[")`,
			`threads::ignore must list valid patterns (got "loader-[")`,
			`metrics::include must list valid patterns (got "[")`,
			`metrics::exclude must list valid patterns (got "gpu[")`,
			`metrics::exclude must list valid patterns (got "[")`,
		},
		"phase_attr/unknown_metrics_mode":    {`'metrics.mode' must be one of labels, info (got "both")`},
		"phase_attr/truncate_paths_negative": {"metrics::truncate_paths must not be negative (got -1)"},
		"phase_attr/blank_session_attribute": {`session_attribute must not be blank (got "")`},
		"phase_attr/blank_rank_attribute":    {`rank_attribute must not be blank (got " ")`},
		"phase_attr/rank_attribute_equal_to_session_attribute": {
			`rank_attribute must not be the session_attribute (got "session_id")`,
		},

		"phase_attr/metadata_keys_twice": {
			`metadata_keys must not be blank (got " ")`,
			`metadata_keys must name each key once, in whatever case (got "x-scope-orgid" twice)`,
		},
		"phase_attr/default_tenant_without_metadata_keys": {`default_tenant needs metadata_keys (got "ops")`},

		"phase_attr/rule_without_keys":   {"association::0::keys must name at least one key (got [])"},
		"phase_attr/key_without_field":   {`association::0::keys::0::field must not be blank (got "")`},
		"phase_attr/key_without_names":   {"association::0::keys::0::names must name attributes (got [])"},
		"phase_attr/key_with_blank_name": {`association::0::keys::0::names must name attributes (got ["job" ""])`},
		"phase_attr/key_named_twice":     {`association::0::keys::1::field must be named once in a rule (got "job_id" twice)`},
		"phase_attr/time_offset_as_long_as_the_window": {
			"association::1::time_offset must be shorter than window, 10m0s (got -10m0s)",
			"association::2::time_offset must be shorter than window, 10m0s (got 10m0s)",
		},
		"phase_attr/time_offset_without_unit": {
			"'association[0]' time_offset must be a duration with a unit, such as 10s (got 5)",
		},
		"phase_attr/no_sources":       {"sources must name at least one source (got [])"},
		"phase_attr/too_many_sources": {"sources must have at most 16 sources (got 17)"},
		"phase_attr/unknown_preset":   {`sources::1::preset must be one of megatron, nemo_rl, otel, stormlog, torchtitan (got "megaton")`},
		"phase_attr/preset_twice":     {`sources::1::preset must be named once (got "otel" twice)`},
		"phase_attr/source_of_nothing": {
			"sources::0::preset must be set, or spans, or logs (got none of them)",
		},
		"phase_attr/stormlog_with_spans": {"sources::0::preset stormlog has a grace_period only (got more)"},
		"phase_attr/malformed_condition_on_spans": {
			`sources::0::spans::where must be a valid OTTL condition (got "name = \"x\""): condition has invalid syntax: ` +
				`1:6: unexpected token "=" (expected <opcomparison> Value)`,
		},
		"phase_attr/malformed_condition_on_logs": {
			`sources::0::logs::where must be a valid OTTL condition (got "log.shade == 1"): ` +
				`segment "shade" from path "log.shade" is not a valid path nor a valid OTTL keyword for the log context - ` +
				"review https://github.com/open-telemetry/opentelemetry-collector-contrib/tree/main/pkg/ottl/contexts/ottllog to see all valid paths",
		},
		"phase_attr/malformed_spans": {
			"sources::0::grace_period must not be negative (got -1s)",
			`sources::0::spans::include must list valid patterns (got "[")`,
			"sources::0::spans::session must name attributes (got [])",
			`sources::0::spans::rank must name attributes (got [" "])`,
			`sources::0::spans::path::from must be one of parents, name (got "label")`,
			`sources::0::spans::main must have a field (got ["trainer"])`,
			`sources::0::spans::pending must have a field, a value and a parent, or none of them (got "kind", "pending" and "")`,
		},
		"phase_attr/malformed_logs": {
			"sources::0::grace_period must be shorter than window, 10m0s (got 10m0s)",
			"sources::0::logs::name must name attributes (got [])",
			`sources::0::logs::enter and exit must both have a suffix, or duration a field (got "_start", "" and "")`,
			`sources::0::logs::exit::took::unit must be one of ms, ns, s, us (got "hours")`,
			`sources::0::logs::duration::time must be one of start, end (got "middle")`,
			"sources::0::logs::session must name attributes, or session_path a field (got [])",
			`sources::0::logs::time::unit must be one of ms, ns, s, us (got "")`,
		},
		"phase_attr/logs_that_never_end": {
			`sources::0::logs::enter and exit must have different suffixes (got "_event")`,
			`sources::0::logs::time must have a field for its unit (got "s")`,
		},
		"phase_attr/logs_with_units_of_nothing": {
			`sources::0::logs::enter and exit must both have a suffix, or duration a field (got "", "" and "")`,
			`sources::0::logs::exit::took must have a field for its unit (got "ms")`,
			`sources::0::logs::duration must have a field for its unit (got "us")`,
		},
		"phase_attr/malformed_rule_of_a_source": {"sources::0::association::0::keys must name at least one key (got [])"},
		"phase_attr/unknown_key_of_spans":       {"'sources[0]' decoding failed due to the following error(s):", "'spans' has invalid keys: wher"},
		"phase_attr/grace_period_of_a_source_without_unit": {
			"'sources[0]' grace_period must be a duration with a unit, such as 10s (got 5)",
		},
		"phase_attr/malformed_device_map": {
			`device_map::0::host must not be blank (got "")`,
			"device_map::0::local_rank must not be negative (got -1)",
			`device_map::1::device must not be blank (got "")`,
			`device_map::3: duplicate device "0" on host "n1"`,
			`device_map::5: duplicate device "0", instance "7", on host "n1"`,
		},

		"phase_attr/window_zero":                     {"window must be positive (got 0s)"},
		"phase_attr/window_zero_without_unit":        {"window must be positive (got 0s)"},
		"phase_attr/window_negative":                 {"window must be positive (got -5s)"},
		"phase_attr/window_without_unit":             {"window must be a duration with a unit, such as 10s (got 10)"},
		"phase_attr/window_without_unit_as_text":     {`window must be a duration with a unit, such as 10s (got "10")`},
		"phase_attr/window_without_unit_as_fraction": {"window must be a duration with a unit, such as 10s (got 1.5)"},
		"phase_attr/window_malformed":                {`window must be a duration with a unit, such as 10s (got "10 s")`},
		"phase_attr/session_timeout_negative":        {"session_timeout must be positive (got -1m0s)"},
		"phase_attr/session_timeout_without_unit":    {"session_timeout must be a duration with a unit, such as 10s (got 900)"},
		"phase_attr/max_future_zero":                 {"max_future must be positive (got 0s)"},
		"phase_attr/max_future_without_unit":         {"max_future must be a duration with a unit, such as 10s (got 600)"},
		"phase_attr/grace_period_negative":           {"grace::period must not be negative (got -1s)"},
		"phase_attr/grace_period_without_unit":       {"grace::period must be a duration with a unit, such as 10s (got 5)"},
		"phase_attr/grace_period_longer_than_window": {"grace::period must be shorter than window, 1m0s (got 2m0s)"},
		"phase_attr/grace_period_equal_to_window":    {"grace::period must be shorter than window, 1m0s (got 1m0s)"},
		"phase_attr/boundaries_per_rank_above_total": {
			"limits::max_boundaries_per_rank must not exceed limits::max_boundaries, 7 (got 8)",
			"limits::memory_per_rank must not exceed limits::memory, 4096 (got 4097)",
		},

		"phase_attr/bounds_zero": {
			"split::max_parts must be positive (got 0)",
			"split::max_points_per_batch must be positive (got 0)",
			"metadata_cardinality_limit must be positive (got 0)",
			"grace::max_bytes must be positive (got 0)",
			"grace::max_batches must be positive (got 0)",
			"limits::max_ranks must be positive (got 0)",
			"limits::max_threads_per_rank must be positive (got 0)",
			"limits::max_open_scopes_per_thread must be positive (got 0)",
			"limits::max_boundaries_per_rank must be positive (got 0)",
			"limits::max_boundaries must be positive (got 0)",
			"limits::memory must be positive (got 0)",
			"limits::memory_per_rank must be positive (got 0)",
			"limits::max_scope_depth must be positive (got 0)",
			"limits::max_label_bytes must be positive (got 0)",
			"limits::max_text_bytes must be positive (got 0)",
			"limits::max_paths must be positive (got 0)",
			"limits::max_streams must be positive (got 0)",
		},
		"phase_attr/several_at_once": {"window must be positive (got -5s)", "limits::max_ranks must be positive (got -3)"},
		"phase_attr/no_unit_anywhere": {
			"window must be a duration with a unit, such as 10s (got 10)",
			"session_timeout must be a duration with a unit, such as 10s (got 20)",
			"grace::period must be a duration with a unit, such as 10s (got 3)",
		},
		"phase_attr/several_unreadable_at_once": {
			"window must be a duration with a unit, such as 10s (got 10)",
			`grace::period must be a duration with a unit, such as 10s (got "3")`,
			`'boundaries' must be one of keep, drop (got "delete")`,
			"'limits' has invalid keys: max_groups",
			"'phaseattrprocessor.Config' has invalid keys: windw",
		},
	}
}

func TestInvalidConfigIsRejected(t *testing.T) {
	conf := loadYAML(t, "testdata", "config.yaml")
	for id, want := range invalidConfigs() {
		t.Run(id, func(t *testing.T) {
			for range 20 { // the order of the errors must not depend on that of a map
				_, err := loadConfig(t, conf, id)
				require.Error(t, err)
				require.Equal(t, want, messages(err))
			}
		})
	}
}

// messages returns the lines of an error, without those that the Collector adds.
func messages(err error) []string {
	var lines []string
	for line := range strings.Lines(err.Error()) {
		line = strings.TrimPrefix(strings.TrimSpace(line), "'' ")
		if line != "" && line != "decoding failed due to the following error(s):" {
			lines = append(lines, line)
		}
	}
	return lines
}

func TestEveryConfigOfTestdataIsTested(t *testing.T) {
	conf := loadYAML(t, "testdata", "config.yaml")
	tested := slices.Concat(slices.Collect(maps.Keys(validConfigs())), slices.Collect(maps.Keys(invalidConfigs())))
	assert.ElementsMatch(t, slices.Collect(maps.Keys(conf.ToStringMap())), tested)
}

// TestConfigErrorsAreInOrder validates a configuration in which every option that can be
// invalid is.
func TestConfigErrorsAreInOrder(t *testing.T) {
	cfg := &Config{
		Attributes:      []Attribute{""},
		ScopeAttributes: []string{""},
		Threads:         ThreadsConfig{Prefer: []string{"["}, Ignore: []string{"["}},
		Metrics:         MetricsConfig{Include: []string{"["}, Exclude: []string{"["}, TruncatePaths: -1},
		MetadataKeys:    []string{""},
		Association:     make([]AssociationRule, association.MaxRules+1),
		DeviceMap:       make([]DeviceMapping, 2),
		Grace:           GraceConfig{Period: -1},
	}
	err := cfg.Validate()
	require.ErrorContains(t, err, "association must have at most 16 rules (got 17)")

	options := configOptions(reflect.TypeFor[Config](), "", nil)
	var last string
	rejected := map[string]bool{}
	for _, message := range messages(err) {
		key, _, _ := strings.Cut(message, " ")
		if list, _, ok := strings.Cut(key, confmap.KeyDelimiter); ok && options[list].Type != nil {
			key = list
		}
		require.Contains(t, options, key, message)
		assert.GreaterOrEqual(t, slices.Compare(options[key].Index, options[last].Index), 0, "%s after %s", key, last)
		last = key
		rejected[key] = true
	}
	for _, key := range []string{"repair", "split::enabled", "default_tenant", "metrics::end_series", "storage"} {
		delete(options, key)
	}
	assert.ElementsMatch(t, slices.Collect(maps.Keys(options)), slices.Collect(maps.Keys(rejected)))
}

// TestSchemaListsValidValues compares the enums of the schema with the values that the
// code accepts.
func TestSchemaListsValidValues(t *testing.T) {
	list := schemaOf(t, "attributes")
	assert.Equal(t, "array", list["type"])
	for _, enum := range []struct{ got, want any }{
		{list["items"].(map[string]any)["enum"], attributeNames()},
		{schemaOf(t, "boundaries")["enum"], boundaryModes()},
		{schemaOf(t, "cumulative")["enum"], cumulativeModes()},
		{schemaOf(t, "metrics::mode")["enum"], metricsModes()},
	} {
		want := reflect.ValueOf(enum.want)
		var names []any
		for i := range want.Len() {
			names = append(names, want.Index(i).String())
		}
		assert.Equal(t, names, enum.got)
	}
}

// TestSchemaBoundsEveryInteger checks that Validate accepts each integer at the minimum of
// the schema and rejects it below.
func TestSchemaBoundsEveryInteger(t *testing.T) {
	for key, option := range configOptions(reflect.TypeFor[Config](), "", nil) {
		if option.Type.Kind() != reflect.Int {
			continue
		}
		minimum, ok := schemaOf(t, key)["minimum"].(int)
		require.True(t, ok, "%s has no minimum", key)
		cfg := createDefaultConfig().(*Config)
		field := reflect.ValueOf(cfg).Elem().FieldByIndex(option.Index)
		field.SetInt(int64(minimum))
		if err := cfg.Validate(); err != nil {
			assert.NotContains(t, err.Error(), key+" must")
		}
		field.SetInt(int64(minimum) - 1)
		require.ErrorContains(t, cfg.Validate(), key+" must")
	}

	device := schemaOf(t, "device_map")["items"].(map[string]any)["properties"].(map[string]any)
	assert.Equal(t, 0, device["local_rank"].(map[string]any)["minimum"])
}

// schemaOf returns the part of config.schema.yaml that describes an option, and follows
// its references.
func schemaOf(t *testing.T, option string) map[string]any {
	t.Helper()
	schema := loadYAML(t, "config.schema.yaml").ToStringMap()
	definitions := schema["$defs"].(map[string]any)
	resolve := func(node any) map[string]any {
		properties := node.(map[string]any)
		if name, ok := properties["$ref"].(string); ok {
			return definitions[name].(map[string]any)
		}
		return properties
	}
	for key := range strings.SplitSeq(option, confmap.KeyDelimiter) {
		properties := schema["properties"].(map[string]any)
		require.Contains(t, properties, key, option)
		schema = resolve(properties[key])
	}
	if schema["type"] == "array" {
		schema["items"] = resolve(schema["items"])
	}
	return schema
}
