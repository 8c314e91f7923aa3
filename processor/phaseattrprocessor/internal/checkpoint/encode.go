// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"encoding/binary"
	"math"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/boundary"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/replay"
)

// writer appends values to a payload. Numbers are varints; times and sequence numbers
// are written as what they are more than the last ones, scope IDs by what they differ in
// from the last one; a text, a path or a thread that was there before is written as its
// position among those.
type writer struct {
	data      []byte
	texts     map[string]uint64
	paths     map[boundary.Path]uint64
	positions map[threadKey]uint64 // of the threads
	history
}

type threadKey struct {
	id   int64
	name string
}

func newWriter() *writer {
	return &writer{texts: map[string]uint64{}, paths: map[boundary.Path]uint64{}, positions: map[threadKey]uint64{}}
}

func (w *writer) reset() {
	clear(w.texts)
	clear(w.paths)
	clear(w.positions)
	w.forget()
	w.data = w.data[:0]
}

func (w *writer) byte(b byte)     { w.data = append(w.data, b) }
func (w *writer) count(n int)     { w.uint(uint64(n)) } //nolint:gosec // counts are not negative
func (w *writer) uint(n uint64)   { w.data = binary.AppendUvarint(w.data, n) }
func (w *writer) int(n int64)     { w.data = binary.AppendVarint(w.data, n) }
func (w *writer) at(time int64)   { w.int(time - w.time); w.time = time }
func (w *writer) raw(text string) { w.count(len(text)); w.data = append(w.data, text...) }

func (w *writer) bool(b bool) {
	if b {
		w.byte(1)
	} else {
		w.byte(0)
	}
}

// known writes the position of a value that was written before, from 1, or 0.
func known[K comparable](w *writer, seen map[K]uint64, value K) bool {
	position, ok := seen[value]
	if !ok {
		seen[value] = uint64(len(seen)) + 1
	}
	w.uint(position)
	return ok
}

func (w *writer) text(text string) {
	if !known(w, w.texts, text) {
		w.raw(text)
	}
}

func (w *writer) path(p boundary.Path) {
	if known(w, w.paths, p) {
		return
	}
	parts := p.Parts()
	w.count(len(parts))
	for _, part := range parts {
		w.text(part)
	}
}

// id writes a scope ID, which often begins as the last one does.
func (w *writer) id(id string) {
	shared := sharedBytes(id, w.last)
	w.last = id
	w.count(shared)
	w.raw(id[shared:])
}

// sharedBytes is how many bytes two texts begin with alike.
func sharedBytes(a, b string) int {
	n := 0
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	return n
}

// onThread writes which thread it is about from now on.
func (w *writer) onThread(id int64, name string) {
	position := w.positions[threadKey{id, name}]
	w.uint(position)
	if position > 0 {
		w.thread = int(position) - 1 //nolint:gosec // it is one of them
		return
	}
	w.int(id)
	w.raw(name)
	w.meet(id, name)
	w.positions[threadKey{id, name}] = uint64(len(w.threads))
}

func (w *writer) group(g boundary.RankKey) {
	w.text(g.Session)
	w.int(g.Rank)
}

func (w *writer) introduction(in *Registration) {
	w.uint(in.order)
	w.at(in.At)
	w.text(in.Claim)
	w.count(len(in.Identity))
	for _, value := range in.Identity {
		w.text(value.Field)
		w.text(value.Text)
	}
}

// A boundary begins with what it is, and with what of it is as usual, which is not
// written.
const (
	isBoundary byte = 0x80 >> iota
	isExit
	// sameThread: it is of the last one's thread.
	sameThread
	// inSequence: its number follows the last one's.
	inSequence
	// inPlace: it leaves the innermost scope, or enters one that is in it.
	inPlace
	// isPlain: it has no attributes.
	isPlain
)

// boundary writes all of a boundary but its name, which nobody reads.
func (w *writer) boundary(b *boundary.Boundary) {
	at := len(w.data)
	w.byte(0)
	is := isBoundary
	w.at(b.Time)
	w.sequence++
	if b.Sequence == w.sequence {
		is |= inSequence
	} else {
		w.int(b.Sequence - w.sequence)
		w.sequence = b.Sequence
	}
	if len(w.threads) > 0 && w.threads[w.thread].id == b.ThreadID && w.threads[w.thread].name == b.ThreadName {
		is |= sameThread
	} else {
		w.onThread(b.ThreadID, b.ThreadName)
	}
	t := &w.threads[w.thread]
	s := scope{b.ScopeID, b.ParentScopeID, b.Path, b.Attributes}
	if b.Action == boundary.Exit {
		is |= isExit | w.left(t, &s)
	} else {
		is |= w.entered(t, &s)
	}
	w.data[at] = is
}

// entered writes a scope that was entered.
func (w *writer) entered(t *thread, s *scope) (is byte) {
	if s.parent == t.innermost().id {
		is = inPlace
	} else {
		w.id(s.parent)
	}
	t.entered(s)
	return is | w.rest(s)
}

// left writes a scope that was left.
func (w *writer) left(t *thread, s *scope) (is byte) {
	if s.equal(t.innermost()) {
		is = inPlace
	} else {
		w.id(s.parent)
		is = w.rest(s)
	}
	t.left(s)
	return is
}

// rest writes all of a scope but its parent.
func (w *writer) rest(s *scope) (is byte) {
	w.id(s.id)
	w.path(s.path)
	if len(s.attributes) == 0 {
		return isPlain
	}
	w.attributes(s.attributes)
	return 0
}

func (w *writer) attributes(attributes []boundary.Attribute) {
	w.count(len(attributes))
	for _, a := range attributes {
		w.text(a.Key)
		w.value(a.Value)
	}
}

// The kinds of attribute values.
const (
	valueText byte = iota
	valueInt
	valueDouble
	valueBool
)

func (w *writer) value(value any) {
	switch v := value.(type) {
	case string:
		w.byte(valueText)
		w.text(v)
	case int64:
		w.byte(valueInt)
		w.int(v)
	case float64:
		w.byte(valueDouble)
		w.uint(math.Float64bits(v))
	case bool:
		w.byte(valueBool)
		w.bool(v)
	}
}

// snapshot writes a group as it is after record through of the journal.
func (w *writer) snapshot(through uint64, in *Registration, s *replay.Snapshot) {
	w.uint(through)
	w.group(s.Rank)
	w.introduction(in)
	w.int(s.LastArrival.UnixNano())
	c := &s.Clock
	for _, n := range [...]int64{c.Began, c.Now, c.Rival, c.Evicted, c.LastEnter, c.MaxSequence, c.Stopped, c.Succeeded} {
		w.int(n)
	}
	w.count(int(c.Votes))
	w.count(int(c.RivalVotes))
	w.count(len(s.Threads))
	for i := range s.Threads {
		t := &s.Threads[i]
		w.int(t.ID)
		w.bool(t.Dropped.Any)
		w.at(t.Dropped.Time)
		w.int(t.Dropped.Sequence)
		w.count(len(t.Open))
		for i := range t.Open {
			w.bool(t.Open[i].Phantom)
			w.boundary(&t.Open[i].Boundary)
		}
		w.count(len(t.Boundaries))
		for i := range t.Boundaries {
			w.boundary(&t.Boundaries[i])
		}
	}
}
