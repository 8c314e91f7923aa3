// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phasespansconnector

import (
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/phaseattr/phaseattr/internal/boundary"
)

// attributeLink says what a link leads to.
const (
	attributeLink = "phase_link"
	linkParent    = "parent"
	linkPrevious  = "previous"
)

// place puts the span of a scope into the trace of its unit, below its parent. A scope
// that is a unit itself is the root of its trace, and is linked to its parent, which has
// another one.
func (c *spansConnector) place(span ptrace.Span, p *process, b *boundary.Boundary, ancestors []*openScope, unitID string) {
	span.SetTraceID(p.key.traceID(unitID))
	if b.ParentScopeID == "" {
		return
	}
	if unitID != b.ScopeID {
		span.SetParentSpanID(p.key.spanID(b.ParentScopeID))
		return
	}
	parent := boundary.Boundary{ScopeID: b.ParentScopeID, Path: b.Path.Parent()}
	parentUnit, known := b.ParentScopeID, parent.Path.Depth() <= c.config.Root.depth(parent.Path)
	if at := find(ancestors, b.ParentScopeID); at >= 0 {
		parentUnit, known = ancestors[at].unit, true
	}
	if known {
		link(span, linkParent, p.key.traceID(parentUnit), p.key.spanID(b.ParentScopeID))
	}
}

// linkToPrevious links a unit to the one before it in its thread.
func (c *spansConnector) linkToPrevious(span ptrace.Span, p *process, b *boundary.Boundary, e *event) {
	line := lineKey{p.key, b.ThreadID, b.Path.Depth()}
	previous, ok := c.previous.Get(line)
	if ok && previous.span != span.SpanID() && previous.end <= e.start {
		link(span, linkPrevious, previous.trace, previous.span)
	}
	if !ok || previous.end <= e.end {
		c.previous.Add(line, unit{span.TraceID(), span.SpanID(), e.end})
	}
}

func link(span ptrace.Span, kind string, trace pcommon.TraceID, to pcommon.SpanID) {
	l := span.Links().AppendEmpty()
	l.SetTraceID(trace)
	l.SetSpanID(to)
	l.Attributes().PutStr(attributeLink, kind)
}
