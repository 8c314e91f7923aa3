// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import "github.com/phaseattr/phaseattr/internal/boundary"

// AddInterval adds a scope that came whole, or so far only its start, in any order and any
// number of times. It takes effect at once. An interval that has no duration is none: its
// process is alive, and the outcome is NoDuration. Its IDs are kept: they must not be parts of
// larger texts.
func (in *Ingest) AddInterval(from *Sender, iv *boundary.Interval) Added {
	s := in.lock(from.Rank, thatCounts)
	if s == nil {
		return Added{Outcome: TooManyRanks}
	}
	defer in.unlock()
	at := iv.End
	if iv.Open {
		at = iv.Start
	}
	p, added := in.sender(s, from, at)
	if p == nil {
		return added
	}
	was := p.ended()
	if !iv.Open && iv.End <= iv.Start {
		s.advance(p, at, false)
		added.Outcome = NoDuration
	} else {
		added.Outcome, added.Late = s.addInterval(p, iv)
		added.Earlier = p.presentSince(from.Print, iv.Start) || added.Earlier
	}
	in.count(s, p)
	added.Transitions |= s.takeTransitions(p, was)
	return added
}
