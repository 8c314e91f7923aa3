// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"slices"

	"github.com/phaseattr/phaseattr/internal/boundary"
)

// A thread whose last exit was lost, since it was killed or ran only once, would be in its
// phase until the process ends: no later boundary of its own shows that it is over. Other
// threads do, if they end the scope that it was opened in, or have entered the same path
// again and again since. Once the thread has been silent for a window, it is over.

const (
	// minReentries is how often other threads must have entered a path.
	minReentries = 8
	// maxReentered bounds the paths of a process that are watched. Past it, the watch begins
	// anew.
	maxReentered = 256
)

// reentries are the newest times at which a path was entered, in any order.
type reentries [minReentries]int64

func (r *reentries) note(at int64) {
	oldest := 0
	for i := range r {
		if r[i] < r[oldest] {
			oldest = i
		}
	}
	r[oldest] = max(r[oldest], at)
}

// noteOthers notes what a boundary of a thread shows of others: left is the stack that it
// found.
func (p *process) noteOthers(of *thread, b *boundary.Boundary, left *frame) {
	now := of.top()
	of.orphaned = false
	if left == nil || now.size() <= 2 { // the outermost one may be another
		of.outer = now.outer()
	}
	if b.Action == boundary.Enter {
		p.noteEnter(b)
	}
	for f := left; f.size() > now.size() || f != now && f.size() == now.size() && f != nil; f = f.below {
		p.noteEnd(of, f.scopeID, b.Time)
	}
}

// outer returns the ID of the scope that the outermost one of a stack was opened in, if that
// is another thread's: the stack has it as an inferred one.
func (f *frame) outer() string {
	switch {
	case f == nil:
		return ""
	case f.below != nil:
		return f.below.outer()
	case f.is(inferred):
		return f.scopeID
	}
	return f.parentID
}

func (p *process) noteEnter(b *boundary.Boundary) {
	r := p.entered[b.Path]
	if r == nil {
		if p.entered == nil || len(p.entered) == maxReentered {
			p.entered = map[boundary.Path]*reentries{}
		}
		r = &reentries{}
		for i := range r {
			r[i] = never
		}
		p.entered[b.Path] = r
	}
	r.note(b.Time)
}

// noteEnd notes that a scope has ended: threads whose scopes were opened in it have nothing
// to go on with.
func (p *process) noteEnd(of *thread, scopeID string, at int64) {
	for i := range p.threads {
		t := &p.threads[i]
		if t != of && t.outer == scopeID && t.outer != "" && t.newest() <= at {
			t.orphaned = true
		}
	}
}

// isReentered reports whether other threads have gone on entering the path that a thread is
// in since its newest boundary.
func (p *process) isReentered(t *thread, top *frame) bool {
	r := p.entered[top.path]
	return r != nil && slices.Min(r[:]) > t.newest()
}

// isLost reports whether other threads show that a thread in a phase is over.
func (t *thread) isLost(top *frame) bool {
	return top != nil && (t.orphaned || t.process.isReentered(t, top))
}

// endLost ends what is open on a thread that has been silent for a window and is lost.
func (t *thread) endLost() {
	p := t.process
	if t.entries.count == 0 && t.late == nil && t.base != nil && !within(t.dropped.Time, p.clock.Now, p.options.Window) && t.isLost(t.base) {
		t.base = nil
		p.repairs++
	}
}

// settleOrphans notes which threads of a restored process have nothing to go on with.
func (p *process) settleOrphans() {
	ended := map[string]int64{}
	for i := range p.threads {
		t := &p.threads[i]
		t.outer = t.top().outer()
		if t.outer != "" {
			ended[t.outer] = never
		}
	}
	if len(ended) == 0 {
		return
	}
	for i := range p.threads {
		for _, e := range p.threads[i].entries.from(position{}) {
			if at, ok := ended[e.scope.scopeID]; ok && e.is(pops) {
				ended[e.scope.scopeID] = max(at, e.time)
			}
		}
	}
	for i := range p.threads {
		t := &p.threads[i]
		t.orphaned = t.outer != "" && ended[t.outer] != never && t.newest() <= ended[t.outer]
	}
}
