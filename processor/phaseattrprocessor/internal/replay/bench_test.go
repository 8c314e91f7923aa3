// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"cmp"
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/boundary"
)

// loop emits train and then steps with a phase in them, 25 ms between boundaries.
func loop(group boundary.Group, boundaries int) []*boundary.Boundary {
	e := newEmitter(group)
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

// BenchmarkAdd takes in a run in order, and with every hundredth boundary late by a
// number of others.
func BenchmarkAdd(b *testing.B) {
	run := loop(key, 24_000)
	for _, late := range []int{0, 1, 10, 100, 1000, 10_000} {
		b.Run(fmt.Sprintf("late_by=%d", late), func(b *testing.B) {
			arrivals := delayed(run, late)
			b.ReportAllocs()
			for b.Loop() {
				x := New(Options{Repair: true, Window: 10 * time.Minute})
				for _, boundary := range arrivals {
					x.Add(key, boundary)
				}
				if x.Stats().Boundaries != int64(len(run)) {
					b.Fatal("not all were taken in")
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

// BenchmarkActive asks what was active at recent moments, with a writer beside it.
func BenchmarkActive(b *testing.B) {
	for _, groups := range []int{1, 10_000} {
		b.Run(fmt.Sprintf("groups=%d", groups), func(b *testing.B) {
			x := New(Options{Repair: true})
			keys := make([]boundary.Group, groups)
			var newest int64
			for i := range keys {
				keys[i] = boundary.Group{Session: "5923ed05-815c-4937-af70-387c61debe92", Rank: int64(i)}
				for _, boundary := range loop(keys[i], 100) {
					x.Add(keys[i], boundary)
					newest = boundary.Time
				}
			}
			spans := make([]Span, 0, 8)
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				spans, _ = x.Active(spans[:0], keys[i%groups], newest-int64(i%1000)*int64(time.Millisecond), false)
				i++
			}
			if len(spans) == 0 {
				b.Fatal("nothing was active")
			}
		})
	}
}

// BenchmarkHeld measures the heap that a boundary in the window and an idle group take.
func BenchmarkHeld(b *testing.B) {
	heap := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	b.Run("boundary", func(b *testing.B) {
		const boundaries = 200_000
		for b.Loop() {
			before := heap()
			x := New(Options{Repair: true})
			for _, boundary := range loop(key, boundaries) {
				x.Add(key, boundary)
			}
			b.ReportMetric(float64(heap()-before)/boundaries, "B/boundary")
			runtime.KeepAlive(x)
		}
	})
	b.Run("group", func(b *testing.B) {
		const groups = 10_000
		for b.Loop() {
			before := heap()
			x := New(Options{Repair: true})
			for i := range int64(groups) {
				group := boundary.Group{Session: "5923ed05-815c-4937-af70-387c61debe92", Rank: i}
				for _, boundary := range loop(group, 4) {
					x.Add(group, boundary)
				}
			}
			b.ReportMetric(float64(heap()-before)/groups, "B/group")
			runtime.KeepAlive(x)
		}
	})
}
