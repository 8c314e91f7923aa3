// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package recorder

import (
	"context"
	"sync"
	"time"

	"go.opentelemetry.io/otel/log"
)

// Start begins the session of this process: it resets the recorder, emits a start event
// and then sample events, until [Recorder.Stop] is called. Starting a started recorder
// does nothing.
func (r *Recorder) Start(ctx context.Context) {
	r.lifecycle.Lock()
	defer r.lifecycle.Unlock()
	if r.stopPulse != nil {
		return
	}
	r.Reset()
	r.emit(context.WithoutCancel(ctx), eventStart, messageStart, r.pulseAttributes()...)
	r.stopPulse = r.startPulse() //nolint:contextcheck // the pulse outlives this call and its trace
}

// Stop ends the session of this process: it stops the sample events, waits until none is
// being emitted, and emits a stop event. Stopping a recorder that is not started does
// nothing.
func (r *Recorder) Stop(ctx context.Context) {
	r.lifecycle.Lock()
	defer r.lifecycle.Unlock()
	if r.stopPulse == nil {
		return
	}
	r.stopPulse()
	r.stopPulse = nil
	r.emit(context.WithoutCancel(ctx), eventStop, messageStop)
}

// startPulse begins to emit sample events. The function that it returns stops them and
// waits until none is being emitted.
func (r *Recorder) startPulse() (stop func()) {
	if r.pulse <= 0 {
		return func() {}
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { r.beat(ctx) })
	return func() {
		cancel()
		wg.Wait()
	}
}

func (r *Recorder) beat(ctx context.Context) {
	ticker := time.NewTicker(r.pulse)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			r.emit(ctx, eventSample, messageSample, r.pulseAttributes()...)
		}
	}
}

func (r *Recorder) pulseAttributes() []log.KeyValue {
	if r.pulse <= 0 {
		return nil
	}
	return []log.KeyValue{log.Int64("sampling_interval_ms", r.pulse.Milliseconds())}
}
