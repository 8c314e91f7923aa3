// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/phaseattr/phaseattr/internal/boundary"
)

func run(name string, i int) boundary.RankKey {
	return boundary.RankKey{Session: name + strconv.Itoa(i)}
}

func (x *Index) enters(rank boundary.RankKey, at int64) Outcome {
	return addOne(x, rank, &boundary.Boundary{Time: at, Sequence: 1, ScopeID: "a", Path: boundary.NewPath("train")})
}

// A web shop's records have event names and session IDs as well. However many come, they
// cost no training run its place, nor the phases of one that has ended.
func TestVisitorsTakeNoPlaceOfARun(t *testing.T) {
	for _, visitors := range []int{20_001, 200_000} {
		t.Run(strconv.Itoa(visitors), func(t *testing.T) {
			x := New(Options{Repair: true, MaxRanks: 20_000})
			require.Equal(t, Accepted, x.enters(run("ended", 0), 1))
			x.Ingest().Observe(from(run("ended", 0)), &Event{Time: 2, Kind: Stop})
			refused, runs := 0, 0
			begin := time.Now()
			for i := range visitors {
				require.Equal(t, Accepted, x.Ingest().Observe(from(run("visitor", i)), &Event{Time: 3}).Outcome)
				if i%20 == 0 {
					if x.enters(run("run", i), 3) != Accepted {
						refused++
					}
					runs++
				}
			}
			t.Logf("%d visitors in %s: %d of %d training runs refused; %d ranks count", visitors, time.Since(begin).Round(time.Millisecond), refused, runs, x.Stats().Ranks)
			assert.Zero(t, refused)
			assert.Equal(t, runs+1, x.Stats().Ranks)
			assert.True(t, x.Has(run("ended", 0)), "nobody needed its place")
			x.mu.RLock()
			defer x.mu.RUnlock()
			assert.LessOrEqual(t, x.visitors, 10_000)
		})
	}
}

// Runs take the places of those that have ended, at once, and then of ranks that have sent no
// boundary; never those of others.
func TestRunsTakeThePlacesOfEndedOnes(t *testing.T) {
	const most = 1000
	x := New(Options{Repair: true, MaxRanks: most})
	for i := range most {
		require.Equal(t, Accepted, x.enters(run("run", i), 1))
	}
	for i := range most {
		require.Equal(t, TooManyRanks, x.enters(run("refused", i), 1))
		x.Ingest().Observe(from(run("visitor", i)), &Event{Time: 1})
		in := x.Ingest()
		in.Observe(from(run("run", i)), &Event{Time: 2, Kind: Stop})
		added := in.Add(from(run("new", i)), &boundary.Boundary{Time: 1, Sequence: 1, ScopeID: "a", Path: boundary.NewPath("train")})
		require.Equal(t, Accepted, added.Outcome, "run %d has just ended", i)
		require.Contains(t, in.Vacated(), run("run", i))
	}
	assert.Equal(t, most, x.Stats().Ranks)
}

func TestRanksThatOnlyStartedMakeRoom(t *testing.T) {
	x := New(Options{Repair: true, MaxRanks: 4})
	require.Equal(t, Accepted, x.enters(run("run", 0), 1))
	for i := range 20 {
		require.Equal(t, Accepted, x.Ingest().Observe(from(run("started", i)), &Event{Time: 1, Kind: Start}).Outcome)
	}
	for i := 1; i < 4; i++ {
		require.Equal(t, Accepted, x.enters(run("run", i), 1))
	}
	assert.Equal(t, TooManyRanks, x.Ingest().Observe(from(run("started", 20)), &Event{Time: 1, Kind: Start}).Outcome)
	for i := range 4 {
		assert.True(t, x.Has(run("run", i)))
	}
}

func TestRunThatGoesOnAfterItsStopKeepsItsPlace(t *testing.T) {
	x := New(Options{Repair: true, MaxRanks: 1})
	require.Equal(t, Accepted, x.enters(run("run", 0), 1))
	x.Ingest().Observe(from(run("run", 0)), &Event{Time: 2, Kind: Stop})
	require.Equal(t, Accepted, addOne(x, run("run", 0), &boundary.Boundary{Time: 3, Sequence: 2, ScopeID: "b", Path: boundary.NewPath("evaluate")}))
	assert.Equal(t, TooManyRanks, x.enters(run("other", 0), 4))
	assert.True(t, x.Has(run("run", 0)))
}

// A session that has lost a rank to others is not one with a single rank.
func TestSessionThatHasLostARankIsNotComplete(t *testing.T) {
	x := New(Options{Repair: true, MaxRanks: 2})
	require.Equal(t, Accepted, x.enters(boundary.RankKey{Session: "job"}, 1))
	x.Ingest().Observe(from(boundary.RankKey{Session: "job", Rank: 1}), &Event{Time: 1})
	ranks, complete := x.Session("", "job")
	assert.True(t, complete)
	assert.Len(t, ranks, 2)
	x.Ingest().Observe(from(run("visitor", 0)), &Event{Time: 1})
	ranks, complete = x.Session("", "job")
	assert.False(t, complete)
	assert.Len(t, ranks, 1)
}
