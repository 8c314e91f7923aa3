// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package boundary

import (
	"fmt"
	"maps"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
)

type object = map[string]any

func newReader() *Reader {
	return &Reader{
		SessionKey: "session_id", RankKey: "rank", KeepAttributes: []string{"split", "epoch"},
		Limits: Limits{TextBytes: 64, LabelBytes: 100, Depth: 8},
	}
}

// newFields returns fields of the given attributes, map body, scope and resource, which
// may be left out from the end.
func newFields(t *testing.T, raw ...object) Fields {
	t.Helper()
	var all [4]pcommon.Map
	for i := range raw {
		all[i] = mapOf(t, raw[i])
	}
	return NewFields(all[0], all[1], all[2], all[3])
}

// forward returns the phase_scope of a well-formed enter.
func forward() object {
	return object{
		"action": "enter", "name": "forward", "path": []any{"train", "step", "forward"},
		"scope_id": "run:3", "parent_scope_id": "run:2", "thread_id": int64(7), "thread_name": "Main",
		"sequence": int64(5), "depth": int64(3), "attributes": object{"epoch": int64(2), "lr": 0.1},
	}
}

func forwardBoundary() Boundary {
	return Boundary{
		Time: 1000, Sequence: 5, ThreadID: 7, ThreadName: "Main", ScopeID: "run:3", ParentScopeID: "run:2",
		Path:       NewPath("train", "step", "forward"),
		Attributes: []Attribute{{"epoch", int64(2)}}, Action: Enter,
	}
}

// dotted flattens a map: its fields get dotted names with a prefix.
func dotted(prefix string, raw object) object {
	flat := object{}
	for key, value := range raw {
		if inner, ok := value.(object); ok {
			for key, value := range dotted(prefix+key+".", inner) {
				flat[key] = value
			}
			continue
		}
		flat[prefix+key] = value
	}
	return flat
}

func TestBoundaryIsReadFromEveryLayoutInEveryMap(t *testing.T) {
	layouts := map[string]object{
		"nested in metadata":             {"metadata": object{"phase_scope": forward()}},
		"nested beside metadata":         {"metadata": object{"note": "x"}, "phase_scope": forward()},
		"nested under a dotted name":     {"metadata.phase_scope": forward()},
		"dotted":                         dotted("phase_scope.", forward()),
		"dotted down from metadata":      dotted("metadata.phase_scope.", forward()),
		"dotted inside the metadata map": {"metadata": dotted("phase_scope.", forward())},
		"dotted down to the path's elements": func() object {
			flat := dotted("metadata.phase_scope.", forward())
			path := flat["metadata.phase_scope.path"].([]any)
			delete(flat, "metadata.phase_scope.path")
			for i, element := range path {
				flat[fmt.Sprint("metadata.phase_scope.path.", i)] = element
			}
			return flat
		}(),
		"metadata that is text": {"metadata": "x", "phase_scope": forward()},
		"a phase_scope that is text besides dotted names": func() object {
			flat := dotted("phase_scope.", forward())
			flat["phase_scope"] = "x"
			return flat
		}(),
	}
	for name, layout := range layouts {
		for i, in := range []string{"attributes", "body", "scope", "resource"} {
			t.Run(name+" in "+in, func(t *testing.T) {
				all := []object{{"a": "1"}, {"b": "2"}, {"c": "3"}, {"d": "4"}}
				maps.Copy(all[i], layout)
				fields := newFields(t, all...)
				b, reason := newReader().Boundary(&Event{Type: "phase_enter", Time: 1000, HasTime: true}, &fields, new(Paths))
				assert.Equal(t, OK, reason)
				assert.Equal(t, forwardBoundary(), b)
			})
		}
	}
}

func TestBoundaryOfTheInnermostMapIsRead(t *testing.T) {
	in := func(id string) object {
		scope := forward()
		scope["scope_id"] = id
		return object{"phase_scope": scope}
	}
	all := []object{in("attributes"), in("body"), in("scope"), in("resource")}
	for first, want := range []string{"attributes", "body", "scope", "resource"} {
		fields := newFields(t, all[first:]...)
		b, reason := newReader().Boundary(&Event{Type: "phase_enter", HasTime: true}, &fields, new(Paths))
		require.Equal(t, OK, reason)
		assert.Equal(t, want, b.ScopeID)
	}
}

func TestBoundaryIsReadOrRejectedForAReason(t *testing.T) {
	set := func(key string, value any) func(object) { return func(scope object) { scope[key] = value } }
	without := func(key string) func(object) { return func(scope object) { delete(scope, key) } }
	deep := make([]any, 1_000_000)
	for i := range deep {
		deep[i] = "x"
	}
	for _, tc := range []struct {
		name  string
		event string
		edit  func(object)
		want  Reason
	}{
		{name: "exit", event: "phase_exit", edit: set("action", "exit")},

		{name: "no action", edit: without("action"), want: BadAction},
		{name: "action of an unknown kind", edit: set("action", "pause"), want: BadAction},
		{name: "action in capitals", edit: set("action", "Enter"), want: BadAction},
		{name: "action that is not text", edit: set("action", true), want: BadAction},
		{name: "exit action on an enter event", edit: set("action", "exit"), want: BadAction},
		{name: "enter action on an exit event", event: "phase_exit", edit: set("action", "enter"), want: BadAction},

		{name: "no name", edit: without("name"), want: BadName},
		{name: "null name", edit: set("name", nil), want: BadName},
		{name: "name that is a number", edit: set("name", int64(1)), want: BadName},
		{name: "empty name", edit: set("name", ""), want: BadName},
		{name: "blank name", edit: set("name", " \t\n"), want: BadName},
		{name: "name of the longest length allowed", edit: set("name", strings.Repeat("n", 64))},
		{name: "longer name with blanks around it", edit: set("name", " "+strings.Repeat("n", 64)+"\n")},
		{name: "name past the limit", edit: set("name", strings.Repeat("n", 65)), want: TooLong},
		{name: "name of a megabyte", edit: set("name", strings.Repeat("n", 1<<20)), want: TooLong},

		{name: "no path", edit: without("path"), want: BadPath},
		{name: "null path", edit: set("path", nil), want: BadPath},
		{name: "path that is text", edit: set("path", "train / step"), want: BadPath},
		{name: "path that is a map", edit: set("path", object{"0": "train"}), want: BadPath},
		{name: "empty path", edit: set("path", []any{}), want: BadPath},
		{name: "path of empty names", edit: set("path", []any{"", ""}), want: BadPath},
		{name: "path of other things than names", edit: set("path", []any{int64(1), nil, true, []any{"a"}}), want: BadPath},
		{name: "path of the greatest depth allowed", edit: set("path", deep[:8])},
		{name: "path past the greatest depth", edit: set("path", deep[:9]), want: TooDeep},
		{name: "path of a million parts", edit: set("path", deep), want: TooDeep},
		{name: "path past the label limit", edit: set("path", []any{strings.Repeat("p", 101)}), want: TooLong},
		{name: "path past the label limit by its separators", edit: set("path", []any{
			strings.Repeat("p", 49), strings.Repeat("q", 49),
		}), want: TooLong},
		{name: "path of a megabyte", edit: set("path", []any{strings.Repeat("p", 1<<20)}), want: TooLong},

		{name: "no scope ID", edit: without("scope_id"), want: BadScopeID},
		{name: "null scope ID", edit: set("scope_id", nil), want: BadScopeID},
		{name: "scope ID that is a number", edit: set("scope_id", int64(3)), want: BadScopeID},
		{name: "name that is not UTF-8", edit: set("name", "a\xffb"), want: BadText},
		{name: "name with a NUL", edit: set("name", "a\x00b"), want: BadText},
		{name: "path that is not UTF-8", edit: set("path", []any{"train", "a\xff"}), want: BadText},
		{name: "path with a NUL", edit: set("path", []any{"\x00", "step"}), want: BadText},
		{name: "scope ID that is not UTF-8", edit: set("scope_id", "\xc3"), want: BadText},
		{name: "parent with a NUL", edit: set("parent_scope_id", "\x00"), want: BadText},
		{name: "thread name that is not UTF-8", edit: set("thread_name", "\xed\xa0\x80"), want: BadText},
		{name: "scope ID past the limit", edit: set("scope_id", strings.Repeat("s", 65)), want: TooLong},

		{name: "no parent", edit: without("parent_scope_id")},
		{name: "null parent", edit: set("parent_scope_id", nil)},
		{name: "parent that is a number", edit: set("parent_scope_id", int64(2)), want: BadParent},
		{name: "parent past the limit", edit: set("parent_scope_id", strings.Repeat("s", 65)), want: TooLong},

		{name: "no thread ID", edit: without("thread_id"), want: BadThread},
		{name: "null thread ID", edit: set("thread_id", nil), want: BadThread},
		{name: "thread ID that is a bool", edit: set("thread_id", true), want: BadThread},
		{name: "thread ID that is an integral double", edit: set("thread_id", 7.0)},
		{name: "thread ID with a fraction", edit: set("thread_id", 7.5), want: BadThread},
		{name: "thread ID that is decimal text", edit: set("thread_id", " 7 ")},
		{name: "thread ID that is other text", edit: set("thread_id", "main"), want: BadThread},
		{name: "no thread name", edit: without("thread_name"), want: BadThread},
		{name: "thread name that is a number", edit: set("thread_name", int64(7)), want: BadThread},
		{name: "empty thread name", edit: set("thread_name", "")},
		{name: "thread name past the limit", edit: set("thread_name", strings.Repeat("t", 65)), want: TooLong},

		{name: "no sequence", edit: without("sequence"), want: BadSequence},
		{name: "null sequence", edit: set("sequence", nil), want: BadSequence},
		{name: "sequence that is a bool", edit: set("sequence", true), want: BadSequence},
		{name: "sequence that is a list", edit: set("sequence", []any{int64(5)}), want: BadSequence},
		{name: "sequence that is an integral double", edit: set("sequence", 5.0)},
		{name: "sequence with a fraction", edit: set("sequence", 5.5), want: BadSequence},
		{name: "sequence that is infinite", edit: set("sequence", math.Inf(1)), want: BadSequence},
		{name: "sequence that is not a number", edit: set("sequence", math.NaN()), want: BadSequence},
		{name: "sequence above all ints", edit: set("sequence", math.Pow(2, 63)), want: BadSequence},
		{name: "sequence that is decimal text", edit: set("sequence", "5")},
		{name: "sequence that is too long a number", edit: set("sequence", "9223372036854775808"), want: BadSequence},
		{name: "negative sequence", edit: set("sequence", int64(-5))},

		{name: "no depth", edit: without("depth")},
		{name: "depth at odds with the path", edit: set("depth", int64(9))},
		{name: "depth that is text", edit: set("depth", "deep")},
		{name: "attributes that are text", edit: set("attributes", "epoch=2")},
	} {
		t.Run(tc.name, func(t *testing.T) {
			scope := forward()
			tc.edit(scope)
			fields := newFields(t, object{"metadata": object{"phase_scope": scope}})
			event := &Event{Type: "phase_enter", Time: 1000, HasTime: true}
			if tc.event != "" {
				event.Type = tc.event
			}
			_, reason := newReader().Boundary(event, &fields, new(Paths))
			assert.Equal(t, tc.want, reason)
		})
	}
}

func TestBoundaryNeedsATimeAndAScope(t *testing.T) {
	reader := newReader()
	fields := newFields(t, object{"metadata": object{"phase_scope": forward()}})
	_, reason := reader.Boundary(&Event{Type: "phase_enter"}, &fields, new(Paths))
	assert.Equal(t, BadTime, reason)

	for name, attributes := range map[string]object{
		"no metadata":                  {"a": "b"},
		"metadata without phase_scope": {"metadata": object{"a": "b"}},
		"metadata that is text":        {"metadata": "phase_scope"},
		"phase_scope that is null":     {"metadata": object{"phase_scope": nil}},
		"phase_scope that is text":     {"metadata": object{"phase_scope": "enter"}},
		"phase_scope that is a list":   {"metadata": object{"phase_scope": []any{forward()}}},
		"names that begin alike":       {"phase_scopes.path": "x", "metadata.phase_scopes": "y"},
	} {
		t.Run(name, func(t *testing.T) {
			fields := newFields(t, attributes)
			_, reason := reader.Boundary(&Event{Type: "phase_enter", HasTime: true}, &fields, new(Paths))
			assert.Equal(t, NoScope, reason)
		})
	}
}

func TestBoundarySkipsItemsOfItsPathThatAreNoNames(t *testing.T) {
	scope := forward()
	scope["path"] = []any{"train", "", int64(3), nil, " ", "a / b"}
	fields := newFields(t, object{"phase_scope": scope})
	b, reason := newReader().Boundary(&Event{Type: "phase_enter", HasTime: true}, &fields, new(Paths))
	require.Equal(t, OK, reason)
	assert.Equal(t, []string{"train", " ", "a / b"}, b.Path.Parts())
}

func TestFirstOfFieldsWithTheSameNameCounts(t *testing.T) {
	logs, err := new(plog.JSONUnmarshaler).UnmarshalLogs([]byte(`{"resourceLogs": [{"scopeLogs": [{"logRecords": [{
		"timeUnixNano": "1000", "attributes": [
		{"key": "event_type", "value": {"stringValue": "phase_exit"}},
		{"key": "session_id", "value": {"stringValue": "run"}},
		{"key": "phase_scope", "value": {"kvlistValue": {"values": [
			{"key": "action", "value": {"stringValue": "exit"}},
			{"key": "name", "value": {"stringValue": "train"}},
			{"key": "path", "value": {"arrayValue": {"values": [{"stringValue": "train"}]}}},
			{"key": "path", "value": {"stringValue": "none"}},
			{"key": "scope_id", "value": {"stringValue": "run:1"}},
			{"key": "thread_id", "value": {"intValue": "1"}},
			{"key": "thread_name", "value": {"stringValue": "MainThread"}},
			{"key": "sequence", "value": {"intValue": "7"}},
			{"key": "sequence", "value": {"intValue": "8"}}
		]}}}]}]}]}]}`))
	require.NoError(t, err)
	record := logs.ResourceLogs().At(0).ScopeLogs().At(0).LogRecords().At(0)
	fields := NewFields(record.Attributes(), MapBody(record), pcommon.Map{}, pcommon.Map{})
	event := newReader().Event(record, &fields)
	b, reason := newReader().Boundary(&event, &fields, new(Paths))
	require.Equal(t, OK, reason)
	assert.Equal(t, NewPath("train"), b.Path)
	assert.Equal(t, int64(7), b.Sequence)
}

func TestBoundaryKeepsTheConfiguredAttributesInTheirOrder(t *testing.T) {
	for _, tc := range []struct {
		name       string
		attributes any
		want       []Attribute
	}{
		{"none", object{}, nil},
		{"others only", object{"lr": 0.1}, nil},
		{"text and int", object{"epoch": int64(2), "split": "eval"}, []Attribute{{"split", "eval"}, {"epoch", int64(2)}}},
		{"double and bool", object{"epoch": 2.5, "split": true}, []Attribute{{"split", true}, {"epoch", 2.5}}},
		{"null, list and map", object{"epoch": nil, "split": []any{"a"}}, nil},
		{"map", object{"epoch": object{"n": int64(1)}}, nil},
		{"bytes", object{"split": []byte("eval")}, nil},
		{"text past the limit", object{"split": strings.Repeat("s", 65), "epoch": int64(1)}, []Attribute{{"epoch", int64(1)}}},
		{"no map", "epoch=2", nil},
	} {
		for layout, lay := range map[string]func(object) object{
			"nested": func(scope object) object { return object{"phase_scope": scope} },
			"dotted": func(scope object) object { return dotted("phase_scope.", scope) },
		} {
			t.Run(tc.name+" "+layout, func(t *testing.T) {
				scope := forward()
				scope["attributes"] = tc.attributes
				fields := newFields(t, lay(scope))
				b, reason := newReader().Boundary(&Event{Type: "phase_enter", HasTime: true}, &fields, new(Paths))
				require.Equal(t, OK, reason)
				assert.Equal(t, tc.want, b.Attributes)
			})
		}
	}
}

func TestRecordIsIdentifiedBySessionAndRank(t *testing.T) {
	for _, tc := range []struct {
		name   string
		fields object
		want   RankKey
		reason Reason
	}{
		{name: "no rank", fields: object{"session_id": "run"}, want: RankKey{Session: "run", Rank: 0}},
		{name: "int rank", fields: object{"session_id": "run", "rank": int64(3)}, want: RankKey{Session: "run", Rank: 3}},
		{name: "negative rank", fields: object{"session_id": "run", "rank": int64(-1)}, want: RankKey{Session: "run", Rank: -1}},
		{name: "decimal text", fields: object{"session_id": "run", "rank": " 12\n"}, want: RankKey{Session: "run", Rank: 12}},
		{name: "signed text", fields: object{"session_id": "run", "rank": "-4"}, want: RankKey{Session: "run", Rank: -4}},
		{name: "integral double", fields: object{"session_id": "run", "rank": 3.0}, want: RankKey{Session: "run", Rank: 3}},
		{name: "fraction", fields: object{"session_id": "run", "rank": 1.5}, reason: BadRank},
		{name: "text with a fraction", fields: object{"session_id": "run", "rank": "1.0"}, reason: BadRank},
		{name: "other text", fields: object{"session_id": "run", "rank": "first"}, reason: BadRank},
		{name: "empty text", fields: object{"session_id": "run", "rank": ""}, reason: BadRank},
		{name: "hexadecimal text", fields: object{"session_id": "run", "rank": "0x1"}, reason: BadRank},
		{name: "true", fields: object{"session_id": "run", "rank": true}, reason: BadRank},
		{name: "null", fields: object{"session_id": "run", "rank": nil}, reason: BadRank},
		{name: "list", fields: object{"session_id": "run", "rank": []any{int64(1)}}, reason: BadRank},
		{name: "empty session", fields: object{"session_id": ""}, reason: BadSession},
		{name: "blank session", fields: object{"session_id": " \t"}, reason: BadSession},
		{name: "no session", fields: object{"rank": int64(1)}, reason: BadSession},
		{name: "null session", fields: object{"session_id": nil}, reason: BadSession},
		{name: "session that is a number", fields: object{"session_id": int64(4711)}, want: RankKey{Session: "4711", Rank: 0}},
		{name: "session that is an integral double", fields: object{"session_id": 3.0}, want: RankKey{Session: "3", Rank: 0}},
		{name: "session with spaces around it", fields: object{"session_id": " 3 "}, want: RankKey{Session: "3", Rank: 0}},
		{name: "session that is a list", fields: object{"session_id": []any{"run"}}, reason: BadSession},
		{name: "longest session", fields: object{"session_id": strings.Repeat("s", 64)}, want: RankKey{Session: strings.Repeat("s", 64)}},
		{name: "session that is not UTF-8", fields: object{"session_id": "a\xff"}, reason: BadText},
		{name: "session with a NUL", fields: object{"session_id": "a\x00b"}, reason: BadText},
		{name: "session past the limit", fields: object{"session_id": strings.Repeat("s", 65)}, reason: TooLong},
		{name: "no fields at all", fields: object{}, reason: BadSession},
	} {
		t.Run(tc.name, func(t *testing.T) {
			fields := newFields(t, tc.fields)
			rank, reason := newReader().Identify(&fields)
			assert.Equal(t, tc.reason, reason)
			assert.Equal(t, tc.want, rank)
		})
	}
}

func TestStrictReaderAcceptsOnlyStringsAsSessions(t *testing.T) {
	reader := newReader()
	reader.Strict = true
	for _, session := range []any{int64(4711), 3.0, true, nil} {
		fields := newFields(t, object{"session_id": session})
		_, reason := reader.Identify(&fields)
		assert.Equal(t, BadSession, reason, session)
	}
	fields := newFields(t, object{"session_id": " 3 "})
	rank, reason := reader.Identify(&fields)
	assert.Equal(t, OK, reason)
	assert.Equal(t, RankKey{Session: " 3 "}, rank)
}

func TestBlankValuesAreNotNamed(t *testing.T) {
	keys := NewKeySet()
	session, id := keys.Add("session"), keys.Add("session_id")
	for _, blank := range []any{"", " ", nil} {
		fields := newFields(t, object{"session": blank, "session_id": int64(7), "rank": blank})
		named := newReader().Named(&fields, KeysOf(session, id), KeysOf(keys.Add("rank")))
		assert.False(t, named.Whole())
		name, ok := named.Session()
		assert.True(t, ok)
		assert.Equal(t, "7", name)
	}
}

func TestSessionPastTheLimitIsNoRanks(t *testing.T) {
	keys := NewKeySet()
	fields := newFields(t, object{"session": strings.Repeat("s", 65)})
	named := newReader().Named(&fields, KeysOf(keys.Add("session")), Keys{})
	assert.False(t, named.Allows(&RankKey{Session: "run"}))
}

func TestScopeDefaultsCountUnlessTheRecordNamesASessionOrARank(t *testing.T) {
	reader := newReader()
	for _, scope := range []object{{"session_id": "run", "rank": int64(3)}, {"session_id": "run"}, {"rank": "first"}, {}} {
		none := newFields(t, object{}, object{}, scope)
		defaults := reader.ScopeDefaults(&none)
		for _, own := range []object{
			{},
			{"step": int64(1)},
			{"session_id": "other"},
			{"session_id": int64(1)},
			{"rank": int64(5)},
			{"rank": "first"},
			{"session_id": "other", "rank": int64(5)},
		} {
			for in, fields := range map[string]Fields{
				"attributes": newFields(t, own, object{}, scope), "body": newFields(t, object{}, own, scope),
			} {
				want, wantReason := reader.Identify(&fields)
				rank, reason := reader.IdentifyWith(&defaults, &fields)
				assert.Equal(t, want, rank, "%v in the %s, scope has %v", own, in, scope)
				assert.Equal(t, wantReason, reason, "%v in the %s, scope has %v", own, in, scope)
			}
		}
	}
}

func TestEventTypeOfAScopeCountsUnlessTheRecordSaysOne(t *testing.T) {
	reader := newReader()
	for _, scope := range []object{{"event_type": "start"}, {"event_type": int64(1)}, {}} {
		none := newFields(t, object{}, object{}, scope)
		defaults := reader.ScopeDefaults(&none)
		inherited, _ := scope["event_type"].(string)
		for _, tc := range []struct {
			eventName string
			own       object
			want      string
		}{
			{"", object{"step": int64(1)}, inherited},
			{"", object{"event_type": "stop"}, "stop"},
			{"", object{"event_type": ""}, ""},
			{"", object{"event_type": int64(1)}, ""},
			{"sample", object{}, "sample"},
			{"sample", object{"event_type": "stop"}, "stop"},
			{"sample", object{"event_type": int64(1)}, "sample"},
		} {
			record := plog.NewLogRecord()
			record.SetEventName(tc.eventName)
			record.SetTimestamp(7)
			for in, fields := range map[string]Fields{
				"attributes": newFields(t, tc.own, object{}, scope), "body": newFields(t, object{}, tc.own, scope),
			} {
				event := reader.Event(record, &fields)
				assert.Equal(t, tc.want, event.Type, "%v in the %s, name %q, scope has %v", tc.own, in, tc.eventName, scope)
				assert.Equal(t, event, reader.EventWith(&defaults, record, &fields))
			}
		}
	}
}

func TestRecordIsIdentifiedByTheConfiguredNames(t *testing.T) {
	reader := newReader()
	reader.SessionKey, reader.RankKey = "job.id", "node"
	fields := newFields(t, object{"session_id": "other", "rank": int64(9)}, object{"job.id": "run", "node": int64(2)})
	rank, reason := reader.Identify(&fields)
	assert.Equal(t, OK, reason)
	assert.Equal(t, RankKey{Session: "run", Rank: 2}, rank)
}

func TestFieldsAreFoundInAttributesBodyScopeAndResource(t *testing.T) {
	record := plog.NewLogRecord()
	record.Attributes().PutStr("first", "attributes")
	body := record.Body().SetEmptyMap()
	scope, resource := pcommon.NewMap(), pcommon.NewMap()
	names := []string{"attributes", "body", "scope", "resource"}
	for i, m := range []pcommon.Map{record.Attributes(), body, scope, resource} {
		for _, key := range names[:i+1] { // the fields of the maps before it, and one more
			m.PutStr(key, names[i])
		}
	}
	fields := NewFields(record.Attributes(), MapBody(record), scope, resource)
	for _, key := range []string{"body", "scope", "resource"} {
		v, ok := fields.Get(key)
		require.True(t, ok, key)
		assert.Equal(t, key, v.Str())
	}
	v, ok := fields.Get("attributes")
	require.True(t, ok)
	assert.Equal(t, "attributes", v.Str())
	_, ok = fields.Get("nowhere")
	assert.False(t, ok)

	// A body that is not a map has no fields.
	record.Body().SetStr("body")
	fields = NewFields(record.Attributes(), MapBody(record), scope, resource)
	v, _ = fields.Get("body")
	assert.Equal(t, "scope", v.Str())
}

func TestFieldsSkipZeroAndEmptyMaps(t *testing.T) {
	m := pcommon.NewMap()
	m.PutStr("key", "value")
	fields := NewFields(pcommon.Map{}, pcommon.NewMap(), m, pcommon.Map{})
	v, ok := fields.Get("key")
	require.True(t, ok)
	assert.Equal(t, "value", v.Str())

	fields = NewFields(pcommon.Map{}, pcommon.Map{}, pcommon.Map{}, pcommon.Map{})
	_, ok = fields.Get("key")
	assert.False(t, ok)
}

func TestEventTypeIsAFieldOrTheEventName(t *testing.T) {
	for _, tc := range []struct {
		name      string
		fields    object
		eventName string
		want      string
		boundary  bool
		stop      bool
	}{
		{name: "field", fields: object{"event_type": "phase_enter"}, want: "phase_enter", boundary: true},
		{name: "event name", eventName: "phase_exit", want: "phase_exit", boundary: true},
		{name: "field before event name", fields: object{"event_type": "stop"}, eventName: "phase_exit", want: "stop", stop: true},
		{name: "field that is not text", fields: object{"event_type": int64(1)}, eventName: "sample", want: "sample"},
		{name: "other letters", fields: object{"event_type": "Phase_Enter"}, want: "Phase_Enter"},
		{name: "no event"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			record := plog.NewLogRecord()
			record.SetEventName(tc.eventName)
			fields := newFields(t, tc.fields)
			event := newReader().Event(record, &fields)
			assert.Equal(t, tc.want, event.Type)
			assert.Equal(t, tc.boundary, event.IsBoundary())
			assert.Equal(t, tc.stop, event.Stop())
		})
	}
}

func TestEventTimeIsAFieldOrTheTimestampOrTheObservedTimestamp(t *testing.T) {
	for _, tc := range []struct {
		name                string
		field               any // absent if nil
		timestamp, observed pcommon.Timestamp
		want                int64
		none                bool
	}{
		{name: "field", field: int64(5), timestamp: 6, observed: 7, want: 5},
		{name: "zero field", field: int64(0), timestamp: 6, want: 0},
		{name: "negative field", field: int64(-5), timestamp: 6, want: -5},
		{name: "integral double", field: 5e18, timestamp: 6, want: 5e18},
		{name: "decimal text", field: "1795358928544940288", timestamp: 6, want: 1795358928544940288},
		{name: "timestamp", timestamp: 6, observed: 7, want: 6},
		{name: "observed", observed: 7, want: 7},
		{name: "latest timestamp", timestamp: math.MaxInt64, want: math.MaxInt64},
		{name: "nothing", none: true},
		{name: "timestamp past all ints", timestamp: math.MaxInt64 + 1, none: true},
		{name: "fraction is not replaced by a guess", field: 5.5, timestamp: 6, none: true},
		{name: "double past all ints", field: 1e19, timestamp: 6, none: true},
		{name: "other text", field: "now", timestamp: 6, none: true},
		{name: "bool", field: true, timestamp: 6, none: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			record := plog.NewLogRecord()
			record.SetEventName("sample")
			record.SetTimestamp(tc.timestamp)
			record.SetObservedTimestamp(tc.observed)
			attributes := object{"a": "b"}
			if tc.field != nil {
				attributes["timestamp_ns"] = tc.field
			}
			fields := newFields(t, attributes)
			event := newReader().Event(record, &fields)
			assert.Equal(t, !tc.none, event.HasTime)
			if !tc.none {
				assert.Equal(t, tc.want, event.Time)
			}
		})
	}
}

func TestOriginIsReadAtTheTopLevelOrInTheMetadata(t *testing.T) {
	for _, tc := range []struct {
		name   string
		fields object
		want   Origin
	}{
		{"nothing", object{"a": "b"}, Origin{}},
		{"scope at the top", object{"origin_phase_scope_id": "run:1"}, Origin{ScopeID: "run:1"}},
		{
			"both in metadata",
			object{"metadata": object{"origin_phase_scope_id": "run:1", "origin_thread_id": int64(7)}},
			Origin{ScopeID: "run:1", ThreadID: 7, HasThread: true},
		},
		{
			"dotted down from metadata",
			object{"metadata.origin_phase_scope_id": "run:1", "metadata.origin_thread_id": int64(7)},
			Origin{ScopeID: "run:1", ThreadID: 7, HasThread: true},
		},
		{
			"top before metadata",
			object{
				"origin_phase_scope_id": "run:1", "origin_thread_id": int64(7),
				"metadata": object{"origin_phase_scope_id": "run:2", "origin_thread_id": int64(8)},
			},
			Origin{ScopeID: "run:1", ThreadID: 7, HasThread: true},
		},
		{
			"wrong types at the top",
			object{
				"origin_phase_scope_id": int64(1), "origin_thread_id": "main",
				"metadata": object{"origin_phase_scope_id": "run:2", "origin_thread_id": int64(8)},
			},
			Origin{ScopeID: "run:2", ThreadID: 8, HasThread: true},
		},
		{"thread that is an integral double", object{"origin_thread_id": 7.0}, Origin{ThreadID: 7, HasThread: true}},
		{"thread zero", object{"origin_thread_id": int64(0)}, Origin{HasThread: true}},
		{"thread that is a bool", object{"origin_thread_id": true}, Origin{}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			fields := newFields(t, tc.fields)
			assert.Equal(t, tc.want, newReader().Origin(&fields))
		})
	}
}

func TestReasonsHaveDistinctNames(t *testing.T) {
	names := map[string]bool{}
	for _, reason := range Reasons() {
		assert.NotEqual(t, OK, reason)
		assert.NotEmpty(t, reason.String())
		names[reason.String()] = true
	}
	assert.Len(t, names, len(Reasons()))
	assert.Len(t, Reasons(), int(BadSpan))
}

func TestActionsAreNamedAsInRecords(t *testing.T) {
	assert.Equal(t, "enter", Enter.String())
	assert.Equal(t, "exit", Exit.String())
}

func TestProcessIsReadUnderAllItsNames(t *testing.T) {
	for _, tc := range []struct {
		name   string
		fields object
		want   Process
	}{
		{"the library's names", object{"host": "vm", "pid": int64(7)}, Process{Host: "vm", PID: 7}},
		{"the semantic conventions' names", object{"host.name": "vm", "process.pid": int64(7)}, Process{Host: "vm", PID: 7}},
		{
			"both: the library's",
			object{"host": "a", "pid": int64(2), "host.name": "b", "process.pid": int64(3)},
			Process{Host: "a", PID: 2},
		},
		{"half of each", object{"host": "vm", "process.pid": int64(7)}, Process{Host: "vm", PID: 7}},
		{"blank ones", object{"host": " ", "host.name": "vm", "pid": nil, "process.pid": "7"}, Process{Host: "vm", PID: 7}},
		{"no process ID", object{"host": "vm"}, Process{Host: "vm"}},
		{"capitals", object{"host": "VM.Example.COM", "pid": int64(7)}, Process{Host: "vm.example.com", PID: 7}},
		{"process ID that is an integral double", object{"host": "vm", "pid": 7.0}, Process{Host: "vm", PID: 7}},
		{"process ID that is text", object{"host": "vm", "pid": "seven"}, Process{Host: "vm"}},
		{"host that is a number", object{"host": int64(1), "pid": int64(7)}, Process{Host: "1", PID: 7}},
		{"host past the limit", object{"host": strings.Repeat("h", 65), "pid": int64(7)}, Process{PID: 7}},
		{"the first process of some container", object{"host": "vm", "pid": int64(1)}, Process{Host: "vm"}},
		{
			"the first process of a container",
			object{"host": "vm", "pid": int64(1), "container.id": "containerd://AB12"},
			Process{Host: "vm", PID: 1, Container: "ab12"},
		},
		{
			"the first process of a pod",
			object{"pid": int64(1), "k8s.pod.uid": "7F-A"},
			Process{PID: 1, Pod: "7f-a"},
		},
		{
			"the fields' own names of container and pod",
			object{"pid": int64(9), "container_id": "c", "pod_uid": "p"},
			Process{PID: 9, Container: "c", Pod: "p"},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			fields := newFields(t, tc.fields)
			assert.Equal(t, tc.want, newReader().Process(&fields))
		})
	}
}

func TestBlankValuesLetTheNextPlaceIdentify(t *testing.T) {
	for _, blank := range []any{"", " ", nil} {
		fields := newFields(t, object{"session_id": blank, "rank": blank}, object{}, object{}, object{"session_id": "run", "rank": "3"})
		rank, reason := newReader().Identify(&fields)
		assert.Equal(t, OK, reason)
		assert.Equal(t, RankKey{Session: "run", Rank: 3}, rank)
		strict := newReader()
		strict.Strict = true
		_, reason = strict.Identify(&fields)
		assert.NotEqual(t, OK, reason)
	}
}

// Many pipelines make text of all attributes.
func TestSamplingIntervalMayBeTextOrADouble(t *testing.T) {
	for name, tc := range map[string]struct {
		value any
		want  time.Duration
	}{
		"an integer":     {int64(250), 250 * time.Millisecond},
		"a double":       {0.5, 500 * time.Microsecond},
		"text":           {" 250 ", 250 * time.Millisecond},
		"blank":          {" ", 0},
		"no number":      {"often", 0},
		"nothing":        {nil, 0},
		"no time":        {int64(0), 0},
		"negative":       {"-5", 0},
		"more than 1 h":  {int64(math.MaxInt64), 0},
		"not a number":   {math.NaN(), 0},
		"true is no one": {true, 0},
	} {
		f := newFields(t, object{"event_type": "sample", "metadata": object{"sampling_interval_ms": tc.value}})
		event := newReader().Event(plog.NewLogRecord(), &f)
		assert.Equal(t, tc.want, newReader().SamplingInterval(&event, &f), name)
	}
}
