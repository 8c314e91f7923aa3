// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"slices"
	"time"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/association"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/boundary"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/replay"
)

// Sender is the process that sent an event, as the event named it.
type Sender struct {
	Rank    boundary.RankKey
	Process boundary.Process
	// Tenant is empty without tenants.
	Tenant string
}

// Presence is an identity of a process: the fields of its events by which rules can find it.
type Presence struct {
	Sender Sender
	// Since is the time of its first event to arrive, in nanoseconds since the Unix epoch.
	Since int64
	// Print identifies it among those of the process, as in replay.Presence.
	Print    uint64
	Identity association.Identity
	// order numbers the presences of all ranks from 1, as they were recorded. It tells those
	// of a rank from those of a forgotten one of the same key.
	order uint64
}

func (c *codec) rank(r *boundary.RankKey) {
	c.text(&r.Session)
	c.int(&r.Rank)
}

func (c *codec) name(p *boundary.Process, tenant *string) {
	c.text(&p.Host)
	c.int(&p.PID)
	c.text(&p.Container)
	c.text(&p.Pod)
	c.text(tenant)
}

// presence codes a presence without its rank, which is known.
func (c *codec) presence(p *Presence) {
	c.name(&p.Sender.Process, &p.Sender.Tenant)
	c.identity(p)
}

func (c *codec) identity(p *Presence) {
	c.uint(&p.order)
	c.at(&p.Since)
	c.uint(&p.Print)
	list(c, &p.Identity, (*codec).fieldText)
}

func (c *codec) fieldText(f *association.FieldText) {
	c.text(&f.Field)
	c.text(&f.Text)
}

func (c *codec) event(e *replay.Event) {
	c.at(&e.Time)
	small(c, &e.Kind)
	c.int((*int64)(&e.Interval))
	c.int(&e.WorldSize)
}

// interval codes a completed interval.
func (c *codec) interval(i *replay.Interval) {
	c.boundary(&i.Boundary)
	c.at(&i.End)
	if c.err == nil {
		c.threads[c.thread].leave()
	}
}

// snapshot is a rank as it is after record through of the journal.
type snapshot struct {
	through   uint64
	rank      replay.Snapshot
	presences []Presence
}

// has reports whether a presence with a print is in the snapshot of a rank.
func has(rank *replay.Snapshot, fingerprint uint64) bool {
	for i := range rank.Processes {
		if slices.ContainsFunc(rank.Processes[i].Presences, func(p replay.Presence) bool { return p.Print == fingerprint }) {
			return true
		}
	}
	return false
}

// snapshot codes a snapshot, which is all of a payload.
func (c *codec) snapshot(s *snapshot) {
	c.uint(&s.through)
	c.rank(&s.rank.Rank)
	c.arrival(&s.rank)
	c.int(&s.rank.WorldSize)
	list(c, &s.presences, (*codec).presence)
	list(c, &s.rank.Processes, (*codec).process)
	for i := range s.presences {
		s.presences[i].Sender.Rank = s.rank.Rank
	}
}

func (c *codec) arrival(s *replay.Snapshot) {
	nanoseconds := s.LastArrival.UnixNano()
	c.int(&nanoseconds)
	s.LastArrival = time.Unix(0, nanoseconds)
}

func (c *codec) process(p *replay.Process) {
	c.name(&p.Name, &p.Tenant)
	c.clock(&p.Clock)
	for _, n := range [...]*int64{&p.Numbering.First, &p.Numbering.Last, &p.Numbering.Count} {
		c.int(n)
	}
	for _, times := range [...]*[]int64{&p.Starts, &p.Firsts, &p.Begins, &p.Samples} {
		list(c, times, (*codec).at)
	}
	c.int((*int64)(&p.Interval))
	list(c, &p.Presences, (*codec).replayPresence)
	list(c, &p.Threads, (*codec).replayThread)
}

func (c *codec) clock(k *replay.Clock) {
	for _, n := range [...]*int64{&k.FirstEvent, &k.Now, &k.Candidate, &k.Evicted, &k.FirstBoundary, &k.LastBoundary, &k.LastEnter, &k.MaxSequence, &k.Stopped} {
		c.int(n)
	}
	small(c, &k.Confirmations)
	small(c, &k.CandidateConfirmations)
}

func (c *codec) replayPresence(p *replay.Presence) {
	c.uint(&p.Print)
	c.at(&p.Since)
	c.at(&p.Last)
	c.int(&p.Taken)
}

func (c *codec) replayThread(t *replay.Thread) {
	c.threadStart(t)
	list(c, &t.Intervals, (*codec).interval)
}

// threadStart codes the fields of a thread that version 2 has too.
func (c *codec) threadStart(t *replay.Thread) {
	c.int(&t.ID)
	c.bool(&t.Dropped.Any)
	c.at(&t.Dropped.Time)
	c.int(&t.Dropped.Sequence)
	list(c, &t.Open, (*codec).openScope)
	list(c, &t.Boundaries, (*codec).boundary)
}

func (c *codec) openScope(s *replay.OpenScope) {
	c.bool(&s.Inferred)
	c.boundary(&s.Boundary)
}
