// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package dashboards

import (
	"encoding/json"
	"io"
	"math"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/phaseattr/phaseattr/test/dcgm"
)

// all is what a variable holds when nothing is chosen.
const all = "$__all"

func TestQueriesHaveData(t *testing.T) {
	r := prometheus{Rig: dcgm.Start(t)}
	eachBoard(t, func(t *testing.T, b board) {
		known := r.variables(t, b)
		choices := []choice{choose(b, nil), choose(b, known)}
		for name, values := range known {
			if name == "phase" {
				continue // some are too short to be in every panel
			}
			for _, value := range values {
				choices = append(choices, choose(b, map[string][]string{name: {value}}))
			}
		}
		for _, p := range b.Panels {
			for _, query := range p.Targets {
				t.Run(p.Title+" "+query.RefID, func(t *testing.T) {
					for _, c := range choices {
						r.requireData(t, p, query, c)
					}
					for _, value := range known[p.Repeat] {
						r.requireData(t, p, query, choose(b, map[string][]string{p.Repeat: {value}}))
					}
				})
			}
			switch p.Title {
			case "Share of time by phase":
				t.Run("the shares of all phases add up", func(t *testing.T) {
					r.requireWhole(t, p, choices[0], known["phase"])
				})
			case "Utilization":
				t.Run("the utilization is the mean of all samples", func(t *testing.T) {
					r.requireMean(t, p, choices[0])
				})
			}
		}
	})
}

func TestChosenValuesAreQuoted(t *testing.T) {
	chosen := choose(board{}, map[string][]string{"gpu": {"7", "a.b"}})
	assert.Equal(t, `x{gpu=~"(7|a\\.b)"}`, chosen(`x{gpu=~"$gpu"}`, time.Second))
}

// prometheus is a Prometheus that a run has filled.
type prometheus struct{ *dcgm.Rig }

// variables returns the values of each variable that has a query, as Grafana lists them.
func (r prometheus) variables(t *testing.T, b board) map[string][]string {
	t.Helper()
	values := map[string][]string{}
	for _, v := range b.Templating.List {
		if v.Type != "query" {
			continue
		}
		require.Equal(t, []any{all}, v.Current.Value, v.Name)
		parts := regexp.MustCompile(`^label_values\((.+), (\w+)\)$`).FindStringSubmatch(v.promQL(t))
		require.NotNil(t, parts, v.promQL(t))
		values[v.Name] = r.labelValues(t, choose(b, nil)(parts[1], 0), parts[2])
		require.NotEmpty(t, values[v.Name], v.Name)
		require.NotContains(t, values[v.Name], "", v.Name)
	}
	return values
}

func (r prometheus) labelValues(t *testing.T, selector, label string) []string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.URL+"/api/v1/label/"+label+"/values?"+url.Values{
		"match[]": {selector}, "start": {r.Start.UTC().Format(time.RFC3339)}, "end": {r.End.UTC().Format(time.RFC3339)},
	}.Encode(), http.NoBody)
	require.NoError(t, err)
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	var answer struct{ Data []string }
	require.NoError(t, json.Unmarshal(body, &answer), "%s", body)
	return answer.Data
}

// choice makes PromQL of a query for a time range, as Grafana does.
type choice func(query string, timeRange time.Duration) string

// choose is the choice of some values, and of all for the variables that are not among them.
func choose(b board, chosen map[string][]string) choice {
	texts := map[string]string{}
	for _, v := range b.Templating.List {
		texts[v.Name] = v.AllValue
	}
	for name, values := range chosen {
		var patterns []string
		for _, value := range values {
			patterns = append(patterns, strings.ReplaceAll(regexp.QuoteMeta(value), `\`, `\\`))
		}
		texts[name] = "(" + strings.Join(patterns, "|") + ")"
	}
	return func(query string, timeRange time.Duration) string {
		texts["__range"] = timeRange.String()
		texts["__rate_interval"] = (4 * dcgm.Interval).String() // the least that Grafana takes
		return used.ReplaceAllStringFunc(query, func(name string) string { return texts[name[1:]] })
	}
}

// length is how long the run took.
func (r prometheus) length() time.Duration {
	return r.End.Sub(r.Start).Round(time.Second)
}

// ask runs a query of a panel over the whole run.
func (r prometheus) ask(t *testing.T, query target, c choice) []dcgm.Series {
	t.Helper()
	require.NotEqual(t, query.Instant, query.Range, "it is the one or the other")
	promQL := c(query.Expr, r.length())
	if query.Instant {
		return r.Query(t, promQL, r.End)
	}
	return r.QueryRange(t, promQL, r.Start, r.End, dcgm.Interval)
}

// requireData requires that every series of a query has numbers, and such as its unit allows.
func (r prometheus) requireData(t *testing.T, p panel, query target, c choice) {
	t.Helper()
	series := r.ask(t, query, c)
	require.NotEmpty(t, series, c(query.Expr, 0))
	for _, s := range series {
		numbers := 0
		for _, point := range s.Points {
			if math.IsNaN(point.Value) {
				continue // nothing happened in that interval; Grafana leaves a gap
			}
			numbers++
			require.False(t, math.IsInf(point.Value, 0), "%v", s.Labels)
			if most, bounded := map[string]float64{"percent": 100, "percentunit": 1}[p.FieldConfig.Defaults.Unit]; bounded {
				require.LessOrEqual(t, point.Value, most+1e-9, "%v", s.Labels)
			}
		}
		require.NotZero(t, numbers, "%v", s.Labels)
	}
}

// requireWhole requires that the values of a panel add up to 1, and that it shows these phases.
func (r prometheus) requireWhole(t *testing.T, p panel, c choice, phases []string) {
	t.Helper()
	sum, shown := 0.0, []string(nil)
	for _, query := range p.Targets {
		for _, s := range r.ask(t, query, c) {
			sum += s.Points[0].Value
			if path, of := s.Labels["phase_path"]; of {
				shown = append(shown, path)
			}
		}
	}
	require.InDelta(t, 1, sum, 1e-9)
	require.ElementsMatch(t, phases, shown)
}

// requireMean requires that a panel shows the mean of all samples, however many each phase has.
func (r prometheus) requireMean(t *testing.T, p panel, c choice) {
	t.Helper()
	sum, samples := 0.0, 0.0
	for _, s := range r.Query(t, c("DCGM_FI_DEV_GPU_UTIL[$__range]", r.length()), r.End) {
		for _, point := range s.Points {
			sum += point.Value
			samples++
		}
	}
	shown := r.ask(t, p.Targets[0], c)
	require.Len(t, shown, 1)
	require.InDelta(t, sum/samples, shown[0].Points[0].Value, 1e-9)
}
