// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/metadatatest"
)

// object is a JSON object: a record of a program, or the attributes of one.
type object = map[string]any

// program writes the events of one process as the library does.
type program struct {
	session  string
	rank     int64
	sequence int64
}

// worker is one thread of a program.
type worker struct {
	*program
	id   int64
	open []object // the phase_scopes of the scopes that are open
}

func (p *program) worker(id int64) *worker { return &worker{program: p, id: id} }

// moment is a time in a test, in seconds after its beginning. That is some time ago, by
// synctest's clock too.
func moment(seconds float64) int64 {
	return 940_000_000_000_000_000 + int64(seconds*1e9)
}

func timestamp(seconds float64) pcommon.Timestamp {
	return pcommon.Timestamp(moment(seconds))
}

// event is an event that is no boundary.
func (p *program) event(kind string, at float64) object {
	return object{"session_id": p.session, "rank": p.rank, "timestamp_ns": moment(at), "event_type": kind}
}

// enter opens a scope. Its ID is made of the session and the sequence number.
func (w *worker) enter(at float64, name string) object {
	return w.enterWith(at, name, nil)
}

func (w *worker) enterWith(at float64, name string, attributes object) object {
	w.sequence++
	scope := object{
		"name": name, "path": []any{name}, "scope_id": fmt.Sprintf("%s:%d", w.session, w.sequence), "parent_scope_id": nil,
		"thread_id": w.id, "thread_name": fmt.Sprintf("worker-%d", w.id), "attributes": attributes,
	}
	if n := len(w.open); n > 0 {
		parent := w.open[n-1]
		scope["parent_scope_id"] = parent["scope_id"]
		scope["path"] = append(append([]any{}, parent["path"].([]any)...), name)
	}
	w.open = append(w.open, scope)
	return w.boundary("enter", at, scope)
}

// exit closes the scope that was opened last.
func (w *worker) exit(at float64) object {
	w.sequence++
	n := len(w.open) - 1
	scope := w.open[n]
	w.open = w.open[:n]
	return w.boundary("exit", at, scope)
}

func (w *worker) boundary(action string, at float64, scope object) object {
	phaseScope := object{"action": action, "sequence": w.sequence, "depth": int64(len(scope["path"].([]any)))}
	for key, value := range scope {
		phaseScope[key] = value
	}
	e := w.event("phase_"+action, at)
	e["metadata"] = object{"phase_scope": phaseScope}
	return e
}

// with adds fields to an event.
func with(e, fields object) object {
	for key, value := range fields {
		e[key] = value
	}
	return e
}

// records is a batch of one log record per event, whose body is the event.
func records(t *testing.T, events ...object) plog.Logs {
	t.Helper()
	ld := plog.NewLogs()
	into := ld.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty().LogRecords()
	for _, e := range events {
		require.NoError(t, into.AppendEmpty().Body().SetEmptyMap().FromRaw(e))
	}
	return ld
}

// attributesOfLogs lists the attributes of all records of a batch.
func attributesOfLogs(ld plog.Logs) []object {
	var all []object
	for _, resource := range ld.ResourceLogs().All() {
		for _, scope := range resource.ScopeLogs().All() {
			for _, record := range scope.LogRecords().All() {
				all = append(all, record.Attributes().AsRaw())
			}
		}
	}
	return all
}

func TestLogRecordsAreAnsweredAfterAllBoundariesOfTheirBatch(t *testing.T) {
	p := startPipelines(t)
	run := &program{session: "run"}
	w := run.worker(1)
	train, step := w.enter(1, "train"), w.enter(2, "step")
	stepEnd, trainEnd := w.exit(4), w.exit(5)
	out := p.passLogs(t, records(t,
		run.event("sample", 3), run.event("sample", 4.5), run.event("sample", 0.5), run.event("sample", 5.5),
		trainEnd, stepEnd, step, train))
	answered := func(path string) object { return object{"phase_resolution": "unique", "phase_path": path} }
	assert.Equal(t, []object{
		answered("train / step"), answered("train"),
		{},
		{},
		answered("train"), answered("train / step"), answered("train / step"), answered("train"),
	}, attributesOfLogs(out))
}

func TestBoundariesOfALaterResourceAnswerForAnEarlierOne(t *testing.T) {
	p := startPipelines(t)
	run := &program{session: "run"}
	ld := records(t, run.event("sample", 2))
	records(t, run.worker(1).enter(1, "train")).ResourceLogs().MoveAndAppendTo(ld.ResourceLogs())
	assert.Equal(t, "train", attributesOfLogs(p.passLogs(t, ld))[0]["phase_path"])
}

func TestLogRecordFieldsMayBeAnywhereInAnyLayout(t *testing.T) {
	scope := object{
		"action": "enter", "name": "train", "path": []any{"train"}, "scope_id": "run:1",
		"thread_id": 1.0, "thread_name": "Main", "sequence": "1",
	}
	flat := func(prefix string) object {
		e := object{}
		for key, value := range scope {
			e[prefix+key] = value
		}
		return e
	}
	for name, tc := range map[string]struct{ attributes, body, scope, resource object }{
		"all in the body": {body: object{
			"session_id": "run", "rank": 0.0, "timestamp_ns": strconv.FormatInt(moment(1), 10), "event_type": "phase_enter",
			"metadata": object{"phase_scope": scope},
		}},
		"all in the attributes": {attributes: with(flat("phase_scope."), object{
			"session_id": "run", "rank": "0", "timestamp_ns": moment(1), "event_type": "phase_enter",
		})},
		"event name and timestamp": {
			attributes: flat("metadata.phase_scope."), resource: object{"session_id": "run"},
		},
		"spread": {
			attributes: object{"event_type": "phase_enter"}, body: object{"metadata": flat("phase_scope.")},
			scope: object{"rank": int64(0)}, resource: object{"session_id": "run"},
		},
		"the body before the resource": {
			body:     object{"session_id": "run", "metadata.phase_scope": scope},
			resource: object{"session_id": "other", "rank": int64(3)}, scope: object{"rank": int64(0)},
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := startPipelines(t)
			ld := plog.NewLogs()
			resource := ld.ResourceLogs().AppendEmpty()
			scope := resource.ScopeLogs().AppendEmpty()
			record := scope.LogRecords().AppendEmpty()
			record.SetEventName("phase_enter")
			record.SetTimestamp(timestamp(1))
			require.NoError(t, record.Attributes().FromRaw(tc.attributes))
			require.NoError(t, resource.Resource().Attributes().FromRaw(tc.resource))
			require.NoError(t, scope.Scope().Attributes().FromRaw(tc.scope))
			if tc.body != nil {
				require.NoError(t, record.Body().SetEmptyMap().FromRaw(tc.body))
			}
			assert.Equal(t, "train", attributesOfLogs(p.passLogs(t, ld))[0]["phase_path"])
			assert.Equal(t, "train", p.path(t, &program{session: "run"}, 1))
			assert.Nil(t, p.path(t, &program{session: "run"}, 0.5))
		})
	}
}

func TestLogRecordsAreAnsweredAtTheirTimestampOrWhenTheyWereObserved(t *testing.T) {
	p := startPipelines(t)
	run := &program{session: "run"}
	w := run.worker(1)
	p.passLogs(t, records(t, w.enter(1, "first"), w.exit(2), w.enter(3, "second")))

	ld := plog.NewLogs()
	resource := ld.ResourceLogs().AppendEmpty()
	resource.Resource().Attributes().PutStr("session_id", "run")
	into := resource.ScopeLogs().AppendEmpty().LogRecords()
	add := func(at, observed pcommon.Timestamp, body string) plog.LogRecord {
		record := into.AppendEmpty()
		record.SetTimestamp(at)
		record.SetObservedTimestamp(observed)
		record.Body().SetStr(body)
		return record
	}
	add(timestamp(1.5), timestamp(4), "at its timestamp")
	add(0, timestamp(4), "when it was observed")
	add(0, 0, "no time")
	add(timestamp(1.5), 0, "at its own field").Attributes().PutInt("timestamp_ns", moment(4))
	add(timestamp(1.5), 0, "a field that is no time").Attributes().PutStr("timestamp_ns", "now")

	out := attributesOfLogs(p.passLogs(t, ld))
	got := make([]any, len(out))
	for i, attributes := range out {
		got[i] = attributes["phase_path"]
	}
	assert.Equal(t, []any{"first", "second", nil, "second", nil}, got)
}

func TestNamesOfSessionAndRankMayBeSet(t *testing.T) {
	p := startPipelines(t, func(cfg *Config) {
		cfg.SessionAttribute, cfg.RankAttribute = "job.id", "node"
	})
	enter := (&program{session: "other"}).worker(1).enter(1, "train")
	sample := (&program{session: "other"}).event("sample", 2)
	out := p.passLogs(t, records(t,
		with(enter, object{"job.id": "run", "node": int64(2)}),
		with(sample, object{"job.id": "run", "node": int64(2)}),
		(&program{session: "other"}).event("sample", 2),
		with((&program{session: "run"}).event("sample", 2), object{"job.id": "run"})))
	all := attributesOfLogs(out)
	assert.Equal(t, "train", all[0]["phase_path"])
	assert.Equal(t, "train", all[1]["phase_path"])
	assert.Empty(t, all[2])
	assert.Equal(t, object{"phase_resolution": "ambiguous"}, all[3], "it may be any rank's of the session")
}

func TestRanksAreGroupsOfTheirOwn(t *testing.T) {
	p := startPipelines(t)
	first, second := &program{session: "run"}, &program{session: "run", rank: 1}
	p.passLogs(t, records(t, first.worker(1).enter(1, "train"), second.worker(1).enter(1, "eval")))
	assert.Equal(t, "train", p.path(t, first, 2))
	assert.Equal(t, "eval", p.path(t, second, 2))
	assert.Nil(t, p.path(t, &program{session: "run", rank: 2}, 2))
}

func TestKeptBoundariesGoOn(t *testing.T) {
	p := startPipelines(t)
	run := &program{session: "run"}
	w := run.worker(1)
	out := p.passLogs(t, records(t, w.enter(1, "train"), run.event("sample", 2), w.exit(3)))
	assert.Equal(t, 3, out.LogRecordCount())
}

func TestDroppedBoundariesEndHereWithWhatTheyLeaveEmpty(t *testing.T) {
	drop := func(cfg *Config) { cfg.Boundaries = BoundariesDrop }
	run := &program{session: "run"}
	w := run.worker(1)
	malformed := with(w.enter(1, "bad"), object{"metadata": nil})
	w = run.worker(1)
	enter, exit, sample := w.enter(1, "train"), w.exit(3), run.event("sample", 2)

	// resources are lists of scopes, which are lists of events.
	for _, tc := range []struct {
		name      string
		in, out   [][][]object
		nothingOn bool
	}{
		{
			name: "among other records", in: [][][]object{{{enter, sample, exit}}}, out: [][][]object{{{sample}}},
		},
		{
			name: "alone in a scope", in: [][][]object{{{enter, exit}, {sample}}}, out: [][][]object{{{sample}}},
		},
		{
			name: "alone in a resource", in: [][][]object{{{enter}, {exit}}, {{sample}}}, out: [][][]object{{{sample}}},
		},
		{
			name: "beside what was empty before",
			in:   [][][]object{{}, {{}}, {{}, {enter}}, {{sample, exit}}},
			out:  [][][]object{{}, {{}}, {{}}, {{sample}}},
		},
		{
			name: "malformed", in: [][][]object{{{enter, malformed}}}, out: [][][]object{{{malformed}}},
		},
		{name: "nothing else", in: [][][]object{{{enter}}, {{exit}, {enter}}}, nothingOn: true},
		{name: "duplicates", in: [][][]object{{{enter, enter, enter}}}, nothingOn: true},
		{name: "nothing at all", in: [][][]object{}, out: [][][]object{}},
		{name: "an empty resource", in: [][][]object{{}}, out: [][][]object{{}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := startPipelines(t, drop)
			ld := plog.NewLogs()
			for _, resource := range tc.in {
				scopes := ld.ResourceLogs().AppendEmpty().ScopeLogs()
				for _, events := range resource {
					into := scopes.AppendEmpty().LogRecords()
					for _, e := range events {
						require.NoError(t, into.AppendEmpty().Body().SetEmptyMap().FromRaw(e))
					}
				}
			}
			require.NoError(t, p.logs.ConsumeLogs(t.Context(), ld))
			if tc.nothingOn {
				assert.Empty(t, p.logsSink.AllLogs())
				return
			}
			require.Len(t, p.logsSink.AllLogs(), 1)
			out := [][][]object{}
			for _, resource := range p.logsSink.AllLogs()[0].ResourceLogs().All() {
				scopes := [][]object{}
				for _, scope := range resource.ScopeLogs().All() {
					events := []object{}
					for _, record := range scope.LogRecords().All() {
						events = append(events, record.Body().Map().AsRaw())
					}
					scopes = append(scopes, events)
				}
				out = append(out, scopes)
			}
			assert.Equal(t, tc.out, out)
		})
	}
}

func TestDroppedBoundariesStillAnswer(t *testing.T) {
	p := startPipelines(t, func(cfg *Config) { cfg.Boundaries = BoundariesDrop })
	run := &program{session: "run"}
	out := p.passLogs(t, records(t, run.event("sample", 2), run.worker(1).enter(1, "train")))
	assert.Equal(t, []object{{"phase_resolution": "unique", "phase_path": "train"}}, attributesOfLogs(out))
	assert.Equal(t, "train", p.path(t, run, 3))
}

func TestStopEventEndsItsSession(t *testing.T) {
	p := startPipelines(t)
	run := &program{session: "run"}
	p.passLogs(t, records(t, run.worker(1).enter(1, "train")))
	assert.Equal(t, "train", p.path(t, run, 9))
	p.passLogs(t, records(t, run.event("stop", 5)))
	assert.Equal(t, "train", p.path(t, run, 5))
	assert.Nil(t, p.path(t, run, 9))
}

// captured is a recorded run and what the reference answers to each of its records.
type captured struct {
	events  []object
	answers []object // nil where there is none
}

func readCapture(t *testing.T, name string) captured {
	t.Helper()
	c := captured{events: readLines(t, name+".jsonl")}
	for _, e := range readLines(t, name+".expected.jsonl") {
		answer, found := e["attribution"].(object)
		if found {
			answer["rank"] = e["rank"]
		}
		c.answers = append(c.answers, answer)
	}
	require.Len(t, c.answers, len(c.events))
	return c
}

// readLines reads the JSON objects of a capture's file, their ints as int64.
func readLines(tb testing.TB, name string) []object {
	tb.Helper()
	file, err := os.Open(filepath.Join("..", "..", "testdata", "captures", name))
	require.NoError(tb, err)
	defer file.Close()
	var all []object
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		e, err := decodeEvent(lines.Bytes())
		require.NoError(tb, err)
		all = append(all, e)
	}
	require.NoError(tb, lines.Err())
	return all
}

func decodeEvent(data []byte) (object, error) {
	var e object
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	if err := decoder.Decode(&e); err != nil {
		return nil, err
	}
	return withNumbers(e).(object), nil
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

// asAttributes is what a record is to carry when all attributes are written.
func asAttributes(answer object) object {
	names := map[string]Attribute{
		"phase_resolution": "phase_resolution", "phase_path": "phase_path", "phase_paths": "phase_paths",
		"phase_source": "phase_source", "scope_id": "phase_scope_id", "thread_id": "phase_thread_id",
		"thread_name": "phase_thread_name", "rank": "phase_rank",
	}
	attributes := object{}
	for key, value := range answer {
		if name, ok := names[key]; ok {
			attributes[string(name)] = value
		}
	}
	if summary, ok := answer["phase_summary"].(object); ok {
		attributes["phase_summary"] = summary["phase_path"]
	}
	return attributes
}

// everyAttributeOfTheReference leaves out what the reference does not have.
func everyAttributeOfTheReference(cfg *Config) {
	everyAttribute(cfg)
	cfg.Attributes = slices.DeleteFunc(cfg.Attributes, func(name Attribute) bool {
		return name == "phase_label" || name == "phase_reason"
	})
}

var captureNames = []string{"bursty", "crash", "rank0", "rank1", "single", "threads"}

func TestCapturedRunsAreAnsweredAsByTheReference(t *testing.T) {
	for _, name := range captureNames {
		for _, repair := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, repair %t", name, repair), func(t *testing.T) {
				run := readCapture(t, name)
				for seed := range uint64(4) {
					order := make([]int, len(run.events))
					for i := range order {
						order[i] = i
					}
					if seed > 0 { // the first time in the order of the file
						rand.New(rand.NewPCG(seed, 0)).Shuffle(len(order), func(i, j int) {
							order[i], order[j] = order[j], order[i]
						})
					}
					ld := plog.NewLogs()
					into := ld.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty().LogRecords()
					for _, i := range order {
						require.NoError(t, into.AppendEmpty().Body().SetEmptyMap().FromRaw(run.events[i]))
					}

					p := startPipelines(t, everyAttributeOfTheReference, func(cfg *Config) {
						cfg.Repair = repair
						// While enters come before the exits of earlier scopes, more seem open than ever were.
						cfg.Limits.MaxOpenScopesPerThread = len(run.events)
					})
					out := attributesOfLogs(p.passLogs(t, ld))
					require.Len(t, out, len(order))
					for at, i := range order {
						require.Equal(t, asAttributes(run.answers[i]), out[at], "seed %d, line %d", seed, i+1)
					}
				}
			})
		}
	}
}

func TestDataPointsOfCapturedRunsAreAnsweredAsTheirRecords(t *testing.T) {
	for _, name := range captureNames {
		t.Run(name, func(t *testing.T) {
			run := readCapture(t, name)
			answers := map[int64]object{}
			for i, e := range run.events {
				answers[e["timestamp_ns"].(int64)] = asAttributes(run.answers[i])
			}
			p := startPipelines(t, everyAttributeOfTheReference)
			p.passLogs(t, records(t, run.events...))

			points := 0
			for _, line := range readLines(t, name+".metrics.jsonl") {
				data, err := json.Marshal(line)
				require.NoError(t, err)
				md, err := (&pmetric.JSONUnmarshaler{}).UnmarshalMetrics(data)
				require.NoError(t, err)
				for _, resource := range p.passMetrics(t, md).ResourceMetrics().All() {
					for _, scope := range resource.ScopeMetrics().All() {
						for _, metric := range scope.Metrics().All() {
							for _, dp := range metric.Gauge().DataPoints().All() {
								got := dp.Attributes().AsRaw()
								delete(got, "device_id")
								require.Contains(t, answers, int64(dp.Timestamp()))
								require.Equal(t, answers[int64(dp.Timestamp())], got)
								points++
							}
						}
					}
				}
			}
			assert.Positive(t, points)
		})
	}
}

func TestRefusedBoundaryIsNotDropped(t *testing.T) {
	core, seen := observer.New(zap.WarnLevel)
	tel := componenttest.NewTelemetry()
	set := metadatatest.NewSettings(tel)
	set.Logger = zap.New(core)
	sink := new(consumertest.LogsSink)
	p, err := NewFactory().CreateLogs(t.Context(), set, newConfig(t, func(c *Config) { c.Boundaries = BoundariesDrop; c.Limits.MaxRanks = 1 }), sink)
	require.NoError(t, err)
	require.NoError(t, p.Start(t.Context(), componenttest.NewNopHost()))
	require.NoError(t, p.ConsumeLogs(t.Context(), records(t, (&program{session: "a"}).worker(1).enter(1, "x"), (&program{session: "b"}).worker(1).enter(1, "x"))))
	require.NoError(t, p.Shutdown(t.Context()))
	assert.Equal(t, 1, sink.LogRecordCount())
	assert.Len(t, seen.FilterField(zap.String("reason", "max_ranks")).All(), 1)
}

func TestEventNameGoesBeforeAResourcesEventType(t *testing.T) {
	p := startPipelines(t)
	run := &program{session: "run"}
	e := run.worker(1).enter(1, "train")
	delete(e, "event_type")
	ld := records(t, e)
	ld.ResourceLogs().At(0).ScopeLogs().At(0).LogRecords().At(0).SetEventName("phase_enter")
	ld.ResourceLogs().At(0).Resource().Attributes().PutStr("event_type", "log")
	p.passLogs(t, ld)
	assert.Equal(t, "train", p.path(t, run, 2))
}
