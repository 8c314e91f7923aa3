// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package grace

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/boundary"
)

var (
	rank0 = boundary.RankKey{Session: "s", Rank: 0}
	rank1 = boundary.RankKey{Session: "s", Rank: 1}
)

// bench is a gate, the event time of its groups, and what has come out.
type bench struct {
	*Gate
	*Queue

	mu       sync.Mutex
	reached  map[boundary.RankKey]int64
	passed   []string
	releases []Release
}

func newBench(options Options) *bench {
	b := &bench{reached: map[boundary.RankKey]int64{}}
	options.Reached = func(group boundary.RankKey, until int64) bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return b.reached[group] >= until
	}
	options.Released = func(r Release) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.releases = append(b.releases, r)
	}
	b.Gate = NewGate(options)
	b.Queue = b.NewQueue()
	return b
}

// advance lets events of a group come.
func (b *bench) advance(group boundary.RankKey, at int64) {
	b.mu.Lock()
	b.reached[group] = at
	b.mu.Unlock()
	b.Advance(group)
}

func (b *bench) hold(t *testing.T, name string, waits ...Wait) {
	t.Helper()
	assert.NoError(t, b.Hold(t.Context(), waits, 10, func(context.Context) { b.pass(name) }))
}

func (b *bench) pass(name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.passed = append(b.passed, name)
}

func (b *bench) out() []string {
	synctest.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]string{}, b.passed...)
}

var roomy = Options{Period: 3 * time.Second, MaxBytes: 1000, MaxBatches: 100}

func TestBatchGoesOnWhenItsGroupHasComeSoFar(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(roomy)
		b.hold(t, "batch", Wait{rank0, 100})
		assert.Empty(t, b.out())
		b.advance(rank0, 99)
		assert.Empty(t, b.out())
		time.Sleep(time.Second)
		b.advance(rank0, 100)
		assert.Equal(t, []string{"batch"}, b.out())
		assert.Equal(t, []Release{{Held: time.Second}}, b.releases)
		require.NoError(t, b.Close(t.Context()))
	})
}

func TestBatchWaitsForAllItsGroups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(roomy)
		b.hold(t, "batch", Wait{rank0, 100}, Wait{rank1, 50})
		b.advance(rank0, 100)
		assert.Empty(t, b.out())
		b.advance(rank1, 50)
		assert.Equal(t, []string{"batch"}, b.out())
		require.NoError(t, b.Close(t.Context()))
	})
}

func TestBatchGoesOnWhenThePeriodIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(roomy)
		b.hold(t, "batch", Wait{rank0, 100})
		time.Sleep(3*time.Second - 1)
		assert.Empty(t, b.out())
		time.Sleep(time.Nanosecond)
		assert.Equal(t, []string{"batch"}, b.out())
		assert.Equal(t, []Release{{Held: 3 * time.Second, Expired: true}}, b.releases)
		require.NoError(t, b.Close(t.Context()))
	})
}

func TestBatchesOvertakeEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(roomy)
		b.hold(t, "late", Wait{rank0, 100})
		b.hold(t, "early", Wait{rank0, 50})
		b.hold(t, "other", Wait{rank1, 10})
		b.advance(rank1, 10)
		assert.Equal(t, []string{"other"}, b.out())
		b.advance(rank0, 60)
		assert.Equal(t, []string{"other", "early"}, b.out())
		b.advance(rank0, 100)
		assert.Equal(t, []string{"other", "early", "late"}, b.out())
		require.NoError(t, b.Close(t.Context()))
	})
}

func TestBatchesOfAGroupThatAreLetGoTogetherKeepTheirOrder(t *testing.T) {
	for name, letGo := range map[string]func(*testing.T, *bench){
		"by an event":   func(_ *testing.T, b *bench) { b.advance(rank0, 100) },
		"by the period": func(*testing.T, *bench) { time.Sleep(roomy.Period) },
		"by the end":    func(t *testing.T, b *bench) { require.NoError(t, b.Close(t.Context())) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(roomy)
				var names []string
				for i := range 50 {
					names = append(names, strconv.Itoa(i))
					b.hold(t, names[i], Wait{rank0, int64(i / 2)})
				}
				letGo(t, b)
				assert.Equal(t, names, b.out())
				require.NoError(t, b.Close(t.Context()))
				assert.Empty(t, b.line)
			})
		})
	}
}

func TestBatchDoesNotOvertakeOneThatIsBeingPassedOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(roomy)
		slow := make(chan struct{})
		require.NoError(t, b.Hold(t.Context(), []Wait{{rank0, 1}}, 10, func(context.Context) {
			<-slow
			b.pass("slow")
		}))
		b.advance(rank0, 1)
		assert.Empty(t, b.out())
		b.hold(t, "next", Wait{rank0, 1})
		b.hold(t, "other", Wait{rank1, 0})
		assert.Equal(t, []string{"other"}, b.out())
		close(slow)
		assert.Equal(t, []string{"other", "slow", "next"}, b.out())
		require.NoError(t, b.Close(t.Context()))
	})
}

func TestBatchIsNotHeldWhenTheEventsCameBeforeIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(roomy)
		b.advance(rank0, 100)
		b.hold(t, "batch", Wait{rank0, 100})
		assert.Equal(t, []string{"batch"}, b.out())
		require.NoError(t, b.Close(t.Context()))
	})
}

func TestCallerBlocksWhileTheGateIsFull(t *testing.T) {
	for name, options := range map[string]Options{
		"of batches": {Period: time.Minute, MaxBytes: 1000, MaxBatches: 2},
		"of bytes":   {Period: time.Minute, MaxBytes: 25, MaxBatches: 100},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(options)
				b.hold(t, "one", Wait{rank0, 1})
				b.hold(t, "two", Wait{rank0, 2})
				entered := false
				go func() {
					b.hold(t, "three", Wait{rank0, 3})
					entered = true
				}()
				synctest.Wait()
				assert.False(t, entered)
				b.advance(rank0, 1)
				synctest.Wait()
				assert.True(t, entered)
				b.advance(rank0, 3)
				assert.ElementsMatch(t, []string{"one", "two", "three"}, b.out())
				assert.Zero(t, b.HeldBytes())
				require.NoError(t, b.Close(t.Context()))
			})
		})
	}
}

func TestCallerThatGivesUpGetsItsError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(Options{Period: time.Minute, MaxBytes: 1000, MaxBatches: 1})
		b.hold(t, "one", Wait{rank0, 1})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := b.Hold(ctx, []Wait{{rank0, 1}}, 10, func(context.Context) { b.pass("two") })
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.NoError(t, b.Close(t.Context()))
		assert.Equal(t, []string{"one"}, b.out())
	})
}

func TestCallerIsBlockedForThePeriodAtMost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(Options{Period: 3 * time.Second, MaxBytes: 1000, MaxBatches: 1})
		var stuck sync.WaitGroup
		stuck.Add(1)
		// The next component does not take what has been held.
		require.NoError(t, b.Hold(t.Context(), []Wait{{rank0, 1}}, 10, func(context.Context) { stuck.Wait() }))
		start := time.Now()
		b.hold(t, "blocked", Wait{rank0, 1})
		assert.Equal(t, []string{"blocked"}, b.out(), "it has gone on when its caller returns")
		assert.Equal(t, 3*time.Second, time.Since(start))
		assert.Contains(t, b.releases, Release{Held: 3 * time.Second, Expired: true})
		stuck.Done()
		require.NoError(t, b.Close(t.Context()))
	})
}

func TestBatchLargerThanTheBoundIsHeldAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(roomy)
		require.NoError(t, b.Hold(t.Context(), []Wait{{rank0, 1}}, 1<<40, func(context.Context) { b.pass("huge") }))
		assert.Equal(t, roomy.MaxBytes, b.HeldBytes())
		b.advance(rank0, 1)
		assert.Equal(t, []string{"huge"}, b.out())
		require.NoError(t, b.Close(t.Context()))
	})
}

func TestWhatIsPassedOnOutlivesItsCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(roomy)
		type key struct{}
		ctx, cancel := context.WithCancel(context.WithValue(t.Context(), key{}, "value"))
		var value any
		var err error
		require.NoError(t, b.Hold(ctx, []Wait{{rank0, 1}}, 10, func(ctx context.Context) {
			value, err = ctx.Value(key{}), ctx.Err()
		}))
		cancel()
		b.advance(rank0, 1)
		synctest.Wait()
		assert.Equal(t, "value", value)
		require.NoError(t, err)
		require.NoError(t, b.Close(t.Context()))
	})
}

func TestCloseLetsEverythingGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(Options{Period: time.Hour, MaxBytes: 1000, MaxBatches: 2})
		b.hold(t, "one", Wait{rank0, 1})
		b.hold(t, "two", Wait{rank1, 1})
		go b.hold(t, "blocked", Wait{rank0, 1})
		synctest.Wait()
		start := time.Now()
		require.NoError(t, b.Close(t.Context()))
		assert.ElementsMatch(t, []string{"one", "two", "blocked"}, b.out())
		assert.Zero(t, time.Since(start))
		b.hold(t, "after", Wait{rank0, 1})
		assert.Contains(t, b.out(), "after")
		require.NoError(t, b.Close(t.Context()), "a second time")
	})
}

func TestCloseKeepsItsDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(roomy)
		var passErr error
		require.NoError(t, b.Hold(t.Context(), []Wait{{rank0, 1}}, 10, func(ctx context.Context) {
			<-ctx.Done() // a next component that does not take it
			passErr = ctx.Err()
		}))
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		start := time.Now()
		err := b.Close(ctx)
		assert.Equal(t, 5*time.Second, time.Since(start))
		synctest.Wait()
		require.ErrorIs(t, passErr, context.Canceled)
		assert.True(t, err == nil || errors.Is(err, context.DeadlineExceeded))
	})
}

func TestQueuesOfOneGateCloseApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(roomy)
		other := b.NewQueue()
		b.hold(t, "mine", Wait{rank0, 1})
		require.NoError(t, other.Hold(t.Context(), []Wait{{rank0, 1}}, 10, func(context.Context) { b.pass("other") }))
		require.NoError(t, b.Close(t.Context()))
		assert.Equal(t, []string{"mine"}, b.out())
		b.advance(rank0, 1)
		assert.ElementsMatch(t, []string{"mine", "other"}, b.out())
		require.NoError(t, other.Close(t.Context()))
	})
}

// TestNothingIsLostUnderLoad lets many callers hold batches while events come and
// the queue is closed.
func TestNothingIsLostUnderLoad(t *testing.T) {
	b := newBench(Options{Period: time.Millisecond, MaxBytes: 500, MaxBatches: 7})
	var callers sync.WaitGroup
	for range 8 {
		callers.Go(func() {
			for i := range 200 {
				b.hold(t, "batch", Wait{rank0, int64(i)}, Wait{rank1, int64(i)})
				b.advance(rank0, int64(i))
				b.advance(rank1, int64(i))
			}
		})
	}
	callers.Wait()
	require.NoError(t, b.Close(t.Context()))
	assert.Len(t, b.passed, 8*200)
	assert.Zero(t, b.HeldBytes())
	assert.Empty(t, b.waiting)
}
