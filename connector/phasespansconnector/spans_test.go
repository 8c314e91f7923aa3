// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phasespansconnector

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/connector/connectortest"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/phaseattr/phaseattr/connector/phasespansconnector/internal/metadata"
)

// step writes a training step: forward, and backward with all_reduce inside it.
func step(p *program, at float64) []object {
	return []object{
		p.enter(at, "step", object{"step": 7}), p.enter(at+1, "forward"), p.exit(at + 2),
		p.enter(at+2, "backward"), p.enter(at+3, "all_reduce"), p.exit(at + 4), p.exit(at + 5), p.exit(at + 6),
	}
}

func TestScopesBecomeSpans(t *testing.T) {
	r := start(t, func(cfg *Config) { cfg.ScopeAttributes = []string{"step"} })
	p := newProgram("run")
	events := append([]object{p.event("start", 0), p.enter(1, "train")}, step(p, 2)...)
	events = append(events, p.exit(9), p.event("sample", 9.5))
	spans := byName(t, r.pass(t, events...))
	require.Len(t, spans, 5)

	for name, want := range map[string]struct {
		path, parent, unit string
		from, to           float64
	}{
		"train":      {"train", "", "train", 1, 9},
		"step":       {"train / step", "", "step", 2, 8},
		"forward":    {"train / step / forward", "step", "step", 3, 4},
		"backward":   {"train / step / backward", "step", "step", 4, 7},
		"all_reduce": {"train / step / backward / all_reduce", "backward", "step", 5, 6},
	} {
		span := spans[name]
		path, _ := span.Attributes().Get("phase_path")
		assert.Equal(t, want.path, path.Str(), name)
		assert.Equal(t, moment(want.from), int64(span.StartTimestamp()), name)
		assert.Equal(t, moment(want.to), int64(span.EndTimestamp()), name)
		assert.Equal(t, spans[want.unit].TraceID(), span.TraceID(), "the trace of %s", name)
		parent := pcommon.SpanID{}
		if want.parent != "" {
			parent = spans[want.parent].SpanID()
		}
		assert.Equal(t, parent, span.ParentSpanID(), "the parent of %s", name)
		assert.Equal(t, ptrace.SpanKindInternal, span.Kind())
		assert.Equal(t, ptrace.StatusCodeUnset, span.Status().Code())
	}
	assert.NotEqual(t, spans["train"].TraceID(), spans["step"].TraceID(), "a run of ten hours is not one trace")
	assert.Equal(t, object{
		"phase_path": "train / step", "phase_scope_id": "run:2", "thread.id": int64(1), "thread.name": "thread-1",
		"session_id": "run", "rank": int64(0), "host": "node-1", "pid": int64(77), "step": int64(7),
	}, spans["step"].Attributes().AsRaw())

	resource := r.sink.AllTraces()[0].ResourceSpans().At(0)
	assert.Equal(t, object{"cluster": "c1", "service.name": "training"}, resource.Resource().Attributes().AsRaw())
	assert.Equal(t, metadata.ScopeName, resource.ScopeSpans().At(0).Scope().Name())
}

func TestAServiceNameIsKept(t *testing.T) {
	for _, tc := range []struct{ name, want string }{{"llm", "llm"}, {"", "training"}} {
		r := start(t)
		p := newProgram("run")
		ld := logs(t, p.enter(1, "train"), p.exit(2))
		ld.ResourceLogs().At(0).Resource().Attributes().PutStr("service.name", tc.name)
		require.NoError(t, r.ConsumeLogs(t.Context(), ld))
		name, _ := r.sink.AllTraces()[0].ResourceSpans().At(0).Resource().Attributes().Get("service.name")
		assert.Equal(t, tc.want, name.Str())
		original, _ := ld.ResourceLogs().At(0).Resource().Attributes().Get("service.name")
		assert.Equal(t, tc.name, original.Str(), "the logs are not changed")
	}
}

func TestScopesSpreadOverBatchesBecomeTheSameSpans(t *testing.T) {
	write := func() []object {
		p := newProgram("run")
		return append(append([]object{p.enter(1, "train")}, step(p, 2)...), p.exit(9))
	}
	ids := func(spans []ptrace.Span) map[string][3]string {
		all := map[string][3]string{}
		for _, s := range spans {
			all[s.Name()] = [3]string{s.TraceID().String(), s.SpanID().String(), s.ParentSpanID().String()}
		}
		return all
	}
	whole := ids(start(t).pass(t, write()...))
	require.Len(t, whole, 5)

	r := start(t)
	for _, event := range write() {
		require.NoError(t, r.ConsumeLogs(t.Context(), logs(t, event)))
	}
	assert.Equal(t, whole, ids(r.spans()), "one by one")

	events := write()
	backwards := make([]object, 0, len(events))
	for i := range events {
		backwards = append(backwards, events[len(events)-1-i])
	}
	assert.Equal(t, whole, ids(start(t).pass(t, backwards...)), "in one batch in any order")
}

func TestIDsTellProcessesApart(t *testing.T) {
	r := start(t)
	seen := map[pcommon.SpanID]string{}
	for name, edit := range map[string]func(*program){
		"as it is":        func(*program) {},
		"another session": func(p *program) { p.session = "rum" },
		"another rank":    func(p *program) { p.rank = 1 },
		"another process": func(p *program) { p.pid = 78 },
	} {
		p := newProgram("run")
		edit(p)
		p.stack = nil
		enter, exit := p.enter(1, "train"), p.exit(2)
		for _, e := range []object{enter, exit} { // a forked worker has inherited its IDs
			e["metadata"].(object)["phase_scope"].(object)["scope_id"] = "run:1"
		}
		span := r.pass(t, enter, exit)[0]
		assert.Empty(t, seen[span.SpanID()], name)
		seen[span.SpanID()] = name
	}
}

func TestUnitsAreLinkedToTheOneBeforeAndToTheirParent(t *testing.T) {
	r := start(t)
	p := newProgram("run")
	train := p.enter(1, "train")
	first := r.pass(t, append([]object{train}, step(p, 2)...)...)
	second := r.pass(t, step(p, 10)...)
	end := r.pass(t, p.exit(20))
	firstStep, secondStep := first[len(first)-1], second[len(second)-1]
	require.Equal(t, "step", secondStep.Name())
	require.Len(t, end, 1)

	assert.Equal(t, []object{{"to": end[0].SpanID(), "in": end[0].TraceID(), "phase_link": "parent"}}, links(firstStep))
	assert.Equal(t, []object{
		{"to": end[0].SpanID(), "in": end[0].TraceID(), "phase_link": "parent"},
		{"to": firstStep.SpanID(), "in": firstStep.TraceID(), "phase_link": "previous"},
	}, links(secondStep))
	for _, span := range second[:len(second)-1] {
		assert.Empty(t, links(span), span.Name())
	}
	assert.Empty(t, links(end[0]))
}

func TestAUnitIsNotLinkedToALaterOneNorToItself(t *testing.T) {
	r := start(t)
	p := newProgram("run")
	enter, exit := p.enter(1, "evaluate"), p.exit(2)
	later := []object{p.enter(3, "evaluate"), p.exit(4)}
	require.Empty(t, links(r.pass(t, later...)[0]))
	assert.Empty(t, links(r.pass(t, later...)[0]), "sent again")
	assert.Empty(t, links(r.pass(t, enter, exit)[0]), "sent late")
	other := p.in(2)
	assert.Empty(t, links(r.pass(t, other.enter(5, "evaluate"), other.exit(6))[0]), "in another thread")
	assert.Len(t, links(r.pass(t, p.enter(7, "evaluate"), p.exit(8))[0]), 1)
}

func links(span ptrace.Span) []object {
	var all []object
	for _, link := range span.Links().All() {
		l := object{"to": link.SpanID(), "in": link.TraceID()}
		for key, value := range link.Attributes().All() {
			l[key] = value.AsRaw()
		}
		all = append(all, l)
	}
	return all
}

func TestRootsOfTraces(t *testing.T) {
	for _, tc := range []struct {
		name string
		root RootConfig
		// units has the unit of each phase of train / epoch / step / forward / matmul.
		units [5]string
	}{
		{"depth 1", RootConfig{Depth: 1}, [5]string{"train", "train", "train", "train", "train"}},
		{"depth 2", RootConfig{Depth: 2}, [5]string{"train", "epoch", "epoch", "epoch", "epoch"}},
		{"depth 4", RootConfig{Depth: 4}, [5]string{"train", "epoch", "step", "forward", "forward"}},
		{"deeper than any", RootConfig{Depth: 9}, [5]string{"train", "epoch", "step", "forward", "matmul"}},
		{"by name", RootConfig{Depth: 2, Name: "step"}, [5]string{"train", "epoch", "step", "step", "step"}},
		{"by a name that is not there", RootConfig{Depth: 2, Name: "iteration"}, [5]string{"train", "epoch", "epoch", "epoch", "epoch"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := start(t, func(cfg *Config) { cfg.Root = tc.root })
			p := newProgram("run")
			names := []string{"train", "epoch", "step", "forward", "matmul"}
			var events []object
			for i, name := range names {
				events = append(events, p.enter(float64(i), name))
			}
			for i := range names {
				events = append(events, p.exit(float64(10+i)))
			}
			spans := byName(t, r.pass(t, events...))
			for i, name := range names {
				assert.Equal(t, spans[tc.units[i]].TraceID(), spans[name].TraceID(), name)
				assert.Equal(t, tc.units[i] == name, spans[name].ParentSpanID().IsEmpty(), name)
			}
		})
	}
}

func TestAnErrorOfTheNextComponentIsTheCallers(t *testing.T) {
	refused := errors.New("refused")
	cfg := createDefaultConfig()
	c, err := NewFactory().CreateLogsToTraces(t.Context(), connectortest.NewNopSettings(metadata.Type), cfg, consumertest.NewErr(refused))
	require.NoError(t, err)
	require.NoError(t, c.Start(t.Context(), componenttest.NewNopHost()))
	p := newProgram("run")
	require.NoError(t, c.ConsumeLogs(t.Context(), logs(t, p.enter(1, "train"))), "nothing to forward")
	require.ErrorIs(t, c.ConsumeLogs(t.Context(), logs(t, p.exit(2))), refused)
	require.NoError(t, c.Shutdown(t.Context()))
	require.NoError(t, c.Shutdown(t.Context()), "a second time")
}
