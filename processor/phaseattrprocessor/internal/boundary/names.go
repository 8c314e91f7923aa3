// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package boundary

import "go.opentelemetry.io/collector/pdata/pcommon"

// Key is the name of a field. The zero bits stand for a name that Names does not know.
type Key struct {
	text string
	bits KeyMask
}

// KeyMask says which names are the keys of a map, a bit for each.
type KeyMask uint64

// Any tells whether any of some names is present.
func (p KeyMask) Any(of KeyMask) bool { return p&of != 0 }

// shared is the bit of all names that have none of their own. It only says that one of
// them is present.
const shared KeyMask = 1 << 63

// KeySet finds out which of some names are the keys of a map, in one pass over it, so
// that the fields that are not there are not looked for. It may be used by many
// goroutines once all names are in.
type KeySet struct {
	// buckets are the names by their hash, at says which one a hash has. Most keys of a map
	// have the hash of none, whose bucket is the first.
	at      [256]uint16
	buckets [][]Key
	next    KeyMask
}

// NewKeySet returns Names that knows the fields that a Reader reads by itself from
// telemetry.
func NewKeySet() *KeySet {
	n := &KeySet{next: 1, buckets: make([][]Key, 1)}
	for _, name := range telemetryNames() {
		n.insert(name)
		n.next = name.bits << 1
	}
	return n
}

// Add makes a name known.
func (n *KeySet) Add(text string) Key {
	for _, known := range n.buckets[n.at[hash(text)]] {
		if known.text == text {
			return known
		}
	}
	name := Key{text, n.next}
	if n.next != shared {
		n.next <<= 1
	}
	n.insert(name)
	return name
}

func (n *KeySet) insert(name Key) {
	at := &n.at[hash(name.text)]
	if *at == 0 {
		*at = uint16(len(n.buckets)) //nolint:gosec // there is one for each hash at most
		n.buckets = append(n.buckets, nil)
	}
	n.buckets[*at] = append(n.buckets[*at], name)
}

// hash looks at no more of a text than tells most names apart.
func hash(text string) uint8 {
	if text == "" {
		return 0
	}
	return uint8(len(text))*7 + text[0]*3 + text[len(text)-1]*13 //nolint:gosec // it may wrap
}

// Mask are those that are set when the name is present.
func (n Key) Mask() KeyMask { return n.bits }

// Scan looks through a map. A zero Map has nothing in it.
func (n *KeySet) Scan(m pcommon.Map) KeyedMap {
	place := KeyedMap{m: m}
	if m == (pcommon.Map{}) {
		return place
	}
	for key := range m.All() {
		if at := n.at[hash(key)]; at != 0 {
			for _, name := range n.buckets[at] {
				if name.text == key {
					place.present |= name.bits
				}
			}
		}
	}
	return place
}

// KeyedMap is a map in which fields are looked for. The zero KeyedMap has none.
type KeyedMap struct {
	m       pcommon.Map
	present KeyMask
}

// anyIn is the place of a map that has not been looked through: anything may be there.
func anyIn(m pcommon.Map) KeyedMap {
	if m == (pcommon.Map{}) {
		return KeyedMap{}
	}
	return KeyedMap{m, ^KeyMask(0)}
}

// Present says which of the names are there.
func (p *KeyedMap) Present() KeyMask { return p.present }

// get returns the value under a name.
func (p *KeyedMap) get(name Key) (pcommon.Value, bool) {
	if name.bits != 0 && !p.present.Any(name.bits) || p.m == (pcommon.Map{}) {
		return pcommon.Value{}, false
	}
	return p.m.Get(name.text)
}
