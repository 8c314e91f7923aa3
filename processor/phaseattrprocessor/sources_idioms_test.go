// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

const anchoredSource = `[{spans: {session: [session_id], rank: [rank], anchor: {suffix: _start}}}]`

// anchoredSpans are a cycle's anchor, a phase in the cycle, and the span with the cycle's end, which
// may start a bit later than the anchor: the clock was read twice.
func anchoredSpans(skew float64) []ptrace.Traces {
	var batches []ptrace.Traces
	for _, add := range []func(ptrace.SpanSlice){
		func(s ptrace.SpanSlice) { addSpan(s, 1, 0, "cycle_start", 10, 10) },
		func(s ptrace.SpanSlice) { addSpan(s, 2, 1, "rendezvous", 11, 12) },
		func(s ptrace.SpanSlice) { addSpan(s, 3, 1, "cycle", 10+skew, 20) },
	} {
		td, spans := trainerSpans()
		add(spans)
		batches = append(batches, td)
	}
	return batches
}

func TestAnAnchorAndTheSpanThatEndsItAreOnePhase(t *testing.T) {
	for _, skew := range []float64{0, 0.000001, -0.000001, 0.01} {
		for _, order := range [][]int{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}, {2, 2, 0, 0, 1, 2}} {
			t.Run(fmt.Sprint(skew, order), func(t *testing.T) {
				p := startPipelines(t, withSources(t, anchoredSource))
				for _, i := range order {
					p.passTraces(t, anchoredSpans(skew)[i])
				}
				for at, want := range map[float64]string{9: "-", 10.5: "cycle", 11.5: "cycle / rendezvous", 15: "cycle", 20: "-", 60: "-"} {
					assert.Equal(t, want, p.answerAt(t, object{"session_id": "run", "rank": 0}, at), at)
				}
			})
		}
	}
}

// A phase may lie in one of its own name. The span that ends the inner one is not that of the outer
// one, in whichever order the four come.
func TestAnAnchorInsideOneOfItsName(t *testing.T) {
	all := []func(ptrace.SpanSlice){
		func(s ptrace.SpanSlice) { addSpan(s, 1, 0, "save_start", 10, 10) },
		func(s ptrace.SpanSlice) { addSpan(s, 2, 1, "save_start", 12, 12) },
		func(s ptrace.SpanSlice) { addSpan(s, 3, 2, "save", 12, 14) },
		func(s ptrace.SpanSlice) { addSpan(s, 4, 1, "save", 10, 20) },
	}
	for number := range 4 * 4 * 4 * 4 {
		order := []int{number % 4, number / 4 % 4, number / 16 % 4, number / 64}
		if sorted := slices.Sorted(slices.Values(order)); !slices.Equal(sorted, []int{0, 1, 2, 3}) {
			continue
		}
		p := startPipelines(t, withSources(t, anchoredSource))
		for _, i := range order {
			td, spans := trainerSpans()
			all[i](spans)
			p.passTraces(t, td)
		}
		for at, want := range map[float64]string{11: "save", 13: "save / save", 15: "save", 21: "-"} {
			assert.Equal(t, want, p.answerAt(t, object{"session_id": "run", "rank": 0}, at), "%v, at %v", order, at)
		}
	}
}

func TestAnAnchorOfBeforeARestartEndsAfterIt(t *testing.T) {
	for _, first := range [][]int{{0, 1}, {2}, {0, 1, 2}, {2, 0}} {
		directory := t.TempDir()
		p := startOn(t, directory, withSources(t, anchoredSource))
		for _, i := range first {
			p.passTraces(t, anchoredSpans(0)[i])
		}
		p = startOn(t, killed(t, directory), withSources(t, anchoredSource))
		for _, td := range anchoredSpans(0) {
			p.passTraces(t, td)
		}
		for at, want := range map[float64]string{10.5: "cycle", 11.5: "cycle / rendezvous", 15: "cycle", 60: "-"} {
			assert.Equal(t, want, p.answerAt(t, object{"session_id": "run", "rank": 0}, at), "%v, at %v", first, at)
		}
	}
}

// partialSpan is a record of the OpenTelemetry partial span processor, whose body is a span of an
// evaluation.
func partialSpan(t *testing.T, kind string, at, end float64) plog.Logs {
	t.Helper()
	td, spans := trainerSpans()
	span := addSpan(spans, 1, 0, "evaluate", 1, end)
	ld := plog.NewLogs()
	record := ld.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty().LogRecords().AppendEmpty()
	record.SetTimestamp(timestamp(at))
	require.NoError(t, record.Attributes().FromRaw(object{"partial.event": kind, "partial.body.type": "json/v1"}))
	if kind == "heartbeat" {
		span.SetEndTimestamp(0)
		record.Attributes().PutStr("partial.frequency", "5000ms")
	}
	body, err := (&ptrace.JSONMarshaler{}).MarshalTraces(td)
	require.NoError(t, err)
	record.Body().SetStr(string(body))
	return ld
}

// An evaluation may take longer than the session timeout. Its heartbeats show that it goes on, and
// their absence that the process has been killed.
func TestHeartbeatsShowHowLongASpanGoesOn(t *testing.T) {
	const last = 1795
	evaluation := object{"session_id": "run", "rank": 0}
	for name, restart := range map[string]bool{"": false, "after a restart": true} {
		t.Run(name, func(t *testing.T) {
			directory := t.TempDir()
			p := startOn(t, directory, withSources(t, "[{preset: otel}]"))
			for at := float64(5); at <= last; at += 5 {
				p.passLogs(t, partialSpan(t, "heartbeat", at, 0))
			}
			if restart {
				p = startOn(t, killed(t, directory), withSources(t, "[{preset: otel}]"))
			}
			assert.Equal(t, "evaluate", p.answerAt(t, evaluation, 1500))
			assert.Equal(t, "evaluate", p.answerAt(t, evaluation, last+20))
			assert.Equal(t, "-", p.answerAt(t, evaluation, last+60))

			p.passLogs(t, partialSpan(t, "stop", last+3, last+3))
			p.passLogs(t, partialSpan(t, "heartbeat", last, 0)) // late
			assert.Equal(t, "evaluate", p.answerAt(t, evaluation, last+2))
			assert.Equal(t, "-", p.answerAt(t, evaluation, last+20))
		})
	}
}

// Span IDs are the tenants' own: the anchor of one has no child in the spans of another one.
func TestAnAnchorIsThatOfItsTenantOnly(t *testing.T) {
	p := startPipelines(t, withTenants, withSources(t, anchoredSource))
	for tenant, add := range map[string]func(ptrace.SpanSlice){
		"red": func(s ptrace.SpanSlice) { addSpan(s, 1, 0, "cycle_start", 10, 10) },
		"blue": func(s ptrace.SpanSlice) {
			addSpan(s, 1, 0, "job", 5, 30)
			addSpan(s, 3, 1, "cycle", 10, 20)
		},
	} {
		for range 2 { // whichever comes first
			td, spans := trainerSpans()
			add(spans)
			require.NoError(t, p.traces.ConsumeTraces(from(t, tenant), td))
		}
	}
	for tenant, want := range map[string]string{"red": "cycle", "blue": "job / cycle"} {
		assert.Equal(t, want, p.answersTo(t, from(t, tenant), (&program{session: "run"}).gauge(15))["phase_path"], tenant)
	}
}

// What an excluded anchor begins connects others, as the span that ends it does.
func TestAnExcludedAnchorIsNoPhase(t *testing.T) {
	p := startPipelines(t, withSources(t, `[{spans: {session: [session_id], rank: [rank], exclude: [cycle, cycle_start], anchor: {suffix: _start}}}]`))
	p.passTraces(t, anchoredSpans(0)[0])
	assert.Equal(t, "-", p.answerAt(t, object{"session_id": "run", "rank": 0}, 10.5))
}
