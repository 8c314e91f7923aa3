// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/phaseattr/phaseattr/internal/boundary"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/policy"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/replay"
)

// conformanceCase is one line of the vectors, as the reference implementation answers it.
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

// TestConformance compares the strict replay with the reference implementation, for every
// vector of the shipped file or of the one that CONFORMANCE_VECTORS names.
func TestConformance(t *testing.T) {
	cases, queries := runConformance(t, "CONFORMANCE_VECTORS", "vectors.jsonl")
	t.Logf("conformance: %d cases, %d queries", cases, queries)
}

// TestConformanceTies is TestConformance for queries that leave the rank open while
// scopes of several ranks are equally late. CONFORMANCE_TIES names another file.
func TestConformanceTies(t *testing.T) {
	cases, queries := runConformance(t, "CONFORMANCE_TIES", "ties.jsonl")
	t.Logf("ties: %d cases, %d queries", cases, queries)
}

func runConformance(t *testing.T, variable, name string) (cases, queries int) {
	t.Helper()
	file, err := os.Open(cmp.Or(os.Getenv(variable), filepath.Join("..", "..", "testdata", "conformance", name)))
	require.NoError(t, err)
	defer file.Close()

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
	return cases, queries
}

func (c *conformanceCase) replay(t *testing.T) int {
	f := recordedFile{
		reader:    newReader(newConfig(t, func(cfg *Config) { cfg.Repair = false })),
		index:     replay.New(replay.Options{}),
		intervals: map[boundary.RankKey][]recordedInterval{},
	}
	ingest := f.index.Ingest()
	for i, event := range c.Events {
		assert.Equal(t, c.Boundaries[i], f.add(t, ingest, event), "is event %d a boundary", i)
	}
	ingest.Flush()
	f.list()

	spans := []conformanceSpan{}
	for _, rank := range slices.SortedFunc(maps.Keys(f.intervals), compareRanks) {
		intervals := slices.SortedStableFunc(slices.Values(f.intervals[rank]), func(a, b recordedInterval) int {
			return cmp.Or(a.compare(b), cmp.Compare(a.Sequence, b.Sequence), cmp.Compare(a.ScopeID, b.ScopeID))
		})
		for _, s := range intervals {
			spans = append(spans, conformanceSpan{
				Session: rank.Session, Rank: rank.Rank, ThreadID: s.ThreadID, ThreadName: s.ThreadName,
				ScopeID: s.ScopeID, Path: s.Path.Parts(), Start: s.Start, End: s.end,
				Sequence: s.Sequence, SyntheticEnd: s.open, Depth: s.Path.Depth(),
			})
		}
	}
	assert.Equal(t, append([]conformanceSpan{}, c.Spans...), spans)

	decide := policy.New(policy.Options{})
	for i, q := range c.Queries {
		var scopes []replay.ScopeInterval
		var origin boundary.Origin
		if q.AnyRank != nil {
			scopes = f.activeOfSession(q.AnyRank.Session, q.AnyRank.Time)
		} else {
			scopes, origin = f.activeFor(t, q.Event)
		}
		a := &policy.Attribution{}
		if !decide.Attribute(a, scopes, origin) {
			a = nil
		}
		assertPayload(t, q.Attribution, payload(a), "query %d", i)
		assertText(t, q.Summary, a.Label())
	}
	return len(c.Queries)
}

// recordedFile is a finished recording in an index. The reference reads files to their
// end: every session ends at its newest event, and scopes are listed with their ends.
type recordedFile struct {
	reader    *boundary.Reader
	index     *replay.Index
	intervals map[boundary.RankKey][]recordedInterval
}

// recordedInterval is a scope with its end. It is open when it has no exit.
type recordedInterval struct {
	replay.ScopeInterval
	end  int64
	open bool
}

// compare orders intervals by start and end.
func (s *recordedInterval) compare(other recordedInterval) int {
	return cmp.Or(cmp.Compare(s.Start, other.Start), cmp.Compare(s.end, other.end))
}

func (s *recordedInterval) is(scope replay.ScopeInterval) bool {
	return s.ThreadID == scope.ThreadID && s.ScopeID == scope.ScopeID && s.Start == scope.Start && s.Sequence == scope.Sequence
}

func compareRanks(a, b boundary.RankKey) int {
	return cmp.Or(cmp.Compare(a.Session, b.Session), cmp.Compare(a.Rank, b.Rank))
}

// read returns the fields of an event that a file holds.
func (f *recordedFile) read(t *testing.T, raw object) (plog.LogRecord, boundary.Fields) {
	t.Helper()
	record := logRecord(t, onlyInts("", raw).(object))
	return record, boundary.NewFields(record.Attributes(), boundary.MapBody(record), pcommon.NewMap(), pcommon.NewMap())
}

// add adds an event and reports whether it is a boundary.
func (f *recordedFile) add(t *testing.T, ingest *replay.Ingest, raw object) (isBoundary bool) {
	t.Helper()
	record, fields := f.read(t, raw)
	event := f.reader.Event(record, &fields)
	rank, reason := f.reader.Identify(&fields)
	var b boundary.Boundary
	if event.IsBoundary() && reason != boundary.BadSession {
		var why boundary.Reason
		b, why = f.reader.Boundary(&event, &fields, new(boundary.Paths))
		isBoundary = why == boundary.OK
	}
	if reason != boundary.OK || !event.HasTime {
		return isBoundary
	}
	f.intervals[rank] = nil
	if isBoundary {
		ingest.Add(&replay.Sender{Rank: rank}, &b)
	} else {
		ingest.Observe(&replay.Sender{Rank: rank}, &replay.Event{Time: event.Time})
	}
	return isBoundary
}

// list lists the scopes of all ranks, those of a rank by start and end.
func (f *recordedFile) list() {
	for rank := range f.intervals {
		snapshot, _ := f.index.Snapshot(rank)
		end := snapshot.Processes[0].Clock.Now
		times := []int64{end}
		for _, thread := range snapshot.Processes[0].Threads {
			for _, b := range thread.Boundaries {
				times = append(times, b.Time)
			}
		}
		slices.Sort(times)
		var all []recordedInterval
		for _, at := range slices.Compact(times) {
			for _, scope := range f.active(rank, at) {
				i := slices.IndexFunc(all, func(s recordedInterval) bool { return s.is(scope) })
				if i < 0 {
					i = len(all)
					all = append(all, recordedInterval{ScopeInterval: scope})
				}
				all[i].end = at
			}
		}
		stillOpen, _ := f.index.Handle(rank).Active(nil, end+1, true)
		for i := range all {
			all[i].open = slices.ContainsFunc(stillOpen, all[i].is)
		}
		slices.SortStableFunc(all, func(a, b recordedInterval) int { return a.compare(b) })
		f.intervals[rank] = all
	}
}

// active returns the scopes of a rank at a time.
func (f *recordedFile) active(rank boundary.RankKey, at int64) []replay.ScopeInterval {
	scopes, status := f.index.Handle(rank).Active(nil, at, true)
	if status == replay.Behind { // after the end
		return nil
	}
	return scopes
}

// activeFor returns the scopes that decide the attribution of an event, and its origin.
func (f *recordedFile) activeFor(t *testing.T, raw object) ([]replay.ScopeInterval, boundary.Origin) {
	t.Helper()
	record, fields := f.read(t, raw)
	origin := f.reader.Origin(&fields)
	rank, reason := f.reader.Identify(&fields)
	if reason != boundary.OK {
		return nil, origin
	}
	// The whole stack only where the policy needs it.
	scopes, status := f.index.Handle(rank).Active(nil, f.reader.Event(record, &fields).Time, origin.ScopeID != "")
	if status == replay.Behind { // after the end
		return nil, origin
	}
	return scopes, origin
}

// activeOfSession returns the scopes of all ranks of a session at a time, in the order in
// which the reference lists them, which decides ties: the ranks that have a scope with an
// exit before those that have none, by rank, and those of a rank by start and end.
func (f *recordedFile) activeOfSession(session string, at int64) (scopes []replay.ScopeInterval) {
	ranks := slices.DeleteFunc(slices.SortedFunc(maps.Keys(f.intervals), compareRanks), func(rank boundary.RankKey) bool {
		return rank.Session != session
	})
	hasExit := func(rank boundary.RankKey) bool {
		return slices.ContainsFunc(f.intervals[rank], func(s recordedInterval) bool { return !s.open })
	}
	for _, want := range []bool{true, false} {
		for _, rank := range ranks {
			if hasExit(rank) != want {
				continue
			}
			active := f.active(rank, at)
			for _, s := range f.intervals[rank] {
				if slices.ContainsFunc(active, s.is) {
					scopes = append(scopes, s.ScopeInterval)
				}
			}
		}
	}
	return scopes
}

// onlyInts replaces the values of an event that the processor takes for ints and the
// reference does not: doubles, and text in the place of a number other than the rank.
func onlyInts(key string, value any) any {
	switch value := value.(type) {
	case json.Number:
		if _, err := value.Int64(); err != nil {
			return false
		}
	case string:
		for _, name := range []string{"timestamp_ns", "thread_id", "sequence"} {
			if strings.HasSuffix(key, name) {
				return false
			}
		}
	case object:
		replaced := object{}
		for key, field := range value {
			replaced[key] = onlyInts(key, field)
		}
		return replaced
	}
	return value
}

// payload returns an attribution as the fields of a report. Fields that do not apply are
// left out.
func payload(a *policy.Attribution) map[string]any {
	if a == nil {
		return nil
	}
	paths := slices.DeleteFunc(slices.Clone(a.Paths), func(path string) bool { return path == "" })
	fields := map[string]any{"phase_resolution": a.Resolution, "phase_paths": paths}
	if a.Source != "" {
		fields["phase_source"] = a.Source
	}
	if a.HasPath {
		fields["phase_path"] = a.Path
	}
	if a.HasScope {
		fields["scope_id"], fields["thread_id"], fields["thread_name"] = a.ScopeID, a.ThreadID, a.ThreadName
	}
	if a.Summary != (policy.Summary{}) {
		fields["phase_summary"] = map[string]any{"phase_path": a.Summary.Path, "source": a.Summary.Source}
	}
	return fields
}

func (c *conformanceCase) merge(t *testing.T) {
	merged := policy.Merge(c.First.attribution(), c.Second.attribution())
	assertPayload(t, c.Payload, payload(merged), "payload")
	assertPayload(t, payload(c.Merged.attribution()), payload(merged), "merged")
	assert.Equal(t, c.Merged.attribution(), merged)
	assertText(t, c.Summary, merged.Label())
}

func (c *conformanceCase) summarize(t *testing.T) {
	a := policy.Attribution{Paths: c.PhasePaths}
	if c.Resolution != nil {
		a.Resolution = *c.Resolution
	}
	if c.PhasePath != nil {
		a.Path = *c.PhasePath
	}
	assertText(t, c.Summary, a.Label())
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

// logRecord puts an event into the map body of a log record, its JSON types kept.
func logRecord(tb testing.TB, event object) plog.LogRecord {
	tb.Helper()
	record := plog.NewLogRecord()
	require.NoError(tb, record.Body().SetEmptyMap().FromRaw(withNumbers(event).(object)))
	return record
}
