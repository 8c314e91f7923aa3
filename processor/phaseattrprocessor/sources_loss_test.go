// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/phaseattr/phaseattr/cmd/phasegen/format"
	"github.com/phaseattr/phaseattr/cmd/phasegen/job"
)

// lossyCases are jobs some of whose boundaries are lost on their way.
func lossyCases() []liveCase {
	joined := func(path []string) string { return strings.Join(path, " / ") }
	torchtitan := func(name, sources string) liveCase {
		return liveCase{
			name: name, sources: sources, plan: format.TorchTitanPlan(), label: joined,
			format: func(j *job.Job) format.Format { return format.TorchTitan{Job: j} },
		}
	}
	return []liveCase{
		torchtitan("numbered", "[{preset: torchtitan}]"),
		torchtitan("unnumbered", "[{preset: torchtitan, logs: {sequence: []}}]"),
		torchtitan("unnumbered without durations", "[{preset: torchtitan, logs: {sequence: [], exit: {took: {field: '', unit: ''}}}}]"),
	}
}

// TestLostBoundariesOfSourcesAreNoWrongAnswers loses boundaries of jobs. Once all that is not lost
// has come, hardly any answer may be wrong: of two that are lost side by side, nothing may be seen.
func TestLostBoundariesOfSourcesAreNoWrongAnswers(t *testing.T) {
	for _, c := range lossyCases() {
		c.delay, c.reading = 500*time.Millisecond, 100*time.Millisecond
		for _, c.lost = range []float64{0.005, 0.03} {
			t.Run(fmt.Sprint(c.name, " ", c.lost), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					live, later := c.run(t)
					t.Logf("live: %s; later: %s", live, later)
					assert.LessOrEqual(t, later.of("wrong"), 0.001)
					assert.GreaterOrEqual(t, later.of("right"), 1-7*c.lost)
				})
			})
		}
	}
}
