// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package dashboards

import (
	"encoding/json"
	"io"
	"maps"
	"math"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/phaseattr/phaseattr/test/dcgm"
)

// all is the value of a variable when nothing is selected.
const all = "$__all"

func TestQueriesHaveData(t *testing.T) {
	r := prometheus{Rig: dcgm.Start(t)}
	eachBoard(t, func(t *testing.T, b board) {
		known := r.variables(t, b)
		selections := []selection{choose(b, nil), choose(b, known)}
		for name, values := range known {
			if name == "phase" {
				continue // some phases are too short for every panel
			}
			for _, value := range values {
				selections = append(selections, choose(b, map[string][]string{name: {value}}))
			}
		}
		for _, p := range b.Panels {
			for _, query := range p.Targets {
				t.Run(p.Title+" "+query.RefID, func(t *testing.T) {
					for _, c := range selections {
						r.requireData(t, p, query, c)
					}
					for _, value := range known[p.Repeat] {
						r.requireData(t, p, query, choose(b, map[string][]string{p.Repeat: {value}}))
					}
				})
			}
			switch p.Title {
			case "Share of time by phase":
				t.Run("the shares of all phases add up to 1", func(t *testing.T) {
					shares := r.requireWhole(t, p, selections[0])
					require.ElementsMatch(t, append(known["phase"], ""), slices.Collect(maps.Keys(shares)))
					require.InDelta(t, r.idle(t, selections[0]), shares[""], 1e-9)
					for _, rank := range known["rank"] {
						shares := r.requireWhole(t, p, choose(b, map[string][]string{"rank": {rank}}))
						require.Zero(t, shares[""], "all samples of a rank are in a phase")
					}
				})
			case "Utilization":
				t.Run("the utilization is the mean of all samples", func(t *testing.T) {
					r.requireMean(t, p, selections[0])
				})
			}
		}
	})
}

func TestSelectedValuesAreEscaped(t *testing.T) {
	chosen := choose(board{}, map[string][]string{"gpu": {"7", "a.b"}})
	assert.Equal(t, `x{gpu=~"(7|a\\.b)"}`, chosen(`x{gpu=~"$gpu"}`, time.Second))
}

// prometheus is a Prometheus filled by a run.
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
		if result := regexp.MustCompile(`^query_result\((.+)\)$`).FindStringSubmatch(v.promQL(t)); result != nil {
			require.Equal(t, `/`+v.Name+`="([^"]+)"/`, v.Regex, v.Name)
			for _, s := range r.Query(t, choose(b, nil)(result[1], r.length()), r.End) {
				values[v.Name] = append(values[v.Name], s.Labels[v.Name])
			}
		} else {
			parts := regexp.MustCompile(`^label_values\((.+), (\w+)\)$`).FindStringSubmatch(v.promQL(t))
			require.NotNil(t, parts, v.promQL(t))
			values[v.Name] = r.labelValues(t, choose(b, nil)(parts[1], 0), parts[2])
		}
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
	var result struct{ Data []string }
	require.NoError(t, json.Unmarshal(body, &result), "%s", body)
	return result.Data
}

// selection interpolates a query for a time range, as Grafana does.
type selection func(query string, timeRange time.Duration) string

// choose selects values of some variables, and all values of the others.
func choose(b board, chosen map[string][]string) selection {
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
		texts["__rate_interval"] = (4 * dcgm.Interval).String() // the minimum in Grafana
		return variableReference.ReplaceAllStringFunc(query, func(name string) string { return texts[name[1:]] })
	}
}

// length returns the duration of the run.
func (r prometheus) length() time.Duration {
	return r.End.Sub(r.Start).Round(time.Second)
}

// run runs a query of a panel over the whole run.
func (r prometheus) run(t *testing.T, query target, c selection) []dcgm.Series {
	t.Helper()
	require.NotEqual(t, query.Instant, query.Range, "a query is either instant or range")
	promQL := c(query.Expr, r.length())
	if query.Instant {
		return r.Query(t, promQL, r.End)
	}
	return r.QueryRange(t, promQL, r.Start, r.End, dcgm.Interval)
}

// requireData requires that every series of a query has numbers that its unit allows.
func (r prometheus) requireData(t *testing.T, p panel, query target, c selection) {
	t.Helper()
	series := r.run(t, query, c)
	require.NotEmpty(t, series, c(query.Expr, 0))
	for _, s := range series {
		numbers := 0
		for _, point := range s.Points {
			if math.IsNaN(point.Value) {
				continue // no events in that interval; Grafana shows a gap
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

// requireWhole requires that the values of a panel add up to 1 and returns them by phase,
// with an empty path for the rest.
func (r prometheus) requireWhole(t *testing.T, p panel, c selection) map[string]float64 {
	t.Helper()
	sum, shares := 0.0, map[string]float64{}
	for _, query := range p.Targets {
		for _, s := range r.run(t, query, c) {
			sum += s.Points[0].Value
			shares[s.Labels["phase_path"]] += s.Points[0].Value
		}
	}
	require.InDelta(t, 1, sum, 1e-9)
	return shares
}

// idle returns the share of samples in no phase, which is not zero.
func (r prometheus) idle(t *testing.T, c selection) float64 {
	t.Helper()
	idle, samples := 0, 0
	for _, s := range r.Query(t, c("DCGM_FI_DEV_GPU_UTIL[$__range]", r.length()), r.End) {
		samples += len(s.Points)
		if s.Labels["phase_path"] == "" {
			idle += len(s.Points)
		}
	}
	require.NotZero(t, idle)
	return float64(idle) / float64(samples)
}

// requireMean requires that a panel shows the mean of all samples, weighted by their number.
func (r prometheus) requireMean(t *testing.T, p panel, c selection) {
	t.Helper()
	sum, samples := 0.0, 0.0
	for _, s := range r.Query(t, c("DCGM_FI_DEV_GPU_UTIL[$__range]", r.length()), r.End) {
		for _, point := range s.Points {
			sum += point.Value
			samples++
		}
	}
	shown := r.run(t, p.Targets[0], c)
	require.Len(t, shown, 1)
	require.InDelta(t, sum/samples, shown[0].Points[0].Value, 1e-9)
}
