// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/phaseattr/phaseattr/internal/boundary"
)

// TestLateBoundariesOfABatchAreReplayedOnce counts the entries that are replayed for the
// first boundaries of a run when they are added after the others.
func TestLateBoundariesOfABatchAreReplayedOnce(t *testing.T) {
	const late = 200
	run := loop(rank0, 2000)
	for name, options := range map[string]Options{"strict": {}, "repair": {Repair: true}} {
		t.Run(name, func(t *testing.T) {
			x := New(options)
			mustAdd(t, x, rank0, run[late:]...)
			in := x.Ingest()
			for _, i := range []int{0, late - 1} { // the outermost enter, which is below all others, is one of them
				require.Equal(t, Accepted, in.Add(from(rank0), run[i]).Outcome)
			}
			for _, b := range run[1 : late-1] {
				require.Equal(t, Accepted, in.Add(from(rank0), b).Outcome)
			}
			thread := &x.stream(rank0).processes[0].threads[0]
			require.Equal(t, late, thread.late.count, "they wait for the replay")
			assert.LessOrEqual(t, thread.merge(), len(run))
			in.Flush()
			assert.Equal(t, "train / step / forward", deepest(x, run[2].Time))
			assert.Equal(t, "train", deepest(x, run[4].Time+1))
			holdsTogether(t, x)
		})
	}
}

// TestReplayStopsBetweenLateBoundariesFarApart counts the entries that are replayed for
// two late pairs at the two ends of a run.
func TestReplayStopsBetweenLateBoundariesFarApart(t *testing.T) {
	run := loop(rank0, 2001)
	pair := func(b *boundary.Boundary) bool {
		return b.ScopeID == run[2].ScopeID || b.ScopeID == run[len(run)-6].ScopeID
	}
	x := New(Options{})
	mustAdd(t, x, rank0, slices.DeleteFunc(slices.Clone(run), pair)...)
	in := x.Ingest()
	for _, b := range run {
		if pair(b) {
			require.Equal(t, Accepted, in.Add(from(rank0), b).Outcome)
		}
	}
	thread := &x.stream(rank0).processes[0].threads[0]
	require.Equal(t, 4, thread.late.count)
	assert.LessOrEqual(t, thread.merge(), 12)
	in.Flush()
	holdsTogether(t, x)
}

func TestLateBoundaryCountsFromTheFlushOn(t *testing.T) {
	run := trainingRun()
	enter, exit := run[7], run[12] // of the second step
	x := indexOf(Options{}, without(run, enter.Sequence, exit.Sequence))
	in := x.Ingest()
	added := in.Add(from(rank0), enter)
	require.Equal(t, Accepted, added.Outcome)
	assert.Equal(t, time.Duration(60), added.Late)
	assert.Equal(t, Duplicate, in.Add(from(rank0), enter).Outcome)
	assert.Equal(t, Duplicate, x.Ingest().Add(from(rank0), enter).Outcome, "in another batch")
	require.Equal(t, Accepted, in.Add(from(rank0), exit).Outcome)
	assert.Len(t, active(x, rank0, 85, true), 1, "as if they had not arrived")
	in.Flush()
	assert.Len(t, active(x, rank0, 85, true), 2)
	strict := indexOf(Options{}, run)
	for at := range moments(run) {
		assert.Equal(t, active(strict, rank0, at, true), active(x, rank0, at, true), "at %d", at)
	}
}

// TestBatchesOfOneRankAtOnce adds a run by several goroutines, each of which flushes its
// own batches, while another one reads.
func TestBatchesOfOneRankAtOnce(t *testing.T) {
	const writers = 4
	run := loop(rank0, 1000)
	x := New(Options{Repair: true})
	var adding, reading sync.WaitGroup
	stop := make(chan struct{})
	reading.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				x.Handle(rank0).Active(nil, run[len(run)/2].Time, true)
				x.Snapshot(rank0)
			}
		}
	})
	for first := range writers {
		adding.Go(func() {
			in := x.Ingest()
			for i := first; i < len(run); i += writers {
				in.Add(from(rank0), run[i])
				if i%40 == first {
					in.Flush()
				}
			}
			in.Flush()
		})
	}
	adding.Wait()
	close(stop)
	reading.Wait()
	holdsTogether(t, x)
	assert.Equal(t, int64(len(run)), x.Stats().Boundaries)
	strict := indexOf(Options{}, run)
	for _, b := range run {
		require.Equal(t, active(strict, rank0, b.Time, true), active(x, rank0, b.Time, true))
	}
}

// BenchmarkAddLateBatch adds batches of late boundaries to a rank with 90,000 others.
func BenchmarkAddLateBatch(b *testing.B) {
	run := loop(rank0, 90_000)
	for _, size := range []int{1, 10, 100, 1000} {
		b.Run(fmt.Sprintf("late=%d", size), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				x := New(Options{})
				add(x, rank0, run[size:]...)
				b.StartTimer()
				add(x, rank0, run[:size]...)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(size), "ns/boundary")
		})
	}
}

// TestFlushesChangeNothingElse compares an index that is flushed after each boundary with
// one that is flushed now and then, at several bounds: what is accepted and what is known
// in the end are the same.
func TestFlushesChangeNothingElse(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		options := Options{
			Repair:        rapid.Bool().Draw(t, "repair"),
			Window:        time.Duration(rapid.SampledFrom([]int{0, 10, 50}).Draw(t, "window")),
			MaxThreads:    rapid.SampledFrom([]int{0, 2}).Draw(t, "threads"),
			MaxBoundaries: rapid.SampledFrom([]int{0, 5, 20}).Draw(t, "boundaries"),
		}
		often, seldom := New(options), New(options)
		run := drawLoss(t, drawRun(t, rank0))
		in := seldom.Ingest()
		for _, b := range drawArrival(t, run) {
			require.Equal(t, addOne(often, rank0, b), in.Add(from(rank0), b).Outcome)
			if rapid.IntRange(0, 19).Draw(t, "flush") == 0 {
				in.Flush()
			}
		}
		in.Flush()
		holdsTogether(t, seldom)
		want, _ := often.Snapshot(rank0)
		got, _ := seldom.Snapshot(rank0)
		got.LastArrival = want.LastArrival
		require.Equal(t, want, got)
		for at := range moments(run) {
			require.Equal(t, active(often, rank0, at, true), active(seldom, rank0, at, true), "at %d", at)
		}
	})
}
