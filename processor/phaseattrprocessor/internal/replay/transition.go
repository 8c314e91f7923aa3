// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

// Transition is a change in the life of a process. The set is closed: it is an attribute
// of the processor's own metrics.
type Transition uint8

const (
	// Stopped: the process has sent a stop event.
	Stopped Transition = iota
	// TakenOver: another process has taken its places.
	TakenOver
	// Resumed: an event shows that it is alive, after it was stopped or taken over.
	Resumed
	// ClockSetAhead: its clock has been set ahead.
	ClockSetAhead
	// ClockSetBack: its clock has been set back.
	ClockSetBack

	transitions // the number of transitions
)

// String returns the transition's value in the processor's metrics.
func (t Transition) String() string {
	return [transitions]string{"stopped", "taken_over", "resumed", "clock_set_ahead", "clock_set_back"}[t]
}

// Transitions is a set of transitions.
type Transitions uint8

// AllTransitions returns the set of all transitions.
func AllTransitions() Transitions { return 1<<transitions - 1 }

func (s *Transitions) add(t Transition) { *s |= 1 << t }

// Each yields the transitions of a set.
func (s Transitions) Each(yield func(Transition) bool) {
	for t := range transitions {
		if s&(1<<t) != 0 && !yield(t) {
			return
		}
	}
}

// takeTransitions returns and forgets the transitions of the event at hand, which came from a
// process that had ended before or not.
func (s *stream) takeTransitions(p *process, ended bool) Transitions {
	taken := s.transitions
	s.transitions = 0
	switch now := p.ended(); {
	case now && !ended:
		taken.add(Stopped)
	case ended && !now:
		taken.add(Resumed)
	}
	return taken
}
