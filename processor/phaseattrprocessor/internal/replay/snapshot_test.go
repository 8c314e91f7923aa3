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

// TestARestoredRankGoesOnAsTheOriginal takes a snapshot in the middle of a run, restores
// it, and compares with the original, then and after the rest of the run.
func TestARestoredRankGoesOnAsTheOriginal(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		options := Options{
			Repair: rapid.Bool().Draw(t, "repair"),
			Window: time.Duration(rapid.SampledFrom([]int{0, 5, 20, 1000}).Draw(t, "window")),
		}
		original, restored := New(options), New(options)
		run := drawLoss(t, drawRun(t, rank0))
		arrival := drawArrival(t, run)
		half := rapid.IntRange(0, len(arrival)).Draw(t, "half")
		batch := original.Ingest()
		for _, b := range arrival[:half] {
			batch.Add(from(rank0), b)
		}
		snapshot, known := original.Snapshot(rank0)
		require.Equal(t, half > 0, known)
		if !known {
			return
		}
		batch.Flush()
		require.True(t, restored.Restore(&snapshot))
		require.False(t, restored.Restore(&snapshot), "it is known already")

		same := func() {
			require.Equal(t, original.Stats().Boundaries, restored.Stats().Boundaries)
			require.Equal(t, original.Stats().OpenScopes, restored.Stats().OpenScopes)
			for at := range moments(run) {
				want, status := original.Handle(rank0).Active(nil, at, true)
				got, same := restored.Handle(rank0).Active(nil, at, true)
				require.Equal(t, status, same, "at %d", at)
				require.Equal(t, sorted(want), sorted(got), "at %d", at)
			}
		}
		same()
		require.Zero(t, restored.Stats().Repairs, "they were counted before")
		for _, b := range arrival[half:] {
			require.Equal(t, addOne(original, rank0, b), addOne(restored, rank0, b))
		}
		same()
	})
}

func TestRestoreKeepsTheBounds(t *testing.T) {
	before := New(Options{Repair: true})
	e := newEmitter(rank0)
	for i := range int64(40) {
		e.now++
		e.enter(i%4, "train")
	}
	mustAdd(t, before, rank0, e.out...)
	// 10 scopes in each of 4 threads, the older half of them before the window.
	threads := before.stream(rank0).processes[0].threads
	for i := range threads {
		threads[i].drop(threads[i].entries.search(21))
	}
	snapshot, _ := before.Snapshot(rank0)
	for name, tc := range map[string]struct {
		options Options
		atMost  int64
	}{
		"boundaries of a rank": {Options{MaxBoundaries: 7}, 7},
		"boundaries":           {Options{MaxTotal: 7}, 7},
		"threads":              {Options{MaxThreads: 1}, 10},
		"open scopes":          {Options{MaxOpen: 2}, 8},
		"ranks":                {Options{MaxRanks: 1}, 40},
	} {
		t.Run(name, func(t *testing.T) {
			tc.options.Repair = true
			after := New(tc.options)
			require.True(t, after.Restore(&snapshot))
			assert.Positive(t, after.Stats().Boundaries)
			assert.LessOrEqual(t, after.Stats().Boundaries, tc.atMost)

			other := snapshot
			other.Rank = rank1
			assert.Equal(t, tc.options.MaxRanks == 0, after.Restore(&other))
		})
	}
}

func TestTimeBetweenSnapshotAndRestoreCounts(t *testing.T) {
	options := Options{SessionTimeout: time.Hour, Window: time.Hour}
	before := New(options)
	before.Ingest().Observe(from(rank0), &Event{Time: 1})
	snapshot, _ := before.Snapshot(rank0)
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
			assert.Equal(t, tc.ended, slices.Contains(ended, rank0))
			assert.Equal(t, tc.gone, slices.Contains(forgotten, rank0))
			assert.Equal(t, !tc.ended, after.Handle(rank0).At(5, 5).Live)
		})
	}
}
