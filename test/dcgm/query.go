// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package dcgm

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Series is a series in a result: with one point, or several for a range.
type Series struct {
	Labels map[string]string
	Points []Point
}

// Point is a sample at a time in milliseconds since the Unix epoch.
type Point struct {
	Time  int64
	Value float64
}

// UnmarshalJSON reads a point from [seconds, "value"].
func (p *Point) UnmarshalJSON(data []byte) error {
	var pair [2]json.RawMessage
	if err := json.Unmarshal(data, &pair); err != nil {
		return err
	}
	var seconds float64
	var value string
	if err := json.Unmarshal(pair[0], &seconds); err != nil {
		return err
	}
	if err := json.Unmarshal(pair[1], &value); err != nil {
		return err
	}
	p.Time = int64(seconds*1000 + 0.5)
	var err error
	p.Value, err = strconv.ParseFloat(value, 64)
	return err
}

// Query runs an instant query, which may return a range vector. It fails the test if
// Prometheus rejects the query.
func (r *Rig) Query(t *testing.T, promQL string, at time.Time) []Series {
	t.Helper()
	return r.request(t, "/api/v1/query", url.Values{"query": {promQL}, "time": {unix(at)}})
}

// QueryRange runs a range query.
func (r *Rig) QueryRange(t *testing.T, promQL string, start, end time.Time, step time.Duration) []Series {
	t.Helper()
	return r.request(t, "/api/v1/query_range", url.Values{
		"query": {promQL}, "start": {unix(start)}, "end": {unix(end)}, "step": {step.String()},
	})
}

func unix(at time.Time) string {
	return strconv.FormatFloat(float64(at.UnixMilli())/1000, 'f', 3, 64)
}

func (r *Rig) request(t *testing.T, path string, values url.Values) []Series {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.URL+path+"?"+values.Encode(), http.NoBody)
	require.NoError(t, err)
	response, err := r.client.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	var result struct {
		Status, Error string
		Data          struct {
			Result []struct {
				Metric map[string]string
				Value  *Point
				Values []Point
			}
		}
	}
	require.NoError(t, json.NewDecoder(response.Body).Decode(&result))
	require.Equal(t, "success", result.Status, "%s: %s", values.Get("query"), result.Error)
	var series []Series
	for _, one := range result.Data.Result {
		if one.Value != nil {
			one.Values = []Point{*one.Value}
		}
		series = append(series, Series{Labels: one.Metric, Points: one.Values})
	}
	return series
}
