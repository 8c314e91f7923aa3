// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

// Package dashboards checks examples/grafana against Grafana's types, the metrics of the
// processor, and a Prometheus filled by the DCGM example.
package dashboards

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/confmap/confmaptest"
)

// board has the fields of a dashboard that the tests check.
type board struct {
	UID        string
	Title      string
	Panels     []panel
	Templating struct{ List []variable }
}

type panel struct {
	ID      int
	Type    string
	Title   string
	Repeat  string
	GridPos struct{ X, Y, W, H int }
	Targets []target

	FieldConfig struct {
		Defaults struct{ Unit string }
	}
}

type target struct {
	RefID   string
	Expr    string
	Instant bool
	Range   bool
}

type variable struct {
	Name     string
	Type     string
	AllValue string
	Regex    string
	Query    json.RawMessage // a string for a data source, an object for a query
	Current  struct{ Value any }
}

// promQL returns the query of a variable.
func (v variable) promQL(t *testing.T) string {
	t.Helper()
	var query struct{ Query string }
	require.NoError(t, json.Unmarshal(v.Query, &query))
	return query.Query
}

// queries returns the queries of the panels and of the variables.
func (b board) queries(t *testing.T) []string {
	t.Helper()
	var queries []string
	for _, p := range b.Panels {
		for _, query := range p.Targets {
			queries = append(queries, query.Expr)
		}
	}
	for _, v := range b.Templating.List {
		if v.Type == "query" {
			queries = append(queries, v.promQL(t))
		}
	}
	return queries
}

func grafana(path ...string) string {
	return filepath.Join(append([]string{"..", "..", "examples", "grafana"}, path...)...)
}

// eachBoard runs a test for each dashboard.
func eachBoard(t *testing.T, test func(t *testing.T, b board)) {
	t.Helper()
	eachFile(t, func(t *testing.T, content []byte) {
		var b board
		require.NoError(t, json.Unmarshal(content, &b))
		require.NotEmpty(t, b.Panels)
		test(t, b)
	})
}

// eachFile runs a test for the file of each dashboard.
func eachFile(t *testing.T, test func(t *testing.T, content []byte)) {
	t.Helper()
	files, err := filepath.Glob(grafana("dashboards", "*.json"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			content, err := os.ReadFile(file)
			require.NoError(t, err)
			test(t, content)
		})
	}
}

func TestPanelsDoNotOverlap(t *testing.T) {
	eachBoard(t, func(t *testing.T, b board) {
		taken, ids := map[[2]int]string{}, map[int]bool{}
		for _, p := range b.Panels {
			assert.False(t, ids[p.ID], "%s: duplicate ID", p.Title)
			ids[p.ID] = true
			pos := p.GridPos
			assert.LessOrEqual(t, pos.X+pos.W, 24, p.Title)
			for x := pos.X; x < pos.X+pos.W; x++ {
				for y := pos.Y; y < pos.Y+pos.H; y++ {
					assert.Empty(t, taken[[2]int{x, y}], "panel that overlaps with %s", p.Title)
					taken[[2]int{x, y}] = p.Title
				}
			}
		}
	})
}

// variableReference matches the variables in a query.
var variableReference = regexp.MustCompile(`\$(\w+)`)

func TestQueriesUseDefinedVariables(t *testing.T) {
	eachBoard(t, func(t *testing.T, b board) {
		known := []string{"__range", "__rate_interval"}
		for _, v := range b.Templating.List {
			known = append(known, v.Name)
		}
		for _, query := range b.queries(t) {
			for _, match := range variableReference.FindAllStringSubmatch(query, -1) {
				assert.Contains(t, known, match[1], query)
			}
		}
		for _, p := range b.Panels {
			if p.Repeat != "" {
				assert.Contains(t, known, p.Repeat, p.Title)
			}
		}
	})
}

// A query that falls back to a number has data even if its metric does not exist, so names
// are checked against the metadata of the processor.
func TestQueriesUseExistingMetricsAndLabels(t *testing.T) {
	metadata, err := confmaptest.LoadConf(filepath.Join("..", "..", "metadata.yaml"))
	require.NoError(t, err)
	var component struct {
		Attributes map[string]struct {
			NameOverride string   `mapstructure:"name_override"`
			Enum         []string `mapstructure:"enum"`
		} `mapstructure:"attributes"`
		Telemetry struct {
			Metrics map[string]struct {
				Histogram  map[string]any `mapstructure:"histogram"`
				Attributes []string       `mapstructure:"attributes"`
			} `mapstructure:"metrics"`
		} `mapstructure:"telemetry"`
	}
	require.NoError(t, metadata.Unmarshal(&component, confmap.WithIgnoreUnused()))
	// enum returns the valid values of a label of a metric.
	enum := func(attributes []string, label string) []string {
		for _, name := range attributes {
			if a := component.Attributes[name]; name == label || a.NameOverride == label {
				return a.Enum
			}
		}
		return nil
	}
	selectors := regexp.MustCompile(`otelcol_(processor_phase_attr_\w+)(?:\{([^}]*)\})?`)
	matchers := regexp.MustCompile(`(\w+)(?:=~|!=|=)"([^"]*)"`)

	found := 0
	eachBoard(t, func(t *testing.T, b board) {
		for _, query := range b.queries(t) {
			for _, matcher := range matchers.FindAllStringSubmatch(query, -1) {
				if matcher[1] == "phase_resolution" {
					require.Contains(t, []string{"unique", "ambiguous", ""}, matcher[2], query)
				}
			}
			for _, selector := range selectors.FindAllStringSubmatch(query, -1) {
				found++
				name, bucket := strings.CutSuffix(selector[1], "_bucket")
				metric, known := component.Telemetry.Metrics[name]
				require.True(t, known, selector[0])
				require.Equal(t, bucket, metric.Histogram != nil, selector[0])
				for _, matcher := range matchers.FindAllStringSubmatch(selector[2], -1) {
					label, value := matcher[1], matcher[2]
					if value == "$"+label {
						continue // chosen from the values in Prometheus
					}
					require.Contains(t, enum(metric.Attributes, label), value, selector[0])
				}
			}
		}
	})
	require.NotZero(t, found)
}

func TestProvisioning(t *testing.T) {
	sources := provisioned(t, "datasources", "prometheus.yaml", "datasources")
	require.Len(t, sources, 1)
	require.Equal(t, "prometheus", sources[0]["type"])
	providers := provisioned(t, "dashboards", "phase_attr.yaml", "providers")
	require.Len(t, providers, 1)
	options, _ := providers[0]["options"].(map[string]any)
	readme, err := os.ReadFile(grafana("README.md"))
	require.NoError(t, err)
	require.Contains(t, string(readme), fmt.Sprintf("/examples/grafana/dashboards:%s:ro", options["path"]))

	eachBoard(t, func(t *testing.T, b board) {
		source := slices.IndexFunc(b.Templating.List, func(v variable) bool { return v.Type == "datasource" })
		require.GreaterOrEqual(t, source, 0)
		assert.Equal(t, sources[0]["uid"], b.Templating.List[source].Current.Value)
	})
}

func TestReadmeDescribesEachPanel(t *testing.T) {
	readme, err := os.ReadFile(grafana("README.md"))
	require.NoError(t, err)
	eachBoard(t, func(t *testing.T, b board) {
		_, section, found := strings.Cut(string(readme), "## "+b.Title+"\n")
		require.True(t, found, b.Title)
		section, _, _ = strings.Cut(section, "\n## ")
		for _, p := range b.Panels {
			if p.Type != "row" {
				assert.True(t, strings.Contains(section, p.Title), p.Title) //nolint:testifylint // Contains would print the whole section.
			}
		}
	})
}

// provisioned returns the entries of a list in a provisioning file.
func provisioned(t *testing.T, directory, file, list string) []map[string]any {
	t.Helper()
	conf, err := confmaptest.LoadConf(grafana("provisioning", directory, file))
	require.NoError(t, err)
	var entries []map[string]any
	for _, entry := range conf.Get(list).([]any) {
		entries = append(entries, entry.(map[string]any))
	}
	return entries
}
