// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phasespansconnector

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/connector"
	"go.opentelemetry.io/collector/connector/connectortest"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/phaseattr/phaseattr/connector/phasespansconnector/internal/metadata"
)

type object = map[string]any

// program writes the boundaries of one thread of a process, as phase_attr passes them on.
type program struct {
	session string
	rank    int
	pid     int
	thread  int
	// numbers counts boundaries and scopes; the threads of a process share it.
	numbers *int
	stack   []enteredScope
}

type enteredScope struct {
	id, name string
	at       float64
	extra    object
}

// newProgram returns the main thread of a process.
func newProgram(session string) *program {
	return &program{session: session, pid: 77, thread: 1, numbers: new(int)}
}

// in returns another thread of the process.
func (p *program) in(thread int) *program {
	other := *p
	other.thread, other.stack = thread, nil
	return &other
}

// moment returns seconds as nanoseconds of a day in 2026.
func moment(seconds float64) int64 { return 1_795_000_000_000_000_000 + int64(seconds*1e9) }

func (p *program) event(kind string, at float64) object {
	return object{"event_type": kind, "session_id": p.session, "rank": p.rank, "host": "node-1", "pid": p.pid, "timestamp_ns": moment(at)}
}

func (p *program) boundary(action string, at float64) object {
	*p.numbers++
	path := make([]any, len(p.stack))
	for i, s := range p.stack {
		path[i] = s.name
	}
	top := p.stack[len(p.stack)-1]
	scope := object{
		"action": action, "name": top.name, "path": path, "scope_id": top.id, "sequence": *p.numbers,
		"thread_id": p.thread, "thread_name": fmt.Sprint("thread-", p.thread),
	}
	if len(p.stack) > 1 {
		scope["parent_scope_id"] = p.stack[len(p.stack)-2].id
	}
	if top.extra != nil {
		scope["attributes"] = top.extra
	}
	event := p.event("phase_"+action, at)
	event["metadata"] = object{"phase_scope": scope}
	return event
}

// enter enters a phase, with attributes of its own if there are any.
func (p *program) enter(at float64, name string, extra ...object) object {
	s := enteredScope{id: fmt.Sprint(p.session, ":", *p.numbers+1), name: name, at: at}
	if len(extra) > 0 {
		s.extra = extra[0]
	}
	p.stack = append(p.stack, s)
	return p.boundary("enter", at)
}

// exit leaves the innermost phase.
func (p *program) exit(at float64) object {
	top := p.stack[len(p.stack)-1]
	event := p.boundary("exit", at)
	event["phase_start"], event["phase_duration"] = moment(top.at), at-top.at
	p.stack = p.stack[:len(p.stack)-1]
	return event
}

// logs returns events as one batch, of a resource with one attribute.
func logs(t *testing.T, events ...object) plog.Logs {
	t.Helper()
	ld := plog.NewLogs()
	rl := ld.ResourceLogs().AppendEmpty()
	rl.Resource().Attributes().PutStr("cluster", "c1")
	records := rl.ScopeLogs().AppendEmpty().LogRecords()
	for _, event := range events {
		require.NoError(t, records.AppendEmpty().Attributes().FromRaw(event))
	}
	return ld
}

// rig is a connector and what it has forwarded.
type rig struct {
	connector.Logs
	id        component.ID
	sink      *consumertest.TracesSink
	telemetry *componenttest.Telemetry
}

// start starts a connector.
func start(t *testing.T, edits ...func(*Config)) *rig {
	t.Helper()
	cfg := createDefaultConfig().(*Config)
	for _, edit := range edits {
		edit(cfg)
	}
	r := &rig{sink: new(consumertest.TracesSink), telemetry: componenttest.NewTelemetry()}
	set := connectortest.NewNopSettings(metadata.Type)
	r.id = set.ID
	set.TelemetrySettings = r.telemetry.NewTelemetrySettings()
	var err error
	r.Logs, err = NewFactory().CreateLogsToTraces(t.Context(), set, cfg, r.sink)
	require.NoError(t, err)
	require.NoError(t, r.Start(t.Context(), componenttest.NewNopHost()))
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		require.NoError(t, r.Shutdown(ctx))
		require.NoError(t, r.telemetry.Shutdown(ctx))
	})
	return r
}

// pass passes events in one batch and returns the spans that come of them.
func (r *rig) pass(t *testing.T, events ...object) []ptrace.Span {
	t.Helper()
	r.sink.Reset()
	require.NoError(t, r.ConsumeLogs(t.Context(), logs(t, events...)))
	return r.spans()
}

// spans returns the spans that were forwarded.
func (r *rig) spans() []ptrace.Span {
	var spans []ptrace.Span
	for _, td := range r.sink.AllTraces() {
		for _, rs := range td.ResourceSpans().All() {
			for _, ss := range rs.ScopeSpans().All() {
				for _, span := range ss.Spans().All() {
					spans = append(spans, span)
				}
			}
		}
	}
	return spans
}

// byName returns spans by their names, which are different.
func byName(t *testing.T, spans []ptrace.Span) map[string]ptrace.Span {
	t.Helper()
	named := map[string]ptrace.Span{}
	for _, span := range spans {
		require.NotContains(t, named, span.Name())
		named[span.Name()] = span
	}
	return named
}
