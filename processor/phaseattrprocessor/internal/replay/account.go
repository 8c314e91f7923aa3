// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"slices"

	"github.com/phaseattr/phaseattr/internal/boundary"
)

// What the index keeps is charged what it takes on the heap, as it changes, so that it can be
// bounded in bytes. A test compares the account with the heap.

// The sizes of what is kept, with Go's own overhead and the places in the maps that lead
// there.
const (
	streamBytes   = 608
	processBytes  = 500
	lookupBytes   = 16
	threadBytes   = 176
	presenceBytes = 112
	entryBytes    = 40
	chunkBytes    = 64
	frameBytes    = 80
	detailBytes   = 48
	spanBytes     = 208
	laneBytes     = 80
	pairingBytes  = 144
	markBytes     = 80
	doubtBytes    = 16
	leftBytes     = 16
	runBytes      = 40
	gapBytes      = 32
	valueBytes    = 48
	usedPathBytes = 24
	// restoredBytes is about what is kept elsewhere of a presence that has been restored.
	restoredBytes = 600
)

// textBytes is what a copy of a text takes.
func textBytes(text string) int {
	n := len(text)
	if n <= 32 {
		return (n + 7) &^ 7
	}
	return (n + 15) &^ 15
}

// attributeBytes is what attributes take. Their keys are those of the configuration.
func attributeBytes(attributes []boundary.Attribute) int {
	n := 0
	for i := range attributes {
		n += valueBytes
		if text, ok := attributes[i].Value.(string); ok {
			n += textBytes(text)
		}
	}
	return n
}

// weightUnit is the unit of a frame's weight.
const weightUnit = 8

func weightOf(bytes int) uint16 { return uint16(min(bytes/weightUnit, 1<<16-1)) } //nolint:gosec // bounded

// bytes is what a frame takes.
func (f *frame) bytes() int { return int(f.weight) * weightUnit }

// charge charges an entry for its scope, unless another one has been charged, and for a path
// that is new to the process. The entry is then on the timeline, or going to be.
func (t *thread) charge(e *entry, shared bool) {
	n := 0
	if !shared {
		n = e.scope.bytes()
	}
	if t.process.uses(e.scope.path) {
		e.set(paysPath, true)
		n += pathBytes(e.scope.path)
	}
	e.bytes = uint32(n)
	t.bytes += n
}

// uses notes that a path is used, and reports whether that is new.
func (p *process) uses(path boundary.Path) bool {
	return p.paths.add(path)
}

func pathBytes(path boundary.Path) int { return path.Bytes() + usedPathBytes }

// release takes back what an entry was charged that leaves the timeline.
func (t *thread) release(e *entry) {
	t.bytes -= e.charged()
	if e.is(paysPath) {
		t.process.paths.remove(e.scope.path)
	}
}

// charged is what an entry was charged.
func (e *entry) charged() int {
	n := int(e.bytes)
	if e.is(infers) {
		n += frameBytes
	}
	return n
}

// setBase changes the stack before the first entry. Frames that it had before, or has not had
// before, are few: each was opened or left by one of the entries that have gone.
func (t *thread) setBase(base *frame) {
	was := t.base
	t.base = base
	for was != base {
		if was.size() < base.size() {
			if t.bytes += base.bytes(); t.process.uses(base.path) {
				base.set(ownsPath, true)
				t.bytes += pathBytes(base.path)
			}
			base = base.below
			continue
		}
		if t.bytes -= was.bytes(); was.is(ownsPath) {
			was.set(ownsPath, false)
			t.process.paths.remove(was.path)
			t.bytes -= pathBytes(was.path)
		}
		was = was.below
	}
}

// heap is what a thread takes.
func (t *thread) heap() int {
	n := t.bytes + t.entries.heap()
	if t.late != nil {
		n += t.late.heap()
	}
	return n
}

// heap is what the chunks of a timeline take.
func (l *timeline) heap() int { return entryBytes*l.allocated + chunkBytes*len(l.chunks) }

// heap is what a process takes, beside its threads.
func (p *process) heap() int {
	n := processBytes + p.nameBytes + p.presenceBytes + threadBytes*cap(p.threads)
	n += 24*cap(p.incarnations) + 8*(cap(p.begins)+cap(p.starts)+cap(p.firsts)+cap(p.pulse.Samples))
	if p.spans != nil {
		n += p.spans.bytes + laneBytes*len(p.spans.lanes) + spanBytes*len(p.spans.free) + 8*(cap(p.spans.free)+cap(p.spans.tree.recent)) + p.spans.byID.heap() +
			p.spans.numbers.heap()
		for _, pairs := range p.spans.pairings {
			n += pairingBytes + markBytes*cap(pairs.marks) + 8*cap(pairs.open) + doubtBytes*cap(pairs.doubts) + leftBytes*cap(pairs.left)
		}
	}
	return n
}

// heap is what a span takes.
func (sp *span) heap() int {
	return spanBytes + textBytes(sp.scopeID) + attributeBytes(sp.attributes)
}

// charge charges a span that comes, and its name, with the path that ends with it, unless
// another one has been charged.
func (s *spans) charge(sp *span) {
	s.bytes += sp.heap()
	if sp.name == (boundary.Path{}) {
		return
	}
	n := s.names[sp.name]
	s.names[sp.name] = n + 1
	if n == 0 {
		s.bytes += 2 * sp.name.Bytes()
	}
}

// release takes back what a span was charged that goes.
func (s *spans) release(sp *span) {
	s.bytes -= sp.heap()
	if sp.name == (boundary.Path{}) {
		return
	}
	n := s.names[sp.name] - 1
	if n > 0 {
		s.names[sp.name] = n
		return
	}
	s.bytes -= 2 * sp.name.Bytes()
	delete(s.names, sp.name)
}

// setName sets the name of a process.
func (p *process) setName(name boundary.Process) {
	p.name = name
	p.nameBytes = textBytes(name.Host) + textBytes(name.Container) + textBytes(name.Pod)
}

// pathSet is a set of paths. Programs have few, for which a map takes more.
type pathSet struct {
	few  []boundary.Path
	many map[boundary.Path]struct{} // nil while there are few
}

// fewPaths is how many paths are few.
const fewPaths = 16

// add adds a path, and reports whether that is new.
func (s *pathSet) add(path boundary.Path) bool {
	if s.many != nil {
		n := len(s.many)
		s.many[path] = struct{}{}
		return len(s.many) > n
	}
	if slices.Contains(s.few, path) {
		return false
	}
	if len(s.few) < fewPaths {
		s.few = append(s.few, path)
		return true
	}
	s.many = make(map[boundary.Path]struct{}, 2*fewPaths)
	for _, known := range append(s.few, path) {
		s.many[known] = struct{}{}
	}
	s.few = nil
	return true
}

// remove removes a path.
func (s *pathSet) remove(path boundary.Path) {
	if s.many != nil {
		delete(s.many, path)
		return
	}
	if i := slices.Index(s.few, path); i >= 0 {
		last := len(s.few) - 1
		s.few[i], s.few[last] = s.few[last], boundary.Path{}
		s.few = s.few[:last]
	}
}
