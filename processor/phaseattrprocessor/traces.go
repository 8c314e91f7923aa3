// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"iter"

	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/resolve"
)

// traces walks spans, which are annotated over their duration.
type traces struct{}

func (traces) items(td ptrace.Traces) iter.Seq[*item] {
	return func(yield func(*item) bool) {
		var it item // one for all, since it escapes
		for _, resource := range td.ResourceSpans().All() {
			it.resource, it.resourceSpans = resource.Resource().Attributes(), resource
			for _, scope := range resource.ScopeSpans().All() {
				it.scope, it.scopeSpans = scope.Scope().Attributes(), scope
				for _, span := range scope.Spans().All() {
					it.attributes, it.skip, it.span = span.Attributes(), resolve.NoReason, span
					it.between(span.StartTimestamp(), span.EndTimestamp())
					if !yield(&it) {
						return
					}
				}
			}
		}
	}
}

func (traces) partition(td ptrace.Traces, c *cursor, parts []ptrace.Traces) {
	td.ResourceSpans().RemoveIf(func(resource ptrace.ResourceSpans) bool {
		to := perPart(func(part int32) ptrace.ResourceSpans {
			return copyResource(resource, parts[part].ResourceSpans().AppendEmpty())
		})
		return emptied(resource.ScopeSpans(), func(scope ptrace.ScopeSpans) bool {
			return moveItems(scope.Spans(), c, func(part int32) ptrace.SpanSlice {
				return copyScope(scope, to(part).ScopeSpans().AppendEmpty()).Spans()
			})
		})
	})
}

func (traces) append(to, from ptrace.Traces) {
	from.ResourceSpans().MoveAndAppendTo(to.ResourceSpans())
}

func (traces) empty() ptrace.Traces          { return ptrace.NewTraces() }
func (traces) isEmpty(td ptrace.Traces) bool { return td.ResourceSpans().Len() == 0 }
func (traces) count(td ptrace.Traces) int    { return td.SpanCount() }

func (traces) bytes(td ptrace.Traces) int {
	bytes := (&ptrace.ProtoMarshaler{}).TracesSize(td) + spanBytes*td.SpanCount()
	for _, resource := range td.ResourceSpans().All() {
		for _, scope := range resource.ScopeSpans().All() {
			for _, span := range scope.Spans().All() {
				for _, event := range span.Events().All() {
					bytes += eventBytes + mapBytes(event.Attributes())
				}
				for _, link := range span.Links().All() {
					bytes += eventBytes + mapBytes(link.Attributes())
				}
			}
		}
	}
	return bytes
}
