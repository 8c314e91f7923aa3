// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/phaseattr/phaseattr/internal/boundary"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/replay"
)

// steps returns n boundaries of a rank: training steps of four phases each.
func steps(rank boundary.RankKey, n int) []boundary.Boundary {
	var all, open []boundary.Boundary
	add := func(b boundary.Boundary) {
		b.Sequence = int64(len(all) + 1)
		b.Time = 1_700_000_000_000_000_000 + b.Sequence*1_003_001
		all = append(all, b)
	}
	enter := func(names ...string) {
		b := boundary.Boundary{ThreadID: 140_001, ThreadName: "MainThread", Path: boundary.NewPath(names...)}
		b.ScopeID = fmt.Sprintf("%s:%d:%d", rank.Session, rank.Rank, len(all)+1)
		if len(open) > 0 {
			b.ParentScopeID = open[len(open)-1].ScopeID
		}
		add(b)
		open = append(open, all[len(all)-1])
	}
	exit := func() {
		b := open[len(open)-1]
		b.Action = boundary.Exit
		add(b)
		open = open[:len(open)-1]
	}
	enter("train")
	for len(all) < n {
		enter("train", "step")
		for _, name := range []string{"load_batch", "forward", "backward", "optimizer_step"} {
			enter("train", "step", name)
			exit()
		}
		exit()
	}
	return all[:n]
}

func benchRank(i int) boundary.RankKey {
	return boundary.RankKey{Session: "c0ffee00-0000-4000-8000-000000000000", Rank: int64(i)}
}

// BenchmarkWrite measures writing 100 boundaries of a rank to the journal.
func BenchmarkWrite(b *testing.B) {
	c := newCollector(newDisk(), replay.Options{})
	require.NoError(b, c.store.recover(b.Context()))
	rank := benchRank(0)
	sender := Sender{Rank: rank, Process: boundary.Process{Host: "node", PID: 100}}
	boundaries := steps(rank, 100)
	before := c.store.Bytes()
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		e := c.store.Entry()
		for i := range boundaries {
			e.Boundary(&sender, &boundaries[i])
		}
		c.store.Write(b.Context(), e)
		n++
	}
	b.ReportMetric(float64(c.store.Bytes()-before)/float64(n*len(boundaries)), "B/boundary")
}

// BenchmarkSnapshot measures encoding, BenchmarkRestore restoring a rank of 600 boundaries.
func BenchmarkSnapshot(b *testing.B) {
	const ranks = 50
	c := filled(b, newDisk(), ranks)
	b.ReportAllocs()
	for b.Loop() {
		for i := range ranks {
			c.store.describe(benchRank(i)).dirty = true
		}
		require.NoError(b, c.store.compact(b.Context()))
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/ranks, "ns/rank")
	b.ReportMetric(float64(c.store.Bytes())/ranks, "B/rank")
}

func filled(b *testing.B, d *disk, ranks int) *collector {
	c := newCollector(d, replay.Options{})
	require.NoError(b, c.store.recover(b.Context()))
	for i := range ranks {
		var events []event
		all := steps(benchRank(i), 600)
		for j := range all {
			events = append(events, event{rank: benchRank(i), boundary: &all[j], at: all[j].Time})
		}
		c.add(b.Context(), events...)
	}
	return c
}

func BenchmarkRestore(b *testing.B) {
	for _, from := range []string{"journal", "snapshots"} {
		b.Run(from, func(b *testing.B) {
			const ranks = 50
			d := newDisk()
			c := filled(b, d, ranks)
			if from == "snapshots" {
				require.NoError(b, c.store.compact(b.Context()))
			}
			b.ReportAllocs()
			for b.Loop() {
				next := newCollector(d, replay.Options{})
				require.NoError(b, next.store.recover(b.Context()))
				require.EqualValues(b, ranks*600, next.index.Stats().Boundaries)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/ranks, "ns/rank")
		})
	}
}
