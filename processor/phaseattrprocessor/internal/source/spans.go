// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package source

import (
	"math"
	"strings"

	"github.com/open-telemetry/opentelemetry-collector-contrib/pkg/ottl/contexts/ottlspan"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/phaseattr/phaseattr/internal/boundary"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/replay"
)

// spanSource is a Spans, compiled.
type spanSource struct {
	identity
	number           int
	feed             replay.Feed
	localGPU         bool
	scopes           globs
	include, exclude globs
	roots            globs
	where            *condition[*ottlspan.TransformContext]
	path             Path
	fromName         bool
	truncated        boundary.Keys
	inverted         boundary.Keys
	pending          Pending
	pendingKey       boundary.Keys
	pendingParent    boundary.Keys
	anchor           string
	partial          bool
	// marks has the bits of the keys that are read of a span beside those of its identity.
	marks boundary.KeyMask
	// anchors are those whose phases have not ended.
	anchors *anchors
}

func (s *Set) newSpans(o *Options, set component.TelemetrySettings) (*spanSource, error) {
	c := o.Spans
	where, err := spanCondition(c.Where, set)
	if err != nil {
		return nil, keyed("spans::where", c.Where, err)
	}
	source := &spanSource{
		identity: s.newIdentity(c.Session, c.Rank, c.Group, c.Lane, c.Main, SessionPath{}),
		number:   len(s.spans), feed: o.Feed, localGPU: o.LocalRankIsGPU,
		scopes: newGlobs(c.Scopes), include: newGlobs(c.Include), exclude: newGlobs(c.Exclude),
		roots: newGlobs(c.Path.Roots), where: where,
		path: c.Path, fromName: c.Path.From == FromName,
		truncated: s.keysOf(c.Truncated...), inverted: s.keysOf(c.Inverted...),
		pending: c.Pending, pendingKey: s.keysOf(c.Pending.Field), pendingParent: s.keysOf(c.Pending.Parent),
		anchor: c.Anchor.Suffix, partial: c.PartialSpans,
	}
	source.marks = source.truncated.Mask() | source.inverted.Mask() | source.pendingKey.Mask()
	if source.anchor != "" {
		source.anchors = newAnchors()
	}
	return source, nil
}

// spanScope is a source that may read the spans of a scope.
type spanScope struct {
	*spanSource
	whose
	// where is true when the condition still has to be asked of each span.
	where bool
}

// EnterSpans begins with the spans of a scope. It reports whether any of them can be a phase.
func (r *Reader) EnterSpans(resource ptrace.ResourceSpans, scope ptrace.ScopeSpans) bool {
	r.spans, r.scanned = r.spans[:0], false
	if !r.spanClaims.enter(scope) {
		return false
	}
	r.resourceSpans, r.scopeSpans = resource, scope
	name := scope.Scope().Name()
	for _, s := range r.set.spans {
		if len(s.scopes) > 0 && !s.scopes.match(name) || r.open && !s.partial {
			continue
		}
		r.scanScope(scope.Scope().Attributes(), resource.Resource().Attributes())
		at := spanScope{spanSource: s, whose: s.read(&r.fields, &r.set.limits), where: s.where != nil}
		if at.where && s.where.ofScope {
			if !r.holds(s, r.noSpan) {
				continue
			}
			at.where = false
		}
		r.spans = append(r.spans, at)
	}
	return len(r.spans) > 0
}

// scanScope reads what the scope and the resource say, once for all sources.
func (r *Reader) scanScope(scope, resource pcommon.Map) {
	if !r.scanned {
		r.fields.ScanScope(r.set.keys, scope, resource)
		r.scanned = true
	}
}

// Span returns the phase that a span of the scope is, nil if no source claims it. It is valid
// until the next call.
func (r *Reader) Span(span ptrace.Span) *Phase {
	for i := range r.spans {
		s := &r.spans[i]
		if !s.mayBe(span.Attributes()) {
			continue
		}
		verdict := r.name(s.spanSource, span.Name())
		if !verdict.claimed {
			continue
		}
		r.fields.ScanRecord(r.set.keys, span.Attributes(), pcommon.Map{})
		w := &s.whose
		if r.fields.Own().Any(s.mask) {
			r.own = s.read(&r.fields, &r.set.limits)
			w = &r.own
		}
		if !w.named || s.where && !r.holds(s.spanSource, span) {
			continue
		}
		r.readSpan(s.spanSource, w, verdict, span)
		r.spanClaims.note()
		return &r.phase
	}
	return nil
}

func (r *Reader) holds(s *spanSource, span ptrace.Span) bool {
	tCtx := ottlspan.NewTransformContextPtr(r.resourceSpans, r.scopeSpans, span)
	defer tCtx.Close()
	return s.where.holds(tCtx)
}

// readSpan reads the phase of a span that a source claims.
func (r *Reader) readSpan(s *spanSource, w *whose, verdict *named, span ptrace.Span) {
	p, iv := &r.phase, &r.phase.Interval
	p.Feed, p.Rank, p.Aside, p.LocalRankIsGPU, p.Reason = &s.feed, w.rank, w.aside, s.localGPU, w.reason
	p.Rank.Tenant = r.tenant
	p.IsBoundary, p.Event, p.Link, p.Heartbeat = false, false, verdict.link, 0 // the rest of it is large
	start, end := span.StartTimestamp(), span.EndTimestamp()
	*iv = boundary.Interval{Start: int64(start), End: int64(end), Lane: w.lane, Path: verdict.path} //nolint:gosec // checked below
	if !s.fromName && !verdict.link {
		iv.Name = span.Name()
	}
	iv.ScopeID, iv.ParentScopeID = r.id(span.SpanID()), r.id(span.ParentSpanID())
	marks := r.fields.Own().Any(s.marks)
	pending := marks && start == end && s.isPending(&r.fields)
	reason := &p.Reason
	switch {
	case *reason != boundary.OK:
	case verdict.reason != boundary.OK:
		*reason = verdict.reason
	case iv.ScopeID == "":
		*reason = boundary.BadScopeID
	case start == 0 || end == 0 && !r.open || start > math.MaxInt64 || end > math.MaxInt64:
		*reason = boundary.BadTime
	case pending:
		*reason = s.announce(iv, &r.fields)
	case r.open && end == 0:
		iv.Open = true
	case end < start, marks && isTrue(&r.fields, s.inverted):
		*reason = boundary.Inverted
	case s.anchor != "":
		s.readAnchor(iv, p.Rank, span.Name())
	}
	if verdict.root {
		iv.ParentScopeID = ""
	}
	iv.Truncated = marks && isTrue(&r.fields, s.truncated)
	p.Time = max(iv.Start, iv.End)
	if iv.Open {
		iv.End, p.Time = 0, iv.Start
	}
}

// isPending reports whether a span announces another one.
func (s *spanSource) isPending(f *boundary.Fields) bool {
	text, ok := textOf(f, s.pendingKey)
	return ok && text == s.pending.Value
}

// announce makes an interval that of the span that a pending one announces: its parent, which
// says whose child that is.
func (s *spanSource) announce(iv *boundary.Interval, f *boundary.Fields) boundary.Reason {
	parent, ok := textOf(f, s.pendingParent)
	switch {
	case iv.ParentScopeID == "":
		return boundary.BadScopeID
	case !ok:
		return boundary.BadParent
	}
	iv.ScopeID, iv.ParentScopeID, iv.Open = iv.ParentScopeID, "", true
	if strings.Trim(parent, "0") != "" {
		iv.ParentScopeID = strings.ToLower(parent)
	}
	return boundary.OK
}

func isTrue(f *boundary.Fields, keys boundary.Keys) bool {
	v, found := f.FindOwn(keys)
	switch {
	case !found:
		return false
	case v.Type() == pcommon.ValueTypeBool:
		return v.Bool()
	}
	return strings.EqualFold(v.AsString(), "true")
}
