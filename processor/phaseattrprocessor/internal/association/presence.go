// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package association

import (
	"slices"
	"strings"
	"sync/atomic"
	"unique"

	"github.com/phaseattr/phaseattr/internal/boundary"
)

// presence is a process of a rank with all that it has been seen to be at, at one time. It
// does not change, but may be removed.
type presence struct {
	// The fields that a search reads come first and fill few cache lines: there may be many
	// presences at a location.

	// removed is set once it is known no longer: lists may still have it.
	removed atomic.Bool
	// lifespan has all times at which it answers; nil if none is known.
	lifespan *boundary.Lifespan
	owner    *owner
	// marks tell the rank from others; empty where nothing is known. Presences that were added to
	// a location one after the other share those that are the same.
	marks     *[marks]string
	process   boundary.Process
	occupant  boundary.Occupant
	job       string
	locations []located
}

// mayMeet reports whether the presence may answer in an interval, in nanoseconds since the Unix
// epoch.
func (p *presence) mayMeet(from, to int64) bool {
	return p.lifespan == nil || p.lifespan.Meets(from, to)
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

// owner has the presences of a rank.
type owner struct {
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

func (t *owner) all() []*presence { return *t.presences.Load() }

// rank returns the key of the rank, nil once it has been removed.
func (t *owner) rank() *boundary.RankKey {
	if all := t.all(); len(all) > 0 {
		return &all[0].occupant.Rank
	}
	return nil
}

// newOwner returns an owner without presences.
func newOwner() *owner {
	t := &owner{}
	t.presences.Store(&[]*presence{})
	t.summary.Store(&summary{marks: &[marks]string{}})
	return t
}

// add adds a presence.
func (t *owner) add(p *presence) {
	// Readers of the slice do not see what is appended.
	all := append(t.all(), p)
	t.presences.Store(&all)
	known := t.summary.Load()
	if len(all) == 1 { // the usual case: nothing to unite
		t.summary.Store(&summary{marks: p.marks})
		return
	}
	if united := known.with(p, all[0]); !known.covers(&united) {
		t.summary.Store(&united)
	}
}

// keep keeps some of the presences, in a slice of their own.
func (t *owner) keep(some []*presence) {
	t.presences.Store(&some)
	known, left := t.summary.Load(), summary{marks: &[marks]string{}}
	for i, p := range some {
		if i%summarized == 0 && left.covers(known) {
			break // the others have nothing to add
		}
		left = left.with(p, some[0])
	}
	t.summary.Store(&left)
}

// summarized is after how many presences it is worth to look whether a summary is complete.
const summarized = 16

// with returns the summary of one presence more, of which another one was the first.
func (s *summary) with(p, first *presence) summary {
	united := summary{marks: s.marks, mixed: s.mixed, processes: s.processes || p.occupant.Process != first.occupant.Process}
	for m, text := range p.marks {
		switch {
		case text == "" || text == united.marks[m]:
		case united.marks[m] != "":
			united.mixed[m] = true
		default:
			if united.marks == s.marks {
				clone := *s.marks
				united.marks = &clone
			}
			united.marks[m] = text
		}
	}
	return united
}

// covers reports whether a summary has all that another one has.
func (s *summary) covers(other *summary) bool {
	if other.processes && !s.processes {
		return false
	}
	for m := range marks {
		if other.mixed[m] && !s.mixed[m] || other.marks[m] != "" && s.marks[m] == "" {
			return false
		}
	}
	return true
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
// larger text, and that of the index is not. The lifespan has all times at which the presence
// answers; it may be nil.
func (a *Association) Add(o boundary.Occupant, id Identity, lifespan *boundary.Lifespan) (locations []string, others []Neighbor) {
	p := a.newPresence(o, id)
	p.lifespan = lifespan
	a.mu.Lock()
	defer a.mu.Unlock()
	t, ok := a.owners[o.Rank]
	if !ok {
		t = newOwner()
		a.owners[p.occupant.Rank] = t
	}
	if t.index(&o) >= 0 {
		return nil, nil
	}
	p.owner = t
	var met []*presence
	for _, at := range p.locations {
		here := a.locations[at.text]
		if at.space.builtin {
			met = p.contend(met, here.presences, at.space)
		}
		if len(here.presences) == 0 {
			at.space.locations.Add(1)
		} else {
			p.share(here.presences[len(here.presences)-1])
		}
		// Readers of the slice do not see what is appended.
		here.presences = append(here.presences, p)
		a.locations[at.text] = here
		locations = append(locations, at.text)
	}
	t.add(p)
	a.countHost(p, 1)
	a.mark(p)
	a.changes.Add(1)
	a.versions.Add(1)
	return locations, p.neighbors(met)
}

func (a *Association) newPresence(o boundary.Occupant, id Identity) *presence {
	p := &presence{occupant: o, process: id.process(), job: id.text(FieldJob)}
	if known := id.marks(); known != *a.noMarks {
		p.marks = &known
	} else {
		p.marks = a.noMarks
	}
	var buffer [MaxRules]located
	locations := buffer[:0]
	for _, s := range a.spaces {
		if s == a.session {
			text := unique.Make(string(a.sessionLocation(nil, o.Rank.Tenant, o.Rank.Session))).Value() // one copy for all ranks
			locations = append(locations, located{s, text})
		} else if text, ok := a.location(s, o.Rank.Tenant, id, p.process); ok {
			locations = append(locations, located{s, text})
		}
	}
	p.locations = slices.Clone(locations)
	return p
}

// share shares the memory of what is the same with another presence, which is then read once for
// both.
func (p *presence) share(q *presence) {
	if p.process.Host == q.process.Host {
		p.process.Host = q.process.Host
	}
	if *p.marks == *q.marks {
		p.marks = q.marks
	}
}

// marks returns the marks of an identity.
func (id Identity) marks() (known [marks]string) {
	for m := range marks {
		known[m] = m.text(id.text(m.field()))
	}
	if known[markInstance] == "" && strings.HasPrefix(known[markUUID], migPrefix) {
		known[markInstance] = known[markUUID]
	}
	return known
}

// sessionLocation appends the location of a session.
func (a *Association) sessionLocation(to []byte, tenant, session string) []byte {
	return append(a.session.appendTo(to, tenant), session...)
}

const (
	// maxNeighbors bounds the occupants of a location that contend with a new one. Those that
	// were added before them have contended with them.
	maxNeighbors = 64
	// maxVisited bounds those that are looked at to find them: hosts of many domains may have
	// the same name, and a device many instances.
	maxVisited = 16 * maxNeighbors
)

// contend appends the other presences at an exclusive location, the newest first.
func (p *presence) contend(met, at []*presence, s *space) []*presence {
	known := len(met)
	for _, q := range slices.Backward(at[max(len(at)-maxVisited, 0):]) {
		if len(met)-known == maxNeighbors {
			break
		}
		sameProcess := q.occupant.Rank == p.occupant.Rank && q.occupant.Process == p.occupant.Process
		if !sameProcess && !q.removed.Load() && p.shares(q, s) && !slices.Contains(met, q) {
			met = append(met, q)
		}
	}
	return met
}

// neighbors returns the occupants that a presence has met.
func (p *presence) neighbors(met []*presence) []Neighbor {
	if len(met) == 0 {
		return nil
	}
	others := make([]Neighbor, len(met))
	for i, q := range met {
		others[i] = Neighbor{
			Occupant: q.occupant,
			SameJob:  q.occupant.Rank.Session == p.occupant.Rank.Session || p.job != "" && q.job == p.job,
		}
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
	label := tenantHost{p.occupant.Rank.Tenant, boundary.FirstLabel(host)}
	if label.name == host {
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

// tenantHost is a host that a tenant uses.
type tenantHost struct{ tenant, name string }

// hostsLike reports whether hosts of a tenant with the same first label and other domains
// are known, and whether the host itself is.
func (a *Association) hostsLike(tenant, qualified string) (others, known bool) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	hosts := a.hosts[tenantHost{tenant, boundary.FirstLabel(qualified)}]
	known = hosts[qualified] > 0
	return len(hosts) > 1 || len(hosts) == 1 && !known, known
}

// owner returns what is known of a rank, or nil.
func (a *Association) owner(rank *boundary.RankKey) *owner {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return a.owners[*rank]
}

// Remove removes a rank, unless registered reports that it has been registered again.
// It calls registered with its lock held.
func (a *Association) Remove(rank boundary.RankKey, registered func(boundary.RankKey) bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if t, ok := a.owners[rank]; ok && !registered(rank) {
		for _, p := range t.all() {
			a.remove(p)
		}
		delete(a.owners, rank)
	}
}

// RemovePresence removes a presence of a process, and the rank with its last one.
func (a *Association) RemovePresence(o boundary.Occupant) {
	a.mu.Lock()
	defer a.mu.Unlock()
	t, ok := a.owners[o.Rank]
	if !ok {
		return
	}
	if i := t.index(&o); i >= 0 {
		gone := t.all()[i]
		a.removeFrom(t, func(p *presence) bool { return p == gone })
	}
}

// RemoveProcess removes the presences of a process, and the rank with its last one.
func (a *Association) RemoveProcess(rank boundary.RankKey, process int32) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if t, ok := a.owners[rank]; ok {
		a.removeFrom(t, func(p *presence) bool { return p.occupant.Process == process })
	}
}

// index returns where a presence of the rank is among all of them, or a negative number.
func (t *owner) index(o *boundary.Occupant) int {
	return slices.IndexFunc(t.all(), func(p *presence) bool {
		return p.occupant.Process == o.Process && p.occupant.Presence == o.Presence
	})
}

// removeFrom removes some presences of a rank.
func (a *Association) removeFrom(t *owner, some func(*presence) bool) {
	all := t.all()
	left := make([]*presence, 0, len(all))
	for _, p := range all {
		if some(p) {
			a.remove(p)
		} else {
			left = append(left, p)
		}
	}
	t.keep(left)
	if len(left) == 0 {
		delete(a.owners, all[0].occupant.Rank)
	}
}

// occupied are the presences at a location.
type occupied struct {
	presences []*presence
	// removed is how many of them have been removed.
	removed int
}

// stale is the share of the presences at a location, as a divisor, that may be removed ones.
// Many leave a location one by one, so that it takes longer to remove each at once.
const stale = 4

// remove removes a presence from its locations.
func (a *Association) remove(p *presence) {
	p.removed.Store(true)
	for _, at := range p.locations {
		here := a.locations[at.text]
		here.removed++
		switch left := len(here.presences) - here.removed; {
		case left == 0:
			delete(a.locations, at.text)
			at.space.locations.Add(-1)
			continue
		case here.removed*stale > len(here.presences):
			here = occupied{presences: here.known(left)}
		}
		a.locations[at.text] = here
	}
	a.countHost(p, -1)
	a.versions.Add(1)
}

// known returns the presences that have not been removed, of which there are n.
func (o *occupied) known(n int) []*presence {
	known := make([]*presence, 0, n)
	for _, p := range o.presences {
		if !p.removed.Load() {
			known = append(known, p)
		}
	}
	return known
}
