// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package resolve

import (
	"fmt"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/phaseattr/phaseattr/internal/boundary"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/annotate"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/policy"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/replay"
)

func rankOf(number int) boundary.RankKey { return boundary.RankKey{Session: "s", Rank: int64(number)} }

// filled is an index of ranks that are in phase n from second n to n+1, in a thread of
// their own, and of one more second in another thread.
func filled(ranks, phases int) *replay.Index {
	x := replay.New(replay.Options{})
	in := x.Ingest()
	add := func(key boundary.RankKey, b *boundary.Boundary) {
		if result := in.Add(&replay.Sender{Rank: key}, b); result.Outcome != replay.Accepted {
			panic(result.Outcome.String())
		}
	}
	for i := range ranks {
		sequence := int64(0)
		for n := range phases {
			path := boundary.NewPath(fmt.Sprint("rank ", i), fmt.Sprint("phase ", n))
			for _, action := range []boundary.Action{boundary.Enter, boundary.Exit} {
				sequence++
				b := boundary.Boundary{
					Action: action, Time: int64(10 * n), Sequence: sequence, ScopeID: strconv.Itoa(n), ThreadID: 1, ThreadName: "main", Path: path,
				}
				if action == boundary.Exit {
					b.Time += 9
				}
				add(rankOf(i), &b)
			}
		}
	}
	in.Flush()
	return x
}

func newResolver(x *replay.Index, truncate, limit int) *Resolver {
	return New(x, policy.Threads{}, truncate, NewPathLimiter(limit))
}

// TestCachedResultsAreThoseOfALookupAlone has many lookups share the places of the cache,
// as a batch of many ranks and moments does.
func TestCachedResultsAreThoseOfALookupAlone(t *testing.T) {
	const ranks, phases = 40, 10
	x := filled(ranks, phases)
	cached := newResolver(x, 0, 10_000)
	rapid.Check(t, func(t *rapid.T) {
		cached.Begin(rapid.Bool().Draw(t, "data points"))
		defer cached.End()
		for range rapid.IntRange(1, 300).Draw(t, "lookups") {
			key := rankOf(rapid.IntRange(0, ranks).Draw(t, "rank")) // one more than there are
			from := rapid.Int64Range(-5, 10*phases+5).Draw(t, "from")
			to := from + rapid.SampledFrom([]int64{0, 0, 3, 30}).Draw(t, "duration")
			origin := boundary.Origin{}
			if rapid.IntRange(0, 3).Draw(t, "named") == 0 {
				origin.ScopeID = strconv.Itoa(rapid.IntRange(0, phases).Draw(t, "scope"))
			}
			got := cached.Resolve(Lookup{Rank: cached.Rank(&key, boundary.MainProcess), Origin: cached.Origin(origin), From: from, To: to})

			alone := newResolver(x, 0, 10_000)
			alone.Begin(true)
			want := alone.Resolve(Lookup{Rank: alone.Rank(&key, boundary.MainProcess), Origin: alone.Origin(origin), From: from, To: to})
			require.Equal(t, want.Found, got.Found)
			require.Equal(t, want.Status, got.Status)
			if want.Found {
				require.Equal(t, want.Attribution, got.Attribution)
			}
			require.Equal(t, x.Handle(key).At(from, to), cached.State(cached.Rank(&key, boundary.MainProcess), from, to))
		}
	})
}

func TestResolverKeepsNothingOfABatch(t *testing.T) {
	x := filled(2, 2)
	r := newResolver(x, 1, 10_000)
	first, second := rankOf(0), rankOf(1)
	r.Begin(true)
	require.Equal(t, int32(0), r.Rank(&first, boundary.MainProcess))
	assert.Equal(t, "rank 0", r.Resolve(Lookup{From: 5, To: 5}).Attribution.Path, "paths of data points are truncated")
	r.End()
	assert.Zero(t, r.Ranks())

	r.Begin(false)
	require.Equal(t, int32(0), r.Rank(&second, boundary.MainProcess))
	assert.Equal(t, "rank 1 / phase 0", r.Resolve(Lookup{From: 5, To: 5}).Attribution.Path, "and those of the rest are not")
	assert.Equal(t, replay.State{Known: true, Live: true}, r.State(0, 5, 5))
	assert.Equal(t, replay.State{Known: true, Live: true, Behind: true}, r.State(0, 5, 500), "for another interval")
	r.End()
}

func TestPartsOfAnInterval(t *testing.T) {
	x := filled(1, 5)
	r := newResolver(x, 0, 10_000)
	key, table := rankOf(0), annotate.New([]string{"phase_path"})
	r.Begin(true)
	defer r.End()
	lookup := Lookup{Rank: r.Rank(&key, boundary.MainProcess), From: 5, To: 25}
	describe := func(parts []Part) (all []string) {
		for _, p := range parts {
			all = append(all, fmt.Sprintf("%d-%d %s", p.From, p.To, p.Attribution.Path))
		}
		return all
	}
	want := []string{"5-9 rank 0 / phase 0", "9-10 ", "10-19 rank 0 / phase 1", "19-20 ", "20-25 rank 0 / phase 2"}
	for range 2 { // the second time from the cache
		parts, tooMany := r.Parts(lookup, 5, table.Equal)
		assert.False(t, tooMany)
		assert.Equal(t, want, describe(parts))
	}
	later := lookup
	later.To = 45
	parts, tooMany := r.Parts(later, 5, table.Equal)
	assert.True(t, tooMany)
	assert.Empty(t, parts)
	parts, tooMany = r.Parts(lookup, 5, table.Equal)
	assert.False(t, tooMany)
	assert.Equal(t, want, describe(parts))

	same, _ := r.Parts(Lookup{Rank: lookup.Rank, From: 0, To: 49}, 100, annotate.New([]string{"phase_rank"}).Equal)
	assert.Len(t, same, 9, "neighbors that are written alike are one part")
	_, tooMany = r.Parts(Lookup{Rank: lookup.Rank, From: 0, To: 49}, 9, annotate.New([]string{"phase_rank"}).Equal)
	assert.False(t, tooMany)
}

func TestAnnotatedItemsAreToldToTheIndex(t *testing.T) {
	x := filled(1, 1)
	r := newResolver(x, 0, 10)
	key := rankOf(0)
	r.Begin(true)
	r.Resolve(Lookup{Rank: r.Rank(&key, boundary.MainProcess), From: 8, To: 8}).Annotated += 7
	r.End()
	in := x.Ingest()
	in.Add(&replay.Sender{Rank: key}, &boundary.Boundary{
		Action: boundary.Enter, Time: 7, Sequence: 99, ScopeID: "late", ThreadID: 1, ThreadName: "main", Path: boundary.NewPath("late"),
	})
	assert.Equal(t, int64(7), in.Flush(), "a late boundary would have changed them")
}

// Scopes that are written alike are one part, but no more of them are visited than a bound.
func TestFewBoundariesAreVisitedForParts(t *testing.T) {
	const most = 3
	for boundaries, want := range map[int]bool{most * boundariesPerPart: false, most*boundariesPerPart + 1: true} {
		x := replay.New(replay.Options{})
		in := x.Ingest()
		for i := range int64(boundaries + 1) { // the first one opens what the others are in
			b := boundary.Boundary{Time: i, Sequence: i, ScopeID: strconv.FormatInt(i, 10), ThreadID: 1, Path: boundary.NewPath("step")}
			require.Equal(t, replay.Accepted, in.Add(&replay.Sender{Rank: rankOf(0)}, &b).Outcome)
		}
		in.Flush()
		r := newResolver(x, 0, 10_000)
		key := rankOf(0)
		r.Begin(true)
		always := func(*policy.Attribution, *policy.Attribution) bool { return true }
		parts, tooMany := r.Parts(Lookup{Rank: r.Rank(&key, boundary.MainProcess), From: 0, To: int64(boundaries + 1)}, most, always)
		assert.Equal(t, want, tooMany, "%d boundaries", boundaries)
		if !want {
			assert.Len(t, parts, 1)
		}
		r.End()
	}
}
