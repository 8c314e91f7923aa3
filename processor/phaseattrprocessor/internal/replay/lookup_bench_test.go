// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package replay

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/boundary"
)

// BenchmarkLookup asks what was active at moments of the window, while every thread of
// every group goes on at 40 boundaries a second, or as fast as one writer can. One
// thing at a time differs from the first line: `make bench-lookups` makes tables of it.
func BenchmarkLookup(b *testing.B) {
	usual := population{groups: 10_000, threads: 1, depth: 4, window: 100, row: 125}
	for _, groups := range []int{1, 10, 100, 1000, 10_000, 100_000} {
		p := usual
		p.groups = groups
		b.Run(fmt.Sprintf("vary=groups/n=%d", groups), p.benchmark)
		p.row = 1
		b.Run(fmt.Sprintf("vary=scattered/n=%d", groups), p.benchmark)
	}
	usual.groups = 100
	for _, threads := range []int{1, 4, 16, 64} {
		p := usual
		p.threads = threads
		b.Run(fmt.Sprintf("vary=threads/n=%d", threads), p.benchmark)
	}
	for _, depth := range []int{1, 2, 4, 8, 16} {
		p := usual
		p.depth = depth
		b.Run(fmt.Sprintf("vary=depth/n=%d", depth), p.benchmark)
	}
	usual.groups = 1
	for _, window := range []int{10, 100, 1000, 10_000, 100_000} {
		p := usual
		p.window = window
		b.Run(fmt.Sprintf("vary=window/n=%d", window), p.benchmark)
	}
}

// population is what an index holds.
type population struct {
	groups, threads int
	// depth is how many scopes are open at the most.
	depth int
	// window is how many boundaries of a thread lie in the window.
	window int
	// row is how many questions about a group follow each other, for a few moments, as
	// the points of a batch do.
	row int
}

// rowMoments is how many there are in a row.
const rowMoments = 5

// interval is the time between two boundaries of a thread.
const interval = int64(25 * time.Millisecond)

// crowd is a population on the move.
type crowd struct {
	population
	index *Index
	keys  []boundary.RankKey
	// paths are those of the scopes that are open, by depth.
	paths []boundary.Path
	// tick is how many boundaries each thread has had.
	tick int64
	// newest is the time of the last ones.
	newest atomic.Int64
}

func (p population) start() *crowd {
	c := &crowd{
		population: p,
		index:      New(Options{Repair: true, Window: time.Duration(p.window) * time.Duration(interval)}),
		paths:      []boundary.Path{{}},
	}
	for i := range p.groups {
		c.keys = append(c.keys, boundary.RankKey{Session: "5923ed05-815c-4937-af70-387c61debe92", Rank: int64(i)})
	}
	var names []string
	for i := range p.depth {
		names = append(names, "phase "+strconv.Itoa(i))
		c.paths = append(c.paths, boundary.NewPath(names...))
	}
	for range p.window + 2*p.depth {
		c.step(func() bool { return true })
	}
	return c
}

// step lets every thread go on by one boundary, for as long as it may: all scopes are
// entered, then all but the outermost are left, and so on.
func (c *crowd) step(may func() bool) {
	c.tick++
	rise := int64(c.depth - 1)
	at := max(c.tick-1, 0)
	b := boundary.Boundary{Time: c.tick * interval, ThreadName: "MainThread"}
	depth, opened := int64(1), int64(1) // of the scope, and the tick of its enter
	switch {
	case rise == 0: // the one scope is left and entered again
		if at%2 == 1 {
			b.Action = boundary.Exit
		}
		opened = c.tick - at%2
	case at > 0:
		in := (at - 1) % (2 * rise)
		depth, opened = in+2, c.tick
		if in >= rise {
			b.Action = boundary.Exit
			depth = 2*rise - in + 1
			opened = c.tick - 2*(in-rise) - 1
		}
	}
	b.Sequence, b.Path = c.tick, c.paths[depth]
	// A scope is named by the tick of its enter; the parent was entered one before it.
	b.ScopeID = "5923ed05-815c-4937-af70-387c61debe92:" + strconv.FormatInt(opened, 10)
	switch {
	case depth == 2:
		b.ParentScopeID = "5923ed05-815c-4937-af70-387c61debe92:1"
	case depth > 2:
		b.ParentScopeID = "5923ed05-815c-4937-af70-387c61debe92:" + strconv.FormatInt(opened-1, 10)
	}
	for _, key := range c.keys {
		if !may() {
			return
		}
		arrival := c.index.Ingest()
		for thread := range c.threads {
			b.ThreadID = int64(thread)
			arrival.Add(key, &b)
		}
	}
	c.newest.Store(b.Time)
}

// write lets time go by until stop is closed.
func (c *crowd) write(stop <-chan struct{}) {
	may := func() bool {
		select {
		case <-stop:
			return false
		default:
			return true
		}
	}
	pace := time.NewTicker(time.Duration(interval))
	defer pace.Stop()
	for may() {
		c.step(may)
		select {
		case <-stop:
		case <-pace.C:
		}
	}
}

func (p population) benchmark(b *testing.B) {
	c := p.start()
	random := rand.New(rand.NewPCG(1, 2))
	asked := make([]struct {
		key boundary.RankKey
		ago int64
	}, 1<<16)
	for i := range asked {
		asked[i].key = c.keys[random.IntN(len(c.keys))]
		asked[i].ago = 1 + random.Int64N(int64(p.window-1)*interval)
		if i%p.row > 0 {
			asked[i].key = asked[i-1].key
		}
		if i%p.row >= rowMoments {
			asked[i].ago = asked[i-rowMoments].ago
		}
	}
	spans := make([]ScopeInterval, 0, 128)
	i, late := 0, 0
	ask := func() {
		q := &asked[i%len(asked)]
		var status Status
		spans, status = c.index.Handle(q.key).Active(spans[:0], c.newest.Load()-q.ago, false)
		if status != Known { // time went by before the question was asked
			late++
		}
		i++
	}
	allocs := testing.AllocsPerRun(1000, ask) // before the writer begins
	stop := make(chan struct{})
	var writer sync.WaitGroup
	writer.Go(func() { c.write(stop) })
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before := threadTime(b)
	for b.Loop() {
		ask()
	}
	b.ReportMetric(float64(threadTime(b)-before)/float64(b.N), "cpu-ns/op")
	close(stop)
	writer.Wait()
	b.ReportMetric(allocs, "allocs/lookup")
	if late > i/20 {
		b.Fatalf("%d of %d answers came too late", late, i)
	}
}

// threadTime is the processor time that this thread has had: neither what other
// programs do is in it nor what it waits for.
func threadTime(b *testing.B) time.Duration {
	b.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_THREAD, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
