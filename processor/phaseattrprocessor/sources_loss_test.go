// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/phaseattr/phaseattr/cmd/phasegen/format"
	"github.com/phaseattr/phaseattr/cmd/phasegen/job"
)

// lossyCase is a job that loses some of its boundaries, in shares.
type lossyCase struct {
	liveCase
	losses []float64
}

func lossyCases() []lossyCase {
	joined := func(path []string) string { return strings.Join(path, " / ") }
	inStep := func(path []string) string { return joined(path[min(1, len(path)):]) }
	torchtitan := func(name, sources string) lossyCase {
		return lossyCase{liveCase{
			name: name, sources: sources, plan: format.TorchTitanPlan(), label: joined,
			format: func(j *job.Job) format.Format { return format.TorchTitan{Job: j} },
		}, []float64{0.005, 0.03}}
	}
	idiom := func(idiom, sources string, losses ...float64) lossyCase {
		return lossyCase{liveCase{
			name: idiom, sources: sources, plan: format.Training(), label: inStep,
			format: func(j *job.Job) format.Format { return inProgress{idiom, format.OTel(j)} },
		}, losses}
	}
	const otel = "[{preset: otel, spans: {exclude: [train], path: {roots: [step]}}}]"
	return []lossyCase{
		torchtitan("numbered", "[{preset: torchtitan}]"),
		torchtitan("unnumbered", "[{preset: torchtitan, logs: {sequence: []}}]"),
		torchtitan("unnumbered without durations", "[{preset: torchtitan, logs: {sequence: [], exit: {took: {field: '', unit: ''}}}}]"),
		idiom("pending", otel, 0.005, 0.03),
		idiom("partial", otel, 0.005, 0.03),
		// What is inside a phase does not know of it where the anchor is lost.
		idiom("anchored", "[{preset: otel, spans: {exclude: [train, train_start], path: {roots: [step, step_start]}, anchor: {suffix: _start}}}]", 0.005),
	}
}

// TestLostBoundariesOfSourcesAreNoWrongAnswers loses boundaries of jobs. Once all that is not lost
// has come, hardly any answer may be wrong: of two that are lost side by side, nothing may be seen.
func TestLostBoundariesOfSourcesAreNoWrongAnswers(t *testing.T) {
	for _, c := range lossyCases() {
		c.delay, c.reading = 500*time.Millisecond, 100*time.Millisecond
		for _, c.lost = range c.losses {
			t.Run(fmt.Sprint(c.name, " ", c.lost), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					live, later := c.run(t)
					t.Logf("live: %s; later: %s", live, later)
					assert.LessOrEqual(t, later.of("wrong"), 0.001)
					assert.GreaterOrEqual(t, later.of("right"), 1-7*c.lost)
				})
			})
		}
	}
}

// inProgress writes spans in one of the idioms that show those that have not ended.
type inProgress struct {
	idiom string
	spans format.Format
}

func (f inProgress) Append(b *format.Batch, e *job.Event) {
	if !e.Kind.Boundary() {
		return
	}
	ended := *e
	ended.Kind = job.Exit
	one := format.NewBatch().Append(f.spans, &ended).Traces
	resource := one.ResourceSpans().At(0)
	span := resource.ScopeSpans().At(0).Spans().At(0)
	id := span.SpanID()
	switch {
	case f.idiom == "pending" && e.Kind == job.Enter:
		span.Attributes().PutStr("logfire.span_type", "pending_span")
		span.Attributes().PutStr("logfire.pending_parent_id", "0000000000000000")
		if parent := span.ParentSpanID(); !parent.IsEmpty() {
			span.Attributes().PutStr("logfire.pending_parent_id", parent.String())
		}
		span.SetParentSpanID(id)
		span.SetSpanID(flipped(id))
	case f.idiom == "anchored" && e.Kind == job.Enter:
		span.SetName(span.Name() + "_start")
	case f.idiom == "anchored":
		span.SetParentSpanID(id)
		span.SetSpanID(flipped(id))
	case f.idiom == "partial" && e.Kind == job.Enter:
		span.SetEndTimestamp(0)
		body, err := (&ptrace.JSONMarshaler{}).MarshalTraces(one)
		if err != nil {
			panic(err)
		}
		record := b.NewRecord(e.Process, func(pcommon.Map) {})
		record.SetTimestamp(pcommon.Timestamp(e.At))
		record.Attributes().PutStr("partial.event", "heartbeat")
		record.Attributes().PutStr("partial.frequency", "5000ms")
		record.Attributes().PutStr("partial.body.type", "json/v1")
		record.Body().SetStr(string(body))
		return
	}
	span.CopyTo(b.NewSpan(e.Process, "trainer", func(attributes pcommon.Map) { resource.Resource().Attributes().CopyTo(attributes) }))
}

// flipped is the ID of a span beside another one.
func flipped(id pcommon.SpanID) pcommon.SpanID {
	id[0] ^= 0xff
	return id
}
