// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/annotate"
)

// everyAttribute is all attributes but those of the ends of scopes, with which these are
// annotated otherwise.
func everyAttribute(cfg *Config) {
	cfg.Attributes = slices.DeleteFunc(attributeNames(), func(name Attribute) bool {
		return name == annotate.StartAttribute || name == annotate.DurationAttribute
	})
}

// answerTo sends the fields of a gauge's data point through the metrics pipeline and
// returns what they became, without those of the group.
func (p *pipelines) answerTo(t *testing.T, run *program, at float64, fields object) object {
	t.Helper()
	md := run.gauge(at)
	dp := md.ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().At(0).Gauge().DataPoints().At(0)
	attributes := with(dp.Attributes().AsRaw(), fields)
	require.NoError(t, dp.Attributes().FromRaw(attributes))
	out := attributesOfMetrics(p.passMetrics(t, md))[0]
	delete(out, "session_id")
	delete(out, "rank")
	return out
}

func TestAnswersAreWrittenToTheAttributesAskedFor(t *testing.T) {
	run := &program{session: "run", rank: 2}
	first, second, third := run.worker(1), run.worker(2), run.worker(3)
	events := []object{
		first.enter(1, "train"), first.enter(2, "step"), first.exit(3), // 1, 2, 3
		second.enter(4, "load"), third.enter(5, "load"), first.exit(6), // 4, 5, 6
	}
	forward := object{
		"phase_resolution": "unique", "phase_source": "heuristic", "phase_path": "train / step",
		"phase_paths": []any{"train / step"}, "phase_label": "train / step",
		"phase_scope_id": "run:2", "phase_thread_id": int64(1), "phase_thread_name": "worker-1",
		"phase_rank": int64(2),
	}
	for _, tc := range []struct {
		name   string
		at     float64
		fields object
		want   object
	}{
		{name: "one thread", at: 2.5, want: forward},
		{
			name: "scope named", at: 2.5, fields: object{"origin_phase_scope_id": "run:1"},
			want: object{
				"phase_resolution": "unique", "phase_source": "exact", "phase_path": "train",
				"phase_paths": []any{"train"}, "phase_label": "train",
				"phase_scope_id": "run:1", "phase_thread_id": int64(1), "phase_thread_name": "worker-1",
				"phase_rank": int64(2),
			},
		},
		{
			name: "thread named", at: 4.5, fields: object{"origin_thread_id": int64(2)},
			want: object{
				"phase_resolution": "unique", "phase_source": "thread_local", "phase_path": "load",
				"phase_paths": []any{"load"}, "phase_label": "load",
				"phase_scope_id": "run:4", "phase_thread_id": int64(2), "phase_thread_name": "worker-2",
				"phase_rank": int64(2),
			},
		},
		{
			name: "two threads", at: 4.5,
			want: object{
				"phase_resolution": "ambiguous", "phase_paths": []any{"load", "train"},
				"phase_summary": "load", "phase_label": "(likely) load", "phase_rank": int64(2), "phase_reason": "threads",
			},
		},
		{
			name: "two threads in one label", at: 7,
			want: object{
				"phase_resolution": "ambiguous", "phase_paths": []any{"load"}, "phase_label": "(ambiguous) load",
				"phase_rank": int64(2), "phase_reason": "threads",
			},
		},
		{name: "no phase", at: 0.5, want: object{"phase_reason": "between_phases"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := startPipelines(t, everyAttribute)
			p.passLogs(t, records(t, events...))
			out := p.answerTo(t, run, tc.at, tc.fields)
			for key := range tc.fields {
				delete(out, key)
			}
			assert.Equal(t, tc.want, out)
		})
	}
	for key, value := range forward {
		t.Run("only "+key, func(t *testing.T) {
			p := startPipelines(t, func(cfg *Config) { cfg.Attributes = []Attribute{Attribute(key)} })
			p.passLogs(t, records(t, events...))
			assert.Equal(t, object{key: value}, p.answerTo(t, run, 2.5, nil))
		})
	}
}

func TestAnswersReplaceWhatAnEarlierOneSaid(t *testing.T) {
	stale := object{
		"phase_resolution": "stale", "phase_source": "stale", "phase_path": "stale", "phase_paths": "stale",
		"phase_label": "stale", "phase_summary": "stale", "phase_scope_id": "stale", "phase_thread_id": "stale",
		"phase_thread_name": "stale", "phase_rank": "stale", "phase_reason": "stale", "other": "kept",
	}
	none := maps.Clone(stale)
	none["phase_reason"] = "between_phases"
	p := startPipelines(t, everyAttribute)
	run := &program{session: "run"}
	first, second := run.worker(1), run.worker(2)
	p.passLogs(t, records(t, first.enter(1, "train"), second.enter(3, "load")))

	for _, tc := range []struct {
		name string
		at   float64
		want object
	}{
		{"unique", 2, object{
			"phase_resolution": "unique", "phase_source": "heuristic", "phase_path": "train", "phase_paths": []any{"train"},
			"phase_label": "train", "phase_scope_id": "run:1", "phase_thread_id": int64(1), "phase_thread_name": "worker-1",
			"phase_rank": int64(0), "other": "kept",
		}},
		{"ambiguous", 4, object{
			"phase_resolution": "ambiguous", "phase_paths": []any{"load", "train"},
			"phase_label": "(likely) load", "phase_summary": "load", "phase_rank": int64(0), "phase_reason": "threads", "other": "kept",
		}},
		{"none", 0.5, none},
	} {
		t.Run(tc.name, func(t *testing.T) {
			assert.Equal(t, tc.want, p.answerTo(t, run, tc.at, stale))
		})
	}
}

func TestAttributesThatAreNotAskedForStayAsTheyAre(t *testing.T) {
	p := startPipelines(t, func(cfg *Config) { cfg.Attributes = []Attribute{"phase_resolution"} })
	run := &program{session: "run"}
	p.passLogs(t, records(t, run.worker(1).enter(1, "train")))
	assert.Equal(t, object{"phase_resolution": "unique", "phase_path": "upstream"},
		p.answerTo(t, run, 2, object{"phase_path": "upstream", "phase_resolution": "upstream"}))
}

func TestScopeAttributesAreThoseOfTheScopeOrItsNearestAncestor(t *testing.T) {
	p := startPipelines(t, func(cfg *Config) { cfg.ScopeAttributes = []string{"epoch", "split", "lr", "warm", "tags"} })
	run := &program{session: "run"}
	w, other := run.worker(1), run.worker(2)
	p.passLogs(t, records(t,
		w.enterWith(1, "train", object{"epoch": int64(1), "split": "train", "lr": 0.5, "warm": true, "note": "no"}),
		w.enterWith(2, "step", object{"epoch": int64(2), "tags": []any{"a"}}),
		w.enter(3, "forward"),
		w.exit(4), w.exit(5), w.exit(6),
		w.enter(7, "idle"), w.exit(8),
		other.enterWith(9, "load", object{"split": "load"}), w.enterWith(9, "eval", object{"split": "eval"})))

	for _, tc := range []struct {
		name   string
		at     float64
		fields object
		want   object
	}{
		{"the scope's own", 1.5, nil, object{"epoch": int64(1), "split": "train", "lr": 0.5, "warm": true}},
		{"the scope's before its parent's", 2.5, nil, object{"epoch": int64(2), "split": "train", "lr": 0.5, "warm": true}},
		{"its ancestors'", 3.5, nil, object{"epoch": int64(2), "split": "train", "lr": 0.5, "warm": true}},
		{"after the inner scope", 5.5, nil, object{"epoch": int64(1), "split": "train", "lr": 0.5, "warm": true}},
		{"no attributes", 7.5, nil, object{}},
		{"no attributes, the record has some", 7.5, object{"epoch": int64(9)}, object{"epoch": int64(9)}},
		{"overwritten", 1.5, object{"epoch": int64(9)}, object{"epoch": int64(1), "split": "train", "lr": 0.5, "warm": true}},
		{"ambiguous", 9.5, nil, object{}},
		{"thread named", 9.5, object{"origin_thread_id": int64(2)}, object{"split": "load", "origin_thread_id": int64(2)}},
		{"no phase", 0.5, nil, object{}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			out := p.answerTo(t, run, tc.at, tc.fields)
			delete(out, "phase_resolution")
			delete(out, "phase_path")
			assert.Equal(t, tc.want, out)
		})
	}
}

func TestScopeAttributesMayBeAllThatIsWritten(t *testing.T) {
	p := startPipelines(t, func(cfg *Config) { cfg.Attributes, cfg.ScopeAttributes = nil, []string{"epoch"} })
	run := &program{session: "run"}
	p.passLogs(t, records(t, run.worker(1).enterWith(1, "train", object{"epoch": int64(1)})))
	assert.Equal(t, object{"epoch": int64(1)}, p.answerTo(t, run, 2, nil))
}

// The points of one scrape are asked about one after the other, at one time: what
// differs between them must tell.
func TestRecordsThatDifferInOneThingAreAnsweredApart(t *testing.T) {
	p := startPipelines(t)
	run, other := &program{session: "run"}, &program{session: "run", rank: 1}
	w := run.worker(1)
	p.passLogs(t, records(t, w.enter(1, "train"), w.enter(2, "step"), other.worker(1).enter(1, "eval")))

	md := run.gauge(3, 3, 1.5, 3, 3, 3)
	points := md.ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().At(0).Gauge().DataPoints()
	points.At(1).Attributes().PutStr("origin_phase_scope_id", "run:1")
	points.At(3).Attributes().PutInt("rank", 1)
	points.At(4).Attributes().PutStr("session_id", "other")
	var got []any
	for _, attributes := range attributesOfMetrics(p.passMetrics(t, md)) {
		got = append(got, attributes["phase_path"])
	}
	assert.Equal(t, []any{"train / step", "train", "train", "eval", nil, "train / step"}, got)
}

// A batch asks more questions than the memo has places for: each is answered for itself,
// and each answer is counted.
func TestManyQuestionsOfOneBatchAreAnsweredApart(t *testing.T) {
	p := startPipelines(t)
	var times []float64
	run := &program{session: "run"}
	w := run.worker(1)
	var events []object
	for step := range 512 {
		at := float64(step)
		events = append(events, w.enter(at, fmt.Sprintf("step-%d", step%7)), w.exit(at+0.75))
		times = append(times, at+0.5)
	}
	p.passLogs(t, records(t, events...))

	out := attributesOfMetrics(p.passMetrics(t, run.gauge(append(times, times...)...)))
	require.Len(t, out, 2*len(times))
	for i, attributes := range out {
		require.Equal(t, fmt.Sprintf("step-%d", i%len(times)%7), attributes["phase_path"], i)
	}
}
