// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package recorder

import (
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/log"
	"go.opentelemetry.io/otel/log/noop"
)

func newTest(opts ...Option) (*Recorder, *memory) {
	events := new(memory)
	opts = append([]Option{WithLoggerProvider(provider{logger: events}), WithSession("s1")}, opts...)
	return New(opts...), events
}

func TestEventSaysWhereItComesFrom(t *testing.T) {
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		opts []Option
		want map[string]any
	}{
		{
			name: "by default the process that the operating system knows",
			want: map[string]any{"session_id": "s1", "rank": int64(0), "host": host, "pid": int64(os.Getpid())},
		},
		{
			name: "as configured",
			opts: []Option{WithRank(3), WithProcess("n1", 42), WithAttributes(log.Int("device_id", 1), log.String("job_id", "j"))},
			want: map[string]any{
				"session_id": "s1", "rank": int64(3), "host": "n1", "pid": int64(42), "device_id": int64(1), "job_id": "j",
			},
		},
		{
			name: "without a host",
			opts: []Option{WithProcess("", 42)},
			want: map[string]any{"session_id": "s1", "rank": int64(0), "pid": int64(42)},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rec, events := newTest(tt.opts...)
			_, phase := rec.Enter(t.Context(), "train")
			if err := phase.Close(); err != nil {
				t.Fatal(err)
			}
			for _, e := range events.take() {
				got := e.attributes()
				delete(got, "phase_scope")
				if !reflect.DeepEqual(got, tt.want) {
					t.Errorf("%s has %v, want %v", e.record.EventName(), got, tt.want)
				}
			}
		})
	}
}

func TestSessionsDifferByDefault(t *testing.T) {
	a, b := New(), New()
	if a.SessionID() == "" || a.SessionID() == b.SessionID() {
		t.Errorf("sessions %q and %q", a.SessionID(), b.SessionID())
	}
}

func TestTimesRiseWithSequence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec, events := newTest()
		entered := time.Now()
		_, phase := rec.Enter(t.Context(), "train")
		time.Sleep(time.Minute)
		if err := phase.Close(); err != nil {
			t.Fatal(err)
		}
		got := events.take()
		if enter, exit := got[0].record.Timestamp(), got[1].record.Timestamp(); !enter.Equal(entered) || !exit.Equal(entered.Add(time.Minute)) {
			t.Errorf("entered at %v and left at %v, want a minute from %v", enter, exit, entered)
		}
	})
}

func TestLaneIsInherited(t *testing.T) {
	rec, _ := newTest()
	ctx, step := rec.Enter(t.Context(), "step")
	if name := step.Lane().Name; name != DefaultLane {
		t.Errorf("lane %q, want %q", name, DefaultLane)
	}
	loader, load := rec.Enter(WithLane(ctx, "loader-0"), "load")
	_, decode := rec.Enter(loader, "decode")
	_, forward := rec.Enter(ctx, "forward")
	if got, want := decode.Path(), []string{"load", "decode"}; !slices.Equal(got, want) {
		t.Errorf("path %q, want %q", got, want)
	}
	if got, want := forward.Path(), []string{"step", "forward"}; !slices.Equal(got, want) {
		t.Errorf("path %q, want %q", got, want)
	}
	for _, phase := range []*Handle{decode, load, forward, step} {
		if err := phase.Close(); err != nil {
			t.Error(err)
		}
	}
	if len(rec.innermost) > 0 {
		t.Errorf("%d lanes are kept that have no open scope", len(rec.innermost))
	}
}

func TestLaneIDFollowsFromName(t *testing.T) {
	rec, _ := newTest()
	id := func(name string, opts ...LaneOption) int64 { return rec.lane(WithLane(t.Context(), name, opts...)).ID }
	if id("loader-0") != id(" loader-0 ") || id("loader-0") == id("loader-1") {
		t.Errorf("IDs %d, %d, %d", id("loader-0"), id(" loader-0 "), id("loader-1"))
	}
	if id("") != rec.lane(t.Context()).ID {
		t.Error("a blank name is not the default lane")
	}
	if got := id("loader-0", LaneID(7)); got != 7 {
		t.Errorf("ID %d, want 7", got)
	}
	for i := range 1000 {
		if got := id(fmt.Sprint("lane-", i)); got < 0 || got >= 1<<53 {
			t.Fatalf("ID %d is not exact as a double", got)
		}
	}
}

func TestFromContext(t *testing.T) {
	rec, _ := newTest()
	if h := FromContext(t.Context()); h != nil {
		t.Errorf("phase %q in an empty context", h.Name())
	}
	outer, train := rec.Enter(t.Context(), "train")
	inner, step := rec.Enter(outer, "step")
	if FromContext(outer) != train || FromContext(inner) != step {
		t.Error("not the innermost phase of the context")
	}
	if h := FromContext(WithLane(inner, "loader-0")); h != nil {
		t.Errorf("phase %q in a lane that has none", h.Name())
	}
}

func TestRefusedCalls(t *testing.T) {
	var handled []error
	rec, events := newTest(WithErrorHandler(func(err error) { handled = append(handled, err) }))
	ctx, step := rec.Enter(t.Context(), "step")
	loader := WithLane(ctx, "loader-0", LaneID(7))
	_, forward := rec.Enter(ctx, "forward")
	_, blank := rec.Enter(ctx, " \t")
	events.take()

	lane := Lane{7, "loader-0"}
	tests := []struct {
		name string
		err  error
		want *ProtocolError
		text string
	}{
		{
			name: "a blank name", err: blank.Err(),
			want: &ProtocolError{Err: ErrBlankName, Lane: step.Lane()},
			text: `enter phase in lane "main": phase name is blank`,
		},
		{
			name: "closing a phase that was refused", err: blank.Close(),
			want: &ProtocolError{Err: ErrBlankName, Lane: step.Lane()},
			text: `enter phase in lane "main": phase name is blank`,
		},
		{
			name: "closing it in a context", err: blank.CloseContext(ctx),
			want: &ProtocolError{Err: ErrBlankName, Lane: step.Lane()},
			text: `enter phase in lane "main": phase name is blank`,
		},
		{
			name: "from another lane", err: forward.CloseContext(loader),
			want: &ProtocolError{Err: ErrOtherLane, Lane: lane, ScopeID: "s1:2", Owner: step.Lane()},
			text: `exit scope "s1:2" in lane "loader-0": scope was entered in another lane ("main")`,
		},
		{
			name: "from another lane by ID", err: rec.Exit(loader, "s1:1"),
			want: &ProtocolError{Err: ErrOtherLane, Lane: lane, ScopeID: "s1:1", Owner: step.Lane()},
			text: `exit scope "s1:1" in lane "loader-0": scope was entered in another lane ("main")`,
		},
		{
			name: "out of order", err: step.Close(),
			want: &ProtocolError{Err: ErrNotInnermost, Lane: step.Lane(), ScopeID: "s1:1", Innermost: "s1:2"},
			text: `exit scope "s1:1" in lane "main": scope is not the innermost of its lane ("s1:2" is)`,
		},
		{
			name: "an unknown scope", err: rec.Exit(ctx, "s1:9"),
			want: &ProtocolError{Err: ErrUnknownScope, Lane: step.Lane(), ScopeID: "s1:9"},
			text: `exit scope "s1:9" in lane "main": scope is not open`,
		},
		{
			name: "an ID that only resembles one", err: rec.Exit(ctx, "s1:02"),
			want: &ProtocolError{Err: ErrUnknownScope, Lane: step.Lane(), ScopeID: "s1:02"},
			text: `exit scope "s1:02" in lane "main": scope is not open`,
		},
		{
			name: "nothing open", err: rec.Exit(loader, "s1:9"),
			want: &ProtocolError{Err: ErrNothingOpen, Lane: lane, ScopeID: "s1:9"},
			text: `exit scope "s1:9" in lane "loader-0": no scope is open in this lane`,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got *ProtocolError
			if !errors.As(tt.err, &got) || *got != *tt.want {
				t.Errorf("error %#v, want %#v", got, tt.want)
			}
			if !errors.Is(tt.err, tt.want.Err) {
				t.Errorf("%v is not %v", tt.err, tt.want.Err)
			}
			if tt.err.Error() != tt.text {
				t.Errorf("text\n%s, want\n%s", tt.err, tt.text)
			}
		})
	}
	if names := events.names(); len(names) > 0 {
		t.Errorf("refused calls emitted %q", names)
	}
	if len(handled) != len(tests)-2 { // a refused phase tells its error again
		t.Errorf("%d errors were handled, want %d", len(handled), len(tests)-2)
	}
	if err := errors.Join(forward.Close(), step.Close()); err != nil {
		t.Errorf("refused calls changed what is open: %v", err)
	}
}

func TestRefusedPhaseIsInert(t *testing.T) {
	rec, _ := newTest()
	ctx := t.Context()
	got, phase := rec.Enter(ctx, "")
	if got != ctx {
		t.Error("context is another one")
	}
	if phase.Name() != "" || phase.ScopeID() != "" || phase.Path() != nil || phase.Lane() != (Lane{}) {
		t.Errorf("phase %q %q %q %v", phase.Name(), phase.ScopeID(), phase.Path(), phase.Lane())
	}
}

func TestClosingAgainDoesNothing(t *testing.T) {
	rec, events := newTest()
	ctx, step := rec.Enter(t.Context(), "step")
	if err := step.Close(); err != nil {
		t.Fatal(err)
	}
	events.take()
	if err := errors.Join(step.Close(), step.CloseContext(ctx), step.CloseContext(WithLane(ctx, "other"))); err != nil {
		t.Error(err)
	}
	if names := events.names(); len(names) > 0 {
		t.Errorf("closing again emitted %q", names)
	}
}

func TestResetForgetsOpenScopes(t *testing.T) {
	rec, events := newTest()
	_, old := rec.Enter(t.Context(), "step")
	rec.Reset()
	if err := old.Close(); !errors.Is(err, ErrNothingOpen) {
		t.Errorf("closing a forgotten phase: %v", err)
	}
	_, phase := rec.Enter(t.Context(), "step")
	if phase.ScopeID() != old.ScopeID() {
		t.Errorf("scope %q, want %q again", phase.ScopeID(), old.ScopeID())
	}
	// The old handle must not close the new scope of the same ID.
	if err := old.Close(); !errors.Is(err, ErrUnknownScope) {
		t.Errorf("closing a forgotten phase: %v", err)
	}
	if names, want := events.names(), []string{eventEnter, eventEnter}; !slices.Equal(names, want) {
		t.Errorf("events %q, want %q", names, want)
	}
}

type valueKey struct{}

func TestEventsOfCancelledWorkAreEmitted(t *testing.T) {
	rec, events := newTest()
	ctx, cancel := context.WithCancel(context.WithValue(t.Context(), valueKey{}, "kept"))
	ctx, step := rec.Enter(ctx, "step")
	_, forward := rec.Enter(ctx, "forward")
	_, backward := rec.Enter(ctx, "backward")
	cancel()
	if err := errors.Join(backward.Close(), forward.CloseContext(ctx), rec.Exit(ctx, step.ScopeID())); err != nil {
		t.Fatal(err)
	}
	got := events.take()
	if len(got) != 6 {
		t.Fatalf("%d events, want 6", len(got))
	}
	for _, e := range got {
		_, hasDeadline := e.ctx.Deadline()
		if e.ctx.Err() != nil || e.ctx.Done() != nil || hasDeadline || e.ctx.Value(valueKey{}) != "kept" {
			t.Errorf("%s was emitted with %v", e.record.EventName(), e.ctx)
		}
	}
}

// switchable is a logger that can be disabled.
type switchable struct {
	memory

	disabled bool
}

func (s *switchable) Enabled(context.Context, log.EnabledParameters) bool { return !s.disabled }

func TestDisabledLogger(t *testing.T) {
	logger := &switchable{disabled: true}
	rec := New(WithLoggerProvider(provider{logger: logger}), WithSession("s1"), WithPulse(0))
	rec.Start(t.Context())
	ctx, train := rec.Enter(t.Context(), "train")
	ctx, step := rec.Enter(ctx, "step")
	if id := step.ScopeID(); id != "s1:2" {
		t.Errorf("scope %q, want s1:2", id)
	}
	logger.disabled = false
	_, forward := rec.Enter(ctx, "forward")
	if err := errors.Join(forward.Close(), step.Close()); err != nil {
		t.Fatal(err)
	}
	logger.disabled = true
	if err := train.Close(); err != nil {
		t.Fatal(err)
	}
	rec.Stop(t.Context())

	var got []string
	for _, e := range logger.take() {
		scope := e.phaseScope()
		got = append(got, fmt.Sprint(e.record.Body().AsString(), " ", scope["scope_id"], " in ", scope["parent_scope_id"]))
	}
	want := []string{
		"Phase entered: train / step / forward s1:3 in s1:2",
		"Phase exited: train / step / forward s1:3 in s1:2",
		"Phase exited: train / step s1:2 in s1:1",
	}
	if !slices.Equal(got, want) {
		t.Errorf("events\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestAttributesAreKept holds Enter to its own copy of the attributes.
func TestAttributesAreKept(t *testing.T) {
	rec, events := newTest()
	attrs := []log.KeyValue{log.Int("step", 1)}
	_, phase := rec.Enter(t.Context(), "step", attrs...)
	attrs[0] = log.Int("step", 2)
	if err := phase.Close(); err != nil {
		t.Fatal(err)
	}
	for _, e := range events.take() {
		if got, want := e.phaseScope()["attributes"], map[string]any{"step": int64(1)}; !reflect.DeepEqual(got, want) {
			t.Errorf("%s has %v, want %v", e.record.EventName(), got, want)
		}
	}
}

// TestLanesAtTheSameTime checks that boundaries of lanes at work at the same time are
// numbered without a gap and nest within their lane.
func TestLanesAtTheSameTime(t *testing.T) {
	const lanes, steps = 8, 200
	rec, events := newTest(WithPulse(time.Millisecond))
	rec.Start(t.Context())
	var wg sync.WaitGroup
	for i := range lanes {
		wg.Go(func() {
			lane := WithLane(t.Context(), fmt.Sprint("lane-", i), LaneID(int64(i)))
			for range steps {
				ctx, step := rec.Enter(lane, "step", log.Int("lane", i))
				_, forward := rec.Enter(ctx, "forward")
				if err := errors.Join(forward.Close(), step.Close()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	rec.Stop(t.Context())

	seen := make(map[int64]bool)
	for _, e := range events.take() {
		if scope := e.phaseScope(); scope != nil {
			seen[scope["sequence"].(int64)] = true
			if path := scope["path"].([]any); path[0] != "step" || len(path) > 2 {
				t.Fatalf("path %v", path)
			}
		}
	}
	for n := int64(1); n <= lanes*steps*4; n++ {
		if !seen[n] {
			t.Fatalf("boundary %d is missing", n)
		}
	}
}

func TestNoProvider(t *testing.T) {
	for _, rec := range []*Recorder{New(), New(WithLoggerProvider(noop.NewLoggerProvider()))} {
		rec.Start(t.Context())
		_, phase := rec.Enter(t.Context(), "step")
		if err := phase.Close(); err != nil {
			t.Error(err)
		}
		rec.Stop(t.Context())
	}
}
