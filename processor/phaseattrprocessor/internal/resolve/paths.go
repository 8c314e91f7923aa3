// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package resolve

import (
	"strings"
	"sync"

	"github.com/phaseattr/phaseattr/internal/boundary"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/policy"
)

// OtherPath replaces the paths beyond the limit of a PathLimiter.
const OtherPath = "other"

// PathLimiter limits the paths that are written to data points: each is a series more
// to store. A path that has not been written for one to two rounds makes room for
// another one. Each tenant has a share, and each of its sessions one of that, so that one
// that makes up paths cannot take those of the others: at the limit, who has less than its
// share takes from the one that has most.
type PathLimiter struct {
	limit int

	// mu guards what follows.
	mu    sync.Mutex
	paths map[string]*admittedPath
	// sessions has the number of paths that each session was the first to write.
	// tenants has the same of each tenant.
	sessions map[session]int
	tenants  map[string]int
	// admissions is the number of paths that have been admitted.
	admissions int64
}

// session identifies a session.
type session struct{ tenant, id string }

// admittedPath is a path that may be written.
type admittedPath struct {
	// session is the one that was the first to write it, number is that of its admission.
	session session
	number  int64
	// written is true when the path has been written in this round.
	written bool
}

// NewPathLimiter returns a limiter that admits limit different paths.
func NewPathLimiter(limit int) *PathLimiter {
	return &PathLimiter{limit: limit, paths: map[string]*admittedPath{}, sessions: map[session]int{}, tenants: map[string]int{}}
}

// Rotate begins a new round: it forgets the paths that were not written in the last one.
func (l *PathLimiter) Rotate() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for path, p := range l.paths {
		if !p.written {
			l.remove(path)
		}
		p.written = false
	}
}

// Len returns the number of paths that are admitted now.
func (l *PathLimiter) Len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.paths)
}

// Limit replaces the paths of a rank's answer that are beyond the limit. It returns true
// when it replaced one.
func (l *PathLimiter) Limit(rank *boundary.RankKey, answer *policy.Attribution) (limited bool) {
	of := session{rank.Tenant, rank.Session}
	admit := func(path string) string {
		admitted := l.admit(of, path)
		limited = limited || admitted != path
		return admitted
	}
	answer.Path, answer.Summary.Path = admit(answer.Path), admit(answer.Summary.Path)
	for i, path := range answer.Paths {
		answer.Paths[i] = admit(path)
	}
	return limited
}

// admit returns a path that may be written, or OtherPath.
func (l *PathLimiter) admit(of session, path string) string {
	if path == "" {
		return path
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if p, ok := l.paths[path]; ok {
		p.written = true
		return path
	}
	if len(l.paths) >= l.limit && !l.makeRoom(of) {
		return OtherPath
	}
	l.admissions++
	of = session{strings.Clone(of.tenant), strings.Clone(of.id)}
	l.paths[strings.Clone(path)] = &admittedPath{session: of, number: l.admissions, written: true}
	l.sessions[of]++
	l.tenants[of.tenant]++
	return path
}

// makeRoom removes a path for a tenant, or for a session of one, that has less than its
// share: one of the session that has most, of the tenant that has most. That is one that has
// not been written lately, else the newest. It is called with mu held.
func (l *PathLimiter) makeRoom(of session) bool {
	from, share := of.tenant, l.limit
	tenants := len(l.tenants)
	if l.tenants[from] == 0 {
		tenants++
	}
	if share = max(share/tenants, 1); tenants > 1 && l.tenants[from] < share {
		for other, n := range l.tenants {
			if n > l.tenants[from] {
				from = other
			}
		}
	}
	var largest session
	sharing, most := 0, 0
	for other, n := range l.sessions {
		if other.tenant != from {
			continue
		}
		sharing++
		if n > most {
			largest, most = other, n
		}
	}
	if from == of.tenant {
		own := l.sessions[of]
		if own == 0 {
			sharing++
		}
		if share = max(share/max(sharing, 1), 1); own >= share || most <= share {
			return false
		}
	}
	victim := ""
	for path, p := range l.paths {
		if p.session == largest && (victim == "" || p.goesBefore(l.paths[victim])) {
			victim = path
		}
	}
	l.remove(victim)
	return true
}

// goesBefore reports whether a path makes room before another one.
func (p *admittedPath) goesBefore(other *admittedPath) bool {
	if p.written != other.written {
		return other.written
	}
	return p.number > other.number
}

// remove is called with mu held.
func (l *PathLimiter) remove(path string) {
	of := l.paths[path].session
	delete(l.paths, path)
	l.sessions[of]--
	if l.sessions[of] == 0 {
		delete(l.sessions, of)
	}
	l.tenants[of.tenant]--
	if l.tenants[of.tenant] == 0 {
		delete(l.tenants, of.tenant)
	}
}
