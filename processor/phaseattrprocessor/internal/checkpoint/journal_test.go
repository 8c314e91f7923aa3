// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/phaseattr/phaseattr/internal/boundary"
)

func TestConcurrentCallersAreAllWritten(t *testing.T) {
	d := newDisk()
	c := started(t, d)
	const callers, calls = 8, 50
	var running sync.WaitGroup
	for i := range int64(callers) {
		running.Go(func() {
			rank := boundary.RankKey{Session: "a", Rank: i}
			for at := range int64(calls) {
				entry := c.store.Entry()
				e := enter(rank, at, "train")
				add(c.index, rank, e.boundary)
				entry.Boundary(&Sender{Rank: rank}, e.boundary)
				c.store.Write(t.Context(), entry)
			}
		})
	}
	running.Wait()
	next := started(t, d.left())
	want := c.index.Stats()
	want.Repairs = 0 // they have been counted
	assert.Equal(t, want, next.index.Stats())
}

func TestTheJournalIsTruncatedOnceItIsLongerThanTheSnapshots(t *testing.T) {
	d := newDisk()
	c := newCollector(d, options())
	c.store.minJournal = 2000
	require.NoError(t, c.store.Start(t.Context()))
	rank := boundary.RankKey{Session: "a"}
	for at := range int64(5000) {
		exit := *enter(rank, at, "train").boundary
		exit.Action, exit.Sequence = boundary.Exit, at+1
		c.add(t.Context(), enter(rank, at, "train"), event{rank: rank, at: at, boundary: &exit})
	}
	require.Eventually(t, func() bool { return c.store.Bytes() < 2*c.store.minJournal }, 10*time.Second, time.Millisecond,
		"little is left of 5,000 calls of 60 bytes")
	require.NoError(t, c.store.Close(t.Context()))
	assert.Len(t, d.records(snapshotPrefix), 1)
	next := started(t, d.left())
	assert.Equal(t, c.answers([]boundary.RankKey{rank}, 5000), next.answers([]boundary.RankKey{rank}, 5000))
}

func TestAShortJournalIsNotCompacted(t *testing.T) {
	d := newDisk()
	c := newCollector(d, options())
	require.NoError(t, c.store.recover(t.Context()))
	c.add(t.Context(), enter(boundary.RankKey{Session: "a"}, 1, "train"))
	assert.False(t, c.store.compactionDue())
	c.store.minJournal = 1
	require.True(t, c.store.compactionDue())
	require.NoError(t, c.store.compact(t.Context()))
	assert.Len(t, d.records(snapshotPrefix), 1)
	assert.Empty(t, d.records(journalPrefix))
}

func TestForgottenRanksAreDeleted(t *testing.T) {
	d := newDisk()
	c := started(t, d)
	var ranks []boundary.RankKey
	for i := range int64(20) {
		rank := boundary.RankKey{Session: "a", Rank: i}
		ranks = append(ranks, rank)
		c.add(t.Context(), enter(rank, 1, "train"))
	}
	require.NoError(t, c.store.compact(t.Context()))
	require.Len(t, d.records(snapshotPrefix), len(ranks))
	for _, rank := range ranks[1:] {
		c.index.Forget(rank)
	}
	c.store.Forget(t.Context(), ranks) // the first one is back
	assert.Len(t, d.records(snapshotPrefix), 1)
	c.add(t.Context(), enter(ranks[7], 9, "again"))
	next := started(t, d.left())
	assert.Equal(t, 2, next.index.Stats().Ranks)
	assert.Equal(t, []string{"again"}, next.paths(ranks[7], 10))
}

func TestRanksForgottenWhileTheStorageFailsAreDeletedLater(t *testing.T) {
	d := newDisk()
	c := started(t, d)
	snapshot, journal := boundary.RankKey{Session: "a"}, boundary.RankKey{Session: "b", Rank: 1}
	c.add(t.Context(), enter(snapshot, 1, "train"))
	require.NoError(t, c.store.compact(t.Context()))
	c.add(t.Context(), enter(journal, 1, "train"))
	d.setFails(true)
	c.index.Forget(snapshot)
	c.index.Forget(journal)
	c.store.Forget(t.Context(), []boundary.RankKey{snapshot, journal})
	assert.Equal(t, 1, c.failures(Write))

	d.setFails(false)
	c.store.wakeUp()
	require.Eventually(t, func() bool { return c.recoveries() == 1 }, 10*time.Second, time.Millisecond)
	assert.Empty(t, d.records(snapshotPrefix))
	assert.Zero(t, started(t, d.left()).index.Stats().Ranks)
}

func TestARankMayBeForgottenAndComeBackWhileItsSnapshotIsWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDisk()
		c := started(t, d)
		rank := boundary.RankKey{Session: "a"}
		c.add(t.Context(), enter(rank, 1, "train"))
		release := d.block(all)
		var running sync.WaitGroup
		running.Go(func() { assert.NoError(t, c.store.compact(t.Context())) })
		synctest.Wait()
		c.index.Forget(rank)
		running.Go(func() { c.store.Forget(t.Context(), []boundary.RankKey{rank}) })
		synctest.Wait()
		running.Go(func() { c.add(t.Context(), enter(rank, 5, "again")) })
		synctest.Wait()
		release()
		running.Wait()

		next := started(t, d.left())
		assert.Equal(t, []string{"again"}, next.paths(rank, 6))
		assert.Equal(t, c.store.Bytes(), next.store.Bytes())
	})
}
