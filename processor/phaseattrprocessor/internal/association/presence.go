// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package association

import (
	"slices"
	"strings"
	"sync/atomic"
	"unique"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/boundary"
)

// presence is a process of a rank with all that it has been seen to be at, at one time. It
// does not change.
type presence struct {
	occupant boundary.Occupant
	tenant   *tenant
	process  boundary.Process
	// marks tell the rank from others; empty where nothing is known.
	marks     [marks]string
	job       string
	locations []located
}

// located is a location in a space.
type located struct {
	space *space
	text  string
}

// mark is a value that a rank has one of: telemetry that names another one is not the
// rank's, by whichever rule.
type mark int

const (
	markUUID mark = iota
	markPCI
	markInstance
	markPodUID
	markPod
	markNamespace
	// Logs of a rank that they name may be about another job.
	markJob
	marks         // their number
	marksOfANamed = markJob
)

// field returns the field of a mark.
func (m mark) field() string {
	return [marks]string{FieldUUID, FieldPCI, FieldInstance, FieldPodUID, FieldPod, FieldNamespace, FieldJob}[m]
}

// own reports whether only a record itself can name the mark: a resource has the pod of
// the exporter, and the job of whoever started it.
func (m mark) own() bool { return m >= markPodUID }

// text returns the mark of a value; empty if it cannot be one. Jobs have names beside
// their IDs, so that only numbers contradict each other.
func (m mark) text(value string) string {
	if m == markJob && strings.Trim(value, "0123456789") != "" {
		return ""
	}
	return value
}

// contradicts reports whether two marks of the same kind cannot be the same rank's.
func (m mark) contradicts(a, b string) bool {
	// The UUID of a MIG instance says nothing of the device, nor of the instance's number.
	return a != b && strings.HasPrefix(a, migPrefix) == strings.HasPrefix(b, migPrefix)
}

// tenant has the presences of a rank.
type tenant struct {
	presences atomic.Pointer[[]*presence]
	summary   atomic.Pointer[summary]
}

// summary is what the presences of a rank have in common.
type summary struct {
	// marks are those that the rank is known to have, mixed those of which it has several.
	marks *[marks]string
	mixed [marks]bool
	// processes reports whether the rank has several.
	processes bool
}

func (t *tenant) all() []*presence { return *t.presences.Load() }

// set replaces the presences.
func (t *tenant) set(presences []*presence) {
	t.presences.Store(&presences)
	s := &summary{marks: &[marks]string{}}
	if len(presences) == 1 { // the usual case: nothing to unite
		s.marks = &presences[0].marks
	}
	for _, p := range presences {
		s.processes = s.processes || p.occupant.Process != presences[0].occupant.Process
		for m, text := range p.marks {
			if s.marks[m] == "" {
				s.marks[m] = text
			}
			s.mixed[m] = s.mixed[m] || text != "" && s.marks[m] != text
		}
	}
	t.summary.Store(s)
}

// Neighbor is another occupant of an exclusive location: a process or a device.
type Neighbor struct {
	boundary.Occupant
	// SameJob reports whether the sessions or the jobs are the same.
	SameJob bool
}

// Add adds a presence of a process with an identity. It returns the locations at which it
// is, and the other occupants of those that are exclusive. A presence that is known
// already is not added again. The occupant's session is kept: it should not be part of a
// larger text, and that of the index is not.
func (a *Association) Add(o boundary.Occupant, id Identity) (locations []string, others []Neighbor) {
	p := a.newPresence(o, id)
	a.mu.Lock()
	defer a.mu.Unlock()
	t, ok := a.tenants[o.Rank]
	if !ok {
		t = &tenant{}
		t.set(nil)
		a.tenants[p.occupant.Rank] = t
	}
	if slices.ContainsFunc(t.all(), func(q *presence) bool { return q.occupant == o }) {
		return nil, nil
	}
	p.tenant = t
	for _, at := range p.locations {
		if at.space.builtin {
			others = p.contend(others, a.locations[at.text], at.space)
		}
		if len(a.locations[at.text]) == 0 {
			at.space.locations.Add(1)
		}
		// Readers of the slice do not see what is appended.
		a.locations[at.text] = append(a.locations[at.text], p)
		locations = append(locations, at.text)
	}
	t.set(append(slices.Clip(t.all()), p))
	a.countHost(p, 1)
	a.mark(p)
	a.changes.Add(1)
	a.versions.Add(1)
	return locations, others
}

func (a *Association) newPresence(o boundary.Occupant, id Identity) *presence {
	p := &presence{occupant: o, process: id.process(), job: id.text(FieldJob)}
	for m := range marks {
		p.marks[m] = m.text(id.text(m.field()))
	}
	if p.marks[markInstance] == "" && strings.HasPrefix(p.marks[markUUID], migPrefix) {
		p.marks[markInstance] = p.marks[markUUID]
	}
	for _, s := range a.spaces {
		if s == a.session {
			text := unique.Make(string(a.sessionLocation(nil, o.Rank.Session))).Value() // one copy for all ranks
			p.locations = append(p.locations, located{s, text})
		} else if text, ok := a.location(s, id, p.process); ok {
			p.locations = append(p.locations, located{s, text})
		}
	}
	return p
}

// sessionLocation appends the location of a session.
func (a *Association) sessionLocation(to []byte, session string) []byte {
	return append(append(to, a.session.number), session...)
}

// maxNeighbors bounds the occupants of a location that contend with a new one. Those that
// were added before them have contended with them.
const maxNeighbors = 64

// contend appends the other occupants of an exclusive location, the newest first.
func (p *presence) contend(others []Neighbor, at []*presence, s *space) []Neighbor {
	known := len(others)
	for _, q := range slices.Backward(at) {
		if len(others)-known == maxNeighbors {
			break
		}
		sameProcess := q.occupant.Rank == p.occupant.Rank && q.occupant.Process == p.occupant.Process
		if sameProcess || !p.shares(q, s) ||
			slices.ContainsFunc(others, func(n Neighbor) bool { return n.Occupant == q.occupant }) {
			continue
		}
		others = append(others, Neighbor{
			Occupant: q.occupant,
			SameJob:  q.occupant.Rank.Session == p.occupant.Rank.Session || p.job != "" && q.job == p.job,
		})
	}
	return others
}

// shares reports whether two presences with the same location are at the same place.
func (p *presence) shares(q *presence, s *space) bool {
	switch {
	case s.process:
		return p.process.Fits(q.process)
	case s.host >= 0 && !boundary.SameHost(p.process.Host, q.process.Host):
		return false
	}
	return p.marks[markInstance] == q.marks[markInstance]
}

// mark notes which marks are known, so that nothing is looked up of others.
func (a *Association) mark(p *presence) {
	known := a.marked.Load()
	for m, text := range p.marks {
		if text != "" {
			known |= uint64(a.known[mark(m).field()].names.Mask())
		}
	}
	a.marked.Store(known)
}

// countHost counts the presences on a host whose name is qualified.
func (a *Association) countHost(p *presence, n int) {
	host := p.process.Host
	label := boundary.FirstLabel(host)
	if label == host {
		return
	}
	if a.hosts[label] == nil {
		a.hosts[label] = map[string]int{}
	}
	if a.hosts[label][host] += n; a.hosts[label][host] == 0 {
		delete(a.hosts[label], host)
	}
	if len(a.hosts[label]) == 0 {
		delete(a.hosts, label)
	}
}

// hostsLike reports whether hosts with the same first label and other domains are known,
// and whether the host itself is.
func (a *Association) hostsLike(qualified string) (others, known bool) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	hosts := a.hosts[boundary.FirstLabel(qualified)]
	known = hosts[qualified] > 0
	return len(hosts) > 1 || len(hosts) == 1 && !known, known
}

// tenant returns what is known of a rank, or nil.
func (a *Association) tenant(rank *boundary.RankKey) *tenant {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return a.tenants[*rank]
}

// Remove removes a rank, unless registered reports that it has been registered again.
// It calls registered with its lock held.
func (a *Association) Remove(rank boundary.RankKey, registered func(boundary.RankKey) bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if t, ok := a.tenants[rank]; ok && !registered(rank) {
		for _, p := range t.all() {
			a.remove(p)
		}
		delete(a.tenants, rank)
	}
}

// RemovePresence removes a presence of a process, and the rank with its last one.
func (a *Association) RemovePresence(o boundary.Occupant) {
	a.mu.Lock()
	defer a.mu.Unlock()
	t, ok := a.tenants[o.Rank]
	if !ok {
		return
	}
	left := make([]*presence, 0, len(t.all()))
	for _, p := range t.all() {
		if p.occupant == o {
			a.remove(p)
		} else {
			left = append(left, p)
		}
	}
	t.set(left)
	if len(left) == 0 {
		delete(a.tenants, o.Rank)
	}
}

// remove removes a presence from its locations.
func (a *Association) remove(p *presence) {
	for _, at := range p.locations {
		here := a.locations[at.text]
		left := make([]*presence, 0, len(here)-1)
		for _, q := range here {
			if q != p {
				left = append(left, q)
			}
		}
		if len(left) == 0 {
			delete(a.locations, at.text)
			at.space.locations.Add(-1)
			continue
		}
		a.locations[at.text] = left
	}
	a.countHost(p, -1)
	a.versions.Add(1)
}
