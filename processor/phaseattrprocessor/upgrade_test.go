// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

// storageOfTheFirstFormat has the files that an earlier version left when it was killed.
const storageOfTheFirstFormat = "../../testdata/storage-v1/storage"

func TestStorageOfTheFirstFormatIsRestored(t *testing.T) {
	directory := killed(t, storageOfTheFirstFormat)
	const century = 100 * 365 * 24 * time.Hour
	p := startOn(t, directory, everyAttribute, func(cfg *Config) {
		cfg.ScopeAttributes = []string{"epoch", "split", "lr", "resumed", "step"}
		cfg.Window, cfg.SessionTimeout = century, century
	})
	lookups := readLines(t, "../storage-v1/expected.jsonl")
	require.NotEmpty(t, lookups)
	for i, lookup := range lookups {
		resource, attributes := lookup["resource"].(object), lookup["attributes"].(object)
		from, to := pcommon.Timestamp(lookup["start_ns"].(int64)), pcommon.Timestamp(lookup["end_ns"].(int64))
		var got object
		switch signal := lookup["signal"]; signal {
		case "metrics":
			md := pmetric.NewMetrics()
			rm := md.ResourceMetrics().AppendEmpty()
			require.NoError(t, rm.Resource().Attributes().FromRaw(resource))
			dp := rm.ScopeMetrics().AppendEmpty().Metrics().AppendEmpty().SetEmptyGauge().DataPoints().AppendEmpty()
			require.NoError(t, dp.Attributes().FromRaw(attributes))
			dp.SetTimestamp(to)
			got = attributesOfMetrics(p.passMetrics(t, md))[0]
		case "logs":
			ld := plog.NewLogs()
			rl := ld.ResourceLogs().AppendEmpty()
			require.NoError(t, rl.Resource().Attributes().FromRaw(resource))
			record := rl.ScopeLogs().AppendEmpty().LogRecords().AppendEmpty()
			require.NoError(t, record.Attributes().FromRaw(attributes))
			record.SetTimestamp(to)
			got = attributesOfLogs(p.passLogs(t, ld))[0]
		case "traces":
			td := ptrace.NewTraces()
			rs := td.ResourceSpans().AppendEmpty()
			require.NoError(t, rs.Resource().Attributes().FromRaw(resource))
			span := rs.ScopeSpans().AppendEmpty().Spans().AppendEmpty()
			require.NoError(t, span.Attributes().FromRaw(attributes))
			span.SetStartTimestamp(from)
			span.SetEndTimestamp(to)
			got = attributesOfTraces(p.passTraces(t, td))[0]
		default:
			t.Fatalf("line %d: signal %q", i+1, signal)
		}
		want := with(attributes, lookup["answer"].(object))
		delete(got, "phase_reason") // the first version did not give it
		assert.Equal(t, want, got, "line %d", i+1)
	}
}
