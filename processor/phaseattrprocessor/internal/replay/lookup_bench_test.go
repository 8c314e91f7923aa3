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

	"github.com/phaseattr/phaseattr/internal/boundary"
)

// BenchmarkLookup looks up the active scopes at times in the window, while one writer adds
// 40 boundaries a second to every thread of every rank, or as many as it can. One parameter
// at a time differs from the first line; `make bench-lookups` makes tables of the results.
func BenchmarkLookup(b *testing.B) {
	usual := population{ranks: 10_000, threads: 1, depth: 4, window: 100, row: 125}
	for _, ranks := range []int{1, 10, 100, 1000, 10_000, 100_000} {
		p := usual
		p.ranks = ranks
		b.Run(fmt.Sprintf("vary=ranks/n=%d", ranks), p.benchmark)
		p.row = 1
		b.Run(fmt.Sprintf("vary=scattered/n=%d", ranks), p.benchmark)
	}
	usual.ranks = 100
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
	usual.ranks = 1
	for _, window := range []int{10, 100, 1000, 10_000, 100_000} {
		p := usual
		p.window = window
		b.Run(fmt.Sprintf("vary=window/n=%d", window), p.benchmark)
	}
}

// population is the contents of an index.
type population struct {
	ranks, threads int
	// depth is the largest number of open scopes.
	depth int
	// window is the number of boundaries of a thread in the window.
	window int
	// row is how many lookups in a rank follow each other, at a few times, as for the points
	// of a batch.
	row int
}

// rowMoments is the number of times in a row of lookups.
const rowMoments = 5

// interval is the time between two boundaries of a thread.
const interval = int64(25 * time.Millisecond)

// crowd is a population and its index.
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
	for i := range p.ranks {
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

// step adds one boundary to every thread, for as long as it may: all scopes are entered,
// then all but the outermost are left, and so on.
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
		in := c.index.Ingest()
		for thread := range c.threads {
			b.ThreadID = int64(thread)
			in.Add(from(key), &b)
		}
	}
	c.newest.Store(b.Time)
}

// write takes a step per interval until stop is closed.
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
	lookups := make([]struct {
		key boundary.RankKey
		ago int64
	}, 1<<16)
	for i := range lookups {
		lookups[i].key = c.keys[random.IntN(len(c.keys))]
		lookups[i].ago = 1 + random.Int64N(int64(p.window-1)*interval)
		if i%p.row > 0 {
			lookups[i].key = lookups[i-1].key
		}
		if i%p.row >= rowMoments {
			lookups[i].ago = lookups[i-rowMoments].ago
		}
	}
	scopes := make([]ScopeInterval, 0, 128)
	i, late := 0, 0
	lookUp := func() {
		q := &lookups[i%len(lookups)]
		var status Status
		scopes, status = c.index.Handle(q.key).Active(scopes[:0], c.newest.Load()-q.ago, false)
		if status != Known { // the writer was faster
			late++
		}
		i++
	}
	allocs := testing.AllocsPerRun(1000, lookUp) // before the writer starts
	stop := make(chan struct{})
	var writer sync.WaitGroup
	writer.Go(func() { c.write(stop) })
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before := threadTime(b)
	for b.Loop() {
		lookUp()
	}
	b.ReportMetric(float64(threadTime(b)-before)/float64(b.N), "cpu-ns/op")
	close(stop)
	writer.Wait()
	b.ReportMetric(allocs, "allocs/lookup")
	if late > i/20 {
		b.Fatalf("%d of %d lookups were too late", late, i)
	}
}

// threadTime is the processor time of this thread, without waiting and other programs.
func threadTime(b *testing.B) time.Duration {
	b.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_THREAD, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
