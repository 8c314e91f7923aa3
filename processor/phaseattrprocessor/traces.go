// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"context"

	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/processor"
)

// tracesProcessor is the processor of a traces pipeline. The embedded one passes on
// what has been answered.
type tracesProcessor struct {
	processor.Traces
	pipeline[ptrace.Traces]
}

func newTracesProcessor(p *instance, next processor.Traces) processor.Traces {
	return &tracesProcessor{next, pipeline[ptrace.Traces]{
		instance:  p,
		signal:    signalTraces,
		resources: func(batch ptrace.Traces) int { return batch.ResourceSpans().Len() },
		records:   ptrace.Traces.SpanCount,
		join:      func(from, to ptrace.Traces) { from.ResourceSpans().MoveAndAppendTo(to.ResourceSpans()) },
		bytes:     new(ptrace.ProtoMarshaler).TracesSize,
		answer:    (*asker).traces,
		next:      next.ConsumeTraces,
	}}
}

// ConsumeTraces answers the spans of a batch.
func (p *tracesProcessor) ConsumeTraces(ctx context.Context, td ptrace.Traces) error {
	return p.consume(ctx, td)
}

// traces answers the spans of a batch over their duration. It returns the resources that
// are held, a zero batch when there are none.
func (a *asker) traces(td ptrace.Traces) (held ptrace.Traces) {
	td.ResourceSpans().RemoveIf(func(resource ptrace.ResourceSpans) bool {
		early := a.holds(func() {
			for _, scope := range resource.ScopeSpans().All() {
				a.enter(scope.Scope().Attributes(), resource.Resource().Attributes())
				for _, span := range scope.Spans().All() {
					a.interval(span.Attributes(), span.StartTimestamp(), span.EndTimestamp())
				}
			}
		})
		if early {
			if held == (ptrace.Traces{}) {
				held = ptrace.NewTraces()
			}
			resource.MoveTo(held.ResourceSpans().AppendEmpty())
		}
		return early
	})
	return held
}
