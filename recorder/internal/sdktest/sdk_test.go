// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package sdktest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/log"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/goleak"

	"github.com/phaseattr/phaseattr/recorder"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memory is an exporter that keeps records. As those to a collector, it fails when its
// context is cancelled.
type memory struct {
	mu      sync.Mutex
	records []sdklog.Record
}

func (m *memory) Export(ctx context.Context, records []sdklog.Record) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range records {
		m.records = append(m.records, records[i].Clone())
	}
	return ctx.Err()
}

func (*memory) Shutdown(context.Context) error   { return nil }
func (*memory) ForceFlush(context.Context) error { return nil }

// counter is an exporter that counts records.
type counter struct {
	memory

	n atomic.Int64
}

func (c *counter) Export(_ context.Context, records []sdklog.Record) error {
	c.n.Add(int64(len(records)))
	return nil
}

func newProvider(tb testing.TB, processor sdklog.Processor) *sdklog.LoggerProvider {
	tb.Helper()
	provider := sdklog.NewLoggerProvider(sdklog.WithProcessor(processor))
	tb.Cleanup(func() { assert.NoError(tb, provider.Shutdown(context.Background())) })
	return provider
}

func spanContext(id byte) trace.SpanContext {
	return trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{id}, SpanID: trace.SpanID{id}, TraceFlags: trace.FlagsSampled})
}

func TestTraceContextIsKept(t *testing.T) {
	exporter := new(memory)
	rec := recorder.New(recorder.WithLoggerProvider(newProvider(t, sdklog.NewSimpleProcessor(exporter))))
	ctx, step := rec.Enter(trace.ContextWithSpanContext(t.Context(), spanContext(1)), "step")
	_, forward := rec.Enter(trace.ContextWithSpanContext(ctx, spanContext(2)), "forward")
	require.NoError(t, forward.Close())
	require.NoError(t, step.CloseContext(trace.ContextWithSpanContext(ctx, spanContext(3))))

	var got []string
	for i := range exporter.records {
		r := &exporter.records[i]
		got = append(got, fmt.Sprint(r.EventName(), " ", r.TraceID()[0], " ", r.SpanID()[0], " ", r.TraceFlags().IsSampled()))
	}
	assert.Equal(t, []string{
		"phase_enter 1 1 true",
		"phase_enter 2 2 true",
		"phase_exit 2 2 true",
		"phase_exit 3 3 true",
	}, got)
}

func TestRecordsOfCancelledWorkAreExported(t *testing.T) {
	exporter := new(memory)
	rec := recorder.New(recorder.WithLoggerProvider(newProvider(t, sdklog.NewSimpleProcessor(exporter))), recorder.WithPulse(0))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	rec.Start(ctx)
	_, phase := rec.Enter(ctx, "step")
	require.NoError(t, phase.Close())
	rec.Stop(ctx)
	assert.Len(t, exporter.records, 4)
}

// TestEveryBoundaryIsExported has many lanes and a pulse share a batching provider, and
// the provider alter what it is given.
func TestEveryBoundaryIsExported(t *testing.T) {
	const lanes, steps = 8, 100
	exporter := new(memory)
	batches := sdklog.NewBatchProcessor(exporter, sdklog.WithMaxQueueSize(lanes*steps*4+1000))
	rec := recorder.New(recorder.WithLoggerProvider(newProvider(t, batches)), recorder.WithPulse(time.Millisecond))
	rec.Start(t.Context())
	var wg sync.WaitGroup
	for i := range lanes {
		wg.Go(func() {
			lane := recorder.WithLane(t.Context(), fmt.Sprint("lane-", i))
			for n := range steps {
				ctx, step := rec.Enter(lane, "step", log.Int("step", n), log.Int("step", n))
				_, forward := rec.Enter(ctx, "forward")
				assert.NoError(t, errors.Join(forward.Close(), step.Close()))
			}
		})
	}
	wg.Wait()
	rec.Stop(t.Context())
	require.NoError(t, batches.ForceFlush(t.Context()))

	events := make(map[string]int)
	for i := range exporter.records {
		events[exporter.records[i].EventName()]++
	}
	delete(events, "sample")
	assert.Equal(t, map[string]int{"start": 1, "phase_enter": lanes * steps * 2, "phase_exit": lanes * steps * 2, "stop": 1}, events)
}

func BenchmarkPairBatching(b *testing.B) {
	exporter := new(counter)
	batches := sdklog.NewBatchProcessor(exporter)
	rec := recorder.New(recorder.WithLoggerProvider(newProvider(b, batches)))
	ctx, step := rec.Enter(b.Context(), "step")
	b.ReportAllocs()
	for b.Loop() {
		_, phase := rec.Enter(ctx, "forward")
		if err := phase.Close(); err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	require.NoError(b, step.Close())
	require.NoError(b, batches.ForceFlush(b.Context()))
	b.ReportMetric(float64(exporter.n.Load())/float64(2*b.N+2), "exported/record")
}
