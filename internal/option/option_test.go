// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package option

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/confmap"
)

func TestErrorsNameTheKeyAndTheValue(t *testing.T) {
	type mode string
	for want, err := range map[string]error{
		"window must be positive (got 0s)":                Positive("window", time.Duration(0)),
		"limits::max_ranks must not be negative (got -1)": NotNegative("limits::max_ranks", -1),
		`rank_attribute must not be blank (got "\t")`:     NotBlank("rank_attribute", "\t"),
		`mode must be one of a, b (got "c")`:              Keyed("mode", OneOf[mode]("c", []mode{"a", "b"})),
		"attributes must not name x twice":                Checkf(false, "attributes must not name %s twice", "x"),
	} {
		require.EqualError(t, err, want)
	}
	require.NoError(t, errors.Join(
		Positive("window", time.Nanosecond), NotNegative("limits::max_ranks", 0), NotBlank("rank_attribute", " a"),
		Keyed("mode", OneOf[mode]("b", []mode{"a", "b"})), Checkf(true, "never"),
	))
}

func TestDurationsNeedAUnit(t *testing.T) {
	type config struct {
		Window time.Duration `mapstructure:"window"`
		Grace  time.Duration `mapstructure:"grace"`
		Ranks  int           `mapstructure:"ranks"`
	}
	var cfg config
	conf := confmap.NewFromStringMap(map[string]any{"window": "10m", "ranks": 3})
	require.NoError(t, Unmarshal(conf, &cfg, "window", "grace"))
	assert.Equal(t, config{Window: 10 * time.Minute, Ranks: 3}, cfg)

	conf = confmap.NewFromStringMap(map[string]any{"window": 10, "grace": "soon", "rank": 1})
	err := Unmarshal(conf, &cfg, "window", "grace")
	require.ErrorContains(t, err, "window must be a duration with a unit, such as 10s (got 10)")
	require.ErrorContains(t, err, `grace must be a duration with a unit, such as 10s (got "soon")`)
	require.ErrorContains(t, err, "invalid keys: rank")
}
