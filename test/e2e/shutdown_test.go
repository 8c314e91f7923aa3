// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

// TestShutdownLosesNothing sends batches of all signals from many senders at once and
// ends the collector. The batches are newer than all that is known of their run,
// which goes on. Every record that was acknowledged must come out once.
func TestShutdownLosesNothing(t *testing.T) {
	const senders, batches = 8, 30
	for _, end := range []struct {
		name string
		// batches is how many each sender sends; 0 is until the collector is gone.
		batches int
		// after is the number of acknowledged batches after which SIGTERM is sent.
		after int64
	}{
		{"after the last batch", batches, senders * batches},
		{"among the batches", 0, senders * batches},
	} {
		t.Run(end.name, func(t *testing.T) {
			run := loadCapture(t, "single")
			events := run.byTime()
			events = events[:len(events)/2]
			newest := events[len(events)-1]["timestamp_ns"].(int64)
			c := start(t, nil)
			c.send(t, run.logs(t, events))

			var done atomic.Int64
			var sending sync.WaitGroup
			sent := make([][]sentBatch, senders)
			for i := range sent {
				sending.Go(func() {
					for n := 0; end.batches == 0 || n < end.batches; n++ {
						id := int64(n*senders + i)
						err := c.export(t.Context(), run.numbered(id, newest))
						sent[i] = append(sent[i], sentBatch{id, err})
						if err != nil {
							return
						}
						done.Add(1)
					}
				})
			}
			c.eventually(t, "acknowledgements", func() bool { return done.Load() >= end.after })
			c.signal(t, syscall.SIGTERM)
			c.waitForExit(t)
			sending.Wait()

			came := c.numberedRecords(t)
			for _, batch := range slices.Concat(sent...) {
				for record := batch.id * batchSize; record < (batch.id+1)*batchSize; record++ {
					if batch.err == nil {
						assert.Equal(t, 1, came[record], "how often came record %d, which was acknowledged", record)
					} else {
						assert.LessOrEqual(t, came[record], 1, "how often came record %d, which was not acknowledged", record)
					}
					delete(came, record)
				}
				if end.batches > 0 {
					require.NoError(t, batch.err)
				}
			}
			assert.Empty(t, came, "records that nobody sent")
			t.Logf("%d batches of %d records were acknowledged", done.Load(), batchSize)
		})
	}
}

type sentBatch struct {
	id  int64
	err error // nil if it was acknowledged
}

// batchSize is how many records a numbered batch has.
const batchSize = 20

// numbered returns a batch of the run whose records are numbered from id*batchSize on,
// and are younger than a time. The signal goes with the id.
func (c *capture) numbered(id, after int64) any {
	first, end := id*batchSize, (id+1)*batchSize
	stamp := func(record int64) pcommon.Timestamp { return pcommon.Timestamp(after + 1 + record) }
	switch id % 3 {
	case 0:
		ld := plog.NewLogs()
		resource := ld.ResourceLogs().AppendEmpty()
		c.describe(resource.Resource())
		records := resource.ScopeLogs().AppendEmpty().LogRecords()
		for n := first; n < end; n++ {
			record := records.AppendEmpty()
			record.SetTimestamp(stamp(n))
			record.Attributes().PutInt("record", n)
		}
		return ld
	case 1:
		md := pmetric.NewMetrics()
		resource := md.ResourceMetrics().AppendEmpty()
		c.describe(resource.Resource())
		points := resource.ScopeMetrics().AppendEmpty().Metrics().AppendEmpty().SetEmptyGauge().DataPoints()
		for n := first; n < end; n++ {
			dp := points.AppendEmpty()
			dp.SetTimestamp(stamp(n))
			dp.Attributes().PutInt("record", n)
		}
		return md
	default:
		td := ptrace.NewTraces()
		resource := td.ResourceSpans().AppendEmpty()
		c.describe(resource.Resource())
		spans := resource.ScopeSpans().AppendEmpty().Spans()
		for n := first; n < end; n++ {
			span := spans.AppendEmpty()
			span.SetStartTimestamp(stamp(n))
			span.SetEndTimestamp(stamp(n) + 1)
			span.Attributes().PutInt("record", n)
		}
		return td
	}
}

// numberedRecords tells how often each numbered record came out.
func (c *collector) numberedRecords(t *testing.T) map[int64]int {
	t.Helper()
	came := map[int64]int{}
	count := func(attributes pcommon.Map) {
		if record, ok := attributes.Get("record"); ok {
			came[record.Int()]++
		}
	}
	eachLogRecord(c.logs(t, "logs"), func(_ pcommon.Map, record plog.LogRecord) { count(record.Attributes()) })
	eachDataPoint(c.metrics(t, "metrics"), func(_ pcommon.Map, _ pmetric.Metric, dp pmetric.NumberDataPoint) { count(dp.Attributes()) })
	eachSpan(c.traces(t, "traces"), func(_ pcommon.Map, span ptrace.Span) { count(span.Attributes()) })
	return came
}
