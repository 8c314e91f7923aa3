// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
)

// TestTelemetryWaitsForItsBoundaries sends the metrics and the spans of the runs when
// only their first events are known, and the other events, bit by bit, after them.
func TestTelemetryWaitsForItsBoundaries(t *testing.T) {
	c := start(t, []string{"GRACE_PERIOD=1h", "MAX_HELD_BATCHES=1000"}, "holding.yaml")
	captures := loadCaptures(t)
	wantLogs, wantMetrics, wantSpans := answers{}, answers{}, answers{}
	for _, run := range captures {
		c.send(t, run.logs(t, run.byTime()[:1]))
		for _, md := range run.metrics(t) {
			c.send(t, md)
		}
		td, want, _ := run.traces(t)
		c.send(t, td)
		wantLogs.add(run.expectedOfLogs())
		wantMetrics.add(run.expectedOfMetrics(t))
		wantSpans.add(want)
	}
	assert.Empty(t, c.metrics(t, "metrics"), "metrics before their boundaries")
	assert.Empty(t, c.traces(t, "traces"), "spans before their boundaries")

	const bit = 10
	for _, run := range captures {
		for events := range slices.Chunk(run.byTime()[1:], bit) {
			c.send(t, run.logs(t, events))
		}
	}
	c.eventually(t, "all spans", func() bool { return len(answersOfTraces(t, c.traces(t, "traces"))) >= len(wantSpans) })
	c.eventually(t, "all data points", func() bool { return len(answersOfMetrics(t, c.metrics(t, "metrics"))) >= len(wantMetrics) })
	c.stop(t)

	for _, signal := range []struct {
		name       string
		want, came answers
	}{
		{"logs", wantLogs, answersOfLogs(t, c.logs(t, "logs"))},
		{"metrics", wantMetrics, answersOfMetrics(t, c.metrics(t, "metrics"))},
		{"spans", wantSpans, answersOfTraces(t, c.traces(t, "traces"))},
	} {
		compare(t, signal.name, signal.want, signal.came)
		nothingElse(t, signal.name, signal.came)
	}
}
