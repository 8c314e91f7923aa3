// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"iter"
	"math"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/resolve"
)

// item is a data point, a log record or a span.
type item struct {
	// attributes are the item's own; body is its map body, if it has one.
	attributes, body pcommon.Map
	scope, resource  pcommon.Map
	// from and to are the interval that it stands for, in nanoseconds since the Unix epoch.
	// Those of a log record are read from it.
	from, to int64
	record   plog.LogRecord
	span     ptrace.Span
	// resourceLogs and scopeLogs, or resourceSpans and scopeSpans, are what a record or a span
	// is in.
	resourceLogs  plog.ResourceLogs
	scopeLogs     plog.ScopeLogs
	resourceSpans ptrace.ResourceSpans
	scopeSpans    ptrace.ScopeSpans
	// skip is why it is not to be annotated, if so.
	skip resolve.Reason
	// split is true when it is to be divided by phase, gpu when it is of a metric that only
	// GPUs have.
	split, gpu bool
	// end is true when it ends its series, and has the attributes of that.
	end bool
}

// between sets the interval of an item. What has no time, or one that no event can have,
// is not annotated.
func (it *item) between(from, to pcommon.Timestamp) {
	if from == 0 || to == 0 || from > math.MaxInt64 || to > math.MaxInt64 {
		it.skip = resolve.NoTime
		return
	}
	it.from, it.to = int64(min(from, to)), int64(to)
}

// isRecord reports whether the item is a log record.
func (it *item) isRecord() bool { return it.record != plog.LogRecord{} }

// isSpan reports whether the item is a span.
func (it *item) isSpan() bool { return it.span != ptrace.Span{} }

// telemetry is how the batches of a signal are walked and taken apart. Its methods visit
// the items of a batch in the same order.
type telemetry[T any] interface {
	empty() T
	// items yields all items of a batch.
	items(b T) iter.Seq[*item]
	// partition moves the items that are held into their parts.
	partition(b T, c *cursor, parts []T)
	// append moves everything of a batch to the end of another one.
	append(to, from T)
	// count returns the number of items, isEmpty whether there is nothing in the batch.
	count(b T) int
	isEmpty(b T) bool
	// bytes estimates what a batch takes on the heap, without its attributes.
	bytes(b T) int
}

// stays is the part of an item that is not held.
const stays int32 = -1

// cursor has the decisions about the items of a batch that have not been visited.
type cursor []decision

func (c *cursor) next() *decision {
	d := &(*c)[0]
	*c = (*c)[1:]
	return d
}

// perPart returns a function that makes one value for each part.
func perPart[T any](value func(part int32) T) func(part int32) T {
	made := map[int32]T{}
	return func(part int32) T {
		v, ok := made[part]
		if !ok {
			v = value(part)
			made[part] = v
		}
		return v
	}
}

// resourceOf and scopeOf are what the resources and scopes of all signals have.
type resourceOf interface {
	Resource() pcommon.Resource
	SchemaUrl() string
	SetSchemaUrl(url string)
}

type scopeOf interface {
	Scope() pcommon.InstrumentationScope
	SchemaUrl() string
	SetSchemaUrl(url string)
}

// copyResource copies a resource without its scopes.
func copyResource[R resourceOf](from, to R) R {
	from.Resource().CopyTo(to.Resource())
	to.SetSchemaUrl(from.SchemaUrl())
	return to
}

// copyScope copies a scope without its items.
func copyScope[S scopeOf](from, to S) S {
	from.Scope().CopyTo(to.Scope())
	to.SetSchemaUrl(from.SchemaUrl())
	return to
}

// slice is what the slices of all elements have.
type slice[E any] interface {
	Len() int
	AppendEmpty() E
	RemoveIf(f func(E) bool)
}

// emptied removes elements of a slice. It reports whether that emptied it.
func emptied[S slice[E], E any](s S, remove func(E) bool) bool {
	before := s.Len()
	s.RemoveIf(remove)
	return before > 0 && s.Len() == 0
}

// moveItems moves the items of a slice that are held into the slices of their parts. It
// reports whether that emptied it.
func moveItems[S slice[E], E interface{ MoveTo(to E) }](items S, c *cursor, to func(part int32) S) bool {
	to = perPart(to)
	return emptied(items, func(item E) bool {
		part := c.next().part
		if part == stays {
			return false
		}
		item.MoveTo(to(part).AppendEmpty())
		return true
	})
}
