// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/phaseattr/phaseattr/internal/boundary"
)

// heapBytes is what is in use after a garbage collection.
func heapBytes() int64 {
	const settled = 4 // times that a collection frees nothing more: the unique package frees its texts with a delay
	var stats runtime.MemStats
	least, same := uint64(math.MaxUint64), 0
	for range 100 {
		runtime.GC()
		runtime.ReadMemStats(&stats)
		same++
		if stats.HeapAlloc+1<<12 < least {
			same = 0
		}
		least = min(least, stats.HeapAlloc)
		if same == settled {
			break
		}
	}
	return int64(least)
}

// stormlogRun calls f for the boundaries of a run as stormlog writes it.
func stormlogRun(session string, boundaries int, f func(*boundary.Boundary)) {
	paths := [...]boundary.Path{
		boundary.NewPath("train"), boundary.NewPath("train", "step"), boundary.NewPath("train", "step", "load_batch"),
		boundary.NewPath("train", "step", "forward"), boundary.NewPath("train", "step", "backward"),
		boundary.NewPath("train", "step", "optimizer_step"),
	}
	sequence, now := int64(0), int64(0)
	emit := func(action boundary.Action, path, id, parent int) {
		sequence++
		now += int64(25 * time.Millisecond)
		b := boundary.Boundary{
			Time: now, Sequence: sequence, ThreadID: 7, ThreadName: "MainThread", Path: paths[path], Action: action,
			ScopeID: fmt.Sprint(session, ":", id),
		}
		if parent > 0 {
			b.ParentScopeID = fmt.Sprint(session, ":", parent)
		}
		f(&b)
	}
	emit(boundary.Enter, 0, 1, 0)
	for id := 2; int(sequence) < boundaries; {
		step := id
		emit(boundary.Enter, 1, step, 1)
		for phase := 2; phase < len(paths); phase++ {
			id++
			emit(boundary.Enter, phase, id, step)
			emit(boundary.Exit, phase, id, step)
		}
		emit(boundary.Exit, 1, step, 1)
		id++
	}
}

// What the index says that it takes is what it takes on the heap, so that limits::memory
// bounds that.
func TestAccountIsWhatTheIndexTakesOnTheHeap(t *testing.T) {
	scope := func(i int, edit func(*boundary.Boundary)) (enter, exit boundary.Boundary) {
		enter = boundary.Boundary{Time: int64(2 * i), Sequence: int64(2 * i), ThreadID: 1, ScopeID: fmt.Sprint("s:", i), Path: boundary.NewPath("step")}
		edit(&enter)
		exit = enter
		exit.Time, exit.Sequence, exit.Action = enter.Time+1, enter.Sequence+1, boundary.Exit
		return enter, exit
	}
	scopes := func(ranks, each int, edit func(i int, b *boundary.Boundary)) func(*Index) {
		return func(x *Index) {
			for rank := range ranks {
				for i := range each {
					enter, exit := scope(i, func(b *boundary.Boundary) { edit(i, b) })
					addOne(x, run("session-", rank), &enter)
					addOne(x, run("session-", rank), &exit)
				}
			}
		}
	}
	for name, fill := range map[string]func(*Index){
		"runs of stormlog": func(x *Index) {
			for rank := range 20 {
				key := boundary.RankKey{Session: "run", Rank: int64(rank)}
				stormlogRun("20261127-1", 2000, func(b *boundary.Boundary) { addOne(x, key, b) })
			}
		},
		"runs in a window": func(x *Index) {
			for rank := range 2 {
				key := boundary.RankKey{Session: "run", Rank: int64(rank)}
				stormlogRun("20261127-1", 30_000, func(b *boundary.Boundary) { addOne(x, key, b) })
			}
		},
		"short runs": func(x *Index) {
			for rank := range 500 {
				key := boundary.RankKey{Session: "run", Rank: int64(rank)}
				stormlogRun("20261127-1", 60, func(b *boundary.Boundary) { addOne(x, key, b) })
			}
		},
		"events that come in any order": func(x *Index) {
			for rank := range 5 {
				key := boundary.RankKey{Session: "run", Rank: int64(rank)}
				var all []*boundary.Boundary
				stormlogRun("20261127-1", 2000, func(b *boundary.Boundary) { all = append(all, b) })
				rand.New(rand.NewPCG(1, 2)).Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
				for len(all) > 0 {
					n := min(100, len(all))
					add(x, key, all[:n]...)
					all = all[n:]
				}
			}
		},
		"long scope IDs": scopes(10, 1000, func(i int, b *boundary.Boundary) {
			b.ScopeID = fmt.Sprint(strings.Repeat("x", 200), i)
			b.ParentScopeID = fmt.Sprint(strings.Repeat("y", 200), i)
		}),
		"a path of its own for each scope": scopes(10, 1000, func(i int, b *boundary.Boundary) {
			b.Path = boundary.NewPath("train", fmt.Sprint(rand.Int64(), strings.Repeat("p", 400), i))
		}),
		"many attributes": scopes(10, 1000, func(i int, b *boundary.Boundary) {
			b.Attributes = make([]boundary.Attribute, 8)
			for j := range b.Attributes {
				b.Attributes[j] = boundary.Attribute{Key: "epoch", Value: fmt.Sprint(strings.Repeat("v", 20*j), i)}
			}
		}),
		"a thread for each scope": scopes(100, 100, func(i int, b *boundary.Boundary) {
			b.ThreadID, b.ThreadName = int64(i), fmt.Sprint("worker thread ", i)
		}),
		"open scopes": func(x *Index) {
			for rank := range 50 {
				for i := range 500 {
					addOne(x, run("session-", rank), &boundary.Boundary{
						Time: int64(i), Sequence: int64(i), ScopeID: fmt.Sprint("session:", i), Path: boundary.NewPath("step"),
						ParentScopeID: fmt.Sprint("session:", i-1),
					})
				}
			}
		},
		"exits whose enters are lost": func(x *Index) {
			for rank := range 10 {
				for i := range 1000 {
					addOne(x, run("session-", rank), &boundary.Boundary{
						Time: int64(i), Sequence: int64(2 * i), ScopeID: fmt.Sprint("session:", i), Path: boundary.NewPath("train", "step"),
						ParentScopeID: fmt.Sprint("parent:", i), Action: boundary.Exit,
					})
				}
			}
		},
		"ranks with one event": func(x *Index) {
			for rank := range 5000 {
				x.Ingest().Observe(from(run("session-", rank)), &Event{Time: 1})
			}
		},
		"ranks with one boundary": scopes(5000, 1, func(int, *boundary.Boundary) {}),
		"intervals": func(x *Index) {
			for rank := range 10 {
				for i := range 1000 {
					x.Ingest().AddInterval(from(run("session-", rank)), &boundary.Interval{
						Start: int64(2 * i), End: int64(2*i + 1), ScopeID: fmt.Sprint("span-", i), Lane: "main", Name: "step",
					})
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			before := heapBytes()
			x := New(Options{Repair: true, Window: 10 * time.Minute, MaxThreads: 256})
			fill(x)
			measured := heapBytes() - before
			stats := x.Stats()
			ratio := float64(stats.Bytes) / float64(measured)
			t.Logf("%s: %d ranks, %d boundaries; account %d KiB, heap %d KiB: %.2f; %d bytes a boundary", name, stats.Ranks,
				stats.Boundaries, stats.Bytes>>10, measured>>10, ratio, measured/max(stats.Boundaries, 1))
			assert.InDelta(t, 1, ratio, 0.25)
			for _, key := range x.keys() {
				x.Forget(key)
			}
			assert.Zero(t, x.Stats().Bytes)
		})
	}
}

func (x *Index) keys() (keys []boundary.RankKey) {
	for _, s := range x.all() {
		keys = append(keys, s.key)
	}
	return keys
}
