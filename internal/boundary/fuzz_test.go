// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package boundary

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
)

// FuzzBoundary reads arbitrary JSON records from each of the maps that fields can be in.
// A boundary must be complete and within the limits, and the record unchanged.
func FuzzBoundary(f *testing.F) {
	for _, capture := range []string{"single", "crash", "threads"} {
		file, err := os.Open(filepath.Join("..", "..", "testdata", "captures", capture+".jsonl"))
		require.NoError(f, err)
		lines := bufio.NewScanner(file)
		for i := 0; i < 12 && lines.Scan(); i++ {
			f.Add(bytes.Clone(lines.Bytes()), uint8(i), "")
		}
		require.NoError(f, lines.Err())
		require.NoError(f, file.Close())
	}
	for i, seed := range []string{
		``, `null`, `[]`, `{}`,
		`{"session_id": 1, "event_type": "phase_enter", "timestamp_ns": "x", "metadata": null}`,
		`{"session_id": "s", "rank": true, "event_type": "phase_enter", "timestamp_ns": 1e400}`,
		`{"session_id": "s", "rank": "1 ", "event_type": "phase_exit", "timestamp_ns": 1.5, "metadata": {"phase_scope": []}}`,
		`{"session_id": "s", "timestamp_ns": 1, "phase_scope.action": "enter", "phase_scope.name": " a ", "phase_scope.path": ["a", 1, ""],
		  "phase_scope.scope_id": "", "phase_scope.thread_id": 1e0, "phase_scope.thread_name": "", "phase_scope.sequence": "-1"}`,
		`{"session_id": "s", "timestamp_ns": 1, "phase_scope": {"action": "exit", "name": "a", "path": ["a / b"], "scope_id": "x",
		  "parent_scope_id": 1, "thread_id": 1, "thread_name": "t", "sequence": 9223372036854775807, "attributes": {"epoch": [1]}}}`,
		`{"metadata": {"phase_scope.action": "enter", "phase_scope.path": {}}, "metadata.phase_scope": {"name": "` + strings.Repeat("n", 300) + `"}}`,
	} {
		f.Add([]byte(seed), uint8(i), "phase_enter")
	}

	f.Fuzz(func(t *testing.T, data []byte, in uint8, eventName string) {
		raw, ok := decode(data)
		if !ok {
			return
		}
		logs := plog.NewLogs()
		resource := logs.ResourceLogs().AppendEmpty()
		scope := resource.ScopeLogs().AppendEmpty()
		record := scope.LogRecords().AppendEmpty()
		record.SetEventName(eventName)
		switch in % 4 {
		case 0:
			require.NoError(t, record.Body().SetEmptyMap().FromRaw(raw))
		case 1:
			require.NoError(t, record.Attributes().FromRaw(raw))
		case 2:
			require.NoError(t, scope.Scope().Attributes().FromRaw(raw))
		case 3:
			require.NoError(t, resource.Resource().Attributes().FromRaw(raw))
		}
		before := plog.NewLogs()
		logs.CopyTo(before)

		reader := newReader()
		fields := NewFields(record.Attributes(), MapBody(record), scope.Scope().Attributes(), resource.Resource().Attributes())
		event := reader.Event(record, &fields)
		rank, rankReason := reader.Identify(&fields)
		scopeOnly := NewFields(pcommon.Map{}, pcommon.Map{}, scope.Scope().Attributes(), resource.Resource().Attributes())
		defaults := reader.ScopeDefaults(&scopeOnly)
		withDefaults, reasonWithDefaults := reader.IdentifyWith(&defaults, &fields)
		assert.Equal(t, rank, withDefaults)
		assert.Equal(t, rankReason, reasonWithDefaults)
		assert.Equal(t, event, reader.EventWith(&defaults, record, &fields))
		reader.Origin(&fields)
		b, reason := reader.Boundary(&event, &fields, new(Paths))

		assert.Equal(t, before, logs)
		assert.LessOrEqual(t, len(rank.Session), reader.Limits.TextBytes)
		assert.NotEmpty(t, rankReason.String())
		assert.NotEmpty(t, reason.String())
		if reason != OK {
			return
		}
		assert.True(t, event.HasTime)
		assert.True(t, event.IsBoundary())
		assert.Equal(t, "phase_"+b.Action.String(), event.Type)
		for _, text := range []string{b.ScopeID, b.ParentScopeID, b.ThreadName} {
			assert.LessOrEqual(t, len(text), reader.Limits.TextBytes)
		}
		assert.NotEmpty(t, b.Path.Label())
		assert.LessOrEqual(t, len(b.Path.Label()), reader.Limits.LabelBytes)
		assert.LessOrEqual(t, b.Path.Depth(), reader.Limits.Depth)
		assert.Equal(t, b.Path, NewPath(b.Path.Parts()...))
		assert.LessOrEqual(t, len(b.Attributes), len(reader.KeepAttributes))
	})
}

// decode decodes a JSON object, its integers as int64.
func decode(data []byte) (map[string]any, bool) {
	var raw map[string]any
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	if decoder.Decode(&raw) != nil {
		return nil, false
	}
	return withNumbers(raw).(map[string]any), true
}

func withNumbers(raw any) any {
	switch raw := raw.(type) {
	case json.Number:
		if n, err := raw.Int64(); err == nil {
			return n
		}
		d, _ := raw.Float64() // infinite when it is too large
		return d
	case map[string]any:
		for key, value := range raw {
			raw[key] = withNumbers(value)
		}
	case []any:
		for i, item := range raw {
			raw[i] = withNumbers(item)
		}
	}
	return raw
}
