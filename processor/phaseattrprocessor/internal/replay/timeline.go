// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"iter"
	"slices"
	"sort"
)

// timeline is the boundaries of a thread in order. They are kept in chunks, so that a late
// one moves few others, and a search for a time reads few of them.
type timeline struct {
	chunks []chunk
	// count is the number of entries, allocated that for which there is memory.
	count, allocated int
}

// chunk is consecutive entries, at least one. It repeats the times of its first and its
// last one, so that a search reads few of the others.
type chunk struct {
	first, last int64
	entries     []entry
	// allocated is the number of entries for which there is memory.
	allocated int
}

// chunkLength is the largest number of entries of a chunk. With the eight bytes that Go
// adds they fill 2 KiB, one of its allocation sizes.
const chunkLength = 51

// position is the position of an entry, or the end, behind the last one.
type position struct{ chunk, index int }

func (l *timeline) end() position { return position{chunk: len(l.chunks)} }

// at returns the entry at a position, nil at the end.
func (l *timeline) at(p position) *entry {
	if p.chunk == len(l.chunks) {
		return nil
	}
	return &l.chunks[p.chunk].entries[p.index]
}

// previous returns the entry before a position, nil when there is none.
func (l *timeline) previous(p position) *entry {
	if p.index == 0 {
		if p.chunk == 0 {
			return nil
		}
		p.chunk--
		p.index = len(l.chunks[p.chunk].entries)
	}
	return &l.chunks[p.chunk].entries[p.index-1]
}

// next returns the position after that of an entry.
func (l *timeline) next(p position) position {
	p.index++
	if p.index == len(l.chunks[p.chunk].entries) {
		return position{chunk: p.chunk + 1}
	}
	return p
}

func (l *timeline) first() *entry { return l.at(position{}) }

func (l *timeline) last() *entry { return l.previous(l.end()) }

// from yields the entries from a position on.
func (l *timeline) from(p position) iter.Seq2[position, *entry] {
	return func(yield func(position, *entry) bool) {
		for ; p.chunk < len(l.chunks); p = l.next(p) {
			if !yield(p, l.at(p)) {
				return
			}
		}
	}
}

// search returns the position of the first entry that is not before a time. Most lookups
// are near the newest boundaries, so it gallops from there.
func (l *timeline) search(time int64) position {
	high := len(l.chunks)
	low := high
	for step := 1; low > 0 && l.chunks[low-1].last >= time; step *= 2 {
		high = low - 1
		low = max(high-step, 0)
	}
	for low < high {
		mid := int(uint(low+high) / 2)
		if l.chunks[mid].last < time {
			low = mid + 1
		} else {
			high = mid
		}
	}
	if low == len(l.chunks) {
		return l.end()
	}
	return position{low, l.chunks[low].search(time)}
}

// searchOldest is search for a time that is likely to be near the oldest boundary.
func (l *timeline) searchOldest(time int64) position {
	for i := range l.chunks {
		if c := &l.chunks[i]; c.last >= time {
			return position{i, c.search(time)}
		}
	}
	return l.end()
}

// search returns the index of the first entry that is not before a time; the last one
// must not be. Programs repeat themselves, so it starts where the entry would be if all
// were equally far apart, and gallops from there.
func (c *chunk) search(time int64) int {
	if time <= c.first {
		return 0
	}
	low, high := 1, len(c.entries)-1
	share := float64(uint64(time)-uint64(c.first)) / float64(uint64(c.last)-uint64(c.first)) //nolint:gosec // wraps to the distance
	at := int(share * float64(high))
	for step := 1; low < high; step *= 2 {
		if at < low || at >= high {
			at = int(uint(low+high) / 2)
		}
		if c.entries[at].time < time {
			low = at + 1
			at += step
		} else {
			high = at
			at -= step
		}
	}
	return low
}

// find returns the position of a boundary, or where it belongs.
func (l *timeline) find(k entryKey) (at position, found bool) {
	at.chunk = sort.Search(len(l.chunks), func(i int) bool {
		c := &l.chunks[i]
		return c.last > k.time || c.last == k.time && c.entries[len(c.entries)-1].key().compare(k) >= 0
	})
	if at == l.end() {
		return at, false
	}
	entries := l.chunks[at.chunk].entries
	at.index = sort.Search(len(entries), func(i int) bool { return entries[i].key().compare(k) >= 0 })
	return at, entries[at.index].key().compare(k) == 0
}

// insert inserts an entry before the one at a position, and returns its position.
func (l *timeline) insert(p position, e entry) position {
	l.count++
	if p == l.end() {
		return l.append(e)
	}
	if len(l.chunks[p.chunk].entries) >= chunkLength {
		p = l.split(p)
	}
	c := &l.chunks[p.chunk]
	room := cap(c.entries)
	c.entries = slices.Insert(c.entries, p.index, e)
	if cap(c.entries) != room { // they have moved
		l.allocated += cap(c.entries) - c.allocated
		c.allocated = cap(c.entries)
	}
	c.first, c.last = c.entries[0].time, c.entries[len(c.entries)-1].time
	return p
}

// append appends an entry and returns its position. No entry moves: past a full chunk it
// starts another one, which is at most as large as all before it.
func (l *timeline) append(e entry) position {
	i := len(l.chunks) - 1
	if i < 0 || len(l.chunks[i].entries) >= min(chunkLength, cap(l.chunks[i].entries)) {
		n := min(l.count, chunkLength)
		l.chunks = append(l.chunks, chunk{first: e.time, entries: make([]entry, 0, n), allocated: n})
		l.allocated += n
		i++
	}
	c := &l.chunks[i]
	c.entries = append(c.entries, e)
	c.last = e.time
	return position{i, len(c.entries) - 1}
}

// split splits the chunk of a position in two, and returns the position's new value.
func (l *timeline) split(p position) position {
	c := &l.chunks[p.chunk]
	half := len(c.entries) / 2
	rest := slices.Clone(c.entries[half:])
	clear(c.entries[half:])
	c.entries = c.entries[:half]
	c.last = c.entries[half-1].time
	l.chunks = slices.Insert(l.chunks, p.chunk+1, chunk{rest[0].time, rest[len(rest)-1].time, rest, cap(rest)})
	l.allocated += cap(rest)
	if p.index > half {
		return position{p.chunk + 1, p.index - half}
	}
	return p
}

// setTime changes the time of an entry, which keeps its place.
func (l *timeline) setTime(p position, time int64) {
	c := &l.chunks[p.chunk]
	c.entries[p.index].time = time
	c.first, c.last = c.entries[0].time, c.entries[len(c.entries)-1].time
}

// before returns the position before that of an entry or the end, which is not the
// first.
func (l *timeline) before(p position) position {
	if p.index == 0 {
		return position{p.chunk - 1, len(l.chunks[p.chunk-1].entries) - 1}
	}
	return position{p.chunk, p.index - 1}
}

// cut removes the entries before a position, with which it calls release.
func (l *timeline) cut(p position, release func(*entry)) {
	for i := range l.chunks[:p.chunk] {
		c := &l.chunks[i]
		for j := range c.entries {
			release(&c.entries[j])
		}
		l.count -= len(c.entries)
		l.allocated -= c.allocated
	}
	clear(l.chunks[:p.chunk]) // to free the entries
	l.chunks = l.chunks[p.chunk:]
	if p.index > 0 {
		c := &l.chunks[0]
		for j := range c.entries[:p.index] {
			release(&c.entries[j])
		}
		clear(c.entries[:p.index])
		c.entries = c.entries[p.index:]
		c.first = c.entries[0].time
		l.count -= p.index
	}
}

// truncate removes the entries from a position on.
func (l *timeline) truncate(p position) {
	for i := p.chunk; i < len(l.chunks); i++ {
		c := &l.chunks[i]
		keep := 0
		if i == p.chunk {
			keep = p.index
		}
		l.count -= len(c.entries) - keep
		clear(c.entries[keep:])
		c.entries = c.entries[:keep]
	}
	end := p.chunk
	if p.index > 0 {
		c := &l.chunks[p.chunk]
		c.last = c.entries[p.index-1].time
		end++
	}
	for _, c := range l.chunks[end:] {
		l.allocated -= c.allocated
	}
	clear(l.chunks[end:])
	l.chunks = l.chunks[:end]
}

// removeLast removes the last entry.
func (l *timeline) removeLast() { l.truncate(l.before(l.end())) }
