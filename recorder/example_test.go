// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package recorder_test

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"go.opentelemetry.io/otel/log"
	"go.opentelemetry.io/otel/log/embedded"

	"github.com/phaseattr/phaseattr/recorder"
)

// printer prints events, in place of an SDK.
type printer struct {
	embedded.LoggerProvider
}

func (printer) Logger(string, ...log.LoggerOption) log.Logger { return printingLogger{} }

type printingLogger struct{ embedded.Logger }

func (printingLogger) Enabled(context.Context, log.EnabledParameters) bool { return true }

func (printingLogger) Emit(_ context.Context, record log.Record) {
	fmt.Printf("%s: %s\n", record.EventName(), record.Body().AsString())
}

func Example() {
	ctx := context.Background()
	rec := recorder.New(recorder.WithLoggerProvider(printer{}), recorder.WithRank(0))
	rec.Start(ctx)
	defer rec.Stop(ctx)

	ctx, step := rec.Enter(ctx, "step", log.Int("step", 7))
	defer step.Close()

	_, forward := rec.Enter(ctx, "forward")
	fmt.Println(forward.Path())
	if err := forward.Close(); err != nil {
		fmt.Println(err)
	}
	// Output:
	// start: Phase recording started
	// phase_enter: Phase entered: step
	// phase_enter: Phase entered: step / forward
	// [step forward]
	// phase_exit: Phase exited: step / forward
	// phase_exit: Phase exited: step
	// stop: Phase recording stopped
}

// Goroutines that work at the same time have a lane each.
func ExampleWithLane() {
	rec := recorder.New(recorder.WithLoggerProvider(printer{}))
	ctx, step := rec.Enter(context.Background(), "step")

	var wg sync.WaitGroup
	wg.Go(func() {
		_, load := rec.Enter(recorder.WithLane(ctx, "loader-0"), "load")
		defer load.Close()
	})
	wg.Wait()
	if err := step.Close(); err != nil {
		fmt.Println(err)
	}
	// Output:
	// phase_enter: Phase entered: step
	// phase_enter: Phase entered: load
	// phase_exit: Phase exited: load
	// phase_exit: Phase exited: step
}

// Telemetry that names the scope is attributed to precisely this phase.
func ExampleFromContext() {
	rec := recorder.New(recorder.WithSession("run-1"))
	ctx, phase := rec.Enter(context.Background(), "decode")
	defer phase.Close()

	if phase := recorder.FromContext(ctx); phase != nil {
		fmt.Println(log.String("origin_phase_scope_id", phase.ScopeID()))
	}
	// Output: origin_phase_scope_id:run-1:1
}

func ExampleProtocolError() {
	rec := recorder.New(recorder.WithSession("run-1"))
	ctx, step := rec.Enter(context.Background(), "step")
	_, forward := rec.Enter(ctx, "forward")

	err := step.Close()
	var refused *recorder.ProtocolError
	if errors.As(err, &refused) && errors.Is(err, recorder.ErrNotInnermost) {
		fmt.Println("close", refused.Innermost, "first")
	}
	fmt.Println(errors.Join(forward.Close(), step.Close()))
	// Output:
	// close run-1:2 first
	// <nil>
}
