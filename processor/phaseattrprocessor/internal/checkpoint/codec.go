// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"encoding/binary"
	"math"
	"slices"

	"github.com/phaseattr/phaseattr/internal/boundary"
)

// codec writes a payload or reads one: its methods write the values that they are given
// pointers to, or set them, so that one description of a record serves both. Numbers are
// varints; times and sequence numbers are differences from the previous ones; a scope ID
// lacks the prefix that it shares with the previous one; a text, a path or a thread that
// has been written before is its number among those. After an error in reading, which is
// kept, all values are zero.
type codec struct {
	// data is what has been written or is left to read.
	data    []byte
	reading bool
	err     error

	texts table[string]
	paths table[boundary.Path]
	// threadKeys has the keys of threads; thread is the index of the current one.
	threadKeys table[threadKey]
	threads    []thread
	thread     int
	// time, sequence and id are the previous ones.
	time, sequence int64
	id             string
}

func newReader(data []byte) *codec { return &codec{data: data, reading: true} }

// reset empties a writer, for reuse. It keeps no text alive.
func (c *codec) reset() {
	clear(c.texts.numbers)
	clear(c.paths.numbers)
	clear(c.threadKeys.numbers)
	for i := range c.threads {
		open := c.threads[i].open
		clear(open)
		c.threads[i] = thread{open: open[:0]}
	}
	*c = codec{data: c.data[:0], texts: c.texts, paths: c.paths, threadKeys: c.threadKeys, threads: c.threads[:0]}
}

// more reports whether there is something left to read.
func (c *codec) more() bool { return len(c.data) > 0 }

func (c *codec) fail() { c.err, c.data = errMalformed, nil }

func (c *codec) uint(n *uint64) {
	if !c.reading {
		c.data = binary.AppendUvarint(c.data, *n)
		return
	}
	var length int
	if *n, length = binary.Uvarint(c.data); length <= 0 {
		c.fail()
		return
	}
	c.data = c.data[length:]
}

func (c *codec) int(n *int64) {
	if !c.reading {
		c.data = binary.AppendVarint(c.data, *n)
		return
	}
	var zigzag uint64
	c.uint(&zigzag)
	*n = int64(zigzag>>1) ^ -int64(zigzag&1)
}

// small codes a number from 0 to 127.
func small[N ~int8 | ~uint8](c *codec, n *N) {
	wide := uint64(*n)
	c.uint(&wide)
	*n = N(wide & math.MaxInt8)
}

func (c *codec) bool(b *bool) {
	n := flag(1, *b)
	small(c, &n)
	*b = n != 0
}

func (c *codec) double(x *float64) {
	bits := math.Float64bits(*x)
	c.uint(&bits)
	*x = math.Float64frombits(bits)
}

// byte codes a byte of any value.
func (c *codec) byte(b *byte) {
	switch {
	case !c.reading:
		c.data = append(c.data, *b)
	case len(c.data) == 0:
		*b = 0
		c.fail()
	default:
		*b, c.data = c.data[0], c.data[1:]
	}
}

// delta codes a number as its difference from the last one.
func (c *codec) delta(n, last *int64) {
	difference := *n - *last
	c.int(&difference)
	*last += difference
	*n = *last
}

func (c *codec) at(time *int64) { c.delta(time, &c.time) }

// count codes and returns the number of values that follow. Each takes a byte at least, so
// that a damaged number allocates no more than the payload is long.
func (c *codec) count(n int) int {
	wide := uint64(n) //nolint:gosec // counts are not negative
	c.uint(&wide)
	if c.reading && wide > uint64(len(c.data)) {
		c.fail()
		return 0
	}
	return int(wide) //nolint:gosec // it is no more than a length
}

// list codes the items of a list.
func list[S ~[]T, T any](c *codec, items *S, code func(*codec, *T)) {
	n := c.count(len(*items))
	if c.reading {
		*items = nil
	}
	for i := 0; i < n && c.err == nil; i++ {
		if c.reading {
			*items = append(*items, *new(T))
		}
		code(c, &(*items)[i])
	}
}

// raw codes a text that is not expected again.
func (c *codec) raw(text *string) {
	if !c.reading {
		c.data = append(binary.AppendUvarint(c.data, uint64(len(*text))), *text...)
		return
	}
	n := c.count(0)
	*text, c.data = string(c.data[:n]), c.data[n:]
}

// table numbers values from 1, in the order in which they are written first. A writer has
// the numbers, a reader the values.
type table[V comparable] struct {
	numbers map[V]uint64
	values  []V
}

// code codes the number of a value and returns it, 0 if the value must be coded and added.
func (t *table[V]) code(c *codec, value *V) uint64 {
	number := t.numbers[*value]
	c.uint(&number)
	if c.reading && number > 0 {
		if number > uint64(len(t.values)) {
			c.fail()
			return 0
		}
		*value = t.values[number-1]
	}
	return number
}

func (t *table[V]) add(c *codec, value V) {
	if c.reading {
		t.values = append(t.values, value)
		return
	}
	if t.numbers == nil {
		t.numbers = map[V]uint64{}
	}
	t.numbers[value] = uint64(len(t.numbers)) + 1
}

func (c *codec) text(text *string) {
	if c.texts.code(c, text) == 0 {
		c.raw(text)
		c.texts.add(c, *text)
	}
}

func (c *codec) path(p *boundary.Path) {
	if c.paths.code(c, p) > 0 {
		return
	}
	parts := p.Parts()
	list(c, &parts, (*codec).text)
	if c.reading {
		*p = boundary.NewPath(parts...)
	}
	c.paths.add(c, *p)
}

// scopeID codes a scope ID, which often begins like the previous one.
func (c *codec) scopeID(id *string) {
	var shared uint64
	if !c.reading {
		shared = commonPrefix(*id, c.id)
	}
	c.uint(&shared)
	if shared > uint64(len(c.id)) {
		c.fail()
		return
	}
	rest := ""
	if !c.reading {
		rest = (*id)[shared:]
	}
	c.raw(&rest)
	if c.reading {
		*id = c.id[:shared] + rest
	}
	c.id = *id
}

// commonPrefix returns the length of the prefix that two texts share, in bytes.
func commonPrefix(a, b string) uint64 {
	n, shorter := 0, min(len(a), len(b))
	for n < shorter && a[n] == b[n] {
		n++
	}
	return uint64(n)
}

// threadKey is a thread as its boundaries name it.
type threadKey struct {
	id   int64
	name string
}

// thread is what is known of the boundaries of a thread so far.
type thread struct {
	key threadKey
	// open holds the enters of the scopes that have not been left, the innermost last.
	open []boundary.Boundary
	// outer stands for the scope around them: only its ID is known, as that of the last
	// boundary's parent.
	outer boundary.Boundary
}

// innermost returns the scope that is expected to be left next, or to be the parent of the
// next one.
func (t *thread) innermost() *boundary.Boundary {
	if last := len(t.open) - 1; last >= 0 {
		return &t.open[last]
	}
	return &t.outer
}

// expects reports whether a boundary leaves the innermost scope or enters a child of it.
func (t *thread) expects(b *boundary.Boundary) bool {
	s := t.innermost()
	if b.Action == boundary.Enter {
		return b.ParentScopeID == s.ScopeID
	}
	return b.ScopeID == s.ScopeID && b.ParentScopeID == s.ParentScopeID && b.Path == s.Path && b.Name == s.Name &&
		slices.Equal(b.Attributes, s.Attributes)
}

// follow updates the open scopes after a boundary.
func (t *thread) follow(b *boundary.Boundary) {
	t.outer.ScopeID = b.ParentScopeID
	if b.Action == boundary.Enter {
		t.open = append(t.open, *b)
	} else {
		t.leave()
	}
}

// leave removes the innermost scope.
func (t *thread) leave() {
	if last := len(t.open) - 1; last >= 0 {
		t.open[last] = boundary.Boundary{}
		t.open = t.open[:last]
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
	// isNamed: its scope has a name instead of a path.
	isNamed
	// isDated: it says when its scope was entered.
	isDated
)

// flags returns the flags of a boundary to write.
func (c *codec) flags(b *boundary.Boundary) byte {
	key := threadKey{b.ThreadID, b.ThreadName}
	same := c.thread < len(c.threads) && c.threads[c.thread].key == key
	expected := b.Action == boundary.Enter && b.ParentScopeID == "" // in a new thread
	if same {
		expected = c.threads[c.thread].expects(b)
	} else if number := c.threadKeys.numbers[key]; number > 0 {
		expected = c.threads[number-1].expects(b)
	}
	return isBoundary | flag(isExit, b.Action == boundary.Exit) | flag(sameThread, same) |
		flag(inSequence, b.Sequence == c.sequence+1) | flag(inPlace, expected) | flag(isPlain, len(b.Attributes) == 0) |
		flag(isNamed, b.Path == boundary.Path{}) | flag(isDated, b.Began != 0)
}

func flag(bit byte, on bool) byte {
	if on {
		return bit
	}
	return 0
}

func (c *codec) boundary(b *boundary.Boundary) {
	var flags byte
	if !c.reading {
		flags = c.flags(b)
	}
	c.byte(&flags)
	c.at(&b.Time)
	c.sequence++
	if flags&inSequence == 0 {
		c.delta(&b.Sequence, &c.sequence)
	}
	b.Sequence = c.sequence
	if flags&sameThread == 0 {
		c.switchThread(b)
	}
	if flags&isBoundary == 0 || c.thread >= len(c.threads) {
		c.fail()
		return
	}
	t := &c.threads[c.thread]
	b.ThreadID, b.ThreadName = t.key.id, t.key.name
	if flags&isExit != 0 {
		b.Action = boundary.Exit
	}
	c.scope(b, flags, t.innermost())
	if flags&isDated != 0 {
		c.at(&b.Began)
	}
	t.follow(b)
}

// switchThread codes the thread of this and the following boundaries.
func (c *codec) switchThread(b *boundary.Boundary) {
	key := threadKey{b.ThreadID, b.ThreadName}
	if number := c.threadKeys.code(c, &key); number > 0 {
		c.thread = int(number) - 1 //nolint:gosec // it is one of them
		return
	}
	c.int(&key.id)
	c.raw(&key.name)
	c.threadKeys.add(c, key)
	c.thread = len(c.threads)
	c.threads = slices.Grow(c.threads, 1)[:c.thread+1] // one that has been reset keeps its memory
	c.threads[c.thread].key = key
}

// scope codes the fields that an enter and its exit have in common.
func (c *codec) scope(b *boundary.Boundary, flags byte, innermost *boundary.Boundary) {
	switch {
	case flags&inPlace == 0:
		c.scopeID(&b.ParentScopeID)
	case flags&isExit == 0:
		b.ParentScopeID = innermost.ScopeID
	default:
		b.ScopeID, b.ParentScopeID, b.Path, b.Attributes = innermost.ScopeID, innermost.ParentScopeID, innermost.Path, innermost.Attributes
		b.Name = innermost.Name
	}
	if flags&(inPlace|isExit) != inPlace|isExit {
		c.scopeID(&b.ScopeID)
		c.pathOrName(b, flags)
		if flags&isPlain == 0 {
			list(c, &b.Attributes, (*codec).attribute)
		}
	}
	if c.reading && b.Path == (boundary.Path{}) && flags&isNamed == 0 {
		c.fail()
	}
}

// pathOrName codes the path of a boundary, or its name as a path of one part.
func (c *codec) pathOrName(b *boundary.Boundary, flags byte) {
	if flags&isNamed == 0 {
		c.path(&b.Path)
		return
	}
	name := boundary.NewPath(b.Name)
	c.path(&name)
	b.Name = name.Label()
}

// The kinds of attribute values.
const (
	valueText byte = iota
	valueInt
	valueDouble
	valueBool
)

func (c *codec) attribute(a *boundary.Attribute) {
	c.text(&a.Key)
	var kind byte
	switch a.Value.(type) {
	case int64:
		kind = valueInt
	case float64:
		kind = valueDouble
	case bool:
		kind = valueBool
	}
	c.byte(&kind)
	switch kind {
	case valueText:
		value(c, &a.Value, (*codec).text)
	case valueInt:
		value(c, &a.Value, (*codec).int)
	case valueDouble:
		value(c, &a.Value, (*codec).double)
	case valueBool:
		value(c, &a.Value, (*codec).bool)
	default:
		c.fail()
	}
}

func value[T any](c *codec, v *any, code func(*codec, *T)) {
	typed, _ := (*v).(T)
	code(c, &typed)
	if c.reading {
		*v = typed
	}
}
