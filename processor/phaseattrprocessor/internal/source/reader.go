// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package source

import (
	"encoding/hex"
	"strings"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/phaseattr/phaseattr/internal/boundary"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/replay"
)

// Phase is what a source has read from a span or a log record.
type Phase struct {
	Feed *replay.Feed
	// Rank is whose the phase is. Aside is true if it is one of a process that does not answer
	// for its rank.
	Rank  boundary.RankKey
	Aside bool
	// LocalRankIsGPU is true if the local rank of the process is the index of its GPU.
	LocalRankIsGPU bool
	// Link is true if it is no phase, but connects others; Event if it is neither, but says
	// that its process is alive.
	Link, Event bool
	// Reason is why it has neither an interval nor a boundary, if that is not boundary.OK.
	Reason boundary.Reason
	// Time is that of the newest thing that it says.
	Time int64
	// Heartbeat is how often there is news of an interval that is open; 0 if that is not known.
	Heartbeat time.Duration
	// Interval is the phase, unless IsBoundary: Boundary then begins or ends it.
	Interval   boundary.Interval
	IsBoundary bool
	Boundary   boundary.Boundary
}

// IsPhase reports whether an interval can be a phase.
func (p *Phase) IsPhase() bool {
	return p.Reason == boundary.OK && !p.IsBoundary && !p.Link && !p.Event && (p.Interval.Open || p.Interval.Start < p.Interval.End)
}

// Reader reads the phases of a batch. It is for one goroutine, and reuses its memory for the
// next batch.
type Reader struct {
	set    *Set
	tenant string
	// names are those of each of the set's spans.
	names  []map[string]*named
	fields boundary.Fields
	// spans and logs are the sources that may read the items of the scope.
	spans []spanScope
	logs  []logScope
	// scanned is true when fields have the scope.
	scanned bool
	// open is true when spans may have no end yet.
	open bool
	// spanClaims and logClaims are the scopes of the batch that have phases.
	spanClaims claims[ptrace.ScopeSpans]
	logClaims  claims[plog.ScopeLogs]

	resourceSpans ptrace.ResourceSpans
	scopeSpans    ptrace.ScopeSpans
	resourceLogs  plog.ResourceLogs
	scopeLogs     plog.ScopeLogs
	noSpan        ptrace.Span
	noRecord      plog.LogRecord

	// source is that of the log record that was read last.
	source *logSource
	long   named
	own    whose
	phase  Phase
	json   ptrace.JSONUnmarshaler
}

// Reader returns a reader of a batch of a tenant, which Done takes back.
func (s *Set) Reader(tenant string) *Reader {
	r := s.readers.Get().(*Reader)
	r.tenant = tenant
	return r
}

// Done takes a reader back, after its batch.
func (s *Set) Done(r *Reader) {
	clear(r.spans[:cap(r.spans)])
	clear(r.logs[:cap(r.logs)])
	r.spanClaims.forget()
	r.logClaims.forget()
	r.fields.Clear()
	r.spans, r.logs, r.own, r.phase, r.open, r.tenant = r.spans[:0], r.logs[:0], whose{}, Phase{}, false, ""
	r.resourceSpans, r.scopeSpans = ptrace.ResourceSpans{}, ptrace.ScopeSpans{}
	r.resourceLogs, r.scopeLogs = plog.ResourceLogs{}, plog.ScopeLogs{}
	s.readers.Put(r)
}

func newReader(s *Set) *Reader {
	r := &Reader{
		set: s, noSpan: ptrace.NewSpan(), noRecord: plog.NewLogRecord(),
		spanClaims: claims[ptrace.ScopeSpans]{scopes: map[ptrace.ScopeSpans]struct{}{}},
		logClaims:  claims[plog.ScopeLogs]{scopes: map[plog.ScopeLogs]struct{}{}},
	}
	for range s.spans {
		r.names = append(r.names, map[string]*named{})
	}
	return r
}

// Again says that all items of the batch have been read, and are read once more. Scopes in which
// no source has claimed any of them are skipped: most items are foreign.
func (r *Reader) Again() { r.spanClaims.again, r.logClaims.again = true, true }

// Attributes returns those of the attributes to keep that an item has.
func (r *Reader) Attributes(attributes pcommon.Map) []boundary.Attribute {
	var kept []boundary.Attribute
	for _, key := range r.set.keepAttributes {
		if v, ok := attributes.Get(key); ok {
			switch v.Type() {
			case pcommon.ValueTypeStr:
				if len(v.Str()) <= r.set.limits.TextBytes && boundary.IsText(v.Str()) {
					kept = append(kept, boundary.Attribute{Key: key, Value: strings.Clone(v.Str())})
				}
			case pcommon.ValueTypeInt, pcommon.ValueTypeDouble, pcommon.ValueTypeBool:
				kept = append(kept, boundary.Attribute{Key: key, Value: v.AsRaw()})
			}
		}
	}
	return kept
}

// id returns the text of a span ID; empty if there is none.
func (*Reader) id(id pcommon.SpanID) string {
	if id.IsEmpty() {
		return ""
	}
	var text [16]byte
	hex.Encode(text[:], id[:])
	return string(text[:])
}
