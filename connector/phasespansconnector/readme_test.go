// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phasespansconnector

import (
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/confmap"
)

func readREADME(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("README.md")
	require.NoError(t, err)
	return string(text)
}

// TestOptionsTableMatchesConfig compares the rows of the options table with the fields of
// Config: their keys, their types, and their defaults as YAML.
func TestOptionsTableMatchesConfig(t *testing.T) {
	row := regexp.MustCompile("(?m)^\\| `([a-z_:]+)` \\| (\\w+) \\| `([^`]*)` \\| \\S.* \\|$")
	got := map[string][2]string{}
	for _, cells := range row.FindAllStringSubmatch(readREADME(t), -1) {
		got[cells[1]] = [2]string{cells[2], cells[3]}
	}
	want := map[string][2]string{}
	options(t, "", reflect.ValueOf(createDefaultConfig()).Elem(), got, want)
	assert.Equal(t, want, got)
}

// options adds the options of a configuration to want. A default that is spelled
// differently in got but means the same is taken over.
func options(t *testing.T, prefix string, cfg reflect.Value, got, want map[string][2]string) {
	t.Helper()
	for i := range cfg.NumField() {
		field, value := cfg.Type().Field(i), cfg.Field(i)
		if !field.IsExported() {
			continue
		}
		key := prefix + field.Tag.Get("mapstructure")
		if value.Kind() == reflect.Struct {
			options(t, key+confmap.KeyDelimiter, value, got, want)
			continue
		}
		typ := value.Kind().String()
		switch {
		case field.Type == reflect.TypeFor[time.Duration]():
			typ = "duration"
		case value.Kind() == reflect.Slice:
			typ = "list"
		}
		retrieved, err := confmap.NewRetrievedFromYAML([]byte(key + ": " + got[key][1]))
		require.NoError(t, err)
		conf, err := retrieved.AsConf()
		require.NoError(t, err)
		var read Config
		require.NoError(t, conf.Unmarshal(&read), key)
		want[key] = [2]string{typ, "another default"}
		if reflect.DeepEqual(emptyAsNil(value), emptyAsNil(reflect.ValueOf(read).FieldByIndex(indexOf(t, key)))) {
			want[key] = [2]string{typ, got[key][1]}
		}
	}
}

func emptyAsNil(v reflect.Value) any {
	if v.Kind() == reflect.Slice && v.Len() == 0 {
		return nil
	}
	return v.Interface()
}

// indexOf returns the position of an option in Config.
func indexOf(t *testing.T, key string) []int {
	t.Helper()
	var index []int
	typ := reflect.TypeFor[Config]()
	for part := range strings.SplitSeq(key, confmap.KeyDelimiter) {
		for i := range typ.NumField() {
			if typ.Field(i).Tag.Get("mapstructure") == part {
				index = append(index, i)
				typ = typ.Field(i).Type
				break
			}
		}
	}
	require.NotEmpty(t, index, key)
	return index
}

// TestTheDocumentedConfigurationIsValid loads the connector of the README's configuration.
func TestTheDocumentedConfigurationIsValid(t *testing.T) {
	blocks := regexp.MustCompile("(?s)\n```yaml\n(.*?\n)```\n").FindAllStringSubmatch(readREADME(t), -1)
	require.Len(t, blocks, 1)
	retrieved, err := confmap.NewRetrievedFromYAML([]byte(blocks[0][1]))
	require.NoError(t, err)
	conf, err := retrieved.AsConf()
	require.NoError(t, err)
	sub, err := conf.Sub("connectors::phase_spans")
	require.NoError(t, err)
	cfg := createDefaultConfig()
	require.NoError(t, sub.Unmarshal(cfg))
	require.NoError(t, confmap.Validate(cfg))
	assert.NotEqual(t, createDefaultConfig(), cfg)
}

func TestReasonsAreDocumented(t *testing.T) {
	text := readREADME(t)
	for _, reason := range []string{reasonNoStart, reasonDuplicate, reasonLate, reasonMaxOpenScopes} {
		assert.Contains(t, text, "`"+reason+"`")
	}
	for _, attribute := range ownAttributes() {
		assert.Contains(t, text, "`"+attribute+"`")
	}
}
