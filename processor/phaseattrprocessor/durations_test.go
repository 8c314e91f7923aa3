// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func timed(cfg *Config) {
	cfg.Attributes = []Attribute{"phase_path", "phase_source", "phase_start", "phase_duration"}
}

func ended(path string, start, seconds float64) object {
	return object{"phase_path": path, "phase_source": "exact", "phase_start": moment(start), "phase_duration": seconds}
}

func TestTheEndOfAScopeSaysWhenItBeganAndHowLongItLasted(t *testing.T) {
	p := startPipelines(t, timed)
	run := &program{session: "run"}
	w, other := run.worker(1), run.worker(2)
	train, loading := w.enter(1, "train"), other.enter(1.5, "load")
	step := w.enter(2, "step")
	stepEnd := w.exit(4.5)
	again := w.enter(4.5, "step")
	againEnd, trainEnd := w.exit(5), w.exit(5)
	out := attributesOfLogs(p.passLogs(t, records(t, train, loading, step, stepEnd, again, againEnd, trainEnd, run.event("sample", 1.25))))
	assert.Equal(t, []object{ended("train / step", 2, 2.5)}, out[3:4], "whatever begins then or is active in other threads")
	assert.Equal(t, []object{ended("train / step", 4.5, 0.5), ended("train", 1, 4)}, out[5:7])
	assert.Equal(t, object{"phase_path": "train", "phase_source": "heuristic"}, out[7])
	for _, i := range []int{0, 1, 2, 4} {
		assert.NotContains(t, out[i], "phase_start", "it ends nothing")
		assert.NotContains(t, out[i], "phase_duration")
	}
}

func TestTheEndIsAnnotatedInALaterBatch(t *testing.T) {
	p := startPipelines(t, timed)
	w := (&program{session: "run"}).worker(1)
	p.passLogs(t, records(t, w.enter(1, "train")))
	assert.Equal(t, []object{ended("train", 1, 3)}, attributesOfLogs(p.passLogs(t, records(t, w.exit(4)))))
}

func TestAScopeWhoseEnterIsNotKnownHasNoDuration(t *testing.T) {
	for name, tc := range map[string]func(w *worker) []object{
		"no enter at all": func(w *worker) []object {
			w.enter(1, "train")
			return []object{w.exit(2)}
		},
		"an enter that is inferred": func(w *worker) []object {
			train := w.enter(1, "train")
			w.enter(2, "step")
			return []object{train, w.exit(3)}
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := startPipelines(t, timed)
			out := attributesOfLogs(p.passLogs(t, records(t, tc((&program{session: "run"}).worker(1))...)))
			assert.NotContains(t, out[len(out)-1], "phase_start")
			assert.NotContains(t, out[len(out)-1], "phase_duration")
		})
	}
}

func TestWithoutDurationsTheEndOfAScopeIsAnsweredByItsTime(t *testing.T) {
	p := startPipelines(t, func(cfg *Config) { cfg.Attributes = []Attribute{"phase_path", "phase_source"} })
	w := (&program{session: "run"}).worker(1)
	out := attributesOfLogs(p.passLogs(t, records(t, w.enter(1, "train"), w.exit(2))))
	assert.Equal(t, object{"phase_path": "train", "phase_source": "heuristic"}, out[1])
}

func TestTheOffsetOfARuleDoesNotMoveTheEndsOfScopes(t *testing.T) {
	p := startPipelines(t, timed, func(cfg *Config) {
		cfg.Association = []AssociationRule{{
			Keys:       []AssociationKey{{Field: "session_id", Names: []string{"session_id"}}, {Field: "rank", Names: []string{"rank"}}},
			TimeOffset: 10 * time.Second,
		}}
	})
	w := (&program{session: "run"}).worker(1)
	out := attributesOfLogs(p.passLogs(t, records(t, w.enter(1, "train"), w.exit(2))))
	assert.Equal(t, ended("train", 1, 1), out[1])
}
