// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/confmap"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/metadata"
)

const (
	componentREADME = "README.md"
	rootREADME      = "../../README.md"
	operations      = "../../docs/operations.md"
)

// TestOptionsTableMatchesConfig compares the options table of the component's README with
// Config: each option has a row with its type and its default as YAML.
func TestOptionsTableMatchesConfig(t *testing.T) {
	options := configOptions(reflect.TypeFor[Config](), "", nil)
	rows := optionsTable(t)

	var want, got []string
	for name := range options {
		want = append(want, name)
	}
	for _, row := range rows {
		got = append(got, row.option)
	}
	require.ElementsMatch(t, want, got, "the options table of %s has a row per option of Config", componentREADME)

	defaults := reflect.ValueOf(createDefaultConfig()).Elem()
	for _, row := range rows {
		t.Run(row.option, func(t *testing.T) {
			field := options[row.option]
			assert.Equal(t, typeWord(t, field.Type), row.typ)
			assert.NotEmpty(t, row.meaning)

			var cfg Config
			require.NoError(t, load(t, row.option+": "+row.value, &cfg))
			value := reflect.ValueOf(cfg).FieldByIndex(field.Index)
			expected := defaults.FieldByIndex(field.Index)
			if value.Kind() == reflect.Slice && value.Len() == 0 && expected.Len() == 0 {
				return // an empty list equals no list
			}
			assert.Equal(t, expected.Interface(), value.Interface())
		})
	}
}

// configOptions returns the fields of a configuration by their YAML keys, which include
// the keys of enclosing structs.
func configOptions(typ reflect.Type, key string, index []int) map[string]reflect.StructField {
	options := map[string]reflect.StructField{}
	for _, field := range reflect.VisibleFields(typ) {
		name, _, _ := strings.Cut(field.Tag.Get("mapstructure"), ",")
		if name == "" || name == "-" {
			continue
		}
		field.Index = slices.Concat(index, field.Index)
		if field.Type.Kind() == reflect.Struct {
			maps.Copy(options, configOptions(field.Type, key+name+confmap.KeyDelimiter, field.Index))
			continue
		}
		options[key+name] = field
	}
	return options
}

func typeWord(t *testing.T, typ reflect.Type) string {
	switch {
	case typ == reflect.TypeFor[time.Duration]():
		return "duration"
	case typ == reflect.TypeFor[*component.ID]():
		return "component ID"
	case typ.Kind() == reflect.Slice:
		return "list"
	case typ.Kind() == reflect.Bool, typ.Kind() == reflect.Int, typ.Kind() == reflect.String:
		return typ.Kind().String()
	}
	t.Fatalf("no name for the type %s", typ)
	return ""
}

type optionRow struct{ option, typ, value, meaning string }

var optionsHeader = regexp.MustCompile(`(?m)^\| Option \| Type \| Default \| Meaning \|\n\|[-|]+\|\n`)

func optionsTable(t *testing.T) []optionRow {
	text := read(t, componentREADME)
	headers := optionsHeader.FindAllStringIndex(text, -1)
	require.Len(t, headers, 1, "options tables of %s", componentREADME)

	var rows []optionRow
	for line := range strings.Lines(text[headers[0][1]:]) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "|") {
			break
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		require.Len(t, cells, 4, line)
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		rows = append(rows, optionRow{code(t, cells[0]), cells[1], code(t, cells[2]), cells[3]})
	}
	return rows
}

// code returns the text between two backticks.
func code(t *testing.T, cell string) string {
	require.Regexp(t, "^`[^`]+`$", cell)
	return strings.Trim(cell, "`")
}

// TestAttributesAndMetricsAreDocumented looks for each attribute in the component's README
// and for each of the processor's own metrics in docs/operations.md.
func TestAttributesAndMetricsAreDocumented(t *testing.T) {
	text := read(t, componentREADME)
	var missing []string
	for _, attribute := range attributeNames() {
		if !strings.Contains(text, "`"+string(attribute)+"`") {
			missing = append(missing, string(attribute))
		}
	}
	text = read(t, operations)
	metrics := regexp.MustCompile(`(?m)^### otelcol_processor_phase_attr_(\w+)$`).
		FindAllStringSubmatch(read(t, "documentation.md"), -1)
	assert.NotEmpty(t, metrics)
	for _, metric := range metrics {
		name := metric[1]
		if !strings.Contains(text, "\n| `"+name+"`") && !strings.Contains(text, "\n| `"+name+"{") {
			missing = append(missing, name)
		}
	}
	assert.Empty(t, missing, "undocumented")
}

// TestDocumentedConfigurationsAreValid loads each configuration of the processor in the
// documentation and the examples.
func TestDocumentedConfigurationsAreValid(t *testing.T) {
	readmes, err := filepath.Glob("../../examples/*/README.md")
	require.NoError(t, err)
	for _, path := range append(readmes, rootREADME, componentREADME, operations) {
		for i, block := range yamlBlocks(read(t, path)) {
			t.Run(fmt.Sprintf("%s, block %d", path, i+1), func(t *testing.T) {
				checkProcessors(t, block)
			})
		}
	}
	for _, path := range []string{rootREADME, componentREADME, operations} {
		assert.Contains(t, strings.Join(yamlBlocks(read(t, path)), "\n"), "phase_attr:", path)
	}

	configs, err := filepath.Glob("../../examples/*/*.yaml")
	require.NoError(t, err)
	assert.NotEmpty(t, configs)
	for _, path := range configs {
		t.Run(path, func(t *testing.T) { checkProcessors(t, read(t, path)) })
	}
}

var yamlBlock = regexp.MustCompile("(?s)\n```ya?ml\n(.*?\n)```\n")

// yamlBlocks returns the fenced YAML blocks of a Markdown text.
func yamlBlocks(markdown string) []string {
	var blocks []string
	for _, match := range yamlBlock.FindAllStringSubmatch(markdown, -1) {
		blocks = append(blocks, match[1])
	}
	return blocks
}

// checkProcessors validates each phase_attr in a collector configuration, or its sources alone.
func checkProcessors(t *testing.T, yaml string) {
	if strings.HasPrefix(yaml, "sources:") { // of a processor that is not shown
		yaml = "processors:\n  phase_attr:\n    " + strings.ReplaceAll(yaml, "\n", "\n    ")
	}
	if !strings.Contains(yaml, metadata.Type.String()) {
		return
	}
	var collector struct {
		Processors map[component.ID]map[string]any `mapstructure:"processors"`
		Service    struct {
			Pipelines map[string]struct {
				Processors []component.ID `mapstructure:"processors"`
			} `mapstructure:"pipelines"`
		} `mapstructure:"service"`
	}
	retrieved, err := confmap.NewRetrievedFromYAML([]byte(yaml))
	require.NoError(t, err)
	conf, err := retrieved.AsConf()
	require.NoError(t, err)
	require.NoError(t, conf.Unmarshal(&collector, confmap.WithIgnoreUnused()))

	checked := 0
	for id, options := range collector.Processors {
		if id.Type() != metadata.Type {
			continue
		}
		checked++
		cfg := createDefaultConfig()
		require.NoError(t, confmap.NewFromStringMap(options).Unmarshal(cfg), id)
		require.NoError(t, confmap.Validate(cfg), id)
	}
	assert.Positive(t, checked, "no %s under processors", metadata.Type)
	for name, pipeline := range collector.Service.Pipelines {
		for _, id := range pipeline.Processors {
			assert.Contains(t, collector.Processors, id, name)
		}
	}
}

func load(t *testing.T, yaml string, into any) error {
	retrieved, err := confmap.NewRetrievedFromYAML([]byte(yaml))
	require.NoError(t, err)
	conf, err := retrieved.AsConf()
	require.NoError(t, err)
	return conf.Unmarshal(into)
}

func read(t *testing.T, path string) string {
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(text)
}
