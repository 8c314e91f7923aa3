// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

// Package measure times contenders against each other in short rounds, so that what
// else the machine does meets all of them.
package measure

import (
	"fmt"
	"runtime"
	"runtime/metrics"
	"slices"
	"syscall"
	"time"
)

// Contender is something to be measured.
type Contender struct {
	Name string
	// Prepare, if there is one, does before each round what is not to be measured.
	Prepare func() error
	// Run does the work once.
	Run func() error
}

// Cost is what a contender's work took, once.
type Cost struct {
	// Time is processor time, the garbage collector's included. What other programs do
	// on the machine is not in it.
	Time time.Duration
	// Bytes and Allocs are what was allocated.
	Bytes, Allocs float64
}

// Minus is what a cost has beyond another.
func (c Cost) Minus(d Cost) Cost {
	return Cost{c.Time - d.Time, c.Bytes - d.Bytes, c.Allocs - d.Allocs}
}

// Rounds measures contenders in turn for a number of rounds. It returns their costs by
// contender and round. Each round begins with another one.
func Rounds(contenders []Contender, rounds int) ([][]Cost, error) {
	costs := make([][]Cost, len(contenders))
	for round := range rounds {
		for i := range contenders {
			at := (i + round) % len(contenders)
			cost, err := cycle(contenders[at])
			if err != nil {
				return nil, fmt.Errorf("%s: %w", contenders[at].Name, err)
			}
			costs[at] = append(costs[at], cost)
		}
	}
	return costs, nil
}

// cycle lets a contender work from the end of one garbage collection to that of the
// next, so that it pays for the garbage that it makes, no more and no less.
func cycle(c Contender) (Cost, error) {
	if c.Prepare != nil {
		if err := c.Prepare(); err != nil {
			return Cost{}, err
		}
	}
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	collections := []metrics.Sample{{Name: "/gc/cycles/total:gc-cycles"}}
	metrics.Read(collections)
	first := collections[0].Value.Uint64()
	start, err := ProcessorTime()
	if err != nil {
		return Cost{}, err
	}
	n := 0
	for ; collections[0].Value.Uint64() == first; n++ {
		if failed := c.Run(); failed != nil {
			return Cost{}, failed
		}
		metrics.Read(collections)
	}
	end, err := ProcessorTime()
	if err != nil {
		return Cost{}, err
	}
	runtime.ReadMemStats(&after)
	return Cost{
		Time:   (end - start) / time.Duration(n),
		Bytes:  float64(after.TotalAlloc-before.TotalAlloc) / float64(n),
		Allocs: float64(after.Mallocs-before.Mallocs) / float64(n),
	}, nil
}

// ProcessorTime is what this process has used of the processors.
func ProcessorTime() (time.Duration, error) {
	user, system, err := times()
	return user + system, err
}

// UserTime is what this process has used of the processors, but for what the system did
// for it, such as to hand it memory.
func UserTime() (time.Duration, error) {
	user, _, err := times()
	return user, err
}

func times() (user, system time.Duration, err error) {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0, 0, fmt.Errorf("read the processor time: %w", err)
	}
	return time.Duration(usage.Utime.Nano()), time.Duration(usage.Stime.Nano()), nil
}

// Median returns the middle one of some figures, of each round's.
func Median[T any](rounds []T, figure func(T) float64) float64 {
	figures := make([]float64, len(rounds))
	for i, r := range rounds {
		figures[i] = figure(r)
	}
	slices.Sort(figures)
	return (figures[(len(figures)-1)/2] + figures[len(figures)/2]) / 2
}

// Heap is what is alive, in bytes.
func Heap() uint64 {
	runtime.GC()
	runtime.GC() // what the first one has made unreachable
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
