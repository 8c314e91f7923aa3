// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package recorder

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os"
	"reflect"
	"slices"
	"testing"

	"go.opentelemetry.io/otel/log"
)

// vector is a sequence of calls with what the reference made of each.
type vector struct {
	Name  string `json:"name"`
	Steps []step `json:"steps"`
}

type step struct {
	ThreadID   int64          `json:"thread_id"`
	ThreadName string         `json:"thread_name"`
	Call       string         `json:"call"`
	Session    string         `json:"session_id"`
	Rank       int            `json:"rank"`
	PhaseName  string         `json:"name"`
	Attributes map[string]any `json:"attributes"`
	ScopeID    string         `json:"scope_id"`
	Token      int            `json:"token"`
	Boundary   *wantBoundary  `json:"boundary"`
	Error      string         `json:"error"`
}

type wantBoundary struct {
	EventType string `json:"event_type"`
	Context   string `json:"context"`
	Metadata  struct {
		PhaseScope map[string]any `json:"phase_scope"`
	} `json:"metadata"`
	ScopeID string   `json:"scope_id"`
	Path    []string `json:"path"`
}

// TestRecorderConformance makes the calls of testdata/vectors.jsonl, or of the file that
// RECORDER_VECTORS names, and compares the events and the errors with the reference's.
func TestRecorderConformance(t *testing.T) {
	file := cmp.Or(os.Getenv("RECORDER_VECTORS"), "testdata/vectors.jsonl")
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	decoder := json.NewDecoder(bytes.NewReader(content))
	decoder.UseNumber()
	cases, steps := 0, 0
	for {
		var v vector
		if err := decoder.Decode(&v); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("%s: case %d: %v", file, cases, err)
		}
		cases++
		steps += len(v.Steps)
		t.Run(v.Name, func(t *testing.T) {
			p := player{recorders: make(map[rankKey]*Recorder), tokens: make(map[int]token)}
			for i := range v.Steps {
				p.play(t, i, &v.Steps[i])
			}
		})
	}
	if steps == 0 {
		t.Fatalf("%s has no steps", file)
	}
	t.Logf("recorder: %d cases, %d steps", cases, steps)
}

type rankKey struct {
	session string
	rank    int
}

// token is what the reference's enter returns: it can be used again after its scope was
// left and after a reset, as a Handle cannot.
type token struct {
	handle *Handle
	key    rankKey
	epoch  int
}

// player makes the calls of one case.
type player struct {
	events    memory
	recorders map[rankKey]*Recorder
	tokens    map[int]token
	called    rankKey // of the newest call
	// sequence is the number of the newest boundary, epoch that of resets.
	sequence int64
	epoch    int
}

func (p *player) play(t *testing.T, i int, s *step) {
	t.Helper()
	handle, err := p.call(t, s)
	if err != nil || s.Error != "" {
		p.checkError(t, i, s, err)
	}
	events := p.events.take()
	if s.Boundary == nil {
		if len(events) > 0 {
			t.Fatalf("step %d: %s emitted %s", i, s.Call, events[0].record.EventName())
		}
		return
	}
	if len(events) != 1 {
		t.Fatalf("step %d: %s emitted %d events, want 1", i, s.Call, len(events))
	}
	p.checkBoundary(t, i, s.Boundary, &events[0])
	if handle != nil && (handle.ScopeID() != s.Boundary.ScopeID || !slices.Equal(handle.Path(), s.Boundary.Path)) {
		t.Errorf("step %d: handle of %q %q, want %q %q", i, handle.ScopeID(), handle.Path(), s.Boundary.ScopeID, s.Boundary.Path)
	}
}

func (p *player) call(t *testing.T, s *step) (*Handle, error) {
	t.Helper()
	ctx := WithLane(t.Context(), s.ThreadName, LaneID(s.ThreadID))
	switch s.Call {
	case "enter":
		return p.enter(ctx, s)
	case "exit":
		return nil, p.exit(ctx, t, s)
	case "exit_phase":
		return nil, p.on(rankKey{s.Session, s.Rank}, func(r *Recorder) error { return r.Exit(ctx, s.ScopeID) })
	case "reset":
		for _, r := range p.recorders {
			r.Reset()
		}
		p.sequence = 0
		p.epoch++
		return nil, nil
	}
	t.Fatalf("no such call: %q", s.Call)
	return nil, nil
}

func (p *player) enter(ctx context.Context, s *step) (*Handle, error) {
	key := rankKey{s.Session, s.Rank}
	var attrs []log.KeyValue
	for _, name := range slices.Sorted(maps.Keys(s.Attributes)) {
		attrs = append(attrs, log.KeyValue{Key: name, Value: logValue(s.Attributes[name])})
	}
	var handle *Handle
	err := p.on(key, func(r *Recorder) error {
		_, handle = r.Enter(ctx, s.PhaseName, attrs...)
		return handle.Err()
	})
	if err == nil {
		p.tokens[s.Token] = token{handle, key, p.epoch}
	}
	return handle, err
}

// exit closes the handle that stands for a token. Where a token does what a handle must
// not, its scope is left by its ID.
func (p *player) exit(ctx context.Context, t *testing.T, s *step) error {
	t.Helper()
	tok, ok := p.tokens[s.Token]
	if !ok {
		t.Fatalf("no such token: %d", s.Token)
	}
	return p.on(tok.key, func(r *Recorder) error {
		if tok.handle.closed {
			if err := tok.handle.CloseContext(ctx); err != nil {
				t.Errorf("closed again: %v", err)
			}
		} else if tok.epoch == p.epoch {
			return tok.handle.CloseContext(ctx)
		}
		return r.Exit(ctx, tok.handle.ScopeID())
	})
}

// on calls the recorder of a rank. The reference has one recorder for all ranks, with
// one counter, which the recorders here hand on.
func (p *player) on(key rankKey, call func(*Recorder) error) error {
	r, ok := p.recorders[key]
	if !ok {
		r = New(WithLoggerProvider(provider{logger: &p.events}), WithSession(key.session), WithRank(key.rank))
		p.recorders[key] = r
	}
	p.called = key
	r.sequence = p.sequence
	defer func() { p.sequence = r.sequence }()
	return call(r)
}

func (*player) checkError(t *testing.T, i int, s *step, err error) {
	t.Helper()
	rules := map[string]error{
		"blank_name":    ErrBlankName,
		"no_open_scope": ErrNothingOpen,
		"unknown_scope": ErrUnknownScope,
		"other_thread":  ErrOtherLane,
		"not_lifo":      ErrNotInnermost,
	}
	rule, ok := rules[s.Error]
	if s.Error != "" && !ok {
		t.Fatalf("step %d: no such error: %q", i, s.Error)
	}
	var protocolErr *ProtocolError
	if !errors.As(err, &protocolErr) || !errors.Is(err, rule) {
		t.Fatalf("step %d: %s returned %v, want %v", i, s.Call, err, cmp.Or(rule, errors.New("no error")))
	}
	if want := (Lane{s.ThreadID, s.ThreadName}); protocolErr.Lane != want {
		t.Errorf("step %d: error of lane %v, want %v", i, protocolErr.Lane, want)
	}
}

func (p *player) checkBoundary(t *testing.T, i int, want *wantBoundary, got *event) {
	t.Helper()
	if got.record.EventName() != want.EventType {
		t.Errorf("step %d: event %q, want %q", i, got.record.EventName(), want.EventType)
	}
	if body := got.record.Body().AsString(); body != want.Context {
		t.Errorf("step %d: body %q, want %q", i, body, want.Context)
	}
	attrs := got.attributes()
	if wantScope := numbers(want.Metadata.PhaseScope); !reflect.DeepEqual(attrs["phase_scope"], wantScope) {
		t.Errorf("step %d: phase_scope\n%v, want\n%v", i, attrs["phase_scope"], wantScope)
	}
	if attrs["session_id"] != p.called.session || attrs["rank"] != int64(p.called.rank) {
		t.Errorf("step %d: session %v and rank %v, want %v", i, attrs["session_id"], attrs["rank"], p.called)
	}
}

func logValue(v any) log.Value {
	switch v := numbers(v).(type) {
	case bool:
		return log.BoolValue(v)
	case int64:
		return log.Int64Value(v)
	case float64:
		return log.Float64Value(v)
	case string:
		return log.StringValue(v)
	case []any:
		values := make([]log.Value, len(v))
		for i := range v {
			values[i] = logValue(v[i])
		}
		return log.SliceValue(values...)
	case map[string]any:
		var fields []log.KeyValue
		for key, field := range v {
			fields = append(fields, log.KeyValue{Key: key, Value: logValue(field)})
		}
		return log.MapValue(fields...)
	}
	return log.Value{}
}

// numbers makes ints and doubles of the numbers of a JSON value, as they are written.
func numbers(v any) any {
	switch v := v.(type) {
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return n
		}
		d, _ := v.Float64()
		return d
	case []any:
		items := make([]any, len(v))
		for i := range v {
			items[i] = numbers(v[i])
		}
		return items
	case map[string]any:
		fields := make(map[string]any, len(v))
		for key, field := range v {
			fields[key] = numbers(field)
		}
		return fields
	}
	return v
}
