// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"maps"
	"slices"
	"strings"
)

// truth is the right answer to a reading, given what happened.
type truth struct {
	paths   []string // the phases of the processes that it belongs to: none, one or several
	excused []string // phases that are wrong but cannot be told from the right one
	clear   bool     // whether the records suffice to tell it
	asked   []*process
}

// answer is how a reading came out.
type answer struct{ resolution, path string }

// verdict classifies an answer.
type verdict int

const (
	rightUnique verdict = iota
	rightAmbiguous
	rightNone
	needlesslyAmbiguous
	needlesslyNone
	excused
	wrongUnique
	verdicts // the number of verdicts
)

func (t *truth) judge(got answer) verdict {
	switch {
	case got.resolution == "unique" && slices.Equal(t.paths, []string{got.path}):
		return rightUnique
	case got.resolution == "unique" && slices.Contains(t.excused, got.path):
		return excused
	case got.resolution == "unique":
		return wrongUnique
	case got.resolution == "ambiguous" && len(t.paths) > 1:
		return rightAmbiguous
	case got.resolution == "ambiguous":
		return needlesslyAmbiguous
	case len(t.paths) == 0:
		return rightNone
	}
	return needlesslyNone
}

// How long a process with a pulse must be silent to be known as gone.
const (
	silentPulses  = 10
	leastSilence  = 5.0 // s
	skewTolerance = 2*clockSkew + 1
	boundaryRange = clockJitter + 1e-6
)

// over reports whether the records say at a time that a process that has ended is over.
func (c *cluster) over(p *process, stamp float64) bool {
	if !p.killed {
		return true
	}
	if p.pulse > 0 && p.local(stamp) > p.lastWritten()+max(leastSilence, silentPulses*p.pulse)+2*boundaryRange {
		return true
	}
	return slices.ContainsFunc(c.processes, func(next *process) bool { return next.replaces(p) && next.local(stamp) >= next.from+p.doubt(next) })
}

// replaces reports whether a process is a restart of another one.
func (p *process) replaces(former *process) bool {
	return p.isMain() && p.job == former.job && p.rank == former.rank && p.from >= former.to &&
		(p.session == former.session || p.host == former.host && p.gpu == former.gpu)
}

// doubt is how far the clocks of two processes may be apart.
func (p *process) doubt(other *process) float64 {
	if p.host == other.host {
		return boundaryRange
	}
	return skewTolerance
}

// truthOf is the truth about a reading that belongs to whichever of the given processes is
// alive. If several are and only one is in a phase, ambiguity is right too. ok is false
// where the truth depends on the precision of the clocks.
func (c *cluster) truthOf(processes []*process, stamp float64) (t truth, ok bool) {
	var alive, lingering []*process
	for _, p := range processes {
		if p.near(stamp, boundaryRange) || p.nearLifeChange(stamp, skewTolerance) && onSeveralHosts(processes) {
			return truth{}, false
		}
		switch {
		case p.alive(stamp):
			alive = append(alive, p)
		case p.ended(stamp) && !c.over(p, stamp):
			lingering = append(lingering, p)
		}
	}
	t = together(alive, stamp)
	t.asked = processes
	t.clear = len(lingering) == 0 && (len(t.paths) != 1 || len(alive) == 1)
	if len(alive) == 0 {
		for _, p := range lingering {
			t.excused = append(t.excused, p.phase(p.to))
		}
	}
	return t, true
}

// together is the truth about a reading of several processes at once.
func together(alive []*process, stamp float64) truth {
	var t truth
	for _, p := range alive {
		if path := p.phase(p.local(stamp)); path != "" {
			t.paths = append(t.paths, path)
		}
	}
	return t
}

func onSeveralHosts(processes []*process) bool {
	return slices.ContainsFunc(processes, func(p *process) bool { return p.host != processes[0].host })
}

// representative is the truth about a reading of a job: the phase of its smallest rank,
// unless two jobs share a name.
func (c *cluster) representative(job string, stamp float64) (t truth, ok bool) {
	processes := c.mains(func(p *process) bool { return p.job == job })
	t, ok = c.truthOf(processes, stamp)
	alive, ranks := map[int64]*process{}, map[int64]bool{}
	for _, p := range processes {
		ranks[p.rank] = true
		switch {
		case p.alive(stamp) && alive[p.rank] != nil:
			return t, ok // two jobs
		case p.alive(stamp):
			alive[p.rank] = p
		case p.ended(stamp) && !c.over(p, stamp): // it may stand for the job
			t.excused = append(t.excused, p.phase(p.to))
		}
	}
	t.clear = len(t.excused) == 0 && len(alive) == len(ranks)
	t.paths = nil
	if len(alive) > 0 {
		smallest := slices.Min(slices.Collect(maps.Keys(alive)))
		t.paths = together([]*process{alive[smallest]}, stamp).paths
	}
	return t, ok
}

// fork is the truth about a reading of a data loader's worker. Between its own phases,
// it is in those that it inherited, which its records do not mention.
func (c *cluster) fork(p *process, stamp float64) (t truth, ok bool) {
	t, ok = c.truthOf([]*process{p}, stamp)
	for _, i := range p.intervals {
		path := strings.Split(i.path, " / ")
		for n := range path {
			t.excused = append(t.excused, strings.Join(path[:n], " / "))
		}
	}
	t.clear = len(t.paths) == 1
	return t, ok
}

// mains are the main processes for which a condition holds.
func (c *cluster) mains(condition func(*process) bool) []*process {
	var found []*process
	for _, p := range c.processes {
		if p.isMain() && condition(p) {
			found = append(found, p)
		}
	}
	return found
}
