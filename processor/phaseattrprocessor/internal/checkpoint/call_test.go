// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/extension/xextension/storage"

	"github.com/phaseattr/phaseattr/internal/boundary"
)

// all selects every call, only those of a kind.
func all(string, string) bool { return true }

func only(kind string) func(call, file string) bool {
	return func(call, _ string) bool { return call == kind }
}

// elapsed returns how long f takes.
func elapsed(f func()) time.Duration {
	begin := time.Now()
	f()
	return time.Since(begin)
}

func TestCallersWaitOnceForAStorageThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDisk()
		c := started(t, d)
		rank := func(i int) boundary.RankKey { return boundary.RankKey{Session: "a", Rank: int64(i)} }
		for i := range 4 {
			c.add(t.Context(), enter(rank(i), 1, "train"))
		}
		release := d.block(all)
		var callers sync.WaitGroup
		for i := range 3 {
			entry := c.store.Entry()
			e := enter(rank(i), 2, "step")
			add(c.index, e.rank, e.boundary)
			entry.Boundary(&Sender{Rank: e.rank}, e.boundary)
			callers.Go(func() {
				assert.Equal(t, callTimeout, elapsed(func() { c.store.Write(t.Context(), entry) }))
			})
		}
		callers.Wait()
		assert.Zero(t, elapsed(func() {
			c.add(t.Context(), enter(rank(3), 2, "step"))
			c.store.Forget(t.Context(), []boundary.RankKey{rank(9)})
		}))
		assert.Positive(t, c.failures(Write))

		time.Sleep(10 * maxRetry) // it hangs and hangs
		assert.Zero(t, elapsed(func() { c.add(t.Context(), enter(rank(3), 3, "eval")) }))
		assert.Zero(t, c.recoveries())

		release()
		synctest.Wait()
		assert.Equal(t, 1, c.recoveries())
		next := started(t, d.left())
		for i := range 4 {
			assert.Equal(t, c.paths(rank(i), 4), next.paths(rank(i), 4))
		}
	})
}

func TestAStorageThatIsSlowToOpenIsUsedLater(t *testing.T) {
	a := boundary.RankKey{Session: "a"}
	for name, hang := range map[string]func(call, file string) bool{
		"the ledger":     func(call, file string) bool { return call == "open" && file == ledgerName },
		"the generation": func(call, file string) bool { return call == "open" && file != ledgerName },
		"reading":        only("walk"),
		"the first read": only("batch"),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := newDisk()
				old := newCollector(d, options())
				require.NoError(t, old.store.Start(t.Context()))
				old.add(t.Context(), enter(a, 1, "train"))
				require.NoError(t, old.store.Close(t.Context()))

				release := d.block(hang)
				c := newCollector(d, options())
				took := elapsed(func() { require.NoError(t, c.store.Start(t.Context())) })
				assert.LessOrEqual(t, took, openTimeout)
				assert.GreaterOrEqual(t, took, callTimeout)
				assert.Equal(t, 1, c.failures(Open))
				time.Sleep(10 * maxRetry) // it hangs and hangs
				assert.Empty(t, c.paths(a, 2))

				release()
				time.Sleep(maxRetry)
				assert.Equal(t, []string{"train"}, c.paths(a, 2))
				assert.NotContains(t, d.files, "generation_1")
				assert.Equal(t, 1, c.recoveries())
				require.NoError(t, c.store.Close(t.Context()))
				assert.Zero(t, d.clients())
			})
		})
	}
}

func TestSlownessIsNoReasonToAbandonAGeneration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDisk()
		c := newCollector(d, options())
		slow := 2 * maxAttempts
		c.store.options.Open = func(ctx context.Context, name string) (storage.Client, error) {
			if name != ledgerName && slow > 0 {
				slow--
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return d.getClient(ctx, name)
		}
		require.NoError(t, c.store.Start(t.Context()))
		time.Sleep(2 * maxAttempts * (openTimeout + maxRetry))
		assert.Equal(t, 2*maxAttempts, c.failures(Open))
		assert.Equal(t, 1, c.recoveries())
		assert.NotContains(t, d.files, "generation_1")
		require.NoError(t, c.store.Close(t.Context()))
	})
}

func TestCloseHasALastWordForAStorageThatHangs(t *testing.T) {
	for _, kind := range []string{"open", "walk", "batch", "close"} {
		t.Run(kind, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := newDisk()
				c := newCollector(d, options())
				if kind == "batch" || kind == "close" {
					require.NoError(t, c.store.Start(t.Context()))
				}
				release := d.block(only(kind))
				switch kind {
				case "batch":
					c.add(t.Context(), enter(boundary.RankKey{Session: "a"}, 1, "train"))
				case "open", "walk":
					require.NoError(t, c.store.Start(t.Context()))
				}

				ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
				defer cancel()
				err := error(nil)
				assert.LessOrEqual(t, elapsed(func() { err = c.store.Close(ctx) }), 100*time.Millisecond)
				require.Error(t, err)
				// Without a deadline, that of the calls holds.
				assert.LessOrEqual(t, elapsed(func() { err = c.store.Close(context.Background()) }), callTimeout)
				require.ErrorIs(t, err, errHung)

				release()
				synctest.Wait()
				assert.Zero(t, d.clients(), "all are closed at last")
			})
		})
	}
}

func TestALoopThatHangsDoesNotHoldUpClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDisk()
		c := newCollector(d, options())
		c.store.minJournal = 1
		require.NoError(t, c.store.Start(t.Context()))
		rank := boundary.RankKey{Session: "a"}
		release := d.block(func(string, string) bool { return len(d.files["generation_0"]) > 1 }) // the compaction
		c.add(t.Context(), enter(rank, 1, "train"))
		synctest.Wait()

		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		require.ErrorIs(t, c.store.Close(ctx), context.DeadlineExceeded)
		release()
		require.NoError(t, c.store.Close(t.Context()), "the rest was done in the background")
		assert.Zero(t, d.clients())
		assert.Equal(t, []string{"train"}, started(t, d.left()).paths(rank, 2))
	})
}

// A batch that misses its deadline may be executed all the same, after a rank has
// changed.
func TestALateSnapshotDoesNotReplaceANewerOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDisk()
		c := started(t, d)
		rank := boundary.RankKey{Session: "a"}
		c.add(t.Context(), enter(rank, 1, "train"))
		release := d.block(all)
		require.ErrorIs(t, c.store.compact(t.Context()), errHung)
		c.add(t.Context(), enter(rank, 2, "eval"))
		release()
		synctest.Wait()
		require.NoError(t, c.store.compact(t.Context()))
		assert.Len(t, d.records(snapshotPrefix), 1)
		assert.Equal(t, c.paths(rank, 3), started(t, d.left()).paths(rank, 3))
	})
}

func TestCloseMayBeCalledAtAnyTimeAndAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		require.NoError(t, (*Store)(nil).Close(ctx))
		d := newDisk()
		never := newCollector(d, options())
		require.NoError(t, never.store.Close(ctx))
		require.NoError(t, never.store.Close(ctx))
		assert.Empty(t, d.files)

		rank := boundary.RankKey{Session: "a"}
		for at := range int64(3) { // a store for each run
			c := newCollector(d, options())
			require.NoError(t, c.store.Start(ctx))
			c.add(ctx, enter(rank, at, "train"))
			require.NoError(t, c.store.Close(ctx))
			require.NoError(t, c.store.Close(ctx))
			assert.Zero(t, d.clients())
			c.add(ctx, enter(rank, 9, "late")) // it is not stored
		}
		c := newCollector(d, options())
		require.NoError(t, c.store.Start(ctx))
		assert.EqualValues(t, 3, c.index.Stats().Boundaries)
		require.NoError(t, c.store.Close(ctx))
	})
}

func TestRecoveryIsReportedOncePerFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDisk()
		c := started(t, d)
		for i := range 3 {
			assert.Equal(t, i, c.recoveries())
			d.setFails(true)
			c.add(t.Context(), enter(boundary.RankKey{Session: "a"}, int64(i), "train"))
			time.Sleep(maxRetry)
			assert.Equal(t, i, c.recoveries())
			d.setFails(false)
			time.Sleep(maxRetry)
		}
		time.Sleep(10 * maxRetry)
		assert.Equal(t, 3, c.recoveries())
	})
}
