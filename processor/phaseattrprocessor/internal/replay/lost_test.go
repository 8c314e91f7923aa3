// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/phaseattr/phaseattr/internal/boundary"
)

// threads writes boundaries of threads, of which some get lost.
type threads struct {
	t     *testing.T
	x     *Index
	in    *Ingest
	now   time.Duration
	seq   int64
	lose  func() bool
	stack map[int64][]*boundary.Boundary
	// refused counts the boundaries that were not accepted.
	refused int
}

func newThreads(t *testing.T, options Options) *threads {
	return &threads{t: t, x: New(options), stack: map[int64][]*boundary.Boundary{}, lose: func() bool { return false }}
}

func (w *threads) add(b *boundary.Boundary) {
	w.seq++
	b.Time, b.Sequence = int64(w.now), w.seq
	if w.in == nil || w.in.index != w.x {
		w.in = w.x.Ingest()
	}
	if added := w.in.Add(from(rank0), b); added.Outcome != Accepted {
		w.refused++
	}
}

// enter enters a scope of a thread, in another one of any thread if parent is not nil.
func (w *threads) enter(thread int64, parent *boundary.Boundary, name string) *boundary.Boundary {
	b := &boundary.Boundary{ThreadID: thread, ScopeID: fmt.Sprint("s:", w.seq+1), Path: boundary.NewPath(name)}
	if open := w.stack[thread]; len(open) > 0 {
		parent = open[len(open)-1]
	}
	if parent != nil {
		b.ParentScopeID, b.Path = parent.ScopeID, parent.Path.Append(name)
	}
	w.stack[thread] = append(w.stack[thread], b)
	copied := *b
	w.add(&copied)
	return b
}

func (w *threads) exit(thread int64) {
	open := w.stack[thread]
	b := *open[len(open)-1]
	w.stack[thread] = open[:len(open)-1]
	b.Action = boundary.Exit
	if w.lose() {
		w.seq++
		return
	}
	w.add(&b)
}

// paths returns the paths of the deepest scopes of all threads at the newest time.
func (w *threads) paths() map[int64]string {
	all := map[int64]string{}
	scopes, _ := w.x.Handle(rank0).Active(nil, int64(w.now), false)
	for _, s := range scopes {
		if len(s.Path.Label()) > len(all[s.ThreadID]) {
			all[s.ThreadID] = s.Path.Label()
		}
	}
	return all
}

func windowed() Options {
	return Options{Repair: true, Window: 10 * time.Minute, SessionTimeout: 15 * time.Minute, MaxThreads: 256, MaxOpen: 1024, MaxBoundaries: 100_000}
}

// TestThreadPerRequestSurvivesLostExits serves 60,000 requests, each on a thread of its own, of
// whose exits some are lost: more than there may be threads.
func TestThreadPerRequestSurvivesLostExits(t *testing.T) {
	const requests = 60_000
	random := rand.New(rand.NewPCG(7, 7))
	w, lost := newThreads(t, windowed()), 0
	w.lose = func() bool {
		if random.IntN(300) == 0 {
			lost++
			return true
		}
		return false
	}
	most, unique := 0, 0
	for thread := range int64(requests) {
		w.enter(thread, nil, "request")
		w.now += 5 * time.Second
		w.enter(thread, nil, "decode")
		w.now += 5 * time.Second
		if thread%10 == 0 {
			open := len(w.paths())
			if most = max(most, open); open == 1 {
				unique++
			}
		}
		w.exit(thread)
		w.now += 5 * time.Second
		w.exit(thread)
		w.now += 5 * time.Second
		delete(w.stack, thread)
	}
	t.Logf("%d exits lost, %d boundaries refused, at most %d threads in phases, %d of %d moments with one", lost, w.refused, most, unique, requests/10)
	assert.Greater(t, lost, windowed().MaxThreads)
	assert.Zero(t, w.refused)
	assert.Less(t, most, 10)
	assert.Greater(t, unique, requests/10*9/10)
	assert.Positive(t, w.x.Stats().Repairs)
}

// TestThreadsThatAreLostMakeRoom serves requests faster than a window passes.
func TestThreadsThatAreLostMakeRoom(t *testing.T) {
	w := newThreads(t, windowed())
	random := rand.New(rand.NewPCG(8, 8))
	w.lose = func() bool { return random.IntN(20) == 0 }
	evaluating := w.enter(1, w.enter(1, nil, "train"), "evaluate")
	require.Equal(t, "train / evaluate", evaluating.Path.Label())
	for i := range int64(20_000) {
		w.enter(1000+i, nil, "request")
		w.now += time.Millisecond
		w.exit(1000 + i)
		delete(w.stack, 1000+i)
	}
	assert.Zero(t, w.refused)
	assert.Equal(t, "train / evaluate", w.paths()[1], "nothing shows that it is over")
}

// TestKilledWorkerNoLongerAnswers kills a worker in its phase, beside threads that go on.
func TestKilledWorkerNoLongerAnswers(t *testing.T) {
	for name, tc := range map[string]struct {
		// nested workers are in the main thread's epoch, which ends.
		nested bool
		// workers load, one is killed.
		workers int64
		lost    bool
	}{
		"another one takes its place":      {workers: 2, lost: true},
		"the epoch is over":                {nested: true, workers: 1, lost: true},
		"nothing shows whether it is over": {workers: 1},
	} {
		t.Run(name, func(t *testing.T) {
			for _, restart := range []bool{false, true} {
				w := newThreads(t, windowed())
				var epoch *boundary.Boundary
				main := func() {
					epoch = w.enter(1, nil, "epoch")
					w.now += time.Second
				}
				parent := func() *boundary.Boundary {
					if tc.nested {
						return epoch
					}
					return nil
				}
				main()
				for i := range tc.workers {
					w.enter(2+i, parent(), "load")
				}
				w.now += time.Second
				for range 1000 {
					for i := int64(1); i < tc.workers; i++ {
						w.exit(2 + i)
						w.enter(2+i, parent(), "load")
					}
					w.exit(1)
					main()
					if restart && w.now > 5*time.Minute {
						w.x, restart = restored(t, w.x), false
					}
				}
				ambiguous := 0
				for range 1000 {
					w.now += time.Millisecond
					w.enter(1, nil, "step")
					w.now += time.Millisecond
					if _, open := w.paths()[2]; open {
						ambiguous++
					}
					w.exit(1)
				}
				t.Logf("%d of 1000 moments with the killed worker in its phase", ambiguous)
				assert.Equal(t, tc.lost, ambiguous == 0)
				assert.Zero(t, w.refused)
			}
		})
	}
}

func restored(t *testing.T, x *Index) *Index {
	snapshot, ok := x.Snapshot(rank0)
	require.True(t, ok)
	y := New(x.options)
	require.True(t, y.Restore(&snapshot))
	return y
}

// TestLongEvaluateBesideABusyLoaderGoesOnAnswering has a main thread without boundaries for three
// windows, beside a loader that has some all the time.
func TestLongEvaluateBesideABusyLoaderGoesOnAnswering(t *testing.T) {
	for name, loader := range map[string]func(w *threads, train *boundary.Boundary){
		"of its own":                      func(w *threads, _ *boundary.Boundary) { w.enter(2, nil, "load") },
		"in the main thread's scope":      func(w *threads, train *boundary.Boundary) { w.enter(2, train, "load") },
		"in a scope of the same name":     func(w *threads, _ *boundary.Boundary) { w.enter(2, w.enter(2, nil, "train"), "load") },
		"in the main thread's innermost":  func(w *threads, _ *boundary.Boundary) { w.enter(2, w.stack[1][1], "load") },
		"that once was in the same phase": func(w *threads, _ *boundary.Boundary) { w.enter(2, nil, "load") },
	} {
		t.Run(name, func(t *testing.T) {
			w := newThreads(t, windowed())
			train := w.enter(1, nil, "train")
			w.now += time.Second
			w.enter(1, nil, "evaluate")
			if name == "that once was in the same phase" {
				w.now += time.Second
				w.enter(2, train, "evaluate")
				w.exit(2)
			}
			for range 1800 {
				w.now += time.Second / 2
				loader(w, train)
				w.now += time.Second / 2
				require.Equal(t, "train / evaluate", w.paths()[1])
				for len(w.stack[2]) > 0 {
					w.exit(2)
				}
			}
			w.exit(1)
			w.now += time.Second
			require.Equal(t, "train", w.paths()[1])
			assert.Zero(t, w.refused)
		})
	}
}
