// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"encoding/binary"
	"math"
	"time"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/association"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/boundary"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/replay"
)

// reader reads what a writer has written. After an error, which it keeps, all values are
// zero.
type reader struct {
	data  []byte
	err   error
	texts []string
	paths []boundary.Path
	history
}

func newReader(data []byte) *reader { return &reader{data: data} }

// done reports whether there is nothing left to read.
func (r *reader) done() bool { return r.err != nil || len(r.data) == 0 }

func (r *reader) fail() {
	r.err, r.data = errMalformed, nil
}

// bytes returns the next n bytes, as part of the payload.
func (r *reader) bytes(n int) []byte {
	if n > len(r.data) {
		r.fail()
		return nil
	}
	read := r.data[:n]
	r.data = r.data[n:]
	return read
}

func (r *reader) byte() byte {
	if read := r.bytes(1); r.err == nil {
		return read[0]
	}
	return 0
}

func (r *reader) bool() bool { return r.byte() != 0 }

func (r *reader) uint() uint64 { return varint(r, binary.Uvarint) }
func (r *reader) int() int64   { return varint(r, binary.Varint) }

// varint reads a number with a decoder of the standard library.
func varint[N uint64 | int64](r *reader, decode func([]byte) (N, int)) N {
	n, length := decode(r.data)
	if length <= 0 {
		r.fail()
		return 0
	}
	r.data = r.data[length:]
	return n
}

// count reads the number of values that follow. Each takes a byte at least, so that a
// damaged number allocates no more than the payload is long.
func (r *reader) count() int {
	n := r.uint()
	if n > uint64(len(r.data)) {
		r.fail()
		return 0
	}
	return int(n) //nolint:gosec // it is no more than a length
}

func (r *reader) at() int64 {
	r.time += r.int()
	return r.time
}

func (r *reader) raw() string { return string(r.bytes(r.count())) }

// recall returns the value at the position that follows among those that have been read,
// or a new one from read.
func recall[V any](r *reader, seen *[]V, read func() V) V {
	position := r.uint()
	switch {
	case position == 0:
		value := read()
		*seen = append(*seen, value)
		return value
	case position <= uint64(len(*seen)):
		return (*seen)[position-1]
	}
	r.fail()
	var none V
	return none
}

func (r *reader) text() string { return recall(r, &r.texts, r.raw) }

func (r *reader) path() boundary.Path {
	return recall(r, &r.paths, func() boundary.Path {
		parts := make([]string, r.count())
		for i := range parts {
			parts[i] = r.text()
		}
		return boundary.NewPath(parts...)
	})
}

// id reads a scope ID.
func (r *reader) id() string {
	shared := r.uint()
	if shared > uint64(len(r.lastID)) {
		r.fail()
		return ""
	}
	r.lastID = r.lastID[:shared] + r.raw()
	return r.lastID
}

// switchThread reads the thread of this and the following boundaries.
func (r *reader) switchThread() {
	position := r.uint()
	switch {
	case position == 0:
		r.addThread(r.int(), r.raw())
	case position <= uint64(len(r.threads)):
		r.thread = int(position) - 1 //nolint:gosec // it is one of them
	default:
		r.fail()
	}
}

func (r *reader) rank() boundary.RankKey { return boundary.RankKey{Session: r.text(), Rank: r.int()} }

func (r *reader) registration() Registration {
	registration := Registration{order: r.uint(), At: r.at(), Claim: r.text()}
	for range r.count() {
		registration.Identity = append(registration.Identity, association.FieldText{Field: r.text(), Text: r.text()})
	}
	return registration
}

// boundary reads a boundary after its flags.
func (r *reader) boundary(flags byte) boundary.Boundary {
	b := boundary.Boundary{Time: r.at()}
	r.sequence++
	if flags&inSequence == 0 {
		r.sequence += r.int()
	}
	b.Sequence = r.sequence
	if flags&sameThread == 0 {
		r.switchThread()
	}
	if flags&isBoundary == 0 || len(r.threads) == 0 {
		r.fail()
		return b
	}
	t := &r.threads[r.thread]
	var s scope
	switch innermost := t.innermost(); {
	case flags&inPlace == 0:
		s.parent = r.id()
		r.rest(flags, &s)
	case flags&isExit == 0:
		s.parent = innermost.id
		r.rest(flags, &s)
	default:
		s = *innermost
	}
	if flags&isExit == 0 {
		t.entered(&s)
	} else {
		b.Action = boundary.Exit
		t.left(&s)
	}
	b.ThreadID, b.ThreadName = t.id, t.name
	b.ScopeID, b.ParentScopeID, b.Path, b.Attributes = s.id, s.parent, s.path, s.attributes
	if b.Path == (boundary.Path{}) {
		r.fail()
	}
	return b
}

// rest reads a scope without its parent.
func (r *reader) rest(flags byte, s *scope) {
	s.id, s.path = r.id(), r.path()
	if flags&isPlain == 0 {
		s.attributes = r.attributes()
	}
}

func (r *reader) attributes() (attributes []boundary.Attribute) {
	for range r.count() {
		attributes = append(attributes, boundary.Attribute{Key: r.text(), Value: r.value()})
	}
	return attributes
}

func (r *reader) value() any {
	switch r.byte() {
	case valueText:
		return r.text()
	case valueInt:
		return r.int()
	case valueDouble:
		return math.Float64frombits(r.uint())
	case valueBool:
		return r.bool()
	}
	r.fail()
	return nil
}

// snapshot reads a snapshot, which must be all that is left.
func (r *reader) snapshot() (through uint64, registration Registration, s replay.Snapshot) {
	through = r.uint()
	s.Rank = r.rank()
	registration = r.registration()
	s.LastArrival = time.Unix(0, r.int())
	c := &s.Clock
	for _, n := range [...]*int64{&c.FirstEvent, &c.Now, &c.Candidate, &c.Evicted, &c.LastEnter, &c.MaxSequence, &c.Stopped, &c.Replaced} {
		*n = r.int()
	}
	c.Confirmations, c.CandidateConfirmations = int8(r.uint()&math.MaxInt8), int8(r.uint()&math.MaxInt8)
	for range r.count() {
		t := replay.Thread{ID: r.int(), Dropped: replay.Dropped{Any: r.bool(), Time: r.at(), Sequence: r.int()}}
		for range r.count() {
			phantom := r.bool()
			t.Open = append(t.Open, replay.OpenScope{Boundary: r.boundary(r.byte()), Inferred: phantom})
		}
		for range r.count() {
			t.Boundaries = append(t.Boundaries, r.boundary(r.byte()))
		}
		s.Threads = append(s.Threads, t)
	}
	if len(r.data) > 0 {
		r.fail()
	}
	return through, registration, s
}
