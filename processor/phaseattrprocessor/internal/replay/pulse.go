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
	// said is the newest interval that an event said.
	said time.Duration
	// Heartbeat is how often the process's open spans say that they are; 0 if they do not.
	Heartbeat time.Duration
}

// stated is the interval that the process states, negative if it is that of its heartbeats.
func (p *pulse) stated() time.Duration {
	if p.Interval == 0 {
		return -p.Heartbeat
	}
	return p.Interval
}

// beat notes how often open spans say that they are.
func (p *pulse) beat(interval time.Duration) {
	if interval > 0 {
		p.Heartbeat = interval
	}
}

// say notes that an event says how often the process sends samples, if it does. Where that is
// known already, two events must say so: one may be wrong.
func (p *pulse) say(interval time.Duration) {
	if interval <= 0 {
		return
	}
	if _, known := p.patience(); !known || interval == p.said {
		p.Interval = interval
	}
	p.said = interval
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

// before returns the pulse as it was before a time.
func (p *pulse) before(at int64) *pulse {
	i, _ := slices.BinarySearch(p.Samples, at)
	return &pulse{Interval: p.Interval, Samples: p.Samples[:i]}
}

// patience returns how long a process with a pulse may be silent before it is gone, or
// false when it has no pulse.
func (p *pulse) patience() (time.Duration, bool) {
	interval := p.Interval
	if n := len(p.Samples); interval == 0 && n >= pulseSamples {
		interval = time.Duration((uint64(p.Samples[n-1]) - uint64(p.Samples[0])) / uint64(n-1)) //nolint:gosec // in order
	}
	return patienceOf(interval), interval > 0
}

// patienceOf is how long a process may be silent that says something at each interval.
func patienceOf(interval time.Duration) time.Duration {
	return max(goneAfter, missedPulses*min(interval, time.Hour))
}
