// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phasespansconnector

import (
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/phaseattr/phaseattr/connector/phasespansconnector/internal/metadata"
	"github.com/phaseattr/phaseattr/internal/boundary"
)

// The attributes of a span. Those of its thread are of the semantic conventions.
const (
	attributePath         = "phase_path"
	attributeScopeID      = "phase_scope_id"
	attributeThreadID     = "thread.id"
	attributeThreadName   = "thread.name"
	attributeSyntheticEnd = "synthetic_end"
	attributeServiceName  = "service.name"
)

// ownAttributes returns the attributes that no other one can take the place of.
func ownAttributes() []string {
	return []string{attributePath, attributeScopeID, attributeThreadID, attributeThreadName, attributeSyntheticEnd}
}

// write writes a boundary of a scope to its span, all but its trace, its parent and its
// times. What another boundary of the scope has written stays, unless this one has it too.
func (c *spansConnector) write(span ptrace.Span, key *processKey, b *boundary.Boundary, f *boundary.Fields) {
	parts := b.Path.Parts()
	span.SetSpanID(key.spanID(b.ScopeID))
	span.SetName(parts[len(parts)-1])
	span.SetKind(ptrace.SpanKindInternal)
	attributes := span.Attributes()
	attributes.PutStr(attributePath, b.Path.Label())
	attributes.PutStr(attributeScopeID, b.ScopeID)
	attributes.PutInt(attributeThreadID, b.ThreadID)
	attributes.PutStr(attributeThreadName, b.ThreadName)
	attributes.PutStr(c.config.SessionAttribute, key.rank.Session)
	attributes.PutInt(c.config.RankAttribute, key.rank.Rank)
	for _, a := range b.Attributes {
		_ = attributes.PutEmpty(a.Key).FromRaw(a.Value) // scalars never fail
	}
	for _, name := range c.config.RecordAttributes {
		if v, ok := f.Get(name); ok && scalar(v) {
			v.CopyTo(attributes.PutEmpty(name))
		}
	}
}

func scalar(v pcommon.Value) bool {
	switch v.Type() {
	case pcommon.ValueTypeStr, pcommon.ValueTypeInt, pcommon.ValueTypeDouble, pcommon.ValueTypeBool:
		return true
	}
	return false
}

// output collects the spans of a batch, by resource.
type output struct {
	traces      ptrace.Traces
	serviceName string
	version     string
	// of has the spans of the batch's resources.
	of map[int]ptrace.SpanSlice
}

// spans returns the spans of the nth resource of the batch.
func (o *output) spans(n int, resource pcommon.Resource) ptrace.SpanSlice {
	spans, ok := o.of[n]
	if !ok {
		spans = o.add(resource)
		if o.of == nil {
			o.of = map[int]ptrace.SpanSlice{}
		}
		o.of[n] = spans
	}
	return spans
}

// add adds a resource.
func (o *output) add(resource pcommon.Resource) ptrace.SpanSlice {
	rs := o.traces.ResourceSpans().AppendEmpty()
	resource.CopyTo(rs.Resource())
	attributes := rs.Resource().Attributes()
	if name, ok := attributes.Get(attributeServiceName); !ok || name.AsString() == "" {
		attributes.PutStr(attributeServiceName, o.serviceName)
	}
	scope := rs.ScopeSpans().AppendEmpty()
	scope.Scope().SetName(metadata.ScopeName)
	scope.Scope().SetVersion(o.version)
	return scope.Spans()
}
