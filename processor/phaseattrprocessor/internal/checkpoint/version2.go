// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"strconv"
	"strings"

	"github.com/phaseattr/phaseattr/internal/boundary"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/replay"
)

// A record of version 2 knows one process of a rank, with one presence, which it calls its
// registration. What is not in this file is as in later versions.

// The kinds of items of version 2.
const (
	kindRegistration byte = iota + 2
	kindEvent2
	kindStop2
)

// registration2 reads a registration.
func (c *codec) registration2(p *Presence) {
	c.uint(&p.order)
	c.at(&p.Since)
	var claim string
	c.text(&claim)
	p.Sender.Process = processOf(claim)
	list(c, &p.Identity, (*codec).fieldText)
}

// processOf returns the process of a claim: "process", host, process ID and rank,
// separated by zero bytes. The first process of a container was told by its ID, which
// names nobody.
func processOf(claim string) boundary.Process {
	parts := strings.Split(claim, "\x00")
	if len(parts) != 4 || parts[0] != "process" {
		return boundary.Process{}
	}
	pid, err := strconv.ParseInt(parts[2], 10, 64)
	if process := (boundary.Process{Host: strings.ToLower(parts[1]), PID: pid}); err == nil && process.Named() {
		return process
	}
	return boundary.Process{}
}

// snapshot2 reads a snapshot.
func (c *codec) snapshot2(s *snapshot) {
	var registration Presence
	var process replay.Process
	c.uint(&s.through)
	c.rank(&s.rank.Rank)
	c.registration2(&registration)
	c.arrival(&s.rank)
	c.clock2(&process.Clock)
	list(c, &process.Threads, (*codec).threadStart)
	registration.Sender.Rank, process.Name = s.rank.Rank, registration.Sender.Process
	s.rank.Processes = []replay.Process{process}
	if registration.order != 0 { // otherwise its next event registers the rank
		s.presences = []Presence{registration}
	}
}

// clock2 reads a clock. A session that another one had replaced has ended.
func (c *codec) clock2(k *replay.Clock) {
	var replaced int64
	for _, n := range [...]*int64{&k.FirstEvent, &k.Now, &k.Candidate, &k.Evicted, &k.LastEnter, &k.LastSequence, &k.Stopped, &replaced} {
		c.int(n)
	}
	small(c, &k.Confirmations)
	small(c, &k.CandidateConfirmations)
	k.FirstBoundary, k.LastBoundary, k.Stopped = k.FirstEvent, k.LastEnter, max(k.Stopped, replaced)
}

// item2 reads an item.
func (r *restoration) item2(c *codec, kind byte) {
	switch kind {
	case kindRegistration:
		p := Presence{Sender: r.sender}
		c.registration2(&p)
		r.sender.Process = p.Sender.Process
		r.presence(c, &p)
	case kindEvent2, kindStop2:
		var e replay.Event
		c.at(&e.Time)
		if kind == kindStop2 {
			e.Kind = replay.Stop
		}
		r.event(c, &e)
	default:
		c.fail()
	}
}
