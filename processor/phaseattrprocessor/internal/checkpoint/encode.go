// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"encoding/binary"
	"math"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/boundary"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/replay"
)

// writer appends values to a payload. Numbers are varints; times and sequence numbers are
// differences from the previous ones; a scope ID is written without the prefix that it
// shares with the previous one; a text, a path or a thread that has been written before is
// its position among those.
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
	w.history.reset()
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

// known writes the position of a value that has been written before, counted from 1, or 0
// for a new one. It reports whether the value is known.
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

// id writes a scope ID, which often begins like the previous one.
func (w *writer) id(id string) {
	shared := commonPrefix(id, w.lastID)
	w.lastID = id
	w.count(shared)
	w.raw(id[shared:])
}

// commonPrefix returns the length of the prefix that two texts share, in bytes.
func commonPrefix(a, b string) int {
	n := 0
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	return n
}

// switchTo writes the thread of this and the following boundaries.
func (w *writer) switchTo(id int64, name string) {
	position := w.positions[threadKey{id, name}]
	w.uint(position)
	if position > 0 {
		w.thread = int(position) - 1 //nolint:gosec // it is one of them
		return
	}
	w.int(id)
	w.raw(name)
	w.addThread(id, name)
	w.positions[threadKey{id, name}] = uint64(len(w.threads))
}

func (w *writer) rank(rank boundary.RankKey) {
	w.text(rank.Session)
	w.int(rank.Rank)
}

func (w *writer) registration(r *Registration) {
	w.uint(r.order)
	w.at(r.At)
	w.text(r.Claim)
	w.count(len(r.Identity))
	for _, value := range r.Identity {
		w.text(value.Field)
		w.text(value.Text)
	}
}

// A boundary begins with a byte of these flags. Most say that a field has the expected
// value and is not written.
const (
	isBoundary byte = 0x80 >> iota
	isExit
	// sameThread: it is of the previous one's thread.
	sameThread
	// inSequence: its sequence number follows the previous one's.
	inSequence
	// inPlace: it leaves the innermost scope or enters a child of it.
	inPlace
	// isPlain: its scope has no attributes.
	isPlain
)

// boundary writes a boundary without its name, which is not used.
func (w *writer) boundary(b *boundary.Boundary) {
	at := len(w.data)
	w.byte(0)
	flags := isBoundary
	w.at(b.Time)
	w.sequence++
	if b.Sequence == w.sequence {
		flags |= inSequence
	} else {
		w.int(b.Sequence - w.sequence)
		w.sequence = b.Sequence
	}
	if len(w.threads) > 0 && w.threads[w.thread].id == b.ThreadID && w.threads[w.thread].name == b.ThreadName {
		flags |= sameThread
	} else {
		w.switchTo(b.ThreadID, b.ThreadName)
	}
	t := &w.threads[w.thread]
	s := scope{b.ScopeID, b.ParentScopeID, b.Path, b.Attributes}
	if b.Action == boundary.Exit {
		flags |= isExit | w.left(t, &s)
	} else {
		flags |= w.entered(t, &s)
	}
	w.data[at] = flags
}

// entered writes the scope of an enter and returns the flags that apply.
func (w *writer) entered(t *thread, s *scope) (flags byte) {
	if s.parent == t.innermost().id {
		flags = inPlace
	} else {
		w.id(s.parent)
	}
	t.entered(s)
	return flags | w.rest(s)
}

// left writes the scope of an exit and returns the flags that apply.
func (w *writer) left(t *thread, s *scope) (flags byte) {
	if s.equal(t.innermost()) {
		flags = inPlace
	} else {
		w.id(s.parent)
		flags = w.rest(s)
	}
	t.left(s)
	return flags
}

// rest writes a scope without its parent and returns the flags that apply.
func (w *writer) rest(s *scope) (flags byte) {
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

// snapshot writes a rank as it is after record through of the journal.
func (w *writer) snapshot(through uint64, registration *Registration, s *replay.Snapshot) {
	w.uint(through)
	w.rank(s.Rank)
	w.registration(registration)
	w.int(s.LastArrival.UnixNano())
	c := &s.Clock
	for _, n := range [...]int64{c.FirstEvent, c.Now, c.Candidate, c.Evicted, c.LastEnter, c.MaxSequence, c.Stopped, c.Replaced} {
		w.int(n)
	}
	w.count(int(c.Confirmations))
	w.count(int(c.CandidateConfirmations))
	w.count(len(s.Threads))
	for i := range s.Threads {
		t := &s.Threads[i]
		w.int(t.ID)
		w.bool(t.Dropped.Any)
		w.at(t.Dropped.Time)
		w.int(t.Dropped.Sequence)
		w.count(len(t.Open))
		for i := range t.Open {
			w.bool(t.Open[i].Inferred)
			w.boundary(&t.Open[i].Boundary)
		}
		w.count(len(t.Boundaries))
		for i := range t.Boundaries {
			w.boundary(&t.Boundaries[i])
		}
	}
}
