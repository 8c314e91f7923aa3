// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

// Package measure times contenders against each other. Their turns are so short that
// other load on the machine affects all of them alike.
package measure

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"syscall"
	"time"
)

// turnsPerRound is the number of turns in a round. A round yields one figure.
const turnsPerRound = 5

// Contender is a piece of work to measure.
type Contender struct {
	Name string
	// Prepare, if not nil, runs before each stint and is not measured.
	Prepare func() error
	// Run does the work once.
	Run func() error
}

// Cost is the cost of one run of a contender.
type Cost struct {
	// Time is processor time, including the share of garbage collection that the allocated
	// bytes cause. It does not include other programs.
	Time time.Duration
	// Bytes and Allocs count the allocations.
	Bytes, Allocs float64
}

// Minus returns the difference of two costs.
func (c Cost) Minus(d Cost) Cost {
	return Cost{c.Time - d.Time, c.Bytes - d.Bytes, c.Allocs - d.Allocs}
}

// Rounds measures contenders for a number of rounds and returns their costs by contender
// and round. In each turn of a round, every contender runs the given number of times in a
// row; each turn begins with the next contender. Garbage is collected between turns only,
// and a contender is charged for its share: by default, Go collects once for every live
// heap's worth of allocations.
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

// stint runs a contender a number of times and returns the total cost.
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

// collect collects the garbage and returns the cost in nanoseconds per live byte.
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

// ProcessorTime returns the processor time of this process.
func ProcessorTime() (time.Duration, error) {
	user, system, err := times()
	return user + system, err
}

// UserTime returns the processor time of this process without that of the kernel, such as
// for providing memory.
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

// Median returns the median of a figure of the rounds.
func Median[T any](rounds []T, figure func(T) float64) float64 {
	figures := make([]float64, len(rounds))
	for i, r := range rounds {
		figures[i] = figure(r)
	}
	return Middle(figures)
}

// Middle returns the median of figures, which it sorts.
func Middle(figures []float64) float64 {
	slices.Sort(figures)
	return (figures[(len(figures)-1)/2] + figures[len(figures)/2]) / 2
}

// Heap returns the size of the live heap in bytes.
func Heap() uint64 {
	runtime.GC()
	runtime.GC() // frees what finalizers of the first one released
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
