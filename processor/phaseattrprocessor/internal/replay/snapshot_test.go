// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// TestARestoredGroupGoesOnAsTheOneItWas takes a snapshot in the middle of a run, and
// holds what is restored from it to the original, then and after the rest of the run.
func TestARestoredGroupGoesOnAsTheOneItWas(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		options := Options{
			Repair: rapid.Bool().Draw(t, "repair"),
			Window: time.Duration(rapid.SampledFrom([]int{0, 5, 20, 1000}).Draw(t, "window")),
		}
		original, restored, group := New(options), New(options), groups[0]
		run := drawLoss(t, drawRun(t, group))
		arrival := drawArrival(t, run)
		half := rapid.IntRange(0, len(arrival)).Draw(t, "half")
		for _, b := range arrival[:half] {
			original.Ingest().Add(group, b)
		}
		snapshot, known := original.Snapshot(group)
		require.Equal(t, half > 0, known)
		if !known {
			return
		}
		require.True(t, restored.Restore(&snapshot))
		require.False(t, restored.Restore(&snapshot), "it is there already")

		same := func() {
			require.Equal(t, original.Stats().Boundaries, restored.Stats().Boundaries)
			require.Equal(t, original.Stats().OpenScopes, restored.Stats().OpenScopes)
			require.Equal(t, spansOf(original, group), spansOf(restored, group))
			for at := range moments(run) {
				want, status := original.Handle(group).Active(nil, at, true)
				got, same := restored.Handle(group).Active(nil, at, true)
				SortScopeIntervals(want)
				SortScopeIntervals(got)
				require.Equal(t, status, same, "at %d", at)
				require.Equal(t, want, got, "at %d", at)
			}
		}
		same()
		require.Zero(t, restored.Stats().Repairs, "what was mended before is not counted again")
		for _, b := range arrival[half:] {
			require.Equal(t, original.Ingest().Add(group, b).Outcome, restored.Ingest().Add(group, b).Outcome)
			same()
		}
	})
}

func TestWhatIsRestoredStaysInTheBoundsOfToday(t *testing.T) {
	before := New(Options{Repair: true})
	e := newEmitter(groups[0])
	for i := range int64(40) {
		e.now++
		e.enter(i%4, "train")
	}
	for _, b := range e.out {
		before.Ingest().Add(groups[0], b)
	}
	// 10 scopes in each of 4 threads, the older half of them below the window.
	before.group(groups[0]).update(func() {
		threads := before.group(groups[0]).threads
		for i := range threads {
			threads[i].trim(21)
		}
	})
	snapshot, _ := before.Snapshot(groups[0])
	for name, tc := range map[string]struct {
		options Options
		most    int64
	}{
		"boundaries of a group": {Options{MaxBoundaries: 7}, 7},
		"boundaries":            {Options{MaxTotal: 7}, 7},
		"threads":               {Options{MaxThreads: 1}, 10},
		"open scopes":           {Options{MaxOpen: 2}, 8},
		"groups":                {Options{MaxRanks: 1}, 40},
	} {
		t.Run(name, func(t *testing.T) {
			tc.options.Repair = true
			after := New(tc.options)
			require.True(t, after.Restore(&snapshot))
			assert.Positive(t, after.Stats().Boundaries)
			assert.LessOrEqual(t, after.Stats().Boundaries, tc.most)

			other := snapshot
			other.Rank = groups[1]
			assert.Equal(t, tc.options.MaxRanks == 0, after.Restore(&other))
		})
	}
}

func TestTimeThatPassedWhileNobodyListenedCounts(t *testing.T) {
	options := Options{SessionTimeout: time.Hour, Window: time.Hour}
	before := New(options)
	before.Ingest().Observe(groups[0], 1, false)
	snapshot, _ := before.Snapshot(groups[0])
	for name, tc := range map[string]struct {
		away  time.Duration
		ended bool
		gone  bool
	}{
		"a moment":                 {time.Second, false, false},
		"almost the timeout":       {59 * time.Minute, false, false},
		"the timeout":              {61 * time.Minute, true, true},
		"days":                     {72 * time.Hour, true, true},
		"the clock was moved back": {-48 * time.Hour, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			snapshot := snapshot
			snapshot.LastArrival = time.Now().Add(-tc.away)
			after := New(options)
			require.True(t, after.Restore(&snapshot))
			ended, forgotten := after.Sweep()
			assert.Equal(t, tc.ended, slices.Contains(ended, groups[0]))
			assert.Equal(t, tc.gone, slices.Contains(forgotten, groups[0]))
			assert.Equal(t, !tc.ended, after.Handle(groups[0]).At(5, 5).Live)
		})
	}
}
