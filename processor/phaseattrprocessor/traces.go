// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"iter"

	"go.opentelemetry.io/collector/pdata/ptrace"
)

// traces walks spans, which are annotated over their duration.
type traces struct{}

func (traces) items(td ptrace.Traces) iter.Seq[*item] {
	return func(yield func(*item) bool) {
		var it item // one for all, since it escapes
		for _, resource := range td.ResourceSpans().All() {
			it.resource = resource.Resource().Attributes()
			for _, scope := range resource.ScopeSpans().All() {
				it.scope = scope.Scope().Attributes()
				for _, span := range scope.Spans().All() {
					it.attributes, it.skipped = span.Attributes(), false
					it.between(span.StartTimestamp(), span.EndTimestamp())
					if !yield(&it) {
						return
					}
				}
			}
		}
	}
}

func (traces) partition(td ptrace.Traces, c *cursor, n int) []ptrace.Traces {
	parts := make([]ptrace.Traces, n)
	for i := range parts {
		parts[i] = ptrace.NewTraces()
	}
	td.ResourceSpans().RemoveIf(func(resource ptrace.ResourceSpans) bool {
		inResource := shells[ptrace.ResourceSpans]{}
		resource.ScopeSpans().RemoveIf(func(scope ptrace.ScopeSpans) bool {
			inScope := shells[ptrace.ScopeSpans]{}
			scope.Spans().RemoveIf(func(span ptrace.Span) bool {
				part := c.next()
				if part == stays {
					return false
				}
				to := inScope.of(part, func() ptrace.ScopeSpans {
					outer := inResource.of(part, func() ptrace.ResourceSpans {
						shell := parts[part].ResourceSpans().AppendEmpty()
						resource.Resource().CopyTo(shell.Resource())
						shell.SetSchemaUrl(resource.SchemaUrl())
						return shell
					})
					shell := outer.ScopeSpans().AppendEmpty()
					scope.Scope().CopyTo(shell.Scope())
					shell.SetSchemaUrl(scope.SchemaUrl())
					return shell
				})
				span.MoveTo(to.Spans().AppendEmpty())
				return true
			})
			return len(inScope) > 0 && scope.Spans().Len() == 0
		})
		return len(inResource) > 0 && resource.ScopeSpans().Len() == 0
	})
	return parts
}

func (traces) append(to, from ptrace.Traces) {
	from.ResourceSpans().MoveAndAppendTo(to.ResourceSpans())
}

func (traces) count(td ptrace.Traces) int  { return td.SpanCount() }
func (traces) empty(td ptrace.Traces) bool { return td.ResourceSpans().Len() == 0 }
func (traces) itemBytes() int64            { return spanBytes }

func (traces) wireBytes(td ptrace.Traces) int {
	var marshaler ptrace.ProtoMarshaler
	return marshaler.TracesSize(td)
}
