// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/phaseattr/phaseattr/internal/boundary"
)

// nested opens scopes on a thread, each in the one before, of which none decides alone: their
// paths are as long as each other.
func (e *emitter) nested(thread int64, n int) {
	parent := ""
	for range n {
		e.now++
		e.sequence++
		b := &boundary.Boundary{
			Time: e.now, Sequence: e.sequence, ThreadID: thread, ScopeID: fmt.Sprint("nested-", thread, "-", e.sequence),
			ParentScopeID: parent, Path: boundary.NewPath("step"),
		}
		parent = b.ScopeID
		e.out = append(e.out, b)
	}
}

// isUnlisted reports whether scopes say that there are too many of them.
func isUnlisted(scopes []ScopeInterval) bool { return len(scopes) == 1 && scopes[0].Extent == Unlisted }

func TestADeepStackIsUnlisted(t *testing.T) {
	for _, depth := range []int{maxStack, maxStack + 1} {
		x, e := New(Options{Repair: true}), newEmitter(rank0)
		e.nested(1, depth)
		mustAdd(t, x, rank0, e.out...)
		for name, whole := range map[string]bool{"what decides": false, "all of it": true} {
			got, _ := x.Handle(rank0).Active(nil, e.now+1, whole)
			if depth <= maxStack {
				assert.Len(t, got, depth, name)
			} else {
				assert.True(t, isUnlisted(got), "%s: %d scopes", name, len(got))
			}
		}
	}
}

func TestManyScopesOfAMomentAreUnlisted(t *testing.T) {
	const threads = 5
	for _, depth := range []int{maxScopes / threads, maxScopes/threads + 1} {
		x, e := New(Options{Repair: true}), newEmitter(rank0)
		for thread := range int64(threads) {
			e.nested(thread, depth)
		}
		mustAdd(t, x, rank0, e.out...)
		got, _ := x.Handle(rank0).Active([]ScopeInterval{{}}, e.now, false)
		if threads*depth <= maxScopes {
			assert.Len(t, got, 1+threads*depth)
		} else {
			assert.True(t, isUnlisted(got[1:]), "%d scopes", len(got))
		}
	}
}

func TestMuchAtOneMomentIsUnlisted(t *testing.T) {
	t.Run("a deep stack", func(t *testing.T) {
		for _, depth := range []int{maxStack, maxStack + 1} {
			x, e := New(Options{Repair: true}), newEmitter(rank0)
			e.nested(1, depth)
			last := *e.out[depth-1]
			last.Action, last.Sequence = boundary.Exit, e.sequence+1
			mustAdd(t, x, rank0, append(e.out, &last)...)
			got, _ := x.Handle(rank0).Active(nil, e.now, false)
			if depth <= maxStack {
				assert.Len(t, got, depth)
			} else {
				assert.True(t, isUnlisted(got), "%d scopes", len(got))
			}
		}
	})
	t.Run("many scopes", func(t *testing.T) {
		x, e := New(Options{Repair: true}), newEmitter(rank0)
		e.now = 10
		for range maxStack + 1 {
			e.enter(1, "step")
			e.exit(1)
		}
		mustAdd(t, x, rank0, e.out...)
		got, _ := x.Handle(rank0).Active(nil, 10, false)
		assert.True(t, isUnlisted(got), "%d scopes", len(got))
	})
	t.Run("many boundaries", func(t *testing.T) {
		for n, want := range map[int]int{maxSwept: 0, maxSwept + 1: 1} {
			x := New(Options{})
			in := x.Ingest()
			for i := range n { // which leave nothing
				b := boundary.Boundary{Time: 10, Sequence: int64(i), Action: boundary.Exit, ScopeID: "none", Path: boundary.NewPath("step")}
				require.Equal(t, Accepted, in.Add(from(rank0), &b).Outcome)
			}
			in.Flush()
			got, _ := x.Handle(rank0).Active(nil, 10, false)
			assert.Len(t, got, want, "%d boundaries", n)
		}
	})
}

func TestScopesOfManySegmentsAreBounded(t *testing.T) {
	const depth = maxStack
	for segments, want := range map[int]bool{maxListed/depth - 2: true, maxListed/depth + 2: false} {
		x, e := New(Options{Repair: true}), newEmitter(rank0)
		e.nested(1, depth)
		begin := e.now
		for range segments / 2 {
			e.now++
			e.enter(2, "step")
			e.now++
			e.exit(2)
		}
		mustAdd(t, x, rank0, e.out...)
		_, all := x.Handle(rank0).Segments(begin, e.now, false, 1<<20, func(Segment) bool { return true })
		assert.Equal(t, want, all, "%d segments", segments)
	}
}

// It is asked with a lock held that all batches need.
func TestARankThatIsBeingWrittenIsNotWaitedFor(t *testing.T) {
	x, e := New(Options{}), newEmitter(rank0)
	e.enter(1, "step")
	mustAdd(t, x, rank0, e.out...)
	require.True(t, x.Reached(rank0, e.now))
	s := x.stream(rank0)
	s.mu.Lock()
	assert.False(t, x.Reached(rank0, e.now))
	s.mu.Unlock()
	assert.True(t, x.Reached(rank0, e.now))
}

func TestWhatIsRememberedOfAProcessIsBounded(t *testing.T) {
	const many = 1000
	x, e := New(Options{Repair: true}), newEmitter(rank0)
	sender := from(rank0)
	in := x.Ingest()
	for i := range int64(many) {
		e.now += int64(2 * time.Second)
		e.enter(i%2, fmt.Sprint("step", i))
		require.Equal(t, Accepted, in.Add(sender, e.out[len(e.out)-1]).Outcome)
		e.exit(i % 2)
		require.Equal(t, Accepted, in.Add(sender, e.out[len(e.out)-1]).Outcome)
		sender.Print = uint64(i)
		in.Observe(sender, &Event{Time: e.now + 1, Kind: Start})
		first := boundary.Boundary{Time: e.now + 2, Sequence: 1, ScopeID: fmt.Sprint("first", i), ThreadID: 3, Path: boundary.NewPath("step")}
		require.Equal(t, Accepted, in.Add(sender, &first).Outcome)
		x.Handle(rank0).NoteLookup(e.now, 1)
	}
	in.Flush()
	s := x.stream(rank0)
	require.Len(t, s.processes, 1)
	p := s.processes[0]
	assert.Len(t, p.starts, maxBegins)
	assert.Len(t, p.begins, maxBegins)
	assert.Len(t, p.firsts, maxBegins)
	assert.Len(t, p.presences, MaxPresences)
	assert.LessOrEqual(t, len(p.entered), maxReentered)
	assert.NotEmpty(t, p.entered)
	assert.Len(t, s.lookups.recent, lookupsKept)
}

func TestGapsOfNumbersAreBounded(t *testing.T) {
	var n numbers
	for i := range int64(2 * maxGaps) {
		n.note(2*i, i, i)
	}
	assert.Len(t, n.gaps, maxGaps)
	assert.Equal(t, int64(4*maxGaps-3), n.gaps[maxGaps-1].last, "the newest ones are kept")
	n.note(4*maxGaps-2+maxGap, 1000, 1000)
	assert.Len(t, n.gaps, maxGaps, "as many are missing as may be")
	n.note(4*maxGaps-2+2*maxGap+1, 1001, 1001)
	assert.Len(t, n.gaps, maxGaps-1, "it numbers anew")
}

func TestRanksOfASessionAreListedUpToABound(t *testing.T) {
	x := New(Options{})
	for rank := range int64(2 * MaxSessionRanks) {
		key := boundary.RankKey{Session: "s", Rank: rank}
		mustAdd(t, x, key, &boundary.Boundary{Time: 1, Path: boundary.NewPath("step")})
		ranks, _ := x.Session("", "s")
		require.Len(t, ranks, min(int(rank)+1, MaxSessionRanks+1))
	}
}

func TestLateScopesThatAreOpenAreBounded(t *testing.T) {
	x, e := New(Options{Repair: true, MaxOpen: 3}), newEmitter(rank0)
	for range 8 {
		e.now++
		e.enter(1, "deeper")
	}
	newest := e.out[7]
	mustAdd(t, x, rank0, newest)
	add(x, rank0, e.out[:7]...)
	assert.LessOrEqual(t, x.Stats().OpenScopes, int64(3))
}

func TestNamedBoundariesAreBounded(t *testing.T) {
	x := newSpanIndex(t, Options{MaxOpen: 3, MaxThreads: 2})
	in := x.Ingest()
	for i := range int64(5) {
		b := enterNamed(i, i, fmt.Sprint("scope", i))
		want := Accepted
		if i >= 3 {
			want = TooManyOpen
		}
		require.Equal(t, want, in.Add(&spanSender, &b).Outcome)
	}
	for i, want := range []Outcome{Accepted, TooManyThreads, TooManyThreads} {
		b := enterNamed(10, 10, "scope")
		b.Lane = fmt.Sprint("lane", i)
		require.Equal(t, want, in.Add(&spanSender, &b).Outcome)
	}
	in.Flush()
}

func TestProcessesOfARankAreBounded(t *testing.T) {
	const most = 3
	x := New(Options{Repair: true, MaxThreads: most})
	in := x.Ingest()
	for i := range int64(2 * most) { // each is in a phase
		sender := Sender{Rank: rank0, Process: boundary.Process{Host: "node", PID: 100 + i}, Feed: &Feed{Peers: true}}
		in.Add(&sender, &boundary.Boundary{Time: 10, Sequence: 1, ScopeID: "s", ThreadID: i, Path: boundary.NewPath("step")})
		assert.Len(t, x.stream(rank0).processes, int(min(1+i, most)))
	}
}

// Jitter reverses few boundaries: past a bound, time tells the order.
func TestFewBoundariesAreReversed(t *testing.T) {
	for _, n := range []int{maxReversed, maxReversed + 1} {
		x, e := New(Options{Repair: true}), newEmitter(rank0)
		e.now, e.sequence = 1000, 100
		for range n {
			e.now++
			e.enter(1, "step")
		}
		mustAdd(t, x, rank0, e.out...)
		thread := &x.stream(rank0).processes[0].threads[0]
		placed := thread.order(entryKey{time: 1000, seq: e.sequence + 1})
		if n <= maxReversed {
			assert.Equal(t, e.now, placed.time, "after the others")
		} else {
			assert.Equal(t, int64(1000), placed.time, "before them")
		}
		placed = thread.order(entryKey{time: e.now + 1, seq: 1})
		assert.Equal(t, maxReversed, placed.raised)
	}
}

// Ranks that should make room may be in use: the bound may be passed by a little then.
func TestWhoIsSparedDoesNotPassTheBoundByFar(t *testing.T) {
	const bound = 320
	x := New(Options{MaxTotal: bound})
	large, small := boundary.RankKey{Session: "large"}, boundary.RankKey{Session: "small"}
	fill := func(rank boundary.RankKey, n int) {
		e := newEmitter(rank)
		for range n {
			e.now++
			e.enter(1, "step")
			e.now++
			e.exit(1)
		}
		add(x, rank, e.out...)
	}
	fill(large, bound/2)
	s := x.stream(large)
	s.mu.Lock()
	defer s.mu.Unlock()
	fill(small, bound)
	assert.LessOrEqual(t, x.Stats().Boundaries, int64(bound+bound/excess))
}

func TestFewRanksAreTriedToFindOneThatMakesRoom(t *testing.T) {
	for _, busy := range []int{maxReliefTries - 1, maxReliefTries} {
		x := New(Options{MaxTotal: 1 << 20})
		var streams []*stream
		for i := range maxReliefTries + 1 {
			e := newEmitter(boundary.RankKey{Session: fmt.Sprint("s", i)})
			for range 1000 {
				e.now++
				e.enter(1, "step")
				e.exit(1)
			}
			mustAdd(t, x, e.rank, e.out...)
			streams = append(streams, x.stream(e.rank))
		}
		e := newEmitter(rank0)
		e.enter(1, "step")
		mustAdd(t, x, rank0, e.out...)
		for _, s := range streams[:busy] {
			s.mu.Lock()
		}
		largest, inUse := x.sizes.largest(x.stream(rank0), TooManyBoundaries)
		assert.Equal(t, busy < maxReliefTries, largest != nil)
		assert.Equal(t, busy >= maxReliefTries, inUse)
		if largest != nil {
			largest.mu.Unlock()
		}
		for _, s := range streams[:busy] {
			s.mu.Unlock()
		}
	}
}

// The visitors of a web server are all active: few of them are looked at to find one that makes
// room.
func TestFewVisitorsAreLookedAtToFindOneThatMakesRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const visitors = 10 * maxVacateTries
		x := New(Options{MaxRanks: visitorsPerRank * visitors})
		visit := func(i int) {
			key := boundary.RankKey{Session: fmt.Sprint("visitor", i)}
			require.Equal(t, Accepted, x.Ingest().Observe(from(key), &Event{Time: 1}).Outcome)
		}
		for i := range visitors {
			visit(i)
		}
		time.Sleep(time.Second)
		for i := range visitors {
			visit(i)
		}
		visit(visitors)
		moved := 0
		for _, s := range x.streams {
			if s.key.Session != fmt.Sprint("visitor", visitors) && s.listedAt > 0 {
				moved++
			}
		}
		assert.Equal(t, maxVacateTries-1, moved)
		assert.Len(t, x.streams, visitors)
	})
}

func TestManyPhasesOfALaneAreUnlisted(t *testing.T) {
	for _, phases := range []int64{maxPartial, maxPartial + 1} {
		x := newSpanIndex(t, Options{Window: time.Hour})
		for i := range phases {
			x.add(Accepted, &spanSender, named(fmt.Sprint("s", i), "", fmt.Sprint("phase", i), i, i+1))
		}
		x.add(Accepted, &spanSender, named("after", "", "after", phases, phases+1))
		got, status := x.Handle(spanSender.Rank).Over(nil, &Coverage{}, 0, phases)
		if phases <= maxPartial {
			assert.Len(t, got, int(phases), status)
		} else {
			assert.True(t, isUnlisted(got), "%d scopes", len(got))
		}
	}
}
