// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pmetric"
)

// Each point of a batch may become many; what a batch may become is bounded.
func TestPointsThatABatchIsSplitIntoAreBounded(t *testing.T) {
	const points, most = 240, 1000
	p := startPipelines(t, func(cfg *Config) {
		cfg.Split.Enabled = true
		cfg.Split.MaxPointsPerBatch = most
		cfg.Window = time.Hour
	})
	run := &program{session: "run"}
	w := run.worker(1)
	var events []object
	for i := range 450 {
		events = append(events, w.enter(float64(2*i), "step"), w.exit(float64(2*i+1)))
	}
	p.passLogs(t, records(t, append(events, run.event("sample", 1000))...))
	md := pmetric.NewMetrics()
	for range points {
		counter(0, 900, int64(900)).ResourceMetrics().MoveAndAppendTo(md.ResourceMetrics())
	}
	out := sumsOf(p.passMetrics(t, md))
	assert.LessOrEqual(t, len(out), points+most)
	require.Greater(t, len(out), points, "it is split as far as that goes")
	total := int64(0)
	for _, dp := range out {
		total += dp.IntValue()
	}
	assert.Equal(t, int64(points*900), total)
	assert.Equal(t, int64(points-1), valueOf(t, p.telemetry, "otelcol_processor_phase_attr_unsplit_points", "processor", "phase_attr"))

	assert.Greater(t, len(sumsOf(p.passMetrics(t, counter(0, 900, int64(900))))), 1, "the next batch has room of its own")
}
