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

// TestMetricsAheadOfTheirBoundaries sends the later metrics of a run 2 s before the
// events that precede them. The batch has also metrics of a run that is known in full,
// and some of no run: these do not wait.
func TestMetricsAheadOfTheirBoundaries(t *testing.T) {
	const ahead = 2 * time.Second
	run, other := loadCapture(t, "single"), loadCapture(t, "threads")
	batches := run.metrics(t)
	batches = batches[len(batches)/2:]
	right := answersOfMetrics(t, batches)
	oldest := slices.MinFunc(slices.Collect(maps.Keys(right)), func(a, b key) int { return int(a.from - b.from) }).from
	var before, after []map[string]any
	for _, event := range run.byTime() {
		if event["timestamp_ns"].(int64) < oldest {
			before = append(before, event)
		} else {
			after = append(after, event)
		}
	}
	newest := before[len(before)-1]["timestamp_ns"].(int64)
	known, _ := run.during(newest, newest+1)
	stale := answers{}
	for k := range right {
		right[k] = run.reference[k.from].answer()
		stale[k] = known
	}
	require.NotEqual(t, right, stale)

	for _, grace := range []struct {
		name, period string
		want         answers
	}{
		{name: "by default", want: right},
		{"grace_period 0", "0", stale},
	} {
		t.Run(grace.name, func(t *testing.T) {
			var c *collector
			if grace.period == "" {
				c = start(t, nil)
			} else {
				c = start(t, []string{"GRACE_PERIOD=" + grace.period, "MAX_HELD_BATCHES=1000"}, "holding.yaml")
			}
			c.send(t, run.logs(t, before))
			c.send(t, other.logs(t, other.events))

			md := pmetric.NewMetrics()
			at := pcommon.Timestamp(oldest)
			stranger := md.ResourceMetrics().AppendEmpty().ScopeMetrics().AppendEmpty().Metrics().AppendEmpty()
			stranger.SetEmptyGauge().DataPoints().AppendEmpty().SetTimestamp(at)
			for _, batch := range append(run.metrics(t)[len(run.metrics(t))-len(batches):], other.metrics(t)...) {
				batch.ResourceMetrics().MoveAndAppendTo(md.ResourceMetrics())
			}
			wantOthers := other.expectedOfMetrics(t)
			wantOthers[key{from: int64(at), to: int64(at)}] = answer{}
			late := time.After(ahead)
			c.send(t, md)

			c.eventually(t, "the metrics of the others", func() bool {
				came := answersOfMetrics(t, c.metrics(t, "metrics"))
				for k := range wantOthers {
					if _, ok := came[k]; !ok {
						return false
					}
				}
				return true
			})
			came := answersOfMetrics(t, c.metrics(t, "metrics"))
			compare(t, "metrics of the others", wantOthers, came)
			if grace.period == "" {
				nothingElse(t, "metrics before their boundaries", came)
			}
			<-late
			c.send(t, run.logs(t, after))
			c.stop(t)

			came = answersOfMetrics(t, c.metrics(t, "metrics"))
			compare(t, "metrics of the others", wantOthers, came)
			t.Logf("%d of %d data points of the run were answered right", equalAnswers(right, came), len(right))
			compare(t, "metrics of the run", grace.want, came)
			nothingElse(t, "metrics", came)
		})
	}
}

// firstHalf has the events of the run up to one about its middle that leaves a phase
// open, its time, and the answer that is known by then for what comes after it.
func (c *capture) firstHalf(t *testing.T) (events []map[string]any, newest int64, known answer) {
	t.Helper()
	events = c.byTime()
	for i := len(events) / 2; i < len(events); i++ {
		newest = events[i]["timestamp_ns"].(int64)
		if open, contained := c.during(newest, newest+1); contained {
			return events[:i+1], newest, open
		}
	}
	require.FailNow(t, "no phase is open after the middle of the run")
	return nil, 0, nil
}

func equalAnswers(want, came answers) (equal int) {
	for k, expected := range want {
		if got, ok := came[k]; ok && maps.Equal(expected, got) {
			equal++
		}
	}
	return equal
}
