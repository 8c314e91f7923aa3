// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package recorder

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/log"
)

// The bubbles of these tests fail if the goroutine of a pulse outlives Stop.

func TestPulse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec, events := newTest(WithPulse(250 * time.Millisecond))
		rec.Start(t.Context())
		started := time.Now()
		time.Sleep(600 * time.Millisecond)
		rec.Stop(t.Context())
		time.Sleep(time.Minute)

		got := events.take()
		names := make([]string, len(got))
		after := make([]time.Duration, len(got))
		for i, e := range got {
			names[i] = e.record.EventName()
			after[i] = e.record.Timestamp().Sub(started)
			if interval, says := e.attributes()["sampling_interval_ms"]; says != (names[i] != eventStop) || says && interval != int64(250) {
				t.Errorf("%s says an interval of %v", names[i], interval)
			}
		}
		if want := []string{eventStart, eventSample, eventSample, eventStop}; !slices.Equal(names, want) {
			t.Errorf("events %q, want %q", names, want)
		}
		const ms = time.Millisecond
		if want := []time.Duration{0, 250 * ms, 500 * ms, 600 * ms}; !slices.Equal(after, want) {
			t.Errorf("at %v, want %v", after, want)
		}
	})
}

func TestNoPulse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, interval := range []time.Duration{0, -time.Second} {
			rec, events := newTest(WithPulse(interval))
			rec.Start(t.Context())
			time.Sleep(time.Minute)
			rec.Stop(t.Context())
			got := events.take()
			if len(got) != 2 {
				t.Fatalf("%d events, want a start and a stop", len(got))
			}
			if _, says := got[0].attributes()["sampling_interval_ms"]; says {
				t.Error("start says an interval")
			}
		}
	})
}

func TestPulseIsWholeMilliseconds(t *testing.T) {
	for interval, want := range map[time.Duration]time.Duration{
		1:                       time.Millisecond,
		time.Millisecond:        time.Millisecond,
		1500 * time.Microsecond: 2 * time.Millisecond,
	} {
		if rec, _ := newTest(WithPulse(interval)); rec.pulse != want {
			t.Errorf("%v became %v, want %v", interval, rec.pulse, want)
		}
	}
}

func TestStartAndStopTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec, events := newTest()
		rec.Stop(t.Context())
		for range 2 {
			rec.Start(t.Context())
			rec.Start(t.Context())
			rec.Stop(t.Context())
			rec.Stop(t.Context())
		}
		if got, want := events.names(), []string{eventStart, eventStop, eventStart, eventStop}; !slices.Equal(got, want) {
			t.Errorf("events %q, want %q", got, want)
		}
	})
}

func TestStartBeginsAnew(t *testing.T) {
	rec, _ := newTest(WithPulse(0))
	rec.Enter(t.Context(), "import")
	rec.Start(t.Context())
	defer rec.Stop(t.Context())
	_, phase := rec.Enter(t.Context(), "train")
	if len(phase.Path()) != 1 || phase.ScopeID() != "s1:1" {
		t.Errorf("path %q, scope %q", phase.Path(), phase.ScopeID())
	}
}

// blocking is a logger whose sample events take until their context ends.
type blocking struct {
	memory

	began chan struct{}
}

func TestStopWaitsForSample(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logger := &blocking{began: make(chan struct{})}
		rec := New(WithLoggerProvider(provider{logger: logger}))
		ctx, cancel := context.WithCancel(t.Context())
		rec.Start(ctx)
		cancel() // the pulse is not bound to the context of Start
		<-logger.began
		rec.Stop(ctx)
		if got, want := logger.names(), []string{eventStart, eventSample, eventStop}; !slices.Equal(got, want) {
			t.Errorf("events %q, want %q", got, want)
		}
	})
}

func (b *blocking) Emit(ctx context.Context, record log.Record) {
	if record.EventName() == eventSample {
		close(b.began)
		<-ctx.Done()
	}
	b.memory.Emit(ctx, record)
}
