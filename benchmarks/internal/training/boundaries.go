// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package training

import (
	"strconv"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
)

// Recorder generates the boundary records of ranks, one step at a time.
type Recorder struct {
	root, step plog.Logs
}

// NewRecorder returns a recorder.
func NewRecorder() *Recorder {
	r := &Recorder{root: plog.NewLogs(), step: plog.NewLogs()}
	newRecord(newResource(r.root), "enter", []string{rootName})
	records := newResource(r.step)
	path := []string{rootName}
	for _, name := range stepBoundaries {
		if name == "" {
			newRecord(records, "exit", path)
			path = path[:len(path)-1]
			continue
		}
		path = append(path, name)
		newRecord(records, "enter", path)
	}
	return r
}

func newResource(batch plog.Logs) plog.LogRecordSlice {
	return batch.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty().LogRecords()
}

func newRecord(records plog.LogRecordSlice, action string, path []string) {
	record := records.AppendEmpty()
	record.Attributes().PutStr("event_type", "phase_"+action)
	scope := record.Attributes().PutEmptyMap("metadata").PutEmptyMap("phase_scope")
	scope.PutStr("action", action)
	scope.PutStr("name", path[len(path)-1])
	parts := scope.PutEmptySlice("path")
	for _, part := range path {
		parts.AppendEmpty().SetStr(part)
	}
	scope.PutInt("thread_id", 140067956654144)
	scope.PutStr("thread_name", "MainThread")
}

// Begin returns the first boundary of a rank. A batch is valid until the recorder's next
// call.
func (c *Recorder) Begin(r Rank) plog.Logs {
	c.number(c.root, r, []int{0}, r.Start.Add(-time.Second), 1)
	return c.root
}

// Step returns the boundaries of a rank's step n, counted from 0.
func (c *Recorder) Step(r Rank, n int) plog.Logs {
	start := r.Start.Add(time.Duration(n) * StepDuration)
	c.number(c.step, r, []int{1}, start, 2+n*len(stepBoundaries))
	return c.step
}

// number sets the times and sequence numbers of a batch. open are the numbers of the
// scopes that are open before it.
func (c *Recorder) number(batch plog.Logs, r Rank, open []int, start time.Time, sequence int) {
	resource := batch.ResourceLogs().At(0)
	attrs := resource.Resource().Attributes()
	attrs.PutStr("session_id", r.Session())
	attrs.PutInt("rank", int64(r.Number))
	attrs.PutStr("host", r.Host())
	attrs.PutInt("pid", r.PID())
	attrs.PutInt("device_id", int64(r.GPU()))
	for i, record := range resource.ScopeLogs().At(0).LogRecords().All() {
		record.SetTimestamp(timestamp(start.Add(time.Duration(i) * slot)))
		metadata, _ := record.Attributes().Get("metadata")
		value, _ := metadata.Map().Get("phase_scope")
		scope := value.Map()
		if action, _ := scope.Get("action"); action.Str() == "enter" {
			open = append(open, sequence+i)
		}
		setID(scope, "scope_id", r, open[len(open)-1])
		if len(open) > 1 {
			setID(scope, "parent_scope_id", r, open[len(open)-2])
		}
		scope.PutInt("sequence", int64(sequence+i))
		if action, _ := scope.Get("action"); action.Str() == "exit" {
			open = open[:len(open)-1]
		}
	}
}

func setID(scope pcommon.Map, key string, r Rank, number int) {
	if number == 0 {
		return
	}
	scope.PutStr(key, r.Session()+":"+strconv.Itoa(number))
}
