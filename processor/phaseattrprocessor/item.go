// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"iter"
	"math"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
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
	// skipped is true when it is not to be annotated, split when it is to be divided by
	// phase.
	skipped, split bool
}

// between sets the interval of an item. What has no time, or one that no event can have,
// is not annotated.
func (it *item) between(from, to pcommon.Timestamp) {
	if from == 0 || to == 0 || from > math.MaxInt64 || to > math.MaxInt64 {
		it.skipped = true
		return
	}
	it.from, it.to = int64(min(from, to)), int64(to)
}

// isRecord reports whether the item is a log record.
func (it *item) isRecord() bool { return it.record != plog.LogRecord{} }

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

// shells are the copies of a resource, scope or metric, without their items, by the part
// that they are for.
type shells[T any] map[int32]T

// of returns the shell for a part, made by shell if there is none.
func (s shells[T]) of(part int32, shell func() T) T {
	made, ok := s[part]
	if !ok {
		made = shell()
		s[part] = made
	}
	return made
}

// resourceShell and scopeShell are what the resources and scopes of all signals have.
type resourceShell interface {
	Resource() pcommon.Resource
	SchemaUrl() string
	SetSchemaUrl(url string)
}

type scopeShell interface {
	Scope() pcommon.InstrumentationScope
	SchemaUrl() string
	SetSchemaUrl(url string)
}

// copyResource copies a resource without its scopes.
func copyResource[R resourceShell](from, to R) R {
	from.Resource().CopyTo(to.Resource())
	to.SetSchemaUrl(from.SchemaUrl())
	return to
}

// copyScope copies a scope without its items.
func copyScope[S scopeShell](from, to S) S {
	from.Scope().CopyTo(to.Scope())
	to.SetSchemaUrl(from.SchemaUrl())
	return to
}

// slice is what the slices of all items have.
type slice[I any] interface {
	Len() int
	AppendEmpty() I
	RemoveIf(f func(I) bool)
}

// moveItems moves the items of a slice that are held into the slices of their parts. It
// reports whether that emptied it.
func moveItems[S slice[I], I interface{ MoveTo(to I) }](items S, c *cursor, to func(part int32) S) bool {
	slices := shells[S]{}
	items.RemoveIf(func(item I) bool {
		part := c.next().part
		if part == stays {
			return false
		}
		item.MoveTo(slices.of(part, func() S { return to(part) }).AppendEmpty())
		return true
	})
	return len(slices) > 0 && items.Len() == 0
}
