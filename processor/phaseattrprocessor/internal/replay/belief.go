// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"math"
	"slices"
	"time"

	"github.com/phaseattr/phaseattr/internal/boundary"
)

// Credence is whether an event's time is believed.
type Credence uint8

const (
	// Believed: the event is dated no further ahead of its arrival than its process usually
	// dates them.
	Believed Credence = iota
	// Doubted: it is dated further ahead. Another event of the process has to agree.
	Doubted
	// TooFarAhead: it is dated so far ahead that it must not be added.
	TooFarAhead
)

// MaxAhead is how much further ahead of its arrival than usual an event may be dated. Clocks
// that are set right differ by less.
const MaxAhead = time.Second

const (
	maxAhead = int64(MaxAhead)
	// skewsKept is after how many events in a row that are dated less far ahead a process's
	// clock counts as set right.
	skewsKept = 64
)

// skew is how far ahead of their arrival a process dates its events: those that other events have
// agreed with, and those that were no further ahead than usual. The zero skew is that of a clock
// that is not ahead.
type skew struct {
	// usual is in nanoseconds.
	usual int64
	// most is the largest of the smaller ones since, of which there are so many.
	most  int64
	fewer int
}

// allows reports whether an event may be dated so far ahead.
func (s *skew) allows(ahead int64) bool { return ahead <= s.usual+maxAhead }

// trust raises the usual skew. It reports false when it is no larger.
func (s *skew) trust(ahead int64) (raised bool) {
	if ahead <= s.usual {
		return false
	}
	*s = skew{usual: ahead}
	return true
}

// note notes how far ahead an event is dated that has been added. It reports whether others may
// be dated further ahead since: they may have been on their way for a shorter time.
func (s *skew) note(ahead int64) (raised bool) {
	switch {
	case ahead > s.usual:
		return s.allows(ahead) && s.trust(ahead)
	case s.usual == 0:
		return false
	case ahead >= s.usual-maxAhead:
		s.most, s.fewer = 0, 0
		return false
	}
	s.fewer++
	if s.most = max(s.most, ahead); s.fewer == skewsKept {
		lower := s.most
		*s = skew{}
		s.trust(lower)
	}
	return false
}

// ahead returns how far a time is ahead of the batch's arrival.
func (in *Ingest) ahead(at int64) int64 {
	if at > 0 && in.now < at-math.MaxInt64 {
		return math.MaxInt64
	}
	return at - in.now
}

// Credence returns whether an event's time is believed, and how far ahead of its arrival it
// is. Nothing but the caller keeps a doubted event from being added.
func (in *Ingest) Credence(from *Sender, at int64) (c Credence, ahead time.Duration) {
	if in.again || at <= in.now+maxAhead { // nearly all
		return Believed, 0
	}
	distance := in.ahead(at)
	switch bound := in.index.options.MaxFuture; {
	case bound > 0 && distance > int64(bound):
		return TooFarAhead, time.Duration(distance)
	case in.allows(from, distance):
		return Believed, time.Duration(distance)
	}
	return Doubted, time.Duration(distance)
}

// allows reports whether a known process usually dates its events so far ahead, or another one of
// the rank on the same host, whose clock it is.
func (in *Ingest) allows(from *Sender, ahead int64) bool {
	s := in.index.stream(from.Rank)
	if s == nil {
		return false
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if p := s.sender(from.Process); p != nil && p.skew.allows(ahead) {
		return true
	}
	return slices.ContainsFunc(s.processes, func(p *process) bool {
		return p.name.SharesHost(from.Process) && p.skew.allows(ahead)
	})
}

// sender returns a process that an event comes from, if it is known.
func (s *stream) sender(name boundary.Process) *process {
	for _, p := range s.processes {
		if p.name == name || !s.options.Repair || name.Named() && p.name.Named() && name.Fits(p.name) {
			return p
		}
	}
	return nil
}

// Trust notes that events of a process agree that its clock is ahead. They must have been
// added.
func (in *Ingest) Trust(from *Sender, ahead time.Duration) {
	s := in.index.stream(from.Rank)
	if s == nil || !s.lock() {
		return
	}
	defer s.mu.Unlock()
	if p := s.sender(from.Process); p != nil {
		p.skew.trust(int64(ahead))
	}
}
