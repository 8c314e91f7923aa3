// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package format

import (
	"encoding/binary"
	"hash/fnv"
	"strconv"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/phaseattr/phaseattr/cmd/phasegen/job"
)

// Spans writes a span for each phase when it ends. Phases that are open when their
// process is killed leave no span.
type Spans struct {
	job *job.Job
	// role returns the role of the process in a phase. A process whose role is silent writes
	// no span.
	role func(p *job.Process, phase string) string
	// resource sets the attributes of a resource.
	resource func(j *job.Job, p *job.Process, role string, attrs pcommon.Map)
	// styles are those of the phases, by name. The one of other phases is at "".
	styles map[string]style
}

const (
	onlyRole = ""
	silent   = "silent"
)

// style is how a phase becomes a span.
type style struct {
	scope      string
	attributes []attribute
}

// attribute is an attribute of a span.
type attribute struct {
	key string
	// value is a string, a bool, an int, or stepNumber.
	value any
}

type stepNumber struct{}

// Append implements [Format].
func (f *Spans) Append(b *Batch, e *job.Event) {
	if e.Kind != job.Exit {
		return
	}
	name := e.Scope.Name()
	role := f.role(e.Process, name)
	if role == silent {
		return
	}
	s, ok := f.styles[name]
	if !ok {
		s = f.styles[""]
	}
	span := b.newSpan(spanScope{e.Process, role, s.scope}, func(attrs pcommon.Map) {
		attrs.PutStr("telemetry.sdk.language", "python")
		attrs.PutStr("telemetry.sdk.name", "opentelemetry")
		attrs.PutStr("telemetry.sdk.version", "1.41.0")
		f.resource(f.job, e.Process, role, attrs)
	})
	outermost := e.Scope
	for outermost.Parent != nil {
		outermost = outermost.Parent
	}
	const parentIsLocal = 0x100 // the parent's remoteness is known, and it is not remote
	span.SetFlags(parentIsLocal)
	span.SetKind(ptrace.SpanKindInternal)
	span.SetName(name)
	span.SetTraceID(f.traceID(outermost))
	span.SetSpanID(f.spanID(e.Scope))
	if e.Scope.Parent != nil {
		span.SetParentSpanID(f.spanID(e.Scope.Parent))
	}
	span.SetStartTimestamp(timestamp(e.Rank, e.Scope.Entered))
	span.SetEndTimestamp(timestamp(e.Rank, e.At))
	for _, a := range s.attributes {
		a.put(span.Attributes(), e.Scope.Step)
	}
}

func (a attribute) put(attrs pcommon.Map, step int64) {
	switch value := a.value.(type) {
	case string:
		attrs.PutStr(a.key, value)
	case bool:
		attrs.PutBool(a.key, value)
	case int:
		attrs.PutInt(a.key, int64(value))
	case stepNumber:
		attrs.PutInt(a.key, step)
	}
}

func (f *Spans) key(s *job.Scope) []byte {
	key := []byte(f.job.Session + s.Process.Host)
	key = binary.BigEndian.AppendUint64(key, uint64(s.Process.PID)) //nolint:gosec // not negative
	return binary.BigEndian.AppendUint64(key, uint64(s.Number))     //nolint:gosec // not negative
}

func (f *Spans) traceID(s *job.Scope) (id pcommon.TraceID) {
	hash := fnv.New128a()
	hash.Write(f.key(s)) // cannot fail
	hash.Sum(id[:0])
	return id
}

func (f *Spans) spanID(s *job.Scope) (id pcommon.SpanID) {
	hash := fnv.New64a()
	hash.Write(f.key(s)) // cannot fail
	hash.Sum(id[:0])
	return id
}

// OTel is the spans of a program that uses OpenTelemetry without a framework, with the
// resource attributes session_id and rank in OTEL_RESOURCE_ATTRIBUTES.
func OTel(j *job.Job) Format {
	return &Spans{
		job:  j,
		role: func(*job.Process, string) string { return onlyRole },
		resource: func(j *job.Job, p *job.Process, _ string, attrs pcommon.Map) {
			attrs.PutStr("service.name", "trainer")
			attrs.PutStr("session_id", j.Session)
			attrs.PutStr("rank", strconv.Itoa(p.Number)) // the variable has strings only
			attrs.PutStr("host.name", p.Host)
			attrs.PutInt("process.pid", int64(p.PID))
			attrs.PutStr("gpu.uuid", p.UUID)
		},
		styles: map[string]style{"": {scope: "trainer"}, "step": {"trainer", []attribute{{"step", stepNumber{}}}}},
	}
}
