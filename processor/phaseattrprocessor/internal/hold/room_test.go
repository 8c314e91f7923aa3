// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package hold

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/consumer/consumererror"
	"pgregory.net/rapid"

	"github.com/phaseattr/phaseattr/internal/boundary"
)

// small is room for a few parts of drawn size.
var small = Options{MaxBytes: 60, MaxParts: 10, MaxUnknownBytes: 15}

// caller reserves room, and commits or cancels what it gets, in a goroutine of its own.
type caller struct {
	models    []*modelPart
	timeout   time.Duration
	delay     time.Duration // between Reserve and Commit: the next component takes the rest
	commit    bool
	gaveUp    bool
	completed bool
}

func (m *machine) call(c *caller, pipeline int, parts []Part) {
	ctx, cancel := context.WithTimeout(context.Background(), c.timeout)
	defer cancel()
	p := m.pipelines[pipeline]
	r, err := p.Reserve(ctx, parts)
	if err != nil {
		c.gaveUp, c.completed = true, true
		return
	}
	time.Sleep(c.delay)
	if !c.commit {
		p.Cancel(r)
		c.completed = true
		return
	}
	var payloads [][]int
	for _, model := range c.models {
		payloads = append(payloads, []int{model.number})
	}
	p.Commit(context.Background(), r, payloads)
	c.completed = true
}

// TestFullBufferKeepsItsBound has many callers at a small buffer, with next components
// that are slow, fail now and then, and refuse some batches for good.
func TestFullBufferKeepsItsBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rapid.Check(inBubble{t}, func(t *rapid.T) {
			m := newMachine(small, rapid.IntRange(1, 3).Draw(t, "pipelines"))
			defer m.end()
			troubles := append(rapid.SliceOfN(rapid.IntRange(0, 9), 0, 20).Draw(t, "troubles"), 9)
			for _, s := range m.sinks {
				calls := 0
				s.beforeSend = func(context.Context) error {
					trouble := troubles[calls%len(troubles)]
					calls++
					switch trouble {
					case 0:
						return errors.New("try again")
					case 1:
						return consumererror.NewPermanent(errors.New("never"))
					case 2:
						time.Sleep(time.Second)
					}
					return nil
				}
			}
			var callers []*caller
			t.Repeat(map[string]func(*rapid.T){
				"call": func(t *rapid.T) {
					pipeline, parts, models := m.draw(t)
					c := &caller{
						models:  models,
						timeout: time.Duration(rapid.SampledFrom([]int{1, 3, 1000}).Draw(t, "timeout")) * time.Second,
						delay:   time.Duration(rapid.SampledFrom([]int{0, 0, 2}).Draw(t, "delay")) * time.Second,
						commit:  rapid.IntRange(0, 3).Draw(t, "commit") > 0,
					}
					m.parts, callers = append(m.parts, models...), append(callers, c)
					go m.call(c, pipeline, parts)
					synctest.Wait()
					m.checkRoom(t)
				},
				"advance": func(t *rapid.T) {
					m.index.reach(m.buffer, rank(rapid.IntRange(0, 3).Draw(t, "rank")), int64(rapid.IntRange(0, 20).Draw(t, "to")))
					synctest.Wait()
					m.checkRoom(t)
				},
				"sleep": func(t *rapid.T) {
					time.Sleep(time.Duration(rapid.IntRange(1, 3).Draw(t, "seconds")) * time.Second)
					synctest.Wait()
					m.checkRoom(t)
				},
			})
			// Every caller is served, and every part is forwarded, without further ado.
			time.Sleep(10 * time.Minute)
			synctest.Wait()
			for _, c := range callers {
				require.True(t, c.completed, "a caller still waits")
				for _, p := range c.models {
					p.committed = c.commit && !c.gaveUp
				}
			}
			require.Zero(t, m.buffer.heldParts.Load())
			require.Zero(t, m.buffer.heldBytes.Load())
			assert.Empty(t, m.buffer.unknown)
			for _, q := range m.buffer.queues {
				assert.Empty(t, q.lanes)
			}
			m.checkDelivered(t)
			var wg sync.WaitGroup
			for _, p := range m.pipelines {
				wg.Go(func() { assert.NoError(t, p.Close(context.Background())) })
			}
			wg.Wait()
		})
	})
}

// checkRoom requires that what waits is within the bounds, except for a batch that is
// alone in its pipeline, and that a pipeline in which nobody has parts that are not
// committed keeps nobody waiting once its next component is idle.
func (m *machine) checkRoom(t *rapid.T) {
	m.buffer.mu.Lock()
	defer m.buffer.mu.Unlock()
	var bytes, parts int64
	for _, q := range m.buffer.queues {
		staying, committed := int64(0), true
		for e := q.parts.Front(); e != nil; e = e.Next() {
			p := e.Value.(*part)
			committed = committed && p.committed
			if !p.released {
				staying++
			}
		}
		held := int64(q.parts.Len())
		assert.Equal(t, held-q.leaving, staying, "parts that stay")
		if held > 2 { // a batch has at most two
			bytes, parts = bytes+q.bytes, parts+held
		}
		if len(q.pending) > 0 && q.leaving == 0 {
			assert.False(t, committed, "room for a waiting caller")
		}
	}
	assert.LessOrEqual(t, bytes, small.MaxBytes)
	assert.LessOrEqual(t, parts, small.MaxParts)
	assert.LessOrEqual(t, m.buffer.unknown[""], small.MaxUnknownBytes)
}

// checkDelivered requires that all that was committed came out once, in order by key, or
// was refused for good.
func (m *machine) checkDelivered(t *rapid.T) {
	for i, s := range m.sinks {
		got, lost, committed := s.received(), 0, 0
		for _, n := range s.lost {
			lost += n
		}
		for _, p := range m.parts {
			if p.pipeline == i && p.committed {
				committed++
			}
		}
		require.Equal(t, committed, len(got)+lost, "pipeline %d", i)
		for j, number := range got {
			require.True(t, m.parts[number].committed)
			require.NotContains(t, got[j+1:], number, "it came out twice")
			for _, earlier := range got[j+1:] {
				require.False(t, earlier < number && m.parts[earlier].names(m.parts[number]),
					"part %d came out before %d", number, earlier)
			}
		}
	}
}

// A pipeline has its share of the room, whatever others hold.
func TestPipelineHasItsShareOfTheRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(Options{MaxBytes: 100, MaxParts: 100, MaxUnknownBytes: 100}, 2)
		defer m.stop(t)
		m.hold(t, 0, 1, 1000, rankKey(0)) // larger than the buffer, so held alone
		m.hold(t, 1, 2, 9, rankKey(0))
		m.hold(t, 1, 3, 9, rankKey(1))
		synctest.Wait()
		assert.Empty(t, m.sinks[0].received())
		assert.Empty(t, m.sinks[1].received(), "half of the room is divided among two pipelines")
		m.hold(t, 1, 4, 9, rankKey(1))
		synctest.Wait()
		assert.Equal(t, []int{2}, m.sinks[1].received(), "beyond it the oldest goes first")
	})
}

// hold has a part wait, for a moment that never comes, for a minute at most.
func (m *machine) hold(t *testing.T, pipeline, number int, bytes int64, keys ...Key) {
	t.Helper()
	part := Part{Bytes: bytes, Deadline: time.Now().Add(time.Minute)}
	for _, key := range keys {
		part.Waits = append(part.Waits, Wait{Key: key, Until: 1000})
	}
	p := m.pipelines[pipeline]
	r, err := p.Reserve(t.Context(), []Part{part})
	require.NoError(t, err)
	p.Commit(t.Context(), r, [][]int{{number}})
}

func (m *machine) stop(t *testing.T) {
	t.Helper()
	for _, p := range m.pipelines {
		require.NoError(t, p.Close(context.WithoutCancel(t.Context())))
	}
}

// Three callers at a buffer with room for one: the second one gives up.
func TestCallersAreServedInTheOrderInWhichTheyCame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(Options{MaxBytes: 1000, MaxParts: 1}, 1)
		defer m.stop(t)
		blocked := make(chan struct{})
		m.sinks[0].beforeSend = func(context.Context) error {
			<-blocked
			return nil
		}
		m.hold(t, 0, 1, 1, rankKey(0))
		var served []int
		for number := 2; number <= 4; number++ {
			go func() {
				ctx, cancel := context.WithTimeout(t.Context(), map[bool]time.Duration{true: time.Second, false: time.Hour}[number == 3])
				defer cancel()
				p := m.pipelines[0]
				r, err := p.Reserve(ctx, []Part{{Waits: []Wait{{Key: rankKey(0), Until: 1000}}, Deadline: time.Now().Add(time.Hour)}})
				if number == 3 {
					assert.ErrorIs(t, err, context.DeadlineExceeded)
					return
				}
				assert.NoError(t, err)
				served = append(served, number)
				p.Commit(ctx, r, [][]int{{number}})
			}()
			synctest.Wait()
		}
		time.Sleep(2 * time.Second)
		assert.Empty(t, served)
		close(blocked)
		synctest.Wait()
		assert.Equal(t, []int{2, 4}, served)
		assert.Equal(t, []int{1, 2}, m.sinks[0].received(), "the newest still waits")
	})
}

func TestKnownLocationIsWaitedForByItsRank(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(unbounded, 1)
		defer m.stop(t)
		m.hold(t, 0, 1, 1, Key{Location: "here"})
		// The rank is known, and the buffer has not been told yet.
		m.index.changes.Add(1)
		m.index.at["here"] = []boundary.RankKey{rank(7)}
		key := rankKey(7)
		assert.False(t, m.pipelines[0].Waiting(&key))
		m.pipelines[0].Locate()
		assert.True(t, m.pipelines[0].Waiting(&key), "what names the rank lines up behind what named its location")

		// Nor is what came too late for that notice left behind.
		m.hold(t, 0, 2, 1, Key{Location: "here"})
		m.index.reach(m.buffer, rank(7), 1000)
		synctest.Wait()
		assert.Equal(t, []int{1, 2}, m.sinks[0].received())
	})
}

// silentRun sends telemetry that waits for a session of a tenant, until the buffer is closed.
// It waits for the next component like everybody else.
func (m *machine) silentRun(t *testing.T, tenant, session string, bytes int64) {
	t.Helper()
	p := m.pipelines[0]
	for number := 1000; ; number++ {
		key := Key{Rank: boundary.RankKey{Tenant: tenant, Session: session}}
		r, err := p.Reserve(context.Background(), []Part{{
			Tenant: tenant, Bytes: bytes, Deadline: time.Now().Add(time.Hour), Waits: []Wait{{Key: key, Until: 1}},
		}})
		if err != nil {
			return
		}
		p.Commit(context.Background(), r, [][]int{{number}})
		time.Sleep(time.Millisecond)
	}
}

// A session, or a tenant with many, that never gets what it waits for holds up nobody else:
// it makes room, oldest first, and others wait for their events only.
func TestASilentSessionMakesRoomAndHoldsUpNobody(t *testing.T) {
	for name, tc := range map[string]struct {
		tenant   string
		sessions int
		bytes    int64
	}{
		"a session":                    {sessions: 1, bytes: 40},
		"a session with small batches": {sessions: 1, bytes: 1},
		"a tenant with many sessions":  {tenant: "hostile", sessions: 20, bytes: 40},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMachine(Options{MaxBytes: 4000, MaxParts: 400, MaxUnknownBytes: 1000}, 2)
				m.sinks[0].beforeSend = func(context.Context) error {
					time.Sleep(50 * time.Millisecond)
					return nil
				}
				for i := range 4 * tc.sessions { // callers
					go m.silentRun(t, tc.tenant, "silent"+strconv.Itoa(i%tc.sessions), tc.bytes)
				}
				time.Sleep(10 * time.Second)
				var slowest time.Duration
				for number := range 20 {
					begin := time.Now()
					m.hold(t, 0, number, 10, rankKey(0))
					slowest = max(slowest, time.Since(begin))
					time.Sleep(time.Second)
				}
				t.Logf("the slowest call of another session took %s", slowest)
				assert.Zero(t, slowest)
				assert.False(t, slices.ContainsFunc(m.sinks[0].received(), func(number int) bool { return number < 1000 }),
					"what others sent waits as long as it may")
				m.index.reach(m.buffer, rank(0), 1000)
				time.Sleep(time.Second)
				var got []int
				for _, number := range m.sinks[0].received() {
					if number < 1000 {
						got = append(got, number)
					}
				}
				assert.Len(t, got, 20)
				assert.IsIncreasing(t, got)
				m.stop(t)
			})
		})
	}
}
