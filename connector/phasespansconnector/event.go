// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phasespansconnector

import (
	"cmp"
	"context"
	"math"
	"slices"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/phaseattr/phaseattr/internal/boundary"
)

// The attributes of the end of a phase that phase_attr writes.
const (
	fieldStart    = "phase_start"
	fieldDuration = "phase_duration"
)

// event is an event of a process.
type event struct {
	boundary.Event
	process processKey
	// boundary is set if the event is one.
	boundary *boundary.Boundary
	// start and end are the times of the phase that the event ends, if timed.
	start, end int64
	timed      bool

	// fields are those of the record, resource is its resource, the nth of the batch.
	fields   boundary.Fields
	resource pcommon.Resource
	n        int
}

func (e *event) sequence() int64 {
	if e.boundary == nil {
		return 0
	}
	return e.boundary.Sequence
}

// read returns the events of a batch in the order in which they happened.
func (c *spansConnector) read(ctx context.Context, ld plog.Logs) []event {
	var events []event
	var paths boundary.Paths
	for n, rl := range ld.ResourceLogs().All() {
		for _, sl := range rl.ScopeLogs().All() {
			fields := boundary.NewFields(pcommon.Map{}, pcommon.Map{}, sl.Scope().Attributes(), rl.Resource().Attributes())
			for _, record := range sl.LogRecords().All() {
				fields.SetLog(record)
				e := event{Event: c.reader.Event(record, &fields), fields: fields, resource: rl.Resource(), n: n}
				if e.Type == "" {
					continue
				}
				if reason := c.readEvent(&e, &paths); reason == boundary.OK {
					events = append(events, e)
				} else if e.IsBoundary() {
					c.recorder.skipped(ctx, reason.String())
				}
			}
		}
	}
	slices.SortStableFunc(events, func(a, b event) int {
		return cmp.Or(cmp.Compare(a.Time, b.Time), cmp.Compare(a.sequence(), b.sequence()))
	})
	return events
}

// readEvent reads whose event a record is, and its boundary if it is one.
func (c *spansConnector) readEvent(e *event, paths *boundary.Paths) boundary.Reason {
	rank, reason := c.reader.Identify(&e.fields)
	if reason != boundary.OK {
		return reason
	}
	if !e.HasTime || e.Time < 0 {
		return boundary.BadTime
	}
	e.process = processKey{rank, c.reader.Process(&e.fields)}
	if !e.IsBoundary() {
		return boundary.OK
	}
	b, reason := c.reader.Boundary(&e.Event, &e.fields, paths)
	if reason == boundary.OK && b.Path.Depth() == 0 {
		reason = boundary.BadPath
	}
	e.boundary = &b
	e.start, e.end, e.timed = interval(&e.fields)
	return reason
}

// interval reads when the phase that a record ends began and ended.
func interval(f *boundary.Fields) (start, end int64, ok bool) {
	from, found := f.Get(fieldStart)
	if !found || from.Type() != pcommon.ValueTypeInt || from.Int() < 0 {
		return 0, 0, false
	}
	duration, found := f.Get(fieldDuration)
	if !found || duration.Type() != pcommon.ValueTypeDouble {
		return 0, 0, false
	}
	nanoseconds := math.Round(duration.Double() * 1e9)
	if !(nanoseconds >= 0 && nanoseconds < float64(math.MaxInt64-from.Int())) { // false for NaN
		return 0, 0, false
	}
	return from.Int(), from.Int() + int64(nanoseconds), true
}
