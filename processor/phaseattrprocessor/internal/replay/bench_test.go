// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"cmp"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/phaseattr/phaseattr/internal/boundary"
)

// loop emits the enter of train and then steps with a phase in them, 25 ms between
// boundaries.
func loop(rank boundary.RankKey, boundaries int) []*boundary.Boundary {
	e := newEmitter(rank)
	e.enter(1, "train")
	for len(e.out) < boundaries {
		for _, name := range []string{"step", "forward", "", ""} {
			e.now += int64(25 * time.Millisecond)
			if name == "" {
				e.exit(1)
			} else {
				e.enter(1, name)
			}
		}
	}
	return e.out[:boundaries]
}

// BenchmarkAdd adds a run in order, and with every hundredth boundary late by a number of
// others, in batches of 100.
func BenchmarkAdd(b *testing.B) {
	run := loop(rank0, 24_000)
	for _, late := range []int{0, 1, 10, 100, 1000, 10_000} {
		b.Run(fmt.Sprintf("late_by=%d", late), func(b *testing.B) {
			arrivals := delayed(run, late)
			b.ReportAllocs()
			for b.Loop() {
				x := New(Options{Repair: true, Window: 10 * time.Minute})
				for batch := range slices.Chunk(arrivals, 100) {
					in := x.Ingest()
					for _, boundary := range batch {
						in.Add(from(rank0), boundary)
					}
					in.Flush()
				}
				if x.Stats().Boundaries != int64(len(run)) {
					b.Fatal("not all were added")
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(run)), "ns/boundary")
		})
	}
}

// delayed moves every hundredth boundary back by a number of places, or to the end.
func delayed(run []*boundary.Boundary, late int) []*boundary.Boundary {
	if late == 0 {
		return run
	}
	place := func(i int) int {
		if i%100 == 0 {
			return min(i+late, len(run))
		}
		return i
	}
	order := make([]int, len(run))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, j int) int { return cmp.Compare(place(i), place(j)) })
	arrivals := make([]*boundary.Boundary, len(run))
	for i, from := range order {
		arrivals[i] = run[from]
	}
	return arrivals
}
