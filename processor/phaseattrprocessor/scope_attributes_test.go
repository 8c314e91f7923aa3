// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func scoped(cfg *Config) { cfg.ScopeAttributes = []string{"epoch"} }

func TestScopeAttributesAreNotThoseOfADescendant(t *testing.T) {
	p := startPipelines(t, scoped)
	run := &program{session: "run"}
	w := run.worker(1)
	p.passLogs(t, records(t, w.enterWith(1, "train", object{"epoch": int64(1)}), w.enterWith(2, "step", object{"epoch": int64(2)})))
	out := p.answerTo(t, run, 3, object{"origin_phase_scope_id": "run:1"})
	assert.Equal(t, "train", out["phase_path"])
	assert.Equal(t, int64(1), out["epoch"])
}

func TestScopeAttributesAreNotThoseOfAnEndedSibling(t *testing.T) {
	p := startPipelines(t, scoped)
	run := &program{session: "run"}
	w := run.worker(1)
	p.passLogs(t, records(t,
		w.enterWith(1, "train", object{"epoch": int64(1)}), w.enterWith(2, "step", object{"epoch": int64(2)}),
		w.exit(3), w.exit(3), w.enterWith(3, "eval", object{"epoch": int64(9)})))
	out := p.answerTo(t, run, 3, object{"origin_thread_id": int64(1)})
	assert.Equal(t, "eval", out["phase_path"])
	assert.Equal(t, int64(9), out["epoch"])
}

func TestScopeAttributesOfTwoScopesAtOneInstant(t *testing.T) {
	p := startPipelines(t, scoped, everyAttribute)
	run := &program{session: "run"}
	w := run.worker(1)
	p.passLogs(t, records(t,
		w.enterWith(1, "step", object{"epoch": int64(1)}), w.exit(2), w.enterWith(2, "step", object{"epoch": int64(2)})))
	out := p.answerTo(t, run, 2, nil)
	assert.Equal(t, "run:3", out["phase_scope_id"])
	assert.Equal(t, int64(2), out["epoch"])
}

func TestScopeAttributesOfAnIntervalThatEndsOutside(t *testing.T) {
	p := startPipelines(t, scoped)
	run := &program{session: "run"}
	w := run.worker(1)
	p.passLogs(t, records(t, w.enterWith(1, "train", object{"epoch": int64(1)}), w.exit(5), w.enter(9, "x"), w.exit(9.5)))
	out := attributesOfTraces(p.passTraces(t, run.spans(4, 6)))[0]
	assert.Equal(t, "train", out["phase_path"])
	assert.Equal(t, int64(1), out["epoch"])
	out = attributesOfTraces(p.passTraces(t, run.spans(0.5, 2)))[0]
	assert.Equal(t, int64(1), out["epoch"])
}
