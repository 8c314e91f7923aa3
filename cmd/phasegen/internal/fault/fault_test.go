// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package fault_test

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/phaseattr/phaseattr/cmd/phasegen/internal/fault"
	"github.com/phaseattr/phaseattr/cmd/phasegen/job"
)

const records = 20_000

func decide(c fault.Config, kind job.Kind) (f *fault.Faults, fates []fault.Fate) {
	f = fault.New(c)
	for range records {
		fates = append(fates, f.Decide(&job.Event{Kind: kind}))
	}
	return f, fates
}

func TestShares(t *testing.T) {
	c := fault.Config{Loss: 0.1, Late: 0.2, LateBy: time.Second, Duplicate: 0.3, Seed: 5}
	f, fates := decide(c, job.Enter)
	lost := 0
	for _, fate := range fates {
		if fate.Copies == 0 {
			lost++
		}
		assert.LessOrEqual(t, fate.Delay, time.Second)
	}
	assert.Equal(t, f.Lost, lost)
	assert.InDelta(t, 0.1, float64(f.Lost)/records, 0.01)
	assert.InDelta(t, 0.9*0.2, float64(f.Delayed)/records, 0.01)
	assert.InDelta(t, 0.9*0.3, float64(f.Duplicated)/records, 0.01)

	_, again := decide(c, job.Enter)
	assert.Equal(t, fates, again)
}

// Samples can be late but are not lost; what exporters read is neither.
func TestOnlyBoundariesAreLost(t *testing.T) {
	c := fault.Config{Loss: 1, Late: 1, LateBy: time.Second, Duplicate: 1}
	for kind, want := range map[job.Kind]int{
		job.Enter: 0, job.Exit: 0, job.Sample: 2, job.Start: 2, job.Stop: 2, job.DeviceReading: 1, job.ProcessReading: 1,
	} {
		_, fates := decide(c, kind)
		assert.Equal(t, want, fates[0].Copies, kind)
		assert.Equal(t, want == 2, fates[0].Delay > 0, kind)
	}
}

func TestReorderKeepsTheEvents(t *testing.T) {
	var batch, ordered []*job.Event
	for range 100 {
		ordered = append(ordered, &job.Event{})
	}
	batch = append(batch, ordered...)
	f := fault.New(fault.Config{Shuffle: 0.5})
	f.Reorder(batch)
	assert.ElementsMatch(t, ordered, batch)
	moved := 0
	for i := range batch {
		if batch[i] != ordered[i] {
			moved++
		}
	}
	assert.Greater(t, moved, 20)
	assert.InDelta(t, 50, f.Moved, 20)
}

func TestValidateNamesTheFlagAndTheValue(t *testing.T) {
	for want, c := range map[string]fault.Config{
		"loss must be between 0 and 1 (got -0.1)":   {Loss: -0.1, LateBy: 1},
		"late must be between 0 and 1 (got 2)":      {Late: 2, LateBy: 1},
		"duplicate must be between 0 and 1 (got 2)": {Duplicate: 2, LateBy: 1},
		"shuffle must be between 0 and 1 (got NaN)": {Shuffle: math.NaN(), LateBy: 1},
		"late-by must be positive (got 0s)":         {},
	} {
		require.EqualError(t, c.Validate(), want)
	}
}
