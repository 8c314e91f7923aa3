// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

// Package measure times contenders against each other in turns so short that what else
// the machine does meets all of them.
package measure

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"syscall"
	"time"
)

// turnsPerRound is how many turns a round has: what one figure comes from.
const turnsPerRound = 5

// Contender is something to be measured.
type Contender struct {
	Name string
	// Prepare, if there is one, does before each stint what is not to be measured.
	Prepare func() error
	// Run does the work once.
	Run func() error
}

// Cost is what a contender's work took, once.
type Cost struct {
	// Time is processor time, with the share of the garbage collector's that the garbage
	// comes to. What other programs do on the machine is not in it.
	Time time.Duration
	// Bytes and Allocs are what was allocated.
	Bytes, Allocs float64
}

// Minus is what a cost has beyond another.
func (c Cost) Minus(d Cost) Cost {
	return Cost{c.Time - d.Time, c.Bytes - d.Bytes, c.Allocs - d.Allocs}
}

// Rounds measures contenders for a number of rounds. It returns their costs by contender
// and round. In each turn of a round, every contender works runs times in a row; each turn
// begins with another one. Garbage is collected between the turns only: a contender pays
// for its part of a collection, of which Go by default makes one whenever as much has been
// allocated as is alive.
func Rounds(contenders []Contender, rounds, runs int) ([][]Cost, error) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	costs := make([][]Cost, len(contenders))
	turn := 0
	for range rounds {
		sums := make([]Cost, len(contenders))
		collecting := 0.0 // nanoseconds for a byte
		for range turnsPerRound {
			for i := range contenders {
				at := (i + turn) % len(contenders)
				cost, err := stint(contenders[at], runs)
				if err != nil {
					return nil, fmt.Errorf("%s: %w", contenders[at].Name, err)
				}
				sums[at].Time += cost.Time
				sums[at].Bytes += cost.Bytes
				sums[at].Allocs += cost.Allocs
			}
			turn++
			price, err := collect()
			if err != nil {
				return nil, err
			}
			collecting += price / turnsPerRound
		}
		for i, sum := range sums {
			works := float64(turnsPerRound * runs)
			costs[i] = append(costs[i], Cost{
				Time:   time.Duration((float64(sum.Time) + sum.Bytes*collecting) / works),
				Bytes:  sum.Bytes / works,
				Allocs: sum.Allocs / works,
			})
		}
	}
	return costs, nil
}

// stint lets a contender work some times, and returns what that took in all.
func stint(c Contender, runs int) (Cost, error) {
	if c.Prepare != nil {
		if err := c.Prepare(); err != nil {
			return Cost{}, err
		}
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	start, err := ProcessorTime()
	if err != nil {
		return Cost{}, err
	}
	for range runs {
		if failed := c.Run(); failed != nil {
			return Cost{}, failed
		}
	}
	end, err := ProcessorTime()
	runtime.ReadMemStats(&after)
	return Cost{
		Time:   end - start,
		Bytes:  float64(after.TotalAlloc - before.TotalAlloc),
		Allocs: float64(after.Mallocs - before.Mallocs),
	}, err
}

// collect collects the garbage, and returns what that took in nanoseconds for each byte
// that is alive.
func collect() (float64, error) {
	start, err := ProcessorTime()
	if err != nil {
		return 0, err
	}
	runtime.GC()
	end, err := ProcessorTime()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(end-start) / float64(m.HeapAlloc), err
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
	return Middle(figures)
}

// Middle returns the middle one of some figures, which it sorts.
func Middle(figures []float64) float64 {
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
