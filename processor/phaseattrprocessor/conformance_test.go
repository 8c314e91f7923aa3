// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/boundary"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/policy"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/replay"
)

// conformanceCase is one line of the vectors: what the reference implementation
// answers.
type conformanceCase struct {
	Name string
	Kind string

	// kind replay
	Events     []map[string]any
	Boundaries []bool
	Spans      []conformanceSpan
	Queries    []struct {
		Event   map[string]any
		AnyRank *struct {
			Session string `json:"session_id"`
			Time    int64  `json:"timestamp_ns"`
		} `json:"any_rank"`
		Attribution map[string]any
		Summary     *string
	}

	// kind merge
	First, Second, Merged *conformanceAttribution
	Payload               map[string]any

	// kinds merge and summary
	Summary *string

	// kind summary
	Resolution *string  `json:"phase_resolution"`
	PhasePath  *string  `json:"phase_path"`
	PhasePaths []string `json:"phase_paths"`
	Path       []string
	Formatted  string
}

type conformanceSpan struct {
	Session      string   `json:"session_id"`
	Rank         int64    `json:"rank"`
	ThreadID     int64    `json:"thread_id"`
	ThreadName   string   `json:"thread_name"`
	ScopeID      string   `json:"scope_id"`
	Path         []string `json:"path"`
	Start        int64    `json:"start_ns"`
	End          int64    `json:"end_ns"`
	Sequence     int64    `json:"sequence"`
	SyntheticEnd bool     `json:"synthetic_end"`
	Depth        int      `json:"depth"`
}

type conformanceAttribution struct {
	Resolution string   `json:"phase_resolution"`
	Source     string   `json:"phase_source"`
	Path       *string  `json:"phase_path"`
	Paths      []string `json:"phase_paths"`
	ScopeID    *string  `json:"scope_id"`
	ThreadID   int64    `json:"thread_id"`
	ThreadName string   `json:"thread_name"`
	Summary    struct {
		Path   string `json:"phase_path"`
		Source string `json:"source"`
	} `json:"phase_summary"`
}

func (c *conformanceAttribution) attribution() *policy.Attribution {
	if c == nil {
		return nil
	}
	a := &policy.Attribution{
		Resolution: c.Resolution, Source: c.Source, Paths: c.Paths,
		ThreadID: c.ThreadID, ThreadName: c.ThreadName, Summary: policy.Summary(c.Summary),
	}
	if c.Path != nil {
		a.Path, a.HasPath = *c.Path, true
	}
	if c.ScopeID != nil {
		a.ScopeID, a.HasScope = *c.ScopeID, true
	}
	return a
}

// TestConformance holds the strict replay to the answers of the reference
// implementation, for every vector of the shipped file or of the file that
// CONFORMANCE_VECTORS names.
func TestConformance(t *testing.T) {
	path := os.Getenv("CONFORMANCE_VECTORS")
	if path == "" {
		path = filepath.Join("..", "..", "testdata", "conformance", "vectors.jsonl")
	}
	file, err := os.Open(path)
	require.NoError(t, err)
	defer file.Close()

	cases, queries := 0, 0
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		var c conformanceCase
		decoder := json.NewDecoder(bytes.NewReader(lines.Bytes()))
		decoder.UseNumber() // 1 and 1.0 are different ranks
		require.NoError(t, decoder.Decode(&c))
		t.Run(c.Name, func(t *testing.T) {
			switch c.Kind {
			case "replay":
				queries += c.replay(t)
			case "merge":
				c.merge(t)
			case "summary":
				c.summarize(t)
			default:
				t.Fatalf("unknown kind %q", c.Kind)
			}
		})
		cases++
	}
	require.NoError(t, lines.Err())
	require.NotZero(t, cases)
	t.Logf("conformance: %d cases, %d queries", cases, queries)
}

func (c *conformanceCase) replay(t *testing.T) int {
	reader := newReader(createDefaultConfig().(*Config))
	index := replay.New(replay.Options{})
	decide := policy.New(policy.Options{})

	groups := map[boundary.RankKey]bool{}
	for i, raw := range c.Events {
		record := logRecord(t, exact(raw))
		fields := boundary.NewFields(record.Attributes(), boundary.MapBody(record), pcommon.NewMap(), pcommon.NewMap())
		event := reader.Event(record, &fields)
		group, reason := reader.Identify(&fields)
		isBoundary := false
		if event.IsBoundary() && reason != boundary.BadSession {
			b, why := reader.Boundary(&event, &fields, new(boundary.Paths))
			if isBoundary = why == boundary.OK; isBoundary && reason == boundary.OK {
				index.Ingest().Add(group, &b)
			}
		}
		assert.Equal(t, c.Boundaries[i], isBoundary, "is event %d a boundary", i)
		if reason == boundary.OK && event.HasTime {
			groups[group] = true
			if !isBoundary {
				index.Ingest().Observe(group, event.Time, false)
			}
		}
	}
	index.EndAll()

	var spans []replay.ScopeInterval
	for group := range groups {
		spans = index.ScopeIntervals(spans, group)
	}
	replay.SortScopeIntervals(spans)
	got := make([]conformanceSpan, len(spans))
	for i, s := range spans {
		got[i] = conformanceSpan{
			Session: s.Rank.Session, Rank: s.Rank.Rank, ThreadID: s.ThreadID, ThreadName: s.ThreadName,
			ScopeID: s.ScopeID, Path: s.Path.Parts(), Start: s.Start, End: s.End,
			Sequence: s.Sequence, SyntheticEnd: s.SyntheticEnd, Depth: s.Path.Depth(),
		}
	}
	assert.Equal(t, append([]conformanceSpan{}, c.Spans...), got)

	for i, q := range c.Queries {
		var active []replay.ScopeInterval
		var origin boundary.Origin
		if q.AnyRank != nil {
			for _, group := range index.Groups(q.AnyRank.Session) {
				active, _ = index.Handle(group).Active(active, q.AnyRank.Time, true)
			}
		} else {
			record := logRecord(t, exact(q.Event))
			fields := boundary.NewFields(record.Attributes(), boundary.MapBody(record), pcommon.NewMap(), pcommon.NewMap())
			origin = reader.Origin(&fields)
			if group, reason := reader.Identify(&fields); reason == boundary.OK {
				event := reader.Event(record, &fields)
				// The whole stack is asked for only where the policy needs it.
				active, _ = index.Handle(group).Active(nil, event.Time, origin.ScopeID != "")
			}
		}
		a := &policy.Attribution{}
		if !decide.Attribute(a, active, origin) {
			a = nil
		}
		assertPayload(t, q.Attribution, a.Payload(), "query %d", i)
		assertText(t, q.Summary, a.Label())
	}
	return len(c.Queries)
}

func (c *conformanceCase) merge(t *testing.T) {
	merged := policy.Merge(c.First.attribution(), c.Second.attribution())
	assertPayload(t, c.Payload, merged.Payload(), "payload")
	assertPayload(t, c.Merged.attribution().Payload(), merged.Payload(), "merged")
	assert.Equal(t, c.Merged.attribution(), merged)
	assertText(t, c.Summary, merged.Label())
}

func (c *conformanceCase) summarize(t *testing.T) {
	var resolution, path string
	if c.Resolution != nil {
		resolution = *c.Resolution
	}
	if c.PhasePath != nil {
		path = *c.PhasePath
	}
	assertText(t, c.Summary, policy.Summarize(resolution, path, c.PhasePaths))
	assert.Equal(t, c.Formatted, boundary.NewPath(c.Path...).Label())
}

func assertText(t *testing.T, want *string, got string) {
	t.Helper()
	if want == nil {
		assert.Empty(t, got)
		return
	}
	assert.Equal(t, *want, got)
}

// assertPayload compares payloads by their JSON, which is what they are for.
func assertPayload(t *testing.T, want, got map[string]any, msgAndArgs ...any) {
	t.Helper()
	if want == nil {
		assert.Nil(t, got, msgAndArgs...)
		return
	}
	wantJSON, err := json.Marshal(want)
	require.NoError(t, err)
	gotJSON, err := json.Marshal(got)
	require.NoError(t, err)
	assert.JSONEq(t, string(wantJSON), string(gotJSON), msgAndArgs...)
}

// exact replaces values that only the reader accepts as integers, integral doubles and
// decimal text, by values that the reader rejects like the reference.
func exact(event object) object {
	for key, value := range event {
		switch key {
		case "timestamp_ns", "rank", "thread_id", "sequence", "origin_thread_id":
			number, isNumber := value.(json.Number)
			_, err := number.Int64()
			_, isText := value.(string)
			if isNumber && err != nil || isText && key != "rank" { // decimal text is a rank to the reference
				event[key] = false
			}
		default:
			if inner, ok := value.(object); ok {
				exact(inner)
			}
		}
	}
	return event
}

// logRecord puts an event into the map body of a log record, its JSON types kept.
func logRecord(tb testing.TB, event object) plog.LogRecord {
	tb.Helper()
	record := plog.NewLogRecord()
	require.NoError(tb, record.Body().SetEmptyMap().FromRaw(withNumbers(event).(object)))
	return record
}
