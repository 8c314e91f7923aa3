// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"errors"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/confmap/confmaptest"
)

func TestDefaultConfigIsWhatItsFieldsSay(t *testing.T) {
	cfg := NewFactory().CreateDefaultConfig()
	require.NoError(t, componenttest.CheckConfigStruct(cfg))
	require.NoError(t, confmap.Validate(cfg))
	assert.Equal(t, &Config{
		Attributes:             []Attribute{"phase_resolution", "phase_path"},
		Boundaries:             "keep",
		Cumulative:             "skip",
		Repair:                 true,
		SessionAttribute:       "session_id",
		RankAttribute:          "rank",
		Window:                 10 * time.Minute,
		SessionTimeout:         15 * time.Minute,
		GracePeriod:            3 * time.Second,
		MaxHeldBytes:           64 << 20,
		MaxHeldBatches:         10_000,
		MaxPaths:               1000,
		MaxParts:               1000,
		MaxGroups:              20_000,
		MaxThreadsPerGroup:     256,
		MaxOpenScopesPerThread: 1024,
		MaxBoundariesPerGroup:  100_000,
		MaxBoundaries:          6_000_000,
		MaxDepth:               64,
		MaxLabelBytes:          1024,
		MaxTextBytes:           256,
	}, cfg)
}

// loadConfig reads one component ID of testdata/config.yaml as the Collector does.
func loadConfig(t *testing.T, id string) (component.Config, error) {
	t.Helper()
	conf, err := confmaptest.LoadConf(filepath.Join("testdata", "config.yaml"))
	require.NoError(t, err)
	require.True(t, conf.IsSet(id))
	sub, err := conf.Sub(id)
	require.NoError(t, err)
	cfg := NewFactory().CreateDefaultConfig()
	return cfg, errors.Join(sub.Unmarshal(cfg), confmap.Validate(cfg))
}

func TestConfigIsReadFromYAML(t *testing.T) {
	edited := func(edit func(*Config)) *Config {
		cfg := createDefaultConfig().(*Config)
		edit(cfg)
		return cfg
	}
	for id, want := range map[string]*Config{
		"phase_attr":                      createDefaultConfig().(*Config),
		"phase_attr/defaults_spelled_out": createDefaultConfig().(*Config),
		"phase_attr/all": {
			Attributes:      []Attribute{AttributePath, AttributeLabel},
			ScopeAttributes: []string{"epoch", "split"},
			Boundaries:      BoundariesDrop,
			Cumulative:      CumulativeAnnotate,
			Threads:         ThreadsConfig{Prefer: []string{"MainThread"}, Ignore: []string{"loader-*"}},
			Metrics:         MetricsConfig{Include: []string{"gpu.*"}, Exclude: []string{"gpu.name"}},
			Association: []AssociationRule{{
				Keys: []AssociationKey{{Field: "job_id", Names: []string{"job"}}}, Representative: true,
			}},
			DeviceMap:              []DeviceMapping{{Host: "node", Device: "GPU-7f", ToHost: "node-1", LocalRank: 3}},
			DeviceMapFile:          "testdata/devices.yaml",
			MaxPathDepth:           2,
			MaxPaths:               30,
			Split:                  true,
			MaxParts:               11,
			SessionAttribute:       "job.id",
			RankAttribute:          "node",
			Window:                 time.Minute,
			SessionTimeout:         2 * time.Minute,
			GracePeriod:            500 * time.Millisecond,
			MaxHeldBytes:           1,
			MaxHeldBatches:         2,
			MaxGroups:              3,
			MaxThreadsPerGroup:     4,
			MaxOpenScopesPerThread: 5,
			MaxBoundariesPerGroup:  6,
			MaxBoundaries:          7,
			MaxDepth:               8,
			MaxLabelBytes:          9,
			MaxTextBytes:           10,
			Storage:                new(component.MustNewIDWithName("file_storage", "phases")),
		},
		"phase_attr/every_attribute": edited(func(cfg *Config) { cfg.Attributes = attributeNames() }),
		"phase_attr/no_grace_period": edited(func(cfg *Config) { cfg.GracePeriod = 0 }),
		"phase_attr/scope_attributes_only": edited(func(cfg *Config) {
			cfg.Attributes, cfg.ScopeAttributes = []Attribute{}, []string{"epoch"}
		}),
	} {
		t.Run(id, func(t *testing.T) {
			cfg, err := loadConfig(t, id)
			require.NoError(t, err)
			assert.Equal(t, want, cfg)
		})
	}
}

// What sets every option must not miss a new one.
func TestEveryOptionIsReadFromYAML(t *testing.T) {
	cfg, err := loadConfig(t, "phase_attr/all")
	require.NoError(t, err)
	got, defaults := reflect.ValueOf(cfg).Elem(), reflect.ValueOf(createDefaultConfig()).Elem()
	for i := range got.NumField() {
		if field := got.Type().Field(i); field.IsExported() {
			assert.NotEqual(t, defaults.Field(i).Interface(), got.Field(i).Interface(), field.Tag.Get("mapstructure"))
		}
	}
}

func TestWrongConfigIsRejectedWithItsKeyAndValue(t *testing.T) {
	for id, want := range map[string][]string{
		"phase_attr/unknown_option": {"windw"},
		"phase_attr/unknown_attribute": {
			`'attributes[1]' must be one of phase_resolution, phase_path, phase_source, phase_paths, phase_summary, ` +
				`phase_label, phase_scope_id, phase_thread_id, phase_thread_name, phase_rank (got "phase")`,
		},
		"phase_attr/unknown_boundaries":      {`'boundaries' must be one of keep, drop (got "delete")`},
		"phase_attr/rule_without_keys":       {"association::0::keys must name at least one key (got [])"},
		"phase_attr/key_without_field":       {`association::0::keys::0::field must not be blank (got "")`},
		"phase_attr/key_without_names":       {"association::0::keys::0::names must name attributes (got [])"},
		"phase_attr/key_named_twice":         {`association::0::keys::1::field must be named once in a rule (got "job_id" twice)`},
		"phase_attr/unknown_field_of_a_rule": {"'association[0]' has invalid keys: sources"},
		"phase_attr/malformed_device_map": {
			"device_map::0::host must not be empty",
			"device_map::0::local_rank must not be negative (got -1)",
			"device_map::1::device must not be empty",
			`device_map::3::device must be mapped once (got "0" on "node" twice)`,
		},
		"phase_attr/malformed_pattern":             {`threads::ignore must list patterns of names (syntax error in pattern: "loader-[")`},
		"phase_attr/unknown_cumulative":            {`'cumulative' must be one of skip, annotate (got "yes")`},
		"phase_attr/no_attributes":                 {"attributes must name at least one attribute (got [])"},
		"phase_attr/attribute_twice":               {`attributes must name each attribute once (got "phase_path" twice)`},
		"phase_attr/blank_scope_attribute":         {`scope_attributes must not name a blank key (got " ")`},
		"phase_attr/scope_attribute_twice":         {`scope_attributes must name each key once (got "epoch" twice)`},
		"phase_attr/scope_attribute_of_the_answer": {`scope_attributes must not name an attribute of the answer (got "phase_path")`},
		"phase_attr/blank_session_attribute":       {`session_attribute must not be blank (got "")`},
		"phase_attr/blank_rank_attribute":          {`rank_attribute must not be blank (got " ")`},
		"phase_attr/window_zero":                   {"window must be positive (got 0s)"},
		"phase_attr/session_timeout_negative":      {"session_timeout must be positive (got -1m0s)"},
		"phase_attr/grace_period_negative":         {"grace_period must not be negative (got -1s)"},
		"phase_attr/bounds_zero": {
			"max_held_bytes must be positive (got 0)",
			"max_held_batches must be positive (got 0)",
			"max_groups must be positive (got 0)",
			"max_threads_per_group must be positive (got 0)",
			"max_open_scopes_per_thread must be positive (got 0)",
			"max_boundaries_per_group must be positive (got 0)",
			"max_boundaries must be positive (got 0)",
			"max_parts must be positive (got 0)",
			"max_depth must be positive (got 0)",
			"max_label_bytes must be positive (got 0)",
			"max_text_bytes must be positive (got 0)",
		},
		"phase_attr/several_at_once": {"window must be positive (got -5s)", "max_groups must be positive (got -3)"},
	} {
		t.Run(id, func(t *testing.T) {
			_, err := loadConfig(t, id)
			for _, message := range want {
				require.ErrorContains(t, err, message)
			}
		})
	}
}

func TestScopeAttributesAreNotThoseOfTheGroup(t *testing.T) {
	cfg := createDefaultConfig().(*Config)
	cfg.ScopeAttributes = []string{"session_id"}
	require.Error(t, cfg.Validate())
	cfg = createDefaultConfig().(*Config)
	cfg.RankAttribute = "session_id"
	require.Error(t, cfg.Validate())
	cfg = createDefaultConfig().(*Config)
	cfg.Boundaries = "x"
	require.Error(t, cfg.Validate())
}
