// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package association

import (
	"math"
	"slices"
	"time"

	"github.com/phaseattr/phaseattr/internal/boundary"
)

// try tries a rule and leaves the live ranks that match in f.found. It reports whether the
// device map told where they are.
func (f *Finder) try(rule *compiledRule, ranks Ranks) (outcome Outcome, mapped bool) {
	f.found, f.uncertain = f.found[:0], false
	if rule.space.device && len(f.association.devices) > 0 && f.findMapped(ranks) {
		return f.outcome(rule, ranks), true
	}
	if !f.findAt(rule, ranks) {
		return MissingKey, false
	}
	for i := range f.found {
		f.uncertain = f.uncertain || !f.found[i].exact
	}
	if outcome = f.outcome(rule, ranks); outcome < NoRank && outcome != Matched {
		f.narrow(rule)
	}
	return outcome, false
}

// canFind reports whether a rank is known at any location of a rule.
func (f *Finder) canFind(rule *compiledRule) bool {
	return rule.process || rule.space.locations.Load() > 0 || rule.space.device && len(f.association.devices) > 0
}

// findAt finds the ranks at the record's location. It returns false when the record lacks
// one of the rule's keys.
func (f *Finder) findAt(rule *compiledRule, ranks Ranks) bool {
	switch {
	case rule.process:
		return f.findProcess(rule, ranks)
	case !f.locate(rule):
		return false
	case rule.representative:
		f.collect(rule.space, math.MaxInt, ranks)
	case rule.space.exclusive:
		f.collect(rule.space, maxTargets+1, ranks)
	default:
		f.collect(rule.space, 2, ranks) // there are several
	}
	return true
}

// outcome returns the outcome of a rule that found f.found.
func (f *Finder) outcome(rule *compiledRule, ranks Ranks) Outcome {
	switch {
	case len(f.found) == 0:
		return NoRank
	case len(f.found) == 1 && !f.uncertain && !f.hasPeers(rule, ranks):
		return Matched
	case !rule.space.exclusive:
		return Several
	}
	for i := range f.found {
		if f.found[i].Rank.Session != f.found[0].Rank.Session {
			return Conflict
		}
	}
	return Shared
}

// narrow lets the later rules choose among the ranks that a rule found.
func (f *Finder) narrow(rule *compiledRule) {
	var location []byte
	if n := len(f.narrowed); n < cap(f.narrowed) {
		location = f.narrowed[:n+1][n].location[:0] // its memory
	}
	s := rule.space
	if rule.process {
		s = f.association.spaceOf(f.location)
	}
	f.timed = true
	f.narrowed = append(f.narrowed, narrowed{s, append(location, f.location...), f.offset, f.hostName, f.process})
}

// hasPeers reports whether a record may be about others than the only rank that was found of
// a job: of its ranks that are not known or, when only the resource names the job and the
// record names a device, of those of other jobs on the exporter's node.
func (f *Finder) hasPeers(rule *compiledRule, ranks Ranks) bool {
	if !rule.space.job || rule.representative {
		return false
	}
	if own := f.fields.Own(); own.Any(f.keys.deviceMask) && !own.Any(f.keys.jobMask) {
		return true
	}
	f.timed = true
	_, complete := ranks.Session(f.tenant, f.found[0].Rank.Session)
	return !complete
}

// locate sets f.location to the record's by a rule. It returns false when the record
// lacks one of the rule's keys.
func (f *Finder) locate(rule *compiledRule) bool {
	f.location, f.hostName = rule.space.appendTo(f.location[:0], f.tenant), ""
	for i, key := range rule.keys {
		if i > 0 {
			f.location = append(f.location, 0)
		}
		var host string
		var ok bool
		if f.location, host, ok = f.appendKey(f.location, key); !ok {
			return false
		}
		if i == rule.space.host {
			f.hostName = host
		}
	}
	return true
}

// findProcess finds the process of a record by its host, its container or its pod. It
// returns false if the record names none.
func (f *Finder) findProcess(rule *compiledRule, ranks Ranks) (named bool) {
	if named = f.findProcessBy(rule, ranks); len(f.found) > 0 {
		return true
	}
	for i := range f.association.processes {
		other := &f.association.processes[i]
		if other.space == rule.space {
			continue
		}
		if f.findProcessBy(other, ranks) {
			named = true
		}
		if len(f.found) > 0 {
			break
		}
	}
	return named
}

func (f *Finder) findProcessBy(rule *compiledRule, ranks Ranks) (named bool) {
	if !f.locateProcess(rule) {
		return false
	}
	if rule.space.locations.Load() > 0 {
		f.collect(rule.space, maxTargets+1, ranks)
	}
	return true
}

// locateProcess is locate for a process. It reads what else the record says of it.
func (f *Finder) locateProcess(rule *compiledRule) bool {
	if !f.has(rule.keys[0]) || !f.has(rule.keys[1]) || !f.locate(rule) {
		return false
	}
	number, ok := f.fields.Integer(rule.pid.names)
	if !ok || number <= 0 || f.isOfAnother(rule) {
		return false
	}
	host := f.hostName
	if rule.space.host < 0 {
		host = f.text(f.keys.host)
	}
	f.process = boundary.Process{Host: host, PID: number, Container: f.text(f.keys.container), Pod: f.text(f.keys.podUID)}
	return f.process.Named()
}

// isOfAnother reports whether only the resource of a record names a process, on another
// host than the record itself: it is that of an exporter.
func (f *Finder) isOfAnother(rule *compiledRule) bool {
	own := f.fields.Own()
	if own.Any(rule.pid.names.Mask()) || !own.Any(f.keys.host.names.Mask()) {
		return false
	}
	v, found := f.fields.FindInherited(f.keys.host.names)
	inherited := f.textOf(f.keys.host, v, found)
	return inherited != "" && !boundary.SameHost(inherited, f.text(f.keys.host))
}

// collect adds the live ranks at f.location that the record allows, at most limit.
func (f *Finder) collect(s *space, limit int, ranks Ranks) {
	f.gather(f.association.at(f.location), s, limit, ranks)
}

// gather adds the ranks of presences that are live and that the record allows. Without a
// limit, the search for those of the same number must not take long.
func (f *Finder) gather(presences []*presence, s *space, limit int, ranks Ranks) {
	f.doubled = f.doubled[:0]
	if limit == math.MaxInt {
		clear(f.numbers)
	}
	from, to := ranks.Interval(f.offset)
	for _, p := range presences {
		if len(f.found) >= limit || len(f.doubled) > maxTargets {
			return
		}
		switch {
		case p.removed.Load(), f.hasFound(p, s, limit):
		case !f.allows(p, s, ranks):
		case !p.mayMeet(from, to) || !ranks.Present(&p.occupant, f.offset):
			f.timed = true
			f.departed = &p.occupant
		case !s.process && p.isOutlived(ranks, f.offset):
			f.timed = true
		case !f.isNarrowed(p, ranks):
		case limit == math.MaxInt:
			f.addNumber(p)
		default:
			f.add(p, s)
		}
	}
}

// hasFound reports whether the rank of a presence at a location in a space has been found, so that
// the presence adds nothing: a rank may have many.
func (f *Finder) hasFound(p *presence, s *space, limit int) bool {
	switch {
	case len(f.found) == 0, s.process, s.host >= 0 && f.hostName != p.process.Host:
		return false
	case limit == math.MaxInt:
		at, known := f.numbers[p.occupant.Rank.Rank]
		return known && f.found[at].owner == p.owner
	}
	for i := range f.found {
		if r := &f.found[i]; r.owner == p.owner {
			return r.exact
		}
	}
	return false
}

// isOutlived reports whether the rank of a presence, which is that of one of its processes,
// cannot answer: forked workers may be left behind.
func (p *presence) isOutlived(ranks Ranks, offset time.Duration) bool {
	return p.owner.summary.Load().processes && !ranks.Live(&p.occupant.Rank, offset)
}

// add adds the rank of a presence, or its process where the location is one.
func (f *Finder) add(p *presence, s *space) {
	exact := !s.device || p.marks[markInstance] == f.instanceName()
	target := Target{p.occupant.Rank, boundary.MainProcess}
	if s.process {
		target.Process = p.occupant.Process
	}
	for i := range f.found {
		if f.found[i].Target == target {
			f.found[i].exact = f.found[i].exact || exact
			return
		}
	}
	f.found = append(f.found, found{Target: target, owner: p.owner, exact: exact})
	f.at = p
}

// addNumber adds the rank of a presence, of possibly many. It notes when ranks of several
// sessions have the same number: all of these are listed, so that more of them than are listed
// decide.
func (f *Finder) addNumber(p *presence) {
	rank := p.occupant.Rank
	at, known := f.numbers[rank.Rank]
	switch {
	case !known:
		f.numbers[rank.Rank] = len(f.found)
	case f.found[at].Rank == rank, slices.Contains(f.doubled, rank):
		return
	default:
		if !f.found[at].twice {
			f.found[at].twice = true
			f.doubled = append(f.doubled, f.found[at].Rank)
		}
		f.doubled = append(f.doubled, rank)
	}
	f.found = append(f.found, found{Target: Target{rank, boundary.MainProcess}, owner: p.owner, exact: true, twice: known})
}

// allows reports whether a record may be about a presence at its location in a space.
func (f *Finder) allows(p *presence, s *space, ranks Ranks) bool {
	switch {
	case f.named != nil && !f.named.Allows(&p.occupant.Rank):
		return false
	case s.host >= 0 && f.hostName != p.process.Host && !f.isHost(p.process.Host):
		return false
	case s.process && !isProcess(f.process, p.process):
		return false
	case s.pod && !f.isNamespace(p.marks[markNamespace]):
		return false
	}
	if f.contradicts(p.owner, p, marks, ranks) {
		f.vetoed = true
		return false
	}
	return true
}

// isHost reports whether the record's host may be the one of a presence, under another
// name. A name without a domain is that of the one host which is known with its domain; if
// there are several, it is not sure.
func (f *Finder) isHost(host string) bool {
	if !boundary.SameHost(f.hostName, host) {
		return false
	}
	qualified := max(f.hostName, host) // the other one is the beginning of it
	others, known := f.association.hostsLike(f.tenant, qualified)
	if others && !known {
		return false
	}
	f.uncertain = f.uncertain || others
	return true
}

// isNamespace reports whether the record may be about a pod of a namespace.
func (f *Finder) isNamespace(namespace string) bool {
	if namespace == "" {
		return true
	}
	text := f.text(f.keys.namespace)
	return text == "" || text == namespace
}

// isNarrowed reports whether the rank of a presence is at the locations at which the
// earlier rules found several.
func (f *Finder) isNarrowed(p *presence, ranks Ranks) bool {
	for i := range f.narrowed {
		if !p.owner.isAt(&f.narrowed[i], ranks) {
			return false
		}
	}
	return true
}

// isAt reports whether the rank is at a location that has been narrowed.
func (t *owner) isAt(n *narrowed, ranks Ranks) bool {
	for _, p := range t.all() {
		for i := range p.locations {
			if p.locations[i].text == string(n.location) && ranks.Present(&p.occupant, n.offset) {
				return true
			}
		}
	}
	return false
}
