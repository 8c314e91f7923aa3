// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
)

// TestTelemetryWaitsForItsBoundaries sends the metrics and spans of the runs after only
// their first events, then the remaining events in small batches.
func TestTelemetryWaitsForItsBoundaries(t *testing.T) {
	c := start(t, []string{"GRACE_PERIOD=1h", "MAX_BATCHES=10000"}, "grace.yaml")
	captures := loadCaptures(t)
	wantLogs, wantMetrics, wantSpans := annotations{}, annotations{}, annotations{}
	for _, run := range captures {
		c.send(t, run.logs(t, run.byTime()[:1]))
		for _, md := range run.metrics(t) {
			c.send(t, md)
		}
		td, want, _ := run.traces(t)
		c.send(t, td)
		wantLogs.add(run.expectedLogs())
		wantMetrics.add(run.expectedMetrics(t))
		wantSpans.add(want)
	}
	assert.Empty(t, c.metrics(t, "metrics"), "metrics before their boundaries")
	assert.Empty(t, c.traces(t, "traces"), "spans before their boundaries")

	const batchLength = 10
	for _, run := range captures {
		for events := range slices.Chunk(run.byTime()[1:], batchLength) {
			c.send(t, run.logs(t, events))
		}
	}
	c.eventually(t, "all spans", func() bool { return len(spanAnnotations(t, c.traces(t, "traces"))) >= len(wantSpans) })
	c.eventually(t, "all data points", func() bool { return len(metricAnnotations(t, c.metrics(t, "metrics"))) >= len(wantMetrics) })
	c.stop(t)

	for _, signal := range []struct {
		name           string
		want, received annotations
	}{
		{"logs", wantLogs, logAnnotations(t, c.logs(t, "logs"))},
		{"metrics", wantMetrics, metricAnnotations(t, c.metrics(t, "metrics"))},
		{"spans", wantSpans, spanAnnotations(t, c.traces(t, "traces"))},
	} {
		compare(t, signal.name, signal.want, signal.received)
		nothingElse(t, signal.name, signal.received)
	}
}

// TestMetricsWaitForAnUnknownRun sends the metrics of the runs before any of their events.
func TestMetricsWaitForAnUnknownRun(t *testing.T) {
	c := start(t, nil)
	captures := loadCaptures(t)
	want := annotations{}
	for _, run := range captures {
		for _, md := range run.metrics(t) {
			c.send(t, md)
		}
		want.add(run.expectedMetrics(t))
	}
	assert.Empty(t, c.metrics(t, "metrics"), "metrics before the first events")
	for _, run := range captures {
		c.send(t, run.logs(t, run.events))
	}
	c.eventually(t, "all data points", func() bool { return len(metricAnnotations(t, c.metrics(t, "metrics"))) >= len(want) })
	c.stop(t)

	received := metricAnnotations(t, c.metrics(t, "metrics"))
	compare(t, "metrics", want, received)
	nothingElse(t, "metrics", received)
}

// TestMetricsAheadOfTheirBoundaries sends the later metrics of a run 2 s before the events
// that precede them. The batch also has metrics of a run that has been sent completely
// and a data point of no run: these do not wait.
func TestMetricsAheadOfTheirBoundaries(t *testing.T) {
	const ahead = 2 * time.Second
	run, other := loadCapture(t, "single"), loadCapture(t, "threads")
	batches := run.metrics(t)
	batches = batches[len(batches)/2:]
	right := metricAnnotations(t, batches)
	oldest := slices.MinFunc(slices.Collect(maps.Keys(right)), func(a, b key) int { return int(a.from - b.from) }).from
	var before, after []map[string]any
	for _, event := range run.byTime() {
		if event["timestamp_ns"].(int64) < oldest {
			before = append(before, event)
		} else {
			after = append(after, event)
		}
	}
	// The run samples regularly, so that its events are known to be behind.
	behind := annotations{}
	for k := range right {
		right[k] = run.reference[k.from].annotation()
		behind[k] = annotation{}
	}
	require.NotEqual(t, right, behind)

	for _, grace := range []struct {
		name, period string
		want         annotations
	}{
		{name: "by default", want: right},
		{"grace::period 0s", "0s", behind},
	} {
		t.Run(grace.name, func(t *testing.T) {
			var c *collector
			if grace.period == "" {
				c = start(t, nil)
			} else {
				c = start(t, []string{"GRACE_PERIOD=" + grace.period, "MAX_BATCHES=10000"}, "grace.yaml")
			}
			c.send(t, run.logs(t, before))
			c.send(t, other.logs(t, other.events))

			md := pmetric.NewMetrics()
			at := pcommon.Timestamp(oldest)
			foreign := md.ResourceMetrics().AppendEmpty().ScopeMetrics().AppendEmpty().Metrics().AppendEmpty()
			foreign.SetEmptyGauge().DataPoints().AppendEmpty().SetTimestamp(at)
			for _, batch := range append(run.metrics(t)[len(run.metrics(t))-len(batches):], other.metrics(t)...) {
				batch.ResourceMetrics().MoveAndAppendTo(md.ResourceMetrics())
			}
			wantOthers := other.expectedMetrics(t)
			wantOthers[key{from: int64(at), to: int64(at)}] = annotation{}
			late := time.After(ahead)
			c.send(t, md)

			c.eventually(t, "the metrics of the others", func() bool {
				received := metricAnnotations(t, c.metrics(t, "metrics"))
				for k := range wantOthers {
					if _, ok := received[k]; !ok {
						return false
					}
				}
				return true
			})
			received := metricAnnotations(t, c.metrics(t, "metrics"))
			compare(t, "metrics of the others", wantOthers, received)
			if grace.period == "" {
				nothingElse(t, "metrics before their boundaries", received)
			}
			<-late
			c.send(t, run.logs(t, after))
			c.stop(t)

			received = metricAnnotations(t, c.metrics(t, "metrics"))
			compare(t, "metrics of the others", wantOthers, received)
			t.Logf("%d of %d data points of the run are annotated correctly", countEqual(right, received), len(right))
			compare(t, "metrics of the run", grace.want, received)
			nothingElse(t, "metrics", received)
		})
	}
}

// firstHalf returns the events of the run up to one near its middle that leaves a phase
// open, the time of that event, and the annotation known by then for later telemetry. Its
// samples are events of another type: a process that samples is not taken to stay in its
// phase.
func (c *capture) firstHalf(t *testing.T) (events []map[string]any, newest int64, known annotation) {
	t.Helper()
	events = c.byTime()
	for i, event := range events {
		if event["event_type"] == "sample" {
			events[i] = maps.Clone(event)
			events[i]["event_type"] = "peak"
		}
	}
	for i := len(events) / 2; i < len(events); i++ {
		newest = events[i]["timestamp_ns"].(int64)
		if open, contained := c.during(newest, newest+1); contained {
			return events[:i+1], newest, open
		}
	}
	require.FailNow(t, "no phase is open after the middle of the run")
	return nil, 0, nil
}

func countEqual(want, received annotations) (equal int) {
	for k, expected := range want {
		if got, ok := received[k]; ok && maps.Equal(expected, got) {
			equal++
		}
	}
	return equal
}
