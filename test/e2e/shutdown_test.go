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

// TestShutdownLosesNothing sends batches of all signals from many concurrent senders and
// stops the collector in the middle of the run. The batches are newer than the newest
// event, so they wait. Each acknowledged record must be forwarded once, annotated with
// what is known by then.
func TestShutdownLosesNothing(t *testing.T) {
	const senders, batches, unlimited = 8, 240, 1 << 20
	for _, end := range []struct {
		name                    string
		gracePeriod, maxBatches string
		// batches is how many are sent; the collector is stopped after this many
		// acknowledgements.
		batches, after int
	}{
		{"after the last batch", "1h", "10000", batches, batches},
		{"between batches", "1h", "1000000", unlimited, batches},
		{"while the buffer is full", "3s", "100", unlimited, 100},
	} {
		t.Run(end.name, func(t *testing.T) {
			run := loadCapture(t, "single")
			events, newest, known := run.firstHalf(t)
			c := start(t, []string{"GRACE_PERIOD=" + end.gracePeriod, "MAX_BATCHES=" + end.maxBatches}, "grace.yaml")
			c.send(t, run.logs(t, events))

			var done atomic.Int64
			var sending sync.WaitGroup
			sent := make([][]sentBatch, senders)
			for i := range sent {
				sending.Go(func() {
					for id := i; id < end.batches; id += senders {
						err := c.export(t.Context(), run.numbered(int64(id), newest))
						sent[i] = append(sent[i], sentBatch{int64(id), err})
						if err != nil {
							return
						}
						done.Add(1)
					}
				})
			}
			c.eventually(t, "acknowledgements", func() bool { return done.Load() >= int64(end.after) })
			if end.gracePeriod == "1h" {
				assert.Empty(t, c.numberedRecords(t), "records that should wait")
			}
			c.signal(t, syscall.SIGTERM)
			c.awaitCleanExit(t)
			sending.Wait()

			received := c.numberedRecords(t)
			for _, batch := range slices.Concat(sent...) {
				for record := batch.id * batchSize; record < (batch.id+1)*batchSize; record++ {
					if batch.err == nil {
						assert.Equal(t, []annotation{known}, received[record], "record %d, which was acknowledged", record)
					} else if len(received[record]) > 0 {
						assert.Equal(t, []annotation{known}, received[record], "record %d, which was not acknowledged", record)
					}
					delete(received, record)
				}
				if end.batches == batches {
					require.NoError(t, batch.err)
				}
			}
			assert.Empty(t, received, "records that were not sent")
			t.Logf("%d batches of %d records were acknowledged", done.Load(), batchSize)
		})
	}
}

type sentBatch struct {
	id  int64
	err error // nil if the batch was acknowledged
}

// batchSize is the number of records in a numbered batch.
const batchSize = 20

// numbered returns a batch of the run whose records are numbered from id*batchSize and are
// newer than a time. The id determines the signal.
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

// numberedRecords returns the annotations of each numbered record, one per copy received.
func (c *collector) numberedRecords(t *testing.T) map[int64][]annotation {
	t.Helper()
	received := map[int64][]annotation{}
	count := func(attributes pcommon.Map) {
		if record, ok := attributes.Get("record"); ok {
			received[record.Int()] = append(received[record.Int()], annotationOf(attributes))
		}
	}
	eachLogRecord(c.logs(t, "logs"), func(_ pcommon.Map, record plog.LogRecord) { count(record.Attributes()) })
	eachDataPoint(c.metrics(t, "metrics"), func(_ pcommon.Map, _ pmetric.Metric, dp pmetric.NumberDataPoint) { count(dp.Attributes()) })
	eachSpan(c.traces(t, "traces"), func(_ pcommon.Map, span ptrace.Span) { count(span.Attributes()) })
	return received
}
