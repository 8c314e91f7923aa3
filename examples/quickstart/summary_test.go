// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
)

const enrichedLogs = `{"resourceLogs":[{"scopeLogs":[{"logRecords":[
{"attributes":[{"key":"event_type","value":{"stringValue":"start"}}]},
{"attributes":[{"key":"event_type","value":{"stringValue":"phase_enter"}},
  {"key":"phase_resolution","value":{"stringValue":"unique"}},{"key":"phase_path","value":{"stringValue":"train"}},
  {"key":"metadata","value":{"kvlistValue":{"values":[{"key":"phase_scope","value":{"kvlistValue":{"values":[
    {"key":"scope_id","value":{"stringValue":"s:1"}},
    {"key":"path","value":{"arrayValue":{"values":[{"stringValue":"train"}]}}}]}}}]}}}]},
{"attributes":[{"key":"event_type","value":{"stringValue":"phase_enter"}},
  {"key":"phase_resolution","value":{"stringValue":"ambiguous"}},
  {"key":"metadata","value":{"kvlistValue":{"values":[{"key":"phase_scope","value":{"kvlistValue":{"values":[
    {"key":"scope_id","value":{"stringValue":"s:2"}},
    {"key":"path","value":{"arrayValue":{"values":[{"stringValue":"train"},{"stringValue":"step"}]}}}]}}}]}}}]},
{"attributes":[{"key":"event_type","value":{"stringValue":"sample"}},
  {"key":"phase_resolution","value":{"stringValue":"unique"}},{"key":"phase_path","value":{"stringValue":"train"}}]}
]}]}]}`

const enrichedMetrics = `{"resourceMetrics":[{"scopeMetrics":[{"metrics":[
{"name":"stormlog.allocator.allocated","gauge":{"dataPoints":[
  {"asInt":"1048576","attributes":[{"key":"phase_path","value":{"stringValue":"train"}}]},
  {"asDouble":4194304,"attributes":[{"key":"phase_path","value":{"stringValue":"train"}}]},
  {"asInt":"1048576","attributes":[{"key":"phase_path","value":{"stringValue":"train"}}]},
  {"asInt":"1572864","attributes":[{"key":"phase_resolution","value":{"stringValue":"ambiguous"}}]}]}},
{"name":"other","gauge":{"dataPoints":[{"asInt":"1"}]}}
]}]}]}`

func TestSummaryCountsScopesRecordsAndMemoryPerPhase(t *testing.T) {
	var s summary
	ld, err := (&plog.JSONUnmarshaler{}).UnmarshalLogs([]byte(enrichedLogs))
	require.NoError(t, err)
	s.addLogs(ld)
	md, err := (&pmetric.JSONUnmarshaler{}).UnmarshalMetrics([]byte(enrichedMetrics))
	require.NoError(t, err)
	s.addMetrics(md)

	assert.Equal(t, 4, s.records)
	assert.Equal(t, 5, s.points)
	var b strings.Builder
	s.render(&b)
	assert.Equal(t, strings.Join([]string{
		"phase_path    scopes  records  points   min  mean   max",
		"train              1        2       3  1.00  2.00  4.00",
		"train / step       1        0       0     -     -     -",
		"(ambiguous)        0        1       1  1.50  1.50  1.50",
		"(no phase)         0        1       0     -     -     -",
		"",
	}, "\n"), b.String())
}

func TestSummaryAcceptsMalformedEvents(t *testing.T) {
	for name, attributes := range map[string]string{
		"no attributes":              ``,
		"metadata is text":           `{"key":"metadata","value":{"stringValue":"{}"}}`,
		"no scope":                   `{"key":"metadata","value":{"kvlistValue":{"values":[]}}}`,
		"scope is text":              `{"key":"metadata","value":{"kvlistValue":{"values":[{"key":"phase_scope","value":{"stringValue":"x"}}]}}}`,
		"scope without a path":       `{"key":"metadata","value":{"kvlistValue":{"values":[{"key":"phase_scope","value":{"kvlistValue":{}}}]}}}`,
		"event type is not a string": `{"key":"event_type","value":{"intValue":"1"}}`,
	} {
		t.Run(name, func(t *testing.T) {
			event := `{"key":"event_type","value":{"stringValue":"phase_enter"}}`
			if attributes != "" {
				event += "," + attributes
			}
			ld, err := (&plog.JSONUnmarshaler{}).UnmarshalLogs(
				[]byte(`{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"attributes":[` + event + `]}]}]}]}`))
			require.NoError(t, err)
			var s summary
			s.addLogs(ld)
			require.Len(t, s.phases, 1)
			assert.Equal(t, []string{noPhase, "0", "1", "0", "-", "-", "-"}, s.phases[0].row())
		})
	}
}
