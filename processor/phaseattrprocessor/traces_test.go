// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"math"
	"testing"

	"github.com/open-telemetry/opentelemetry-collector-contrib/pkg/pdatatest/ptracetest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

// spans is a batch of one span of the program.
func (p *program) spans(from, to float64) ptrace.Traces {
	return p.spansBetween(timestamp(from), timestamp(to))
}

func (p *program) spansBetween(from, to pcommon.Timestamp) ptrace.Traces {
	td := ptrace.NewTraces()
	resource := td.ResourceSpans().AppendEmpty()
	resource.Resource().Attributes().PutStr("session_id", p.session)
	resource.Resource().Attributes().PutInt("rank", p.rank)
	span := resource.ScopeSpans().AppendEmpty().Spans().AppendEmpty()
	span.SetName("work")
	span.SetStartTimestamp(from)
	span.SetEndTimestamp(to)
	return td
}

// attributesOfTraces lists the attributes of all spans of a batch.
func attributesOfTraces(td ptrace.Traces) []object {
	var all []object
	for _, resource := range td.ResourceSpans().All() {
		for _, scope := range resource.ScopeSpans().All() {
			for _, span := range scope.Spans().All() {
				all = append(all, span.Attributes().AsRaw())
			}
		}
	}
	return all
}

func TestSpansAreAnsweredOverTheirInterval(t *testing.T) {
	p := startPipelines(t)
	p.feed(t)
	for _, tc := range intervalCases {
		t.Run(tc.name, func(t *testing.T) {
			out := p.passTraces(t, (&program{session: "run"}).spans(tc.from, tc.to))
			assert.Equal(t, []object{tc.want}, attributesOfTraces(out))
		})
	}
}

func TestSpansThatNameTheirThreadAreAnsweredByIt(t *testing.T) {
	p := startPipelines(t)
	run := &program{session: "run"}
	first, second := run.worker(1), run.worker(2)
	p.passLogs(t, records(t, first.enter(1, "train"), second.enter(1, "load"), first.enter(2, "step")))
	for _, tc := range []struct {
		name   string
		fields object
		from   float64
		want   object
	}{
		{"no origin", object{}, 3, object{"phase_resolution": "ambiguous"}},
		{"thread", object{"origin_thread_id": int64(2)}, 3, object{"phase_resolution": "unique", "phase_path": "load"}},
		{"thread in metadata", object{"metadata.origin_thread_id": "1"}, 3, object{"phase_resolution": "unique", "phase_path": "train / step"}},
		{"scope", object{"origin_phase_scope_id": "run:1"}, 3, object{"phase_resolution": "unique", "phase_path": "train"}},
		{"scope that spans it", object{"origin_phase_scope_id": "run:1"}, 1.5, object{"phase_resolution": "unique", "phase_path": "train"}},
		{"thread that no scope of spans it whole", object{"origin_thread_id": int64(2)}, 0.5, object{"phase_resolution": "unique", "phase_path": "load"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			td := run.spans(tc.from, 4)
			require.NoError(t, td.ResourceSpans().At(0).ScopeSpans().At(0).Spans().At(0).Attributes().FromRaw(tc.fields))
			out := attributesOfTraces(p.passTraces(t, td))[0]
			for key := range tc.fields {
				delete(out, key)
			}
			assert.Equal(t, tc.want, out)
		})
	}
}

func TestSpansWithoutTimesThatAnEventCanHaveStayAsTheyAre(t *testing.T) {
	p := startPipelines(t)
	p.feed(t)
	for _, tc := range []struct {
		name     string
		from, to pcommon.Timestamp
	}{
		{"no times", 0, 0},
		{"no end", timestamp(4), 0},
		{"no start", 0, timestamp(4)},
		{"end past all events", timestamp(4), math.MaxInt64 + 1},
		{"start past all events", math.MaxUint64, timestamp(4)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			in := (&program{session: "run"}).spansBetween(tc.from, tc.to)
			before := ptrace.NewTraces()
			in.CopyTo(before)
			require.NoError(t, ptracetest.CompareTraces(before, p.passTraces(t, in)))
		})
	}
}
