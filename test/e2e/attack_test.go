// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
)

// boundary is a boundary that a process on a host sends.
type boundary struct {
	session, host, action, name string
	scope                       int
}

// sent returns boundaries that have been written up to now, one after the other.
func sent(t *testing.T, boundaries ...boundary) plog.Logs {
	t.Helper()
	ld := plog.NewLogs()
	records := ld.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty().LogRecords()
	now := time.Now().UnixNano() - int64(len(boundaries))
	for i, b := range boundaries {
		require.NoError(t, records.AppendEmpty().Attributes().FromRaw(fields{
			"session_id": b.session, "rank": 0, "event_type": "phase_" + b.action, "timestamp_ns": now + int64(i),
			"host": b.host, "pid": 100, "device_id": 0,
			"metadata": fields{"phase_scope": fields{
				"action": b.action, "name": b.name, "path": []any{b.name}, "scope_id": fmt.Sprint(b.session, ":", b.scope),
				"thread_id": 1, "thread_name": "main", "sequence": now + int64(i),
			}},
		}))
	}
	return ld
}

// reading returns a data point of a gauge, of now.
func reading(t *testing.T, name string, attributes fields) pmetric.Metrics {
	t.Helper()
	md := pmetric.NewMetrics()
	metric := md.ResourceMetrics().AppendEmpty().ScopeMetrics().AppendEmpty().Metrics().AppendEmpty()
	metric.SetName(name)
	dp := metric.SetEmptyGauge().DataPoints().AppendEmpty()
	dp.SetTimestamp(pcommon.NewTimestampFromTime(time.Now()))
	dp.SetIntValue(1)
	require.NoError(t, dp.Attributes().FromRaw(attributes))
	return md
}

// exposed returns the series of a metric that the prometheus exporter exposes.
func (c *collector) exposed(t *testing.T, name string) []string {
	t.Helper()
	status, body, err := get("http://" + c.second + "/metrics")
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, status, "%s", body)
	var series []string
	for line := range strings.Lines(string(body)) {
		if strings.HasPrefix(line, name+"{") {
			series = append(series, line)
		}
	}
	return series
}

// TestInvalidPhaseNameDoesNotReachPrometheus has a run whose phase has a name that is not valid
// UTF-8, and one whose name is hard to write. Neither takes the series of others away.
func TestInvalidPhaseNameDoesNotReachPrometheus(t *testing.T) {
	c := start(t, nil, "prometheus.yaml")
	c.send(t, sent(t,
		boundary{"victim", "node-0", "enter", "train", 1},
		boundary{"hostile", "node-1", "enter", "\xff\xfe", 1},
		boundary{"odd", "node-2", "enter", "a\"b\n\\", 1},
	))
	for _, gpu := range []string{"node-0", "node-1", "node-2"} {
		c.send(t, reading(t, "DCGM_FI_DEV_GPU_UTIL", fields{"Hostname": gpu, "gpu": "0"}))
	}
	c.send(t, reading(t, "loss", fields{"session_id": "victim"}))

	var series []string
	c.eventually(t, "all series", func() bool {
		series = c.exposed(t, "DCGM_FI_DEV_GPU_UTIL")
		return len(series) == 3 && len(c.exposed(t, "loss")) == 1
	})
	for host, phase := range map[string]string{"node-0": `phase_path="train"`, "node-2": `phase_path="a\"b\n\\"`} {
		assert.Contains(t, strings.Join(series, ""), phase, host)
	}
	assert.Equal(t, 2, strings.Count(strings.Join(series, ""), "phase_path"), "%v", series)
	assert.Contains(t, c.exposed(t, "loss")[0], `phase_path="train"`)
	assert.Equal(t, map[string]int{"invalid_text": 1}, c.counts(t, "otelcol_processor_phase_attr_boundaries", "reason"))
	c.stop(t)
	assert.Len(t, metricAnnotations(t, c.metrics(t, "metrics")), 4, "the file is valid")
}

// TestMemoryLimiterAcceptsAgainAfterAFlood floods the index behind memory_limiter, which then
// refuses everything. Within a window, the index drops the flood, although no event arrives to
// advance it, and long before the session timeout.
func TestMemoryLimiterAcceptsAgainAfterAFlood(t *testing.T) {
	const (
		senders, rounds, perRequest = 8, 50, 2000
		garbageTime                 = 5 * time.Second
		patience                    = 80 * time.Second // twice the window
	)
	c := start(t, nil, "limiter.yaml")
	train := sent(t, boundary{"victim", "node-0", "enter", "train", 1})
	c.send(t, train)

	boundaries, refused := 0, false
	for round := 0; round < rounds && !refused; round++ {
		var sending sync.WaitGroup
		for sender := range senders { // at once: what has been let in before the limiter notices is above its limit
			session := fmt.Sprint(strings.Repeat("s", 200), round, "-", sender)
			var flood []boundary
			for i := range perRequest {
				name := fmt.Sprint(strings.Repeat("n", 200), session[200:], "-", i)
				flood = append(flood, boundary{session, "node-1", "enter", name, i}, boundary{session, "node-1", "exit", name, i})
			}
			ld := sent(t, flood...)
			boundaries += len(flood)
			sending.Go(func() { _ = c.export(t.Context(), ld) })
		}
		sending.Wait()
		// It also refuses while there is garbage, which does not last.
		refused = !c.await(garbageTime, func() bool { return c.export(t.Context(), train) == nil }) // which is known
	}
	require.True(t, refused, "after %d boundaries", boundaries)
	begin, flooded := time.Now(), c.total(t, "otelcol_processor_phase_attr_index_bytes")
	require.True(t, c.await(patience, func() bool { return c.export(t.Context(), train) == nil }), "refused a window and more later")
	t.Logf("refused after %d boundaries, %d MiB in the index, for %s", boundaries, flooded>>20, time.Since(begin).Round(100*time.Millisecond))

	c.send(t, reading(t, "loss", fields{"session_id": "victim"}))
	c.eventually(t, "the reading of the run that was there before", func() bool { return len(c.metrics(t, "metrics")) > 0 })
	c.stopAllowingErrors(t)
	got := metricAnnotations(t, c.metrics(t, "metrics"))
	require.Len(t, got, 1)
	for _, a := range got {
		assert.Equal(t, "train", a["phase_path"])
	}
}
