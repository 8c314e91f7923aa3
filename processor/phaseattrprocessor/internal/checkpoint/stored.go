// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"slices"
	"time"

	"github.com/phaseattr/phaseattr/internal/boundary"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/association"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/replay"
)

// Sender is the process that sent an event, as the event named it.
type Sender struct {
	Rank    boundary.RankKey
	Process boundary.Process
}

// SharesClock reports whether two processes of a rank date their events by one clock: they are
// the same, or on one host.
func (s *Sender) SharesClock(other *Sender) bool {
	return s.Rank == other.Rank && (s.Process == other.Process || s.Process.SharesHost(other.Process))
}

// Presence is an identity of a process: the fields of its events by which rules can find it.
type Presence struct {
	Sender Sender
	// Since is the time of its first event to arrive, in nanoseconds since the Unix epoch.
	Since int64
	// Print identifies it among those of the process, as in replay.Presence.
	Print    uint64
	Identity association.Identity
	// Feed is the name of the source that the process sends to, empty for stormlog's. Aside is
	// true when the process answers only telemetry that names it.
	Feed  string
	Aside bool
	// order numbers the presences of all ranks from 1, as they were recorded. It tells those
	// of a rank from those of a forgotten one of the same key.
	order uint64
}

// rank codes a rank without its tenant, which is stored with the names of its processes.
func (c *codec) rank(r *boundary.RankKey) {
	c.text(&r.Session)
	c.int(&r.Rank)
}

// name codes the name of a process. Of one that works beside the main one, the process ID is
// complemented, which makes it negative.
func (c *codec) name(p *boundary.Process, tenant *string) {
	pid := p.PID
	if p.Aside {
		pid = ^pid
	}
	c.text(&p.Host)
	c.int(&pid)
	if c.reading {
		p.PID, p.Aside = pid, pid < 0
		if p.Aside {
			p.PID = ^pid
		}
	}
	c.text(&p.Container)
	c.text(&p.Pod)
	c.text(tenant)
}

// presence codes a presence without its rank, which is known.
func (c *codec) presence(p *Presence) {
	c.name(&p.Sender.Process, &p.Sender.Rank.Tenant)
	c.identity(p)
}

func (c *codec) identity(p *Presence) {
	c.uint(&p.order)
	c.at(&p.Since)
	c.uint(&p.Print)
	fields := p.fields()
	list(c, &fields, (*codec).fieldText)
	if c.reading {
		p.setFields(fields)
	}
}

// The fields of a presence that are not those of its identity. Earlier versions of this program
// write none, and ignore them.
const (
	fieldFeed  = "\x00feed"
	fieldAside = "\x00aside"
)

// fields returns the identity, with what is stored beside it.
func (p *Presence) fields() association.Identity {
	fields := p.Identity
	if p.Feed != "" {
		fields = append(slices.Clip(fields), association.FieldText{Field: fieldFeed, Text: p.Feed})
	}
	if p.Aside {
		fields = append(slices.Clip(fields), association.FieldText{Field: fieldAside})
	}
	return fields
}

func (p *Presence) setFields(fields association.Identity) {
	p.Identity = slices.DeleteFunc(fields, func(f association.FieldText) bool {
		switch f.Field {
		case fieldFeed:
			p.Feed = f.Text
		case fieldAside:
			p.Aside = true
		default:
			return false
		}
		return true
	})
}

func (c *codec) fieldText(f *association.FieldText) {
	c.text(&f.Field)
	c.text(&f.Text)
}

// numbered is the kind of an event whose number follows.
const numbered replay.Kind = 1 << 6

func (c *codec) event(e *replay.Event) {
	c.at(&e.Time)
	if e.Numbered {
		e.Kind |= numbered
	}
	small(c, &e.Kind)
	if e.Numbered = e.Kind&numbered != 0; e.Numbered {
		e.Kind &^= numbered
		c.delta(&e.Sequence, &c.sequence)
	}
	c.int((*int64)(&e.Interval))
	c.int(&e.WorldSize)
}

// interval codes an interval, as its enter and what that lacks.
func (c *codec) interval(i *boundary.Interval) {
	b := boundary.Boundary{
		Time: i.Start, Sequence: c.sequence + 1, ThreadName: i.Lane, ScopeID: i.ScopeID, ParentScopeID: i.ParentScopeID,
		Path: i.Path, Name: i.Name, Attributes: i.Attributes,
	}
	c.boundary(&b)
	*i = boundary.Interval{
		Start: b.Time, End: i.End, Open: i.Open, Truncated: i.Truncated, ScopeID: b.ScopeID, ParentScopeID: b.ParentScopeID,
		Lane: b.ThreadName, Name: b.Name, Path: b.Path, Attributes: b.Attributes,
	}
	c.at(&i.End)
	c.bool(&i.Open)
	c.bool(&i.Truncated)
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
	list(c, &s.rank.Processes, func(c *codec, p *replay.Process) { c.process(p, &s.rank.Rank.Tenant) })
	for i := range s.presences {
		s.presences[i].Sender.Rank = s.rank.Rank
	}
}

func (c *codec) arrival(s *replay.Snapshot) {
	nanoseconds := s.LastArrival.UnixNano()
	c.int(&nanoseconds)
	s.LastArrival = time.Unix(0, nanoseconds)
}

func (c *codec) process(p *replay.Process, tenant *string) {
	c.name(&p.Name, tenant)
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
	for _, n := range [...]*int64{&k.FirstEvent, &k.Now, &k.Candidate, &k.Evicted, &k.FirstBoundary, &k.LastBoundary, &k.LastEnter, &k.LastSequence, &k.Stopped} {
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
