// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"cmp"
	"time"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/hold"
)

// waitReason says why telemetry waits.
type waitReason int

const (
	// behind: the events of a rank have not come as far as the telemetry.
	behind waitReason = iota
	// unknown: no event of the session, process or device has come.
	unknown
	// inOrder: telemetry of the same rank that came before waits.
	inOrder
	waitReasons // the number of reasons
)

// String returns the reason's name in the processor's metrics.
func (r waitReason) String() string {
	return [waitReasons]string{"behind", "unknown", "order"}[r]
}

// plan says which items of a batch are held: all that name a rank of which one must wait,
// or of which others wait that came before.
type plan struct {
	*annotator
	grace   time.Duration
	now     time.Time
	targets []target
	parts   []hold.Part
	// reasons has the reason for each part.
	reasons []waitReason
}

// target is a rank, or an unknown location, that items of the batch name. Ranks that were
// looked at and that no item belongs to are among them, not named.
type target struct {
	key hold.Key
	// until is the newest moment that an item stands for.
	until int64
	// grace is how long items of the target wait.
	grace time.Duration
	// behind is true when the events of the rank have not come as far, nameless when none
	// has come.
	behind, nameless bool
	// named is true when an item belongs to the target.
	named bool
	// parent leads to the target that stands for all that are held together, which is its
	// own. Its part is the number of theirs, or stays.
	parent, part int32
	// awaited is true when the first event of the target is waited for.
	awaited bool
}

// plan returns what is held of a batch that has been decided, nil if nothing is. unknowns
// is nil when its items do not wait for what is unknown.
func (a *annotator) plan(grace time.Duration, waiting *hold.Queue, unknowns *hold.Unknown) *plan {
	if !a.early && !waiting.AnyWaiting() {
		return nil
	}
	waiting.Locate()
	p := &plan{annotator: a, grace: grace, now: time.Now()}
	p.collect()
	for i := range p.targets {
		p.consider(&p.targets[i], waiting, unknowns)
	}
	if len(p.parts) == 0 {
		return nil
	}
	// What is held together lines up for all that it names.
	for i := range p.targets {
		t := &p.targets[i]
		if part := p.targets[p.root(t.parent)].part; part != stays {
			p.parts[part].Waits = append(p.parts[part].Waits, hold.Wait{Key: t.key, Until: t.until, Unknown: t.awaited})
		}
	}
	for i := range a.decisions {
		if first, ok := p.first(&a.decisions[i]); ok {
			a.decisions[i].part = p.targets[p.root(first)].part
		}
	}
	return p
}

// first returns the first target of a decision.
func (p *plan) first(d *decision) (int32, bool) {
	switch {
	case d.ranks > 1:
		return p.several[d.rank], true
	case d.ranks == 1:
		return d.rank, true
	}
	return int32(p.resolver.Ranks()) + d.rank, d.rank != noTarget //nolint:gosec // a batch has fewer
}

// collect lists the targets of the batch, and joins those that one item names.
func (p *plan) collect() {
	ranks := p.resolver.Ranks()
	for i := range ranks {
		p.targets = append(p.targets, target{key: hold.Key{Rank: p.resolver.Key(int32(i))}})
	}
	for _, location := range p.unknown {
		p.targets = append(p.targets, target{key: hold.Key{Location: location}, nameless: true})
	}
	for i := range p.targets {
		p.targets[i].parent, p.targets[i].part = int32(i), stays
	}
	for i := range p.decisions {
		d := &p.decisions[i]
		first, ok := p.first(d)
		if !ok {
			continue
		}
		p.mark(first, d)
		for j := int32(1); j < d.ranks; j++ {
			other := p.several[d.rank+j]
			p.mark(other, d)
			p.targets[p.root(other)].parent = p.root(first)
		}
	}
}

func (p *plan) mark(number int32, d *decision) {
	t := &p.targets[number]
	t.named = true
	t.until = max(t.until, d.to)
	if d.ranks > 0 {
		state := p.resolver.State(number, d.from, d.to)
		t.behind, t.nameless = t.behind || state.Behind, t.nameless || !state.Known
		t.grace = max(t.grace, state.Grace)
	}
}

// root returns the target that stands for all that are held together with one.
func (p *plan) root(number int32) int32 {
	for p.targets[number].parent != number {
		p.targets[number].parent = p.targets[p.targets[number].parent].parent
		number = p.targets[number].parent
	}
	return number
}

// consider makes a part of what is held together with a target that must wait.
func (p *plan) consider(t *target, waiting *hold.Queue, unknowns *hold.Unknown) {
	grace := cmp.Or(t.grace, p.grace)
	deadline, reason := p.now.Add(grace), behind
	switch {
	case !t.named:
		return
	case t.behind:
	case t.nameless && unknowns != nil && p.await(t, unknowns, &deadline):
		reason = unknown
	case waiting.Waiting(&t.key):
		reason = inOrder
	default:
		return
	}
	root := &p.targets[p.root(t.parent)]
	if root.part == stays {
		root.part = int32(len(p.parts)) //nolint:gosec // as above
		p.parts, p.reasons = append(p.parts, hold.Part{Tenant: p.tenant, KnownDeadline: p.now.Add(grace)}), append(p.reasons, reason)
	}
	part := &p.parts[root.part]
	p.reasons[root.part] = min(p.reasons[root.part], reason)
	if deadline.After(part.Deadline) {
		part.Deadline = deadline
	}
	if known := p.now.Add(grace); known.After(part.KnownDeadline) {
		part.KnownDeadline = known
	}
}

func (p *plan) await(t *target, unknowns *hold.Unknown, deadline *time.Time) bool {
	*deadline, t.awaited = unknowns.Deadline(p.tenant, t.key, p.now)
	return t.awaited
}
