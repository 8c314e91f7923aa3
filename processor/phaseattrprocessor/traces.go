// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"context"

	"go.opentelemetry.io/collector/pdata/ptrace"
)

func (p *instance) processTraces(ctx context.Context, td ptrace.Traces) (ptrace.Traces, error) {
	answers := p.ask(func(a *asker) { a.traces(td) })
	p.tally.answered(ctx, signalTraces, &answers)
	return td, nil
}

// traces answers the spans of a batch over their duration.
func (a *asker) traces(td ptrace.Traces) {
	for _, resource := range td.ResourceSpans().All() {
		for _, scope := range resource.ScopeSpans().All() {
			for _, span := range scope.Spans().All() {
				a.interval(span.Attributes(), span.StartTimestamp(), span.EndTimestamp(),
					scope.Scope().Attributes(), resource.Resource().Attributes())
			}
		}
	}
}
