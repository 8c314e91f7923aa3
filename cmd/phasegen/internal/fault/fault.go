// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

// Package fault damages the records of a job on their way: it loses, delays, duplicates
// and reorders them.
package fault

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/phaseattr/phaseattr/cmd/phasegen/job"
)

// Config describes the faults. Shares are from 0 to 1.
type Config struct {
	// Loss is the share of boundaries that are lost.
	Loss float64
	// Late is the share of records that are delayed, LateBy by how much at most.
	Late   float64
	LateBy time.Duration
	// Duplicate is the share of records that are sent twice.
	Duplicate float64
	// Shuffle is the share of records that change places with another one of their batch.
	Shuffle float64
	Seed    uint64
}

// Validate returns all problems of the configuration. It names the fields as the flags
// of phasegen.
func (c *Config) Validate() error {
	var errs []error
	share := func(name string, value float64) {
		if !(value >= 0 && value <= 1) { // not a number is neither
			errs = append(errs, fmt.Errorf("%s must be between 0 and 1 (got %v)", name, value))
		}
	}
	share("loss", c.Loss)
	share("late", c.Late)
	share("duplicate", c.Duplicate)
	share("shuffle", c.Shuffle)
	if c.LateBy <= 0 {
		errs = append(errs, fmt.Errorf("late-by must be positive (got %v)", c.LateBy))
	}
	return errors.Join(errs...)
}

// Faults decides what happens to records.
type Faults struct {
	Config

	random *rand.Rand
	// Lost, Delayed, Duplicated and Moved count the records so far.
	Lost, Delayed, Duplicated, Moved int
}

// New returns the faults of a valid configuration.
func New(c Config) *Faults {
	return &Faults{Config: c, random: rand.New(rand.NewPCG(c.Seed, 3<<32))}
}

// Fate is what happens to a record.
type Fate struct {
	// Copies is how many times it is sent: 0 if it is lost.
	Copies int
	// Delay is how much later than usual it is sent.
	Delay time.Duration
}

// Decide returns what happens to the record of an event. Readings are never damaged.
func (f *Faults) Decide(e *job.Event) Fate {
	if e.Kind.Reading() || e.Kind == job.Kill {
		return Fate{Copies: 1}
	}
	if e.Kind.Boundary() && f.happens(f.Loss) {
		f.Lost++
		return Fate{}
	}
	fate := Fate{Copies: 1}
	if f.happens(f.Late) {
		f.Delayed++
		fate.Delay = time.Duration(1 + f.random.Int64N(int64(f.LateBy)))
	}
	if f.happens(f.Duplicate) {
		f.Duplicated++
		fate.Copies++
	}
	return fate
}

// Reorder changes the places of some events of a batch.
func (f *Faults) Reorder(batch []*job.Event) {
	for i := range batch {
		if f.happens(f.Shuffle) {
			f.Moved++
			k := f.random.IntN(len(batch))
			batch[i], batch[k] = batch[k], batch[i]
		}
	}
}

func (f *Faults) happens(share float64) bool { return share > 0 && f.random.Float64() < share }
