// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package resolve

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/phaseattr/phaseattr/internal/boundary"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/replay"
)

// TestCacheKeepsTheNewestKeysOfASet has all keys share one set, the zero key among them.
func TestCacheKeepsTheNewestKeysOfASet(t *testing.T) {
	var c cache[int]
	places := map[int]int{}
	for key := range cacheWays {
		place, known := c.place(&key, cacheSets, 7)
		assert.False(t, known, key)
		places[place] = key
	}
	assert.Len(t, places, cacheWays, "each key has a place of its own")
	for place, key := range places {
		got, known := c.place(&key, cacheSets, 7)
		assert.True(t, known, key)
		assert.Equal(t, place, got)
	}
	another := cacheWays
	place, known := c.place(&another, cacheSets, 7)
	assert.False(t, known)
	assert.Contains(t, places, place, "it takes the place of another key")
	again := places[place]
	_, known = c.place(&again, cacheSets, 7)
	assert.False(t, known, "which is no longer known")
	_, known = c.place(&another, cacheSets, 7)
	assert.True(t, known)

	c.clear()
	_, known = c.place(&another, cacheSets, 7)
	assert.False(t, known)
}

// lagging is an index of a rank that sends samples and has not come as far as 30 s.
func lagging(t *testing.T, key boundary.RankKey) *replay.Index {
	t.Helper()
	x := replay.New(replay.Options{})
	in := x.Ingest()
	for i := range int64(10) {
		result := in.Observe(&replay.Sender{Rank: key}, &replay.Event{Time: (2*i + 1) * 1e9, Kind: replay.Sample})
		require.Equal(t, replay.Accepted, result.Outcome)
	}
	in.Flush()
	return x
}

func TestStateIsReadOncePerInterval(t *testing.T) {
	key := rankOf(0)
	x := lagging(t, key)
	r := newResolver(x, 0, 10)
	r.Begin(true)
	defer r.End()
	rank := r.Rank(&key, boundary.MainProcess)
	for _, at := range []int64{20e9, 30e9, 25e9} {
		require.True(t, r.State(rank, at, at).Behind)
	}
	x.Handle(key).GiveUp(30e9)
	for _, at := range []int64{20e9, 30e9, 25e9} {
		assert.True(t, r.State(rank, at, at).Behind, "as when it was read")
	}
	r.Refresh()
	assert.False(t, r.State(rank, 30e9, 30e9).Behind)
}

func TestStateIsReadAgainOnceARankIsNotWaitedFor(t *testing.T) {
	key := rankOf(0)
	r := newResolver(lagging(t, key), 0, 10)
	r.Begin(true)
	defer r.End()
	rank := r.Rank(&key, boundary.MainProcess)
	for _, at := range []int64{25e9, 30e9} {
		require.True(t, r.State(rank, at, at).Behind)
	}
	r.GiveUp(rank, 30e9)
	for _, at := range []int64{25e9, 30e9} {
		assert.False(t, r.State(rank, at, at).Behind)
	}
}
