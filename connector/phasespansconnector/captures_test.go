// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phasespansconnector

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/processor/processortest"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor"
)

// capturedScope is a scope of a recorded run.
type capturedScope struct {
	path, parent string
	from, to     int64
	synthetic    bool
}

// readCapture reads the events of a recorded run, and its scopes by their IDs.
func readCapture(t *testing.T, name string) ([]object, map[string]capturedScope) {
	t.Helper()
	content, err := os.ReadFile("../../testdata/captures/" + name + ".jsonl")
	require.NoError(t, err)
	var events []object
	scopes := map[string]capturedScope{}
	end := int64(0)
	for line := range bytes.Lines(content) {
		var record struct {
			Time     int64 `json:"timestamp_ns"`
			Metadata struct {
				Scope struct {
					Action string   `json:"action"`
					ID     string   `json:"scope_id"`
					Parent string   `json:"parent_scope_id"`
					Path   []string `json:"path"`
				} `json:"phase_scope"`
			} `json:"metadata"`
		}
		require.NoError(t, json.Unmarshal(line, &record))
		decoder := json.NewDecoder(bytes.NewReader(line))
		decoder.UseNumber()
		var event object
		require.NoError(t, decoder.Decode(&event))
		events = append(events, integers(event).(object))
		end = max(end, record.Time)
		scope := record.Metadata.Scope
		s := scopes[scope.ID]
		switch scope.Action {
		case "enter":
			s.path, s.parent, s.from, s.synthetic = strings.Join(scope.Path, " / "), scope.Parent, record.Time, s.to == 0
		case "exit":
			s.to, s.synthetic = record.Time, false
		default:
			continue
		}
		scopes[scope.ID] = s
	}
	for id, s := range scopes {
		if s.synthetic {
			s.to = end
			scopes[id] = s
		}
	}
	require.NotEmpty(t, scopes)
	return events, scopes
}

// integers returns a JSON value with its integers as such.
func integers(value any) any {
	switch v := value.(type) {
	case object:
		for key := range v {
			v[key] = integers(v[key])
		}
	case []any:
		for i := range v {
			v[i] = integers(v[i])
		}
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return n
		}
		f, _ := v.Float64()
		return f
	}
	return value
}

// TestEveryScopeOfTheCapturesIsASpan passes recorded runs through phase_attr.
func TestEveryScopeOfTheCapturesIsASpan(t *testing.T) {
	for _, name := range []string{"single", "threads", "bursty", "crash", "rank0", "rank1"} {
		t.Run(name, func(t *testing.T) {
			events, scopes := readCapture(t, name)
			synctest.Test(t, func(t *testing.T) { compareWithScopes(t, events, scopes) })
		})
	}
}

func compareWithScopes(t *testing.T, events []object, scopes map[string]capturedScope) {
	time.Sleep(time.Until(time.Unix(1_795_360_000, 0))) // after the runs: events of the future are refused
	r := start(t)
	cfg := phaseattrprocessor.NewFactory().CreateDefaultConfig().(*phaseattrprocessor.Config)
	cfg.Attributes = []phaseattrprocessor.Attribute{"phase_path", "phase_start", "phase_duration"}
	factory := phaseattrprocessor.NewFactory()
	processor, err := factory.CreateLogs(t.Context(), processortest.NewNopSettings(factory.Type()), cfg, r.Logs)
	require.NoError(t, err)
	require.NoError(t, processor.Start(t.Context(), componenttest.NewNopHost()))
	for len(events) > 0 {
		n := min(50, len(events)) // as stormlog's sink flushes them
		require.NoError(t, processor.ConsumeLogs(t.Context(), logs(t, events[:n]...)))
		events = events[n:]
	}
	require.NoError(t, processor.Shutdown(t.Context()))
	time.Sleep(20 * time.Minute) // a process that has crashed is given up
	synctest.Wait()

	spans := map[string]ptrace.Span{}
	for _, span := range r.spans() {
		id, _ := span.Attributes().Get("phase_scope_id")
		require.NotContains(t, spans, id.Str(), "one span per scope")
		spans[id.Str()] = span
	}
	require.Len(t, spans, len(scopes))
	for id, want := range scopes {
		span := spans[id]
		path, _ := span.Attributes().Get("phase_path")
		_, synthetic := span.Attributes().Get("synthetic_end")
		assert.Equal(t, want, capturedScope{
			path: path.Str(), parent: want.parent, from: int64(span.StartTimestamp()), to: int64(span.EndTimestamp()), synthetic: synthetic,
		}, id)
		parent, unit := pcommon.SpanID{}, span.TraceID()
		if strings.Count(want.path, " / ") > 1 {
			parent = spans[want.parent].SpanID()
			unit = spans[want.parent].TraceID()
		}
		assert.Equal(t, parent, span.ParentSpanID(), id)
		assert.Equal(t, unit, span.TraceID(), id)
	}
	require.NoError(t, r.Shutdown(t.Context()))
}
