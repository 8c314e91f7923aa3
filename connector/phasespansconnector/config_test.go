// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phasespansconnector

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/confmap/confmaptest"
)

// loadConfig unmarshals and validates a component ID of testdata/config.yaml as the
// Collector does.
func loadConfig(t *testing.T, id string) (*Config, error) {
	t.Helper()
	conf, err := confmaptest.LoadConf(filepath.Join("testdata", "config.yaml"))
	require.NoError(t, err)
	require.True(t, conf.IsSet(id))
	sub, err := conf.Sub(id)
	require.NoError(t, err)
	cfg := createDefaultConfig().(*Config)
	if err := sub.Unmarshal(cfg); err != nil {
		return nil, err
	}
	return cfg, confmap.Validate(cfg)
}

func TestConfigIsReadFromYAML(t *testing.T) {
	defaults := Config{
		Root: RootConfig{Depth: 2}, ServiceName: "training", RecordAttributes: []string{"host", "pid", "device_id"},
		SessionAttribute: "session_id", RankAttribute: "rank", ProcessTimeout: 15 * time.Minute,
		Limits: LimitsConfig{MaxProcesses: 20_000, MaxOpenScopes: 100_000, MaxScopeDepth: 64, MaxLabelBytes: 1024, MaxTextBytes: 256},
	}
	none := defaults
	none.RecordAttributes = []string{}
	for id, want := range map[string]Config{
		"phase_spans": defaults,
		"phase_spans/all": {
			Root: RootConfig{Depth: 3, Name: "step"}, ServiceName: "llm", RecordAttributes: []string{"host", "job_id"},
			ScopeAttributes: []string{"epoch", "step"}, SessionAttribute: "job.id", RankAttribute: "node", ProcessTimeout: 5 * time.Minute,
			Limits: LimitsConfig{MaxProcesses: 1, MaxOpenScopes: 2, MaxScopeDepth: 3, MaxLabelBytes: 4, MaxTextBytes: 5},
		},
		"phase_spans/no_further_attributes": none,
	} {
		t.Run(id, func(t *testing.T) {
			cfg, err := loadConfig(t, id)
			require.NoError(t, err)
			assert.Equal(t, want, *cfg)
		})
	}
}

// TestConfigErrorsNameTheKeyAndTheValue lists all errors of each invalid configuration.
func TestConfigErrorsNameTheKeyAndTheValue(t *testing.T) {
	for id, want := range map[string][]string{
		"phase_spans/unknown_option":      {"'phasespansconnector.Config' has invalid keys: roots"},
		"phase_spans/unknown_root_option": {"'root' has invalid keys: path"},
		"phase_spans/not_positive": {
			"root::depth must be positive (got 0)",
			"process_timeout must be positive (got 0s)",
			"limits::max_processes must be positive (got 0)",
			"limits::max_open_scopes must be positive (got -1)",
			"limits::max_scope_depth must be positive (got 0)",
			"limits::max_label_bytes must be positive (got 0)",
			"limits::max_text_bytes must be positive (got 0)",
		},
		"phase_spans/blank": {
			`service_name must not be blank (got " ")`,
			`record_attributes must not be blank (got "")`,
			`scope_attributes must not be blank (got " ")`,
			`session_attribute must not be blank (got "")`,
			`rank_attribute must not be blank (got " ")`,
		},
		"phase_spans/twice": {
			`record_attributes must name each key once (got "host" twice)`,
			`scope_attributes must name each key once (got "epoch" twice)`,
			`rank_attribute must not be the session_attribute (got "session_id")`,
		},
		"phase_spans/own_attributes": {
			`record_attributes must not name one of the connector's own attributes (got "phase_path")`,
			`scope_attributes must not name one of the connector's own attributes (got "thread.id")`,
		},
		"phase_spans/timeout_without_unit": {"process_timeout must be a duration with a unit, such as 10s (got 10)"},
	} {
		t.Run(id, func(t *testing.T) {
			_, err := loadConfig(t, id)
			require.Error(t, err)
			var got []string
			for line := range strings.Lines(err.Error()) {
				line = strings.TrimPrefix(strings.TrimSpace(line), "'' ")
				if line != "" && line != "decoding failed due to the following error(s):" {
					got = append(got, line)
				}
			}
			assert.Equal(t, want, got)
		})
	}
}
