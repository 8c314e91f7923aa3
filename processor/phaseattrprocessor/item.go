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
	// phase, gpu when it is of a metric that only GPUs have.
	skipped, split, gpu bool
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
	// items yields all items of a batch.
	items(b T) iter.Seq[*item]
	// partition moves the items that the cursor says into n batches of their own.
	partition(b T, c *cursor, n int) []T
	// append moves everything of a batch to the end of another one.
	append(to, from T)
	// count returns the number of items, empty whether there is nothing in the batch.
	count(b T) int
	empty(b T) bool
	// wireBytes is the size of a batch on the wire, itemBytes what an item takes on the heap
	// beyond it, without its attributes.
	wireBytes(b T) int
	itemBytes() int64
}

// stays is the part of an item that is not held.
const stays int32 = -1

// cursor says, item by item, which part of a batch an item belongs to.
type cursor struct {
	decisions []decision
	at        int
}

func (c *cursor) next() int32 {
	c.at++
	return c.decisions[c.at-1].part
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
