// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"slices"
	"time"
)

const (
	// A process has a pulse once it has sent samples at this many distinct times.
	pulseSamples = 8
	// The newest samples, whose mean distance is the pulse.
	pulseKept = 32
	// A process that misses this many pulses, and is silent for at least goneAfter, is gone.
	missedPulses = 10
	goneAfter    = 5 * time.Second
)

// pulse is how regularly a process sends samples.
type pulse struct {
	// Interval is what the process says; 0 if it does not.
	Interval time.Duration
	// Samples are the newest distinct times of samples, in order.
	Samples []int64
}

// note adds the time of a sample.
func (p *pulse) note(at int64) {
	i, known := slices.BinarySearch(p.Samples, at)
	if known || i == 0 && len(p.Samples) == pulseKept {
		return
	}
	if len(p.Samples) == pulseKept {
		copy(p.Samples, p.Samples[1:i])
		p.Samples[i-1] = at
		return
	}
	p.Samples = slices.Insert(p.Samples, i, at)
}

// patience returns how long a process with a pulse may be silent before it is gone, or
// false when it has no pulse.
func (p *pulse) patience() (time.Duration, bool) {
	interval := p.Interval
	if n := len(p.Samples); interval == 0 && n >= pulseSamples {
		interval = time.Duration((uint64(p.Samples[n-1]) - uint64(p.Samples[0])) / uint64(n-1)) //nolint:gosec // in order
	}
	if interval <= 0 {
		return 0, false
	}
	return max(goneAfter, missedPulses*min(interval, time.Hour)), true
}
