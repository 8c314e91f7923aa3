// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package hold

import (
	"context"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/phaseattr/phaseattr/internal/boundary"
)

// inBubble is a test that rapid can run in a bubble of synctest, which has no deadline.
type inBubble struct{ *testing.T }

func (inBubble) Deadline() (time.Time, bool) { return time.Time{}, false }

// unbounded is room for everything.
var unbounded = Options{MaxBytes: math.MaxInt64 / 4, MaxParts: math.MaxInt64 / 4, MaxUnknownBytes: math.MaxInt64 / 4}

// index is a Progress that tests drive.
type index struct {
	changes atomic.Uint64
	// looked counts the calls of At.
	looked   int
	mu       sync.Mutex
	reached  map[boundary.RankKey]int64
	at       map[string][]boundary.RankKey
	releases [Outcomes]int
}

func newIndex() *index {
	return &index{reached: map[boundary.RankKey]int64{}, at: map[string][]boundary.RankKey{}}
}

func rank(n int) boundary.RankKey { return boundary.RankKey{Session: "s", Rank: int64(n)} }

func rankKey(n int) Key { return Key{Rank: rank(n)} }

func (x *index) Reached(w Wait) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	reached, known := x.reached[w.Key.Rank]
	return w.Key.Location == "" && (known || !w.Unknown) && reached >= w.Until
}

func (x *index) At(location string) []boundary.RankKey {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.looked++
	return slices.Clone(x.at[location])
}

func (x *index) Changes() uint64 { return x.changes.Load() }

func (x *index) Released(o Outcome, _ time.Duration) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.releases[o]++
}

func (x *index) reach(b *Buffer, rank boundary.RankKey, moment int64) {
	x.mu.Lock()
	x.reached[rank] = max(x.reached[rank], moment)
	x.mu.Unlock()
	b.Advance([]boundary.RankKey{rank}, nil)
}

func (x *index) locate(b *Buffer, location string, ranks ...boundary.RankKey) {
	x.mu.Lock()
	x.changes.Add(1)
	x.at[location] = append(x.at[location], ranks...)
	x.mu.Unlock()
	b.Advance(nil, []string{location})
}

// sink is a Destination of payloads that list the numbers of parts.
type sink struct {
	mu         sync.Mutex
	got, lost  []int
	batches    int
	retries    int
	checked    int // how many of got have been compared with the model
	beforeSend func(ctx context.Context) error
}

func (s *sink) Join(_ context.Context, payloads [][]int) ([]int, int) {
	batch := slices.Concat(payloads...)
	return batch, len(batch)
}

func (s *sink) Send(ctx context.Context, batch []int) error {
	if s.beforeSend != nil {
		if err := s.beforeSend(ctx); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.got = append(s.got, batch...)
	s.batches++
	return nil
}

func (s *sink) Sent(context.Context, int) {}

func (s *sink) Retry(context.Context, int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.retries++
}

func (s *sink) Lost(_ context.Context, items int, _ error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lost = append(s.lost, items)
}

func (s *sink) received() []int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.got)
}

// modelPart is a part in the naive model: a list in order of arrival, searched from the
// front for what may be forwarded.
type modelPart struct {
	number             int
	pipeline           int
	waits              []Wait
	bytes              int64
	deadline           time.Time
	committed, dropped bool
	delivered          bool
}

func (p *modelPart) names(other *modelPart) bool {
	return slices.ContainsFunc(p.waits, func(w Wait) bool {
		return slices.ContainsFunc(other.waits, func(o Wait) bool { return o.Key == w.Key })
	})
}

// machine runs a buffer and the model side by side.
type machine struct {
	index     *index
	buffer    *Buffer
	pipelines []*Pipeline[[]int]
	sinks     []*sink
	parts     []*modelPart
	// open are the reservations that are neither committed nor canceled, with the parts.
	open   []*Reservation
	opened [][]*modelPart
}

func newMachine(options Options, pipelines int) *machine {
	m := &machine{index: newIndex()}
	m.buffer = New(options, m.index)
	for range pipelines {
		s := &sink{}
		m.sinks = append(m.sinks, s)
		m.pipelines = append(m.pipelines, NewPipeline(m.buffer, Destination[[]int](s)))
	}
	return m
}

// end ends all goroutines, also those of a test that has failed.
func (m *machine) end() {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for _, p := range m.pipelines {
		if !p.isClosing() {
			_ = p.Close(ctx)
		}
	}
	for len(m.open) > 0 {
		m.finish(0, false)
	}
}

func (m *machine) draw(t *rapid.T) (pipeline int, parts []Part, models []*modelPart) {
	pipeline = rapid.IntRange(0, len(m.pipelines)-1).Draw(t, "pipeline")
	keys := rapid.Permutation([]Key{rankKey(0), rankKey(1), rankKey(2), rankKey(3), {Location: "here"}, {Location: "there"}}).Draw(t, "keys")
	for n := rapid.IntRange(1, 2).Draw(t, "parts"); n > 0; n-- {
		part := Part{
			Bytes:    int64(rapid.IntRange(1, 10).Draw(t, "bytes")),
			Deadline: time.Now().Add(time.Duration(rapid.IntRange(1, 8).Draw(t, "deadline")) * time.Second),
		}
		for range rapid.IntRange(1, 3).Draw(t, "waits") {
			part.Waits = append(part.Waits, Wait{
				Key: keys[0], Until: int64(rapid.IntRange(0, 20).Draw(t, "until")), Unknown: rapid.Bool().Draw(t, "unknown"),
			})
			keys = keys[1:]
		}
		model := &modelPart{
			number: len(m.parts) + len(models), pipeline: pipeline, waits: slices.Clone(part.Waits), bytes: part.Bytes, deadline: part.Deadline,
		}
		parts, models = append(parts, part), append(models, model)
	}
	return pipeline, parts, models
}

func (m *machine) finish(i int, commit bool) {
	r, models := m.open[i], m.opened[i]
	m.open, m.opened = slices.Delete(m.open, i, i+1), slices.Delete(m.opened, i, i+1)
	p := m.pipelines[models[0].pipeline]
	var payloads [][]int
	for _, model := range models {
		model.committed, model.dropped = commit, !commit
		payloads = append(payloads, []int{model.number})
	}
	if commit {
		p.Commit(context.Background(), r, payloads)
	} else {
		p.Cancel(r)
	}
}

// locate makes ranks known at a location.
func (m *machine) locate(location string, ranks ...boundary.RankKey) {
	m.index.locate(m.buffer, location, ranks...)
	m.relocate(location)
}

// relocate has the model's parts that wait for a location wait for the ranks that are known
// there.
func (m *machine) relocate(location string) {
	ranks := m.index.At(location)
	for _, p := range m.parts {
		i := slices.IndexFunc(p.waits, func(w Wait) bool { return w.Key.Location == location })
		if i < 0 || p.delivered || p.dropped {
			continue
		}
		until := p.waits[i].Until
		p.waits = slices.Delete(p.waits, i, i+1)
		for _, rank := range ranks {
			if j := slices.IndexFunc(p.waits, func(w Wait) bool { return w.Key == Key{Rank: rank} }); j >= 0 {
				p.waits[j].Until = max(p.waits[j].Until, until)
				continue
			}
			p.waits = append(p.waits, Wait{Key: Key{Rank: rank}, Until: until})
		}
	}
}

// settle delivers, in the model, all that has nothing left to wait for and no earlier part
// with the same key before it.
func (m *machine) settle() {
	for again := true; again; {
		again = false
		for i, p := range m.parts {
			if p.delivered || !p.committed {
				continue
			}
			due := !p.deadline.After(time.Now()) || !slices.ContainsFunc(p.waits, func(w Wait) bool { return !m.index.Reached(w) })
			first := !slices.ContainsFunc(m.parts[:i], func(earlier *modelPart) bool {
				return earlier.pipeline == p.pipeline && !earlier.delivered && !earlier.dropped && earlier.names(p)
			})
			if due && first {
				p.delivered, again = true, true
			}
		}
	}
}

// check compares what came out, and what is charged, with the model.
func (m *machine) check(t *rapid.T) {
	var bytes, parts int64
	for i, s := range m.sinks {
		var want []int
		for _, p := range m.parts {
			if p.pipeline == i && p.delivered {
				want = append(want, p.number)
			}
		}
		m.checkSink(t, s, want)
	}
	for _, p := range m.parts {
		if !p.delivered && !p.dropped {
			bytes, parts = bytes+p.bytes, parts+1
		}
	}
	require.Equal(t, bytes, m.buffer.heldBytes.Load())
	require.Equal(t, parts, m.buffer.heldParts.Load())
}

// checkSink compares what came out of a pipeline with the model. Of two parts that name the
// same key, the earlier one must have come out first.
func (m *machine) checkSink(t *rapid.T, s *sink, want []int) {
	got := s.received()
	for i, later := range got[s.checked:] {
		for _, earlier := range got[s.checked+i+1:] {
			require.False(t, earlier < later && m.parts[earlier].names(m.parts[later]),
				"part %d came out before %d", later, earlier)
		}
	}
	s.checked = len(got)
	slices.Sort(got)
	require.Equal(t, want, got)
}

// TestBufferForwardsLikeANaiveList compares a buffer with room for everything with a
// list that is searched from the front.
func TestBufferForwardsLikeANaiveList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rapid.Check(inBubble{t}, func(t *rapid.T) {
			m := newMachine(unbounded, rapid.IntRange(1, 3).Draw(t, "pipelines"))
			defer m.end()
			step := func(action func(t *rapid.T)) func(t *rapid.T) {
				return func(t *rapid.T) {
					action(t)
					synctest.Wait()
					m.settle()
					m.check(t)
				}
			}
			finish := func(commit bool) func(t *rapid.T) {
				return step(func(t *rapid.T) {
					if len(m.open) == 0 {
						return
					}
					m.finish(rapid.IntRange(0, len(m.open)-1).Draw(t, "reservation"), commit)
				})
			}
			t.Repeat(map[string]func(*rapid.T){
				"reserve": step(func(t *rapid.T) {
					pipeline, parts, models := m.draw(t)
					r, err := m.pipelines[pipeline].Reserve(context.Background(), parts)
					require.NoError(t, err)
					m.parts = append(m.parts, models...)
					m.open, m.opened = append(m.open, r), append(m.opened, models)
					for location := range m.index.at {
						m.relocate(location)
					}
				}),
				"commit": finish(true),
				"cancel": finish(false),
				"advance": step(func(t *rapid.T) {
					m.index.reach(m.buffer, rank(rapid.IntRange(0, 3).Draw(t, "rank")), int64(rapid.IntRange(0, 20).Draw(t, "to")))
				}),
				"locate": step(func(t *rapid.T) {
					location := rapid.SampledFrom([]string{"here", "there"}).Draw(t, "location")
					if len(m.index.at[location]) > 0 {
						return
					}
					m.locate(location, rank(rapid.IntRange(0, 3).Draw(t, "rank")), rank(4))
				}),
				"sleep": step(func(t *rapid.T) {
					time.Sleep(time.Duration(rapid.IntRange(1, 3).Draw(t, "seconds")) * time.Second)
				}),
			})
			m.close(t)
		})
	})
}

// close closes all pipelines while some reservations are open, and requires that all is
// forwarded and given back.
func (m *machine) close(t *rapid.T) {
	var wg sync.WaitGroup
	for _, p := range m.pipelines {
		wg.Go(func() { require.NoError(t, p.Close(context.Background())) })
	}
	synctest.Wait()
	for len(m.open) > 0 {
		m.finish(0, len(m.open)%2 == 0)
	}
	wg.Wait()
	for i, s := range m.sinks {
		var want []int
		for _, p := range m.parts {
			if p.pipeline == i && p.committed {
				want = append(want, p.number)
			}
		}
		m.checkSink(t, s, want)
		require.Empty(t, s.lost)
	}
	require.Zero(t, m.buffer.heldBytes.Load())
	require.Zero(t, m.buffer.heldParts.Load())
	for _, p := range m.pipelines {
		p.waiting.Range(func(key, _ any) bool {
			require.Fail(t, "a key is still waited for", key)
			return false
		})
		_, err := p.Reserve(context.Background(), []Part{{Waits: []Wait{{Key: rankKey(0)}}}})
		require.ErrorIs(t, err, ErrClosed)
	}
}
