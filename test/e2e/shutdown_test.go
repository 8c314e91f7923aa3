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
// ends the collector. The run goes on, and the batches are newer than its newest
// event: they are held. Every record that was acknowledged must come out once, with
// the answer that is known by then.
func TestShutdownLosesNothing(t *testing.T) {
	const senders, batches, unlimited = 8, 240, 1 << 20
	for _, end := range []struct {
		name                 string
		gracePeriod, maxHeld string
		// batches is how many are sent; the collector is told to end after so many
		// acknowledgements.
		batches, after int
	}{
		{"after the last batch", "1h", "1000", batches, batches},
		{"among the batches", "1h", "1000000", unlimited, batches},
		{"while senders wait for room", "3s", "100", unlimited, 100},
	} {
		t.Run(end.name, func(t *testing.T) {
			run := loadCapture(t, "single")
			events, newest, known := run.firstHalf(t)
			c := start(t, []string{"GRACE_PERIOD=" + end.gracePeriod, "MAX_HELD_BATCHES=" + end.maxHeld}, "holding.yaml")
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
				assert.Empty(t, c.numberedRecords(t), "records that should be held")
			}
			c.signal(t, syscall.SIGTERM)
			c.waitForExit(t)
			sending.Wait()

			came := c.numberedRecords(t)
			for _, batch := range slices.Concat(sent...) {
				for record := batch.id * batchSize; record < (batch.id+1)*batchSize; record++ {
					if batch.err == nil {
						assert.Equal(t, []answer{known}, came[record], "record %d, which was acknowledged", record)
					} else if len(came[record]) > 0 {
						assert.Equal(t, []answer{known}, came[record], "record %d, which was not acknowledged", record)
					}
					delete(came, record)
				}
				if end.batches == batches {
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

// numberedRecords has the answer of each numbered record, as often as it came out.
func (c *collector) numberedRecords(t *testing.T) map[int64][]answer {
	t.Helper()
	came := map[int64][]answer{}
	count := func(attributes pcommon.Map) {
		if record, ok := attributes.Get("record"); ok {
			came[record.Int()] = append(came[record.Int()], answerOf(attributes))
		}
	}
	eachLogRecord(c.logs(t, "logs"), func(_ pcommon.Map, record plog.LogRecord) { count(record.Attributes()) })
	eachDataPoint(c.metrics(t, "metrics"), func(_ pcommon.Map, _ pmetric.Metric, dp pmetric.NumberDataPoint) { count(dp.Attributes()) })
	eachSpan(c.traces(t, "traces"), func(_ pcommon.Map, span ptrace.Span) { count(span.Attributes()) })
	return came
}
