// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"slices"
	"time"
)

// Status is whether a lookup can be answered.
type Status uint8

const (
	// Known: the scopes returned are those that were active, as far as the boundaries
	// tell.
	Known Status = iota
	// Unknown: no event of the rank has come.
	Unknown
	// BeforeWindow: the time is older than what is kept. Whether a scope was active is not
	// known.
	BeforeWindow
	// Ended: the time is after the end of the process, by its own word, a restart or its
	// silence. No scope is active.
	Ended
	// Gone: the process has missed many samples before the time. No scope is active.
	Gone
	// Behind: the process is alive and its events have not come as far as the time. The
	// scopes returned are those that were active last; boundaries may be on their way.
	Behind
	// Lagging: as Behind, and the process is known to send more: no scopes are returned.
	Lagging
	// Doubtful: as Known, but a boundary around the time is missing.
	Doubtful
	// Several: several processes of the rank may be meant. Handle.Each returns them.
	Several
	// Peers: as Several, and each of them that is in a phase answers.
	Peers
	// Running: the process is alive, and says what it did when that has ended. No scopes are
	// returned.
	Running
	// Incomplete: as Known, but some parents of the scopes have not come. Their paths have
	// the rest, or there is none.
	Incomplete
)

// hasScopes reports whether scopes can be active.
func (s Status) hasScopes() bool {
	return s == Known || s == Behind || s == Doubtful || s == Incomplete
}

// hasHistory reports whether it is known what was active until the time, if anything was.
func (s Status) hasHistory() bool { return s.hasScopes() || s.isOver() }

// isOver reports whether the process has ended, or died.
func (s Status) isOver() bool { return s == Ended || s == Gone }

// status returns whether lookups in a process at a time can be answered.
func (s *stream) status(p *process, at int64) Status {
	switch {
	case at < p.floor():
		return BeforeWindow
	case at <= p.clock.Now:
		if p.spans.isBehind(at) && !p.ended() {
			return Running
		}
		return Known
	case p.ended(), p.taken(at), p.outlived(at), s.superseded(p, at):
		return Ended
	case p.gone(at):
		return Gone
	}
	switch {
	case p.spans.isBehind(at):
		return Running
	case p.hasPulse():
		return Lagging
	}
	return Behind
}

// waits reports whether telemetry of a time waits for events of a process, which has a status
// then.
func (p *process) waits(status Status, at int64) bool {
	switch {
	case p.quiet:
		return false
	case status == Known:
		return p.spans != nil && !p.ended() && !p.spans.isSettled(at)
	}
	return status == Behind || status == Lagging || status == Running
}

// Lag returns how far the newest event of a live rank is before a time, in nanoseconds
// since the Unix epoch: that of the rank that is furthest behind. It returns false if no
// rank that has sent a boundary is live.
func (x *Index) Lag(at int64) (lag time.Duration, ok bool) {
	for _, s := range x.all() {
		if newest, live := s.newestEvent(at); live {
			behind := time.Duration(at - newest)
			if !ok || behind > lag {
				lag, ok = behind, true
			}
		}
	}
	return lag, ok
}

// newestEvent returns the time of the newest event of the rank's live processes. One that has
// missed samples counts as live: it may be its events that are held up.
func (s *stream) newestEvent(at int64) (newest int64, live bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if !s.known {
		return 0, false
	}
	newest = never
	for _, p := range s.processes {
		if !p.ended() && s.status(p, at) != Ended {
			newest, live = max(newest, p.clock.Now), true
		}
	}
	return newest, live
}

// over reports whether a process is over at a time. It then stays so.
func (s *stream) over(p *process, at int64) bool { return s.status(p, at).isOver() }

// ended reports whether the process has sent a stop event, and has not entered a scope,
// started or sent another event since. Events at the same moment, or nearly, may be those
// of threads that had not stopped.
func (p *process) ended() bool {
	c := &p.clock
	return c.Stopped != never && c.LastEnter <= c.Stopped && (len(p.starts) == 0 || p.starts[len(p.starts)-1] <= c.Stopped) &&
		(c.Now <= c.Stopped || within(c.Now, c.Stopped, maxReversal))
}

// outlived reports whether a time is so far beyond the newest event that the process
// counts as ended by then. Arrival is no help: the events may have been read from a file
// of yesterday.
func (p *process) outlived(at int64) bool {
	timeout := p.options.SessionTimeout
	return timeout > 0 && at > p.clock.Now && !within(at, p.clock.Now, timeout)
}

// gone reports whether the process, at a time, has missed so many samples, or heartbeats of what
// is open, that it must have died.
func (p *process) gone(at int64) bool {
	patience, pulse := p.pulse.patience()
	if !pulse && p.pulse.Heartbeat > 0 && p.spans.openScopes() > 0 {
		patience, pulse = patienceOf(p.pulse.Heartbeat), true
	}
	return pulse && at > p.clock.Now && !within(at, p.clock.Now, patience)
}

// taken reports whether a restart of the process, in another session, has taken its
// places by a time, and it has not been seen since.
func (p *process) taken(at int64) bool {
	for i := range p.presences {
		if q := &p.presences[i]; q.isTaken(at) && p.clock.Now < q.Taken {
			return true
		}
	}
	return false
}

// superseded reports whether, by a time, another process of the rank has come after the
// newest event of one: a rank has one process, and forked workers. Without a start event
// the newer one may be a worker of one that has sent such an event. But the first records
// of a process may lack what names it.
func (s *stream) superseded(p *process, at int64) bool {
	for _, q := range s.processes {
		if q == p || q.aside || p.aside || p.isPeer() && q.isPeer() || !q.follows(p) || q.clock.FirstEvent > at {
			continue
		}
		if len(p.starts) == 0 || p.isUnnamed() || len(q.starts) > 0 && q.starts[0] <= at {
			return true
		}
	}
	return false
}

// follows reports whether all events of the process are later than those of another one. Those of
// one that has started on another host, after the other one did, may be dated a little earlier.
func (p *process) follows(q *process) bool {
	first := p.clock.FirstEvent
	return first > q.clock.Now || len(p.starts) > 0 && len(q.starts) > 0 && p.starts[0] > q.starts[len(q.starts)-1] &&
		p.name.IsElsewhere(q.name) && within(q.clock.Now, first, maxClockDifference)
}

// candidates appends the processes that answer for the rank at a time: its main process,
// or all that may be. There is at least one, unless all work beside a main one that has
// sent nothing.
func (s *stream) candidates(dst []*process, at int64) []*process {
	if len(s.processes) == 1 {
		if !s.processes[0].aside {
			dst = append(dst, s.processes[0])
		}
		return dst
	}
	if main, start := s.lastStarted(at); main != nil {
		dst = append(dst, main)
		if s.over(main, at) {
			return dst
		}
		for _, p := range s.processes {
			if p != main && !p.aside && p.rivals(main, start, at) && !s.over(p, at) {
				dst = append(dst, p)
			}
		}
		return dst
	}
	for _, p := range s.processes {
		if p.clock.FirstEvent <= at && !p.aside && !s.over(p, at) {
			dst = append(dst, p)
		}
	}
	if len(dst) > 0 {
		return dst
	}
	// None is alive: the one that has come furthest, or will come first.
	var best *process
	for _, p := range s.processes {
		if p.aside {
			continue
		}
		if best == nil || p.clock.Now <= at && p.clock.Now > best.clock.Now || best.clock.FirstEvent > at && p.clock.FirstEvent < best.clock.FirstEvent {
			best = p
		}
	}
	if best != nil {
		dst = append(dst, best)
	}
	return dst
}

// lastStarted returns the process with the newest start event until a time, and that
// event's time, or nil. A process that did not name itself at its start has not said which
// it is.
func (s *stream) lastStarted(at int64) (main *process, start int64) {
	for _, p := range s.processes {
		if p.aside || p.isUnnamed() && at > p.clock.Now && s.superseded(p, at) || s.isOutwritten(p) {
			continue
		}
		for i := len(p.starts) - 1; i >= 0; i-- {
			if p.starts[i] <= at {
				if main == nil || p.starts[i] > start {
					main, start = p, p.starts[i]
				}
				break
			}
		}
	}
	return main, start
}

// isOutwritten reports whether others go on writing the rank's boundaries after the newest start
// of a process that has written none.
func (s *stream) isOutwritten(p *process) bool {
	n := len(p.starts)
	return n > 0 && p.clock.LastBoundary == never && slices.ContainsFunc(s.processes, func(q *process) bool {
		return q != p && q.clock.LastBoundary > p.starts[n-1]
	})
}

// rivals reports whether a process may be the rank's instead of the one that started
// last: it is older and goes on writing boundaries, or it is newer and the other one has
// been silent since.
func (p *process) rivals(main *process, start, at int64) bool {
	if p.clock.FirstEvent > at {
		return false
	}
	return p.clock.FirstEvent < start && p.clock.LastBoundary > start ||
		p.clock.FirstEvent > main.clock.Now && !main.hasPulse()
}

func (p *process) hasPulse() bool {
	_, pulse := p.pulse.patience()
	return pulse
}
