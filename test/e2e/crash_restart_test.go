// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pmetric"
)

const failures = "otelcol_processor_phase_attr_storage_failures"

// TestRestartWithinPhases stops a collector with storage in the middle of a run, within
// phases, and restarts it. It first receives metrics from before the restart, then the rest
// of the run. All annotations must match the reference.
func TestRestartWithinPhases(t *testing.T) {
	for _, end := range []struct {
		name    string
		restart func(t *testing.T, c *collector, start func() *collector) *collector
	}{
		{"SIGTERM", func(t *testing.T, c *collector, start func() *collector) *collector {
			t.Helper()
			c.stop(t)
			return start()
		}},
		{"SIGKILL", func(t *testing.T, c *collector, start func() *collector) *collector {
			t.Helper()
			c.kill(t)
			return start()
		}},
		{"SIGHUP", func(t *testing.T, c *collector, _ func() *collector) *collector {
			t.Helper()
			c.signal(t, syscall.SIGHUP)
			c.waitUntilReady(t, 2)
			return c
		}},
	} {
		t.Run(end.name, func(t *testing.T) {
			env := []string{"STORAGE=" + t.TempDir()}
			first := start(t, env, "storage.yaml")
			captures := loadCaptures(t)
			wantLogs, wantMetrics, wantSpans := annotations{}, annotations{}, annotations{}
			for _, run := range captures {
				events, _, _ := run.firstHalf(t)
				first.send(t, run.logs(t, events))
				wantLogs.add(run.expectedLogs())
				wantMetrics.add(run.expectedMetrics(t))
			}
			second := end.restart(t, first, func() *collector { return start(t, env, "storage.yaml") })

			early := 0
			for _, run := range captures {
				before, _ := run.metricsAround(t)
				for _, md := range before {
					second.send(t, md)
				}
				early += len(metricAnnotations(t, before))
			}
			assert.Len(t, metricAnnotations(t, second.metrics(t, "metrics")), early, "data points that do not wait")
			for _, run := range captures {
				events, _, _ := run.firstHalf(t)
				second.send(t, run.logs(t, run.byTime()[len(events):]))
				_, after := run.metricsAround(t)
				for _, md := range after {
					second.send(t, md)
				}
				td, want, _ := run.traces(t)
				second.send(t, td)
				wantSpans.add(want)
			}
			assert.Empty(t, second.counts(t, failures, "operation"), "failures of the storage")
			second.stop(t)

			logs := logAnnotations(t, second.logs(t, "logs"))
			if second != first {
				logs.add(logAnnotations(t, first.logs(t, "logs")))
			}
			for _, signal := range []struct {
				name           string
				want, received annotations
			}{
				{"logs", wantLogs, logs},
				{"metrics", wantMetrics, metricAnnotations(t, second.metrics(t, "metrics"))},
				{"spans", wantSpans, spanAnnotations(t, second.traces(t, "traces"))},
			} {
				compare(t, signal.name, signal.want, signal.received)
				nothingElse(t, signal.name, signal.received)
			}
			t.Logf("%d records, %d of them sent right after the restart", len(wantLogs)+len(wantMetrics)+len(wantSpans), early)
		})
	}
}

// metricsAround returns the metrics of the first half of the run and the others.
func (c *capture) metricsAround(t *testing.T) (before, after []pmetric.Metrics) {
	t.Helper()
	_, newest, _ := c.firstHalf(t)
	for _, md := range c.metrics(t) {
		late := slices.ContainsFunc(slices.Collect(maps.Keys(metricAnnotations(t, []pmetric.Metrics{md}))),
			func(k key) bool { return k.from > newest })
		if late {
			after = append(after, md)
		} else {
			before = append(before, md)
		}
	}
	require.NotEmpty(t, before)
	require.NotEmpty(t, after)
	return before, after
}

// TestSessionEndsWhileTheCollectorIsDown sends only the stop event of a run after a restart
// in the middle of it. The open phase lasts until that event.
func TestSessionEndsWhileTheCollectorIsDown(t *testing.T) {
	env := []string{"STORAGE=" + t.TempDir()}
	run := loadCapture(t, "single")
	events, newest, known := run.firstHalf(t)
	stop := run.byTime()[len(run.events)-1]
	require.Equal(t, "stop", stop["event_type"])
	end := stop["timestamp_ns"].(int64)

	c := start(t, env, "storage.yaml")
	c.send(t, run.logs(t, events))
	c.stop(t)
	c = start(t, env, "storage.yaml")
	c.send(t, run.logs(t, []map[string]any{stop}))
	c.send(t, run.numbered(1, newest))
	c.send(t, run.numbered(4, end))
	c.stop(t)

	received := c.numberedRecords(t)
	for record := int64(batchSize); record < 2*batchSize; record++ {
		assert.Equal(t, []annotation{known}, received[record], "a record before the end")
	}
	for record := int64(4 * batchSize); record < 5*batchSize; record++ {
		assert.Equal(t, []annotation{{}}, received[record], "a record after the end")
	}
	assert.Len(t, received, 2*batchSize)
}

// TestTelemetryContinuesIfTheStorageFails runs a collector with a failing storage. All
// records are annotated from the index in memory, and the failures are counted.
func TestTelemetryContinuesIfTheStorageFails(t *testing.T) {
	for _, failure := range []struct {
		name, operation string
		onTop           []string
		prepare         func(t *testing.T, directory string)
	}{
		{name: "full", operation: "write", onTop: []string{"storage.yaml", "fullstorage.yaml"}},
		{
			name: "its files cannot be opened", operation: "open", onTop: []string{"storage.yaml"},
			prepare: func(t *testing.T, directory string) {
				t.Helper()
				start(t, []string{"STORAGE=" + directory}, "storage.yaml").stop(t)
				files, err := filepath.Glob(filepath.Join(directory, "*"))
				require.NoError(t, err)
				require.NotEmpty(t, files)
				for _, file := range files {
					require.NoError(t, os.Remove(file))
					require.NoError(t, os.Mkdir(file, 0o700))
				}
			},
		},
	} {
		t.Run(failure.name, func(t *testing.T) {
			directory := t.TempDir()
			if failure.prepare != nil {
				failure.prepare(t, directory)
			}
			c := start(t, []string{"STORAGE=" + directory}, failure.onTop...)
			captures := loadCaptures(t)
			var table report
			for _, run := range captures {
				for events := range slices.Chunk(run.byTime(), 50) {
					c.send(t, run.logs(t, events))
				}
				for _, md := range run.metrics(t) {
					c.send(t, md)
				}
			}
			failed := c.counts(t, failures, "operation")
			assert.NotZero(t, failed[failure.operation], "failures by operation: %v", failed)
			c.stopAllowingErrors(t)
			logs, metrics := logAnnotations(t, c.logs(t, "logs")), metricAnnotations(t, c.metrics(t, "metrics"))
			for _, run := range captures {
				table.compare(t, run.name, "logs", throughOTLP, run.expectedLogs(), logs)
				table.compare(t, run.name, "metrics", throughOTLP, run.expectedMetrics(t), metrics)
			}
			t.Logf("failures: %v; %d of %d records equal", failed, table.equal, table.records)
		})
	}
}

// TestTwoCollectorsOnOneDirectory starts a second collector while the first one uses the
// storage. After the first one has stopped, the index of the second one is stored, too.
func TestTwoCollectorsOnOneDirectory(t *testing.T) {
	env := []string{"STORAGE=" + t.TempDir()}
	runs := []*capture{loadCapture(t, "single"), loadCapture(t, "threads")}
	first := start(t, env, "storage.yaml")
	second := start(t, env, "storage.yaml")
	for i, c := range []*collector{first, second} {
		events, _, _ := runs[i].firstHalf(t)
		c.send(t, runs[i].logs(t, events))
	}
	assert.Empty(t, first.counts(t, failures, "operation"), "failures of the first one's storage")
	assert.NotZero(t, second.counts(t, failures, "operation")["open"], "failures of the second one's storage")
	first.stop(t)
	second.eventually(t, "the index of the first one", func() bool {
		return second.total(t, "otelcol_processor_phase_attr_ranks") == len(runs)
	})
	second.stopAllowingErrors(t)

	third := start(t, env, "storage.yaml")
	want := annotations{}
	for _, run := range runs {
		before, _ := run.metricsAround(t)
		for _, md := range before {
			third.send(t, md)
		}
		for k := range metricAnnotations(t, before) {
			want[k] = run.reference[k.from].annotation()
		}
	}
	third.stop(t)
	received := metricAnnotations(t, third.metrics(t, "metrics"))
	compare(t, "metrics of both runs", want, received)
	nothingElse(t, "metrics of both runs", received)
}
