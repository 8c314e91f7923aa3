// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phasespansconnector

import (
	"bytes"
	"encoding/json"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
)

// FuzzRecords passes records with any attributes. None may panic or be changed, there are
// at most as many spans as boundaries, and each span is a valid one.
func FuzzRecords(f *testing.F) {
	content, err := os.ReadFile("../../testdata/captures/threads.jsonl")
	require.NoError(f, err)
	for line := range bytes.Lines(content) {
		if bytes.Contains(line, []byte("phase_scope")) {
			f.Add(line)
		}
	}
	p := newProgram("run")
	for _, event := range []object{p.event("start", 0), p.enter(1, "train"), p.exit(2), p.event("stop", 3)} {
		line, err := json.Marshal(event)
		require.NoError(f, err)
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		var event object
		if json.Unmarshal(line, &event) != nil {
			return
		}
		r := start(t)
		open := newProgram("5923ed05-815c-4937-af70-387c61debe92")
		ld := logs(t, open.enter(0, "train"), open.enter(0, "step"), event, event)
		before := plog.NewLogs()
		ld.CopyTo(before)
		require.NoError(t, r.ConsumeLogs(t.Context(), ld))
		require.NoError(t, r.ConsumeLogs(t.Context(), ld))
		assert.Equal(t, before, ld)
		spans := r.spans()
		assert.LessOrEqual(t, len(spans), 8)
		for _, span := range spans {
			assert.NotEqual(t, pcommon.TraceID{}, span.TraceID())
			assert.NotEqual(t, pcommon.SpanID{}, span.SpanID())
			assert.NotEqual(t, span.SpanID(), span.ParentSpanID())
			assert.NotEmpty(t, span.Name())
			assert.LessOrEqual(t, span.StartTimestamp(), span.EndTimestamp())
		}
	})
}
