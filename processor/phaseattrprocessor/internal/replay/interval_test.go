// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/phaseattr/phaseattr/internal/boundary"
)

// over describes the scopes that decide an interval of rank0, and returns the status.
func over(x *Index, from, to int64) ([]string, Status) {
	scopes, status := x.Handle(rank0).Over(nil, &Coverage{}, from, to)
	var all []string
	for _, s := range scopes {
		extent := map[Extent]string{Decides: "", Partial: "?", Unlisted: "many"}[s.Extent]
		all = append(all, fmt.Sprintf("%d:%s%s", s.ThreadID, s.Path.Label(), extent))
	}
	return all, status
}

// TestOverAgreesWithTheMoments holds the answer of each thread to what is active in the
// middle between two times, for runs with lost boundaries.
func TestOverAgreesWithTheMoments(t *testing.T) {
	for name, repair := range map[string]bool{"strict": false, "repair": true} {
		t.Run(name, func(t *testing.T) {
			covering, partial := 0, 0
			rapid.Check(t, func(t *rapid.T) {
				x := New(Options{Repair: repair})
				run := drawLoss(t, drawRun(t, rank0))
				if len(run) == 0 {
					return
				}
				for _, b := range run {
					b.Time *= 2 // so that there is a moment between two times
				}
				addDrawn(t, x, rank0, drawArrival(t, run))
				end(x, rank0)
				for range 20 {
					from := 2 * rapid.Int64Range(run[0].Time/2-2, run[len(run)-1].Time/2).Draw(t, "from")
					to := from + 2*rapid.Int64Range(1, 30).Draw(t, "length")
					scopes, _ := x.Handle(rank0).Over(nil, &Coverage{}, from, to)
					whole := throughout(x, rank0, from, to, false)
					for thread := range int64(4) {
						got := ofThread(scopes, thread)
						if want := ofThread(whole, thread); len(want) > 0 {
							require.ElementsMatch(t, want, got)
							continue
						}
						switch agreesWithTheMoments(t, x, from, to, thread, got) {
						case Decides:
							covering++
						case Partial:
							partial++
						}
					}
				}
			})
			assert.Positive(t, covering)
			assert.Positive(t, partial)
		})
	}
}

// agreesWithTheMoments holds the answer of a thread of which no scope spans the interval
// to the moments in it. It returns the extent of the scopes, Unlisted when there is none.
func agreesWithTheMoments(t *rapid.T, x *Index, from, to, thread int64, got []ScopeInterval) Extent {
	length, inPhase, depth := int(to-from)/2, 0, 0
	covered := map[boundary.Path]int{}
	for at := from + 1; at < to; at += 2 {
		now := ofThread(active(x, rank0, at, true), thread)
		if len(now) > 0 {
			inPhase++
		}
		for path := range prefixesOf(now) {
			covered[path]++
		}
	}
	for path, n := range covered {
		if 2*n >= length {
			depth = max(depth, path.Depth())
		}
	}
	switch {
	case depth > 0:
		require.NotEmpty(t, got)
		for _, s := range got {
			require.Equal(t, depth, s.Path.Depth())
			require.GreaterOrEqual(t, 2*covered[s.Path], length)
		}
		return Decides
	case 2*inPhase < length:
		require.Empty(t, got)
		return Unlisted
	}
	require.Greater(t, len(got), 1)
	for _, s := range got {
		require.Equal(t, Partial, s.Extent)
		require.Contains(t, covered, s.Path)
	}
	return Partial
}

func ofThread(scopes []ScopeInterval, thread int64) (own []ScopeInterval) {
	for _, s := range scopes {
		if s.ThreadID == thread {
			own = append(own, s)
		}
	}
	return own
}

func prefixesOf(scopes []ScopeInterval) map[boundary.Path]bool {
	prefixes := map[boundary.Path]bool{}
	for _, s := range scopes {
		for n := range s.Path.Depth() {
			prefixes[s.Path.Cut(n+1)] = true
		}
	}
	return prefixes
}

func TestScopesOfOnePathAddUpToTheLatest(t *testing.T) {
	x, e := New(Options{}), newEmitter(rank0)
	for i := range int64(3) {
		e.now = 10 * i
		e.enter(1, "forward")
		e.now = 10*i + 6
		e.exit(1)
	}
	mustAdd(t, x, rank0, e.out...)
	scopes, status := x.Handle(rank0).Over(nil, &Coverage{}, 2, 26)
	require.Len(t, scopes, 1)
	assert.Equal(t, Known, status)
	assert.Equal(t, "s:5", scopes[0].ScopeID)
	assert.Equal(t, Decides, scopes[0].Extent)
}

// A strict replay does not know the scope whose enter was lost, only its path.
func TestPathWithoutAScopeOfItsOwn(t *testing.T) {
	x, e := New(Options{}), newEmitter(rank0)
	e.enter(1, "train")
	for _, name := range []string{"forward", "backward", "optimizer"} {
		e.enter(1, name)
		e.now += 10
		e.exit(1)
	}
	mustAdd(t, x, rank0, e.out[1:]...)
	scopes, _ := x.Handle(rank0).Over(nil, &Coverage{}, 0, 30)
	require.Len(t, scopes, 1)
	assert.Equal(t, "train", scopes[0].Path.Label())
	assert.Empty(t, scopes[0].ScopeID)
	assert.Equal(t, "thread-1", scopes[0].ThreadName)
	assert.Equal(t, int64(6), scopes[0].Sequence, "that of the latest scope inside")
}

func TestIntervalOfALivingAndOfAnEndedSession(t *testing.T) {
	fill := func(options Options, kind Kind) *Index {
		x, e := New(options), newEmitter(rank0)
		e.enter(1, "train")
		mustAdd(t, x, rank0, e.out...)
		x.Ingest().Observe(from(rank0), &Event{Time: 10, Kind: kind})
		return x
	}
	living, stopped := fill(Options{}, Other), fill(Options{}, Stop)
	timed := fill(Options{SessionTimeout: 10}, Other)
	for name, tc := range map[string]struct {
		index    *Index
		from, to int64
		want     []string
		status   Status
	}{
		"to the newest event":              {living, 5, 10, []string{"1:train"}, Known},
		"past the newest event":            {living, 5, 100, []string{"1:train"}, Behind},
		"to the stop":                      {stopped, 5, 10, []string{"1:train"}, Known},
		"half of it past the stop":         {stopped, 5, 15, []string{"1:train"}, Ended},
		"most of it past the stop":         {stopped, 5, 16, nil, Ended},
		"all of it past the stop":          {stopped, 11, 16, nil, Ended},
		"from the stop on":                 {stopped, 10, 16, nil, Ended},
		"to the end of the timeout":        {timed, 5, 20, []string{"1:train"}, Behind},
		"past the timeout":                 {timed, 5, 31, nil, Ended}, // what was last known is not known to have lasted
		"most of it before the first":      {living, -20, 8, nil, Known},
		"half of it before the first":      {living, -8, 8, []string{"1:train"}, Known},
		"between two times far apart":      {living, -1 << 62, 1 << 62, []string{"1:train"}, Behind},
		"of an unknown rank":               {New(Options{}), 1, 2, nil, Unknown},
		"a nanosecond at the newest event": {living, 9, 10, []string{"1:train"}, Known},
	} {
		t.Run(name, func(t *testing.T) {
			got, status := over(tc.index, tc.from, tc.to)
			assert.Equal(t, tc.want, got)
			assert.Equal(t, tc.status, status)
		})
	}
}

func TestOverFromBeforeTheWindow(t *testing.T) {
	const window = 100
	x, e := New(Options{Window: window}), newEmitter(rank0)
	e.enter(1, "train") // open all the time
	e.now = 940
	e.enter(2, "load")
	e.now = 960
	e.exit(2)
	e.now = 1000
	e.enter(3, "save")
	mustAdd(t, x, rank0, e.out...)
	for at := range int64(4) { // to confirm the time
		x.Ingest().Observe(from(rank0), &Event{Time: 1001 + at})
	}
	floor := int64(1004 - window)
	for name, tc := range map[string]struct {
		from, to int64
		want     []string
		status   Status
	}{
		"a scope spans it, another thread was in none":  {floor - 20, floor + 30, []string{"1:train"}, Known},
		"a scope spans it, another thread is not known": {floor - 30, floor + 20, []string{"1:train", "2:many", "3:many"}, Known},
		"ends before the window":                        {floor - 30, floor - 1, nil, BeforeWindow},
		"begins in the window":                          {floor, floor + 30, []string{"1:train"}, Known},
	} {
		t.Run(name, func(t *testing.T) {
			got, status := over(x, tc.from, tc.to)
			assert.Equal(t, tc.want, got)
			assert.Equal(t, tc.status, status)
		})
	}
	e.now = 1004
	e.out = nil
	e.exit(1)
	mustAdd(t, x, rank0, e.out...)
	got, status := over(x, floor-100, 1005)
	assert.Empty(t, got)
	assert.Equal(t, BeforeWindow, status, "nothing spans it")
}

func TestMuchInAnIntervalIsUnlisted(t *testing.T) {
	phases := func(n int, name func(i int) string) *Index {
		x, e := New(Options{}), newEmitter(rank0)
		for i := range n {
			e.enter(1, name(i))
			e.now++
			e.exit(1)
		}
		mustAdd(t, x, rank0, e.out...)
		return x
	}
	numbered := func(i int) string { return fmt.Sprint("phase ", i) }
	x := phases(maxPartial+1, numbered)
	got, _ := over(x, 0, maxPartial)
	assert.Len(t, got, maxPartial)
	got, _ = over(x, 0, maxPartial+1)
	assert.Equal(t, []string{"1:many"}, got)

	// Two boundaries at each time, but for the first and the last one.
	x = phases(maxSwept, func(int) string { return "step" })
	got, _ = over(x, 0, maxSwept/2)
	assert.Equal(t, []string{"1:step"}, got)
	got, _ = over(x, 0, maxSwept/2+2)
	assert.Equal(t, []string{"1:many"}, got)
}

func TestScopeOver(t *testing.T) {
	x, e := New(Options{}), newEmitter(rank0)
	e.enter(1, "train")
	e.now = 10
	e.enter(1, "step")
	e.now = 20
	e.exit(1)
	e.now = 40
	e.exit(1)
	mustAdd(t, x, rank0, e.out...)
	for name, tc := range map[string]struct {
		id       string
		from, to int64
		want     bool
	}{
		"throughout":           {"s:2", 12, 18, true},
		"an outer one":         {"s:1", 12, 18, true},
		"half":                 {"s:2", 0, 20, true},
		"less than half":       {"s:2", 0, 21, false},
		"not active":           {"s:2", 21, 30, false},
		"of no scope":          {"s:9", 12, 18, false},
		"an outer one in part": {"s:1", 30, 50, true},
	} {
		t.Run(name, func(t *testing.T) {
			scopes, status := x.Handle(rank0).ScopeOver(nil, tc.id, tc.from, tc.to)
			assert.Equal(t, tc.want, len(scopes) == 1)
			assert.Contains(t, []Status{Known, Behind}, status)
			if tc.want {
				assert.Equal(t, tc.id, scopes[0].ScopeID)
			}
		})
	}
	_, status := (Handle{}).ScopeOver(nil, "s:1", 1, 2)
	assert.Equal(t, Unknown, status)
}

// training is an index of a loop of steps in train, or at the root, for some seconds.
func training(rooted bool, seconds int) *Index {
	x, e := New(Options{Repair: true}), newEmitter(rank0)
	if rooted {
		e.enter(1, "train")
	}
	for e.now < int64(seconds)*int64(time.Second) {
		e.enter(1, "step")
		for _, name := range []string{"load", "forward", "backward", "optimizer"} {
			e.enter(1, name)
			e.now += int64(25 * time.Millisecond)
			e.exit(1)
		}
		e.exit(1)
	}
	add(x, rank0, e.out...)
	return x
}

func TestLookupsOfIntervalsAllocateNothing(t *testing.T) {
	for name, rooted := range map[string]bool{"throughout": true, "covered": false} {
		x, c := training(rooted, 20), Coverage{}
		var scopes []ScopeInterval
		h := x.Handle(rank0)
		assert.Zero(t, testing.AllocsPerRun(100, func() {
			scopes, _ = h.Over(scopes[:0], &c, int64(time.Second), int64(16*time.Second))
		}), name)
	}
}

// BenchmarkOver looks up intervals that lie in a scope, and some that no scope spans.
func BenchmarkOver(b *testing.B) {
	for name, rooted := range map[string]bool{"throughout": true, "covered": false} {
		x := training(rooted, 120)
		for _, length := range []time.Duration{time.Millisecond, 15 * time.Second, 60 * time.Second} {
			b.Run(fmt.Sprint(name, "/", length), func(b *testing.B) {
				b.ReportAllocs()
				c, h := Coverage{}, x.Handle(rank0)
				var scopes []ScopeInterval
				from := int64(30*time.Second + time.Millisecond)
				for b.Loop() {
					scopes, _ = h.Over(scopes[:0], &c, from, from+int64(length))
				}
			})
		}
	}
}
