// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package hold

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/client"
	"go.opentelemetry.io/collector/consumer/consumererror"

	"github.com/phaseattr/phaseattr/internal/boundary"
)

func TestPartsThatAreLetGoTogetherAreOneBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(unbounded, 1)
		defer m.stop(t)
		for i := range 10 {
			m.hold(t, 0, i, 1, rankKey(0))
		}
		blocked := make(chan struct{})
		m.sinks[0].beforeSend = func(context.Context) error {
			<-blocked
			return nil
		}
		m.index.reach(m.buffer, rank(0), 1000)
		synctest.Wait()
		m.hold(t, 0, 10, 1, rankKey(0)) // lines up while the others are being sent
		m.hold(t, 0, 11, 1, rankKey(0))
		close(blocked)
		synctest.Wait()
		assert.Equal(t, []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}, m.sinks[0].received())
		assert.LessOrEqual(t, m.sinks[0].batches, 3)
	})
}

func TestClientsAreForwardedApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(unbounded, 1)
		defer m.stop(t)
		var tenants []string
		m.sinks[0].beforeSend = func(ctx context.Context) error {
			tenants = append(tenants, client.FromContext(ctx).Metadata.Get("tenant")...)
			return nil
		}
		p := m.pipelines[0]
		for i, tenant := range []string{"a", "a", "b", "a"} {
			ctx, cancel := context.WithCancel(client.NewContext(t.Context(), client.Info{
				Metadata: client.NewMetadata(map[string][]string{"tenant": {tenant}}),
			}))
			r, err := p.Reserve(ctx, []Part{{Waits: []Wait{{Key: rankKey(0), Until: 1}}, Deadline: time.Now().Add(time.Hour)}})
			require.NoError(t, err)
			p.Commit(ctx, r, [][]int{{i}})
			cancel() // the caller is gone by the time that its batch goes on
		}
		synctest.Wait()
		m.index.reach(m.buffer, rank(0), 1)
		synctest.Wait()
		assert.Equal(t, []int{0, 1, 2, 3}, m.sinks[0].received())
		assert.Contains(t, [][]string{{"a", "b", "a"}, {"a", "a", "b", "a"}}, tenants)
	})
}

func TestSlowPipelineHoldsUpItselfOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(unbounded, 2)
		defer m.stop(t)
		blocked := make(chan struct{})
		m.sinks[0].beforeSend = func(context.Context) error {
			<-blocked
			return nil
		}
		for i := range 2 {
			m.hold(t, i, i, 1, rankKey(0))
		}
		m.index.reach(m.buffer, rank(0), 1000)
		synctest.Wait()
		assert.Equal(t, []int{1}, m.sinks[1].received())
		close(blocked)
	})
}

func TestCloseLosesWhatItHasNoTimeFor(t *testing.T) {
	for name, heeds := range map[string]bool{"heeds its context": true, "ignores its context": false} {
		t.Run("a next component that "+name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMachine(unbounded, 1)
				m.hold(t, 0, 0, 1, rankKey(0))
				m.hold(t, 0, 1, 1, rankKey(1))
				blocked := make(chan struct{})
				m.sinks[0].beforeSend = func(ctx context.Context) error {
					if !heeds {
						<-blocked
						return errors.New("too late")
					}
					<-ctx.Done()
					return ctx.Err()
				}
				m.index.reach(m.buffer, rank(0), 1000) // the second part waits
				synctest.Wait()
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				start := time.Now()
				require.ErrorIs(t, m.pipelines[0].Close(ctx), context.DeadlineExceeded)
				assert.Equal(t, time.Second, time.Since(start))
				close(blocked)
				synctest.Wait()
				assert.Empty(t, m.sinks[0].received())
				assert.Equal(t, []int{1, 1}, m.sinks[0].lost)
			})
		})
	}
}

func TestWhatIsRefusedForGoodIsLostAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(unbounded, 1)
		defer m.stop(t)
		m.sinks[0].beforeSend = func(context.Context) error { return consumererror.NewPermanent(errors.New("never")) }
		m.hold(t, 0, 0, 1, rankKey(0))
		m.index.reach(m.buffer, rank(0), 1000)
		synctest.Wait()
		assert.Equal(t, []int{1}, m.sinks[0].lost)
		assert.Zero(t, m.sinks[0].retries)
		assert.Zero(t, m.buffer.Bytes())
	})
}

func TestUnknownKeysAreRememberedUpToALimit(t *testing.T) {
	u := NewUnknown(time.Minute, 2)
	now := time.Now()
	wait := func(n int, at time.Duration) bool {
		_, ok := u.Deadline("", rankKey(n), now.Add(at))
		return ok
	}
	assert.True(t, wait(0, 0))
	assert.True(t, wait(1, 0))
	assert.False(t, wait(2, time.Second), "there are too many")
	deadline, ok := u.Deadline("", rankKey(0), now.Add(4*time.Second))
	assert.True(t, ok)
	assert.Equal(t, now.Add(maxUnknownPeriod), deadline, "the wait began when the key was first named")
	assert.False(t, wait(0, maxUnknownPeriod))
	assert.False(t, wait(2, time.Minute))
	assert.True(t, wait(2, unknownPause+maxUnknownPeriod), "the others are forgotten")
	assert.True(t, wait(0, unknownPause+maxUnknownPeriod))
}

// A buffer without anything in it costs its callers nothing: no lock is taken.
func TestAdvanceOfAnEmptyBufferIsFree(t *testing.T) {
	m := newMachine(unbounded, 1)
	defer m.stop(t)
	ranks := []boundary.RankKey{rank(0)}
	assert.Zero(t, testing.AllocsPerRun(100, func() { m.buffer.Advance(ranks, nil) }))
	key := rankKey(0)
	assert.False(t, m.pipelines[0].AnyWaiting())
	assert.False(t, m.pipelines[0].Waiting(&key))
}

// All lanes are visited once for what has become known, not once for each batch.
func TestLocateLooksOnceForEachChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(unbounded, 1)
		defer m.stop(t)
		m.hold(t, 0, 0, 1, Key{Location: "here"})
		m.index.mu.Lock()
		before := m.index.looked
		m.index.mu.Unlock()
		for range 100 {
			m.pipelines[0].Locate()
		}
		m.index.mu.Lock()
		defer m.index.mu.Unlock()
		assert.LessOrEqual(t, m.index.looked-before, 1)
	})
}
