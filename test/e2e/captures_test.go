// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
)

// How records reach the collector, as shown in the table.
const (
	throughFile     = "file"
	throughOTLP     = "OTLP"
	throughShuffled = "OTLP, shuffled"
	afterSingles    = "OTLP, after the last record"
)

// TestCapturesMatchTheReference sends the recorded runs, their metrics and spans over their
// events through the collector and compares each record with the reference.
func TestCapturesMatchTheReference(t *testing.T) {
	captures := loadCaptures(t)
	var table report

	t.Run("from files", func(t *testing.T) {
		input := t.TempDir()
		records := 0
		for _, run := range captures {
			records += len(run.events)
			place(t, captureFile(run.name, ".jsonl"), filepath.Join(input, run.name+".events.jsonl"))
		}
		c := start(t, []string{"INPUT=" + input, "RECORDS=" + strconv.Itoa(records)}, "files.yaml")
		c.eventually(t, "all log records", func() bool { return len(logAnnotations(t, c.logs(t, "logs"))) >= records })

		points := 0
		for _, run := range captures {
			points += len(run.expectedMetrics(t))
			place(t, captureFile(run.name, ".metrics.jsonl"), filepath.Join(input, run.name+".metrics.jsonl"))
		}
		c.eventually(t, "all data points", func() bool { return len(metricAnnotations(t, c.metrics(t, "metrics"))) >= points })
		c.compareCaptures(t, &table, throughFile, throughFile, captures)
	})

	for _, way := range []struct {
		name, through string
		order         func(events []map[string]any) []map[string]any
	}{
		{"over OTLP", throughOTLP, slices.Clone[[]map[string]any]},
		{"over OTLP, shuffled", throughShuffled, shuffled},
	} {
		t.Run(way.name, func(t *testing.T) {
			c := start(t, nil)
			for _, run := range captures {
				c.send(t, run.logs(t, way.order(run.events)))
			}
			for _, run := range captures {
				for _, md := range run.metrics(t) {
					c.send(t, md)
				}
			}
			c.compareCaptures(t, &table, way.through, throughOTLP, captures)
		})
	}
	table.log(t)
}

// TestCapturesRecordByRecord sends each record of the recorded runs in its own request,
// some of them twice, all runs result and in random order, from several concurrent senders.
// Metrics and spans sent afterwards must match the reference.
func TestCapturesRecordByRecord(t *testing.T) {
	const senders, everyNthTwice = 4, 5
	captures := loadCaptures(t)
	type record struct {
		run   *capture
		event map[string]any
	}
	var records []record
	for _, run := range captures {
		for i, event := range run.events {
			records = append(records, record{run, event})
			if i%everyNthTwice == 0 {
				records = append(records, record{run, event})
			}
		}
	}
	random := rand.New(rand.NewPCG(1, 2))
	random.Shuffle(len(records), func(i, j int) { records[i], records[j] = records[j], records[i] })

	c := start(t, nil)
	sent := map[key]int{}
	var sending sync.WaitGroup
	for i := range senders {
		sending.Go(func() {
			for n := i; n < len(records); n += senders {
				one := records[n]
				assert.NoError(t, c.export(t.Context(), one.run.logs(t, []map[string]any{one.event})))
			}
		})
	}
	for _, one := range records {
		at := one.event["timestamp_ns"].(int64)
		sent[key{session: one.run.session, from: at, to: at}]++
	}
	sending.Wait()
	for _, run := range captures {
		for _, md := range run.metrics(t) {
			c.send(t, md)
		}
		td, _, _ := run.traces(t)
		c.send(t, td)
	}
	c.stop(t)

	received := map[key]int{}
	eachLogRecord(c.logs(t, "logs"), func(_ pcommon.Map, record plog.LogRecord) {
		at := number(record.Attributes(), "timestamp_ns")
		received[key{session: text(record.Attributes(), "session_id"), from: at, to: at}]++
	})
	assert.Equal(t, sent, received, "how often each log record was received")

	var table report
	metrics, spans := metricAnnotations(t, c.metrics(t, "metrics")), spanAnnotations(t, c.traces(t, "traces"))
	for _, run := range captures {
		_, want, _ := run.traces(t)
		table.compare(t, run.name, "metrics", afterSingles, run.expectedMetrics(t), metrics)
		table.compare(t, run.name, "spans", afterSingles, want, spans)
	}
	nothingElse(t, "metrics", metrics)
	nothingElse(t, "spans", spans)
	t.Logf("%d log records were sent and received, %d of them twice", len(records), len(records)-len(sent))
	table.log(t)
}

// place atomically copies a file to where a receiver looks for it.
func place(t *testing.T, from, to string) {
	t.Helper()
	content, err := os.ReadFile(from)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(to+".part", content, 0o600))
	require.NoError(t, os.Rename(to+".part", to))
}

// shuffled returns the events in a random but reproducible order.
func shuffled(events []map[string]any) []map[string]any {
	result := slices.Clone(events)
	rand.New(rand.NewPCG(1, 2)).Shuffle(len(result), func(i, j int) { result[i], result[j] = result[j], result[i] })
	return result
}

// compareCaptures sends the spans of the runs, whose log records and metrics have been
// sent, stops the collector, and compares its output with the reference.
func (c *collector) compareCaptures(t *testing.T, table *report, logsThrough, metricsThrough string, captures []*capture) {
	t.Helper()
	wantSpans := map[string]annotations{}
	for _, run := range captures {
		td, want, contained := run.traces(t)
		t.Logf("%s: %d of %d spans lie within a phase", run.name, contained, len(want))
		wantSpans[run.name] = want
		c.send(t, td)
	}
	c.stop(t)

	logs, metrics := logAnnotations(t, c.logs(t, "logs")), metricAnnotations(t, c.metrics(t, "metrics"))
	spans := spanAnnotations(t, c.traces(t, "traces"))
	for _, run := range captures {
		table.compare(t, run.name, "logs", logsThrough, run.expectedLogs(), logs)
		table.compare(t, run.name, "metrics", metricsThrough, run.expectedMetrics(t), metrics)
		table.compare(t, run.name, "spans", throughOTLP, wantSpans[run.name], spans)
	}
	nothingElse(t, "logs", logs)
	nothingElse(t, "metrics", metrics)
	nothingElse(t, "spans", spans)
}

// report is a table of comparisons.
type report struct {
	rows           []string
	records, equal int
}

// compare adds a row to the table.
func (r *report) compare(t *testing.T, name, signal, through string, want, received annotations) {
	t.Helper()
	equal := compare(t, name+" "+signal, want, received)
	r.rows = append(r.rows, fmt.Sprintf("%s\t%s\t%s\t%d\t%d", name, signal, through, len(want), equal))
	r.records += len(want)
	r.equal += equal
}

func (r *report) log(t *testing.T) {
	t.Helper()
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "capture\tsignal\tthrough\trecords\tequal")
	for _, row := range r.rows {
		fmt.Fprintln(w, row)
	}
	fmt.Fprintf(w, "all\t\t\t%d\t%d\n", r.records, r.equal)
	require.NoError(t, w.Flush())
	t.Logf("compared with the reference:\n%s", text.String())
}
