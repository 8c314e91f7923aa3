// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package boundary

import (
	"hash/maphash"
	"math"
	"math/bits"
	"slices"

	"go.opentelemetry.io/collector/pdata/pcommon"
)

// Key is the name of a field. Keys that a KeySet returns are faster to look up.
type Key struct {
	text string
	// mask is zero if the key does not come from a KeySet.
	mask KeyMask
}

// Mask returns the bits that are set in a map's KeyMask if the map has the key.
func (k Key) Mask() KeyMask { return k.mask }

// Keys are names of one field, in order of precedence. The zero Keys are none.
type Keys struct {
	list []Key
	mask KeyMask
}

// KeysOf returns keys that all come from one KeySet.
func KeysOf(list ...Key) Keys {
	keys := Keys{list: list}
	for _, key := range list {
		keys.mask |= key.mask
	}
	return keys
}

// With returns the keys with another one, unless they have it.
func (k Keys) With(key Key) Keys {
	if slices.Contains(k.list, key) {
		return k
	}
	return Keys{append(slices.Clip(k.list), key), k.mask | key.mask}
}

// List returns the keys, which must not be changed.
func (k Keys) List() []Key { return k.list }

// Mask returns the bits of all keys.
func (k Keys) Mask() KeyMask { return k.mask }

// Names returns the names of the keys.
func (k Keys) Names() []string {
	names := make([]string, len(k.list))
	for i, key := range k.list {
		names[i] = key.text
	}
	return names
}

// KeyMask is a set of keys of one KeySet, as bits. The zero KeyMask is empty.
type KeyMask uint64

// Any reports whether m has any of the keys of other.
func (m KeyMask) Any(other KeyMask) bool { return m&other != 0 }

// sharedMask is the bit of all keys for which a KeySet has no bit of their own left. It
// means that at least one of them is present.
const sharedMask KeyMask = 1 << 63

// KeySet finds out which of its keys a map has in one pass over the map, so that absent
// fields cost nothing to look up. It is safe for concurrent use once all keys are added.
type KeySet struct {
	// buckets has the keys by their hash, at the index of the bucket of each hash. Bucket 0
	// is empty: it is that of most keys of a map.
	at      [hashes]uint16
	buckets [][]Key
	next    KeyMask
}

// NewKeySet returns a KeySet that has the keys that a Reader reads from telemetry
// whatever its configuration.
func NewKeySet() *KeySet {
	s := &KeySet{next: 1, buckets: make([][]Key, 1)}
	for _, key := range telemetryKeys() {
		s.insert(key)
		s.next = key.mask << 1
	}
	return s
}

// Add returns the key with the given name, which it adds if it is new.
func (s *KeySet) Add(name string) Key {
	for _, known := range s.buckets[s.at[hash(name)]] {
		if known.text == name {
			return known
		}
	}
	key := Key{name, s.next}
	if s.next != sharedMask {
		s.next <<= 1
	}
	s.insert(key)
	return key
}

func (s *KeySet) insert(key Key) {
	at := &s.at[hash(key.text)]
	if *at == 0 {
		*at = uint16(len(s.buckets)) //nolint:gosec // at most one per hash
		s.buckets = append(s.buckets, nil)
	}
	s.buckets[*at] = append(s.buckets[*at], key)
}

// hashes is the number of values of hash.
const hashes = 1024

// hash reads no more of a text than distinguishes most attribute keys.
func hash(text string) uint16 {
	if text == "" {
		return 0
	}
	sum := uint32(len(text))*0x9e37 + uint32(text[0])*0x85eb + uint32(text[len(text)-1])*0xc2b3 //nolint:gosec // it may wrap
	return uint16(sum >> 4 % hashes)
}

// keyBits is the number of bits of a KeyMask.
const keyBits = 64

// values are those of the keys of a KeySet that one map has, by bit.
type values [keyBits]pcommon.Value

// scan finds out which keys a map has, and notes their values. A zero Map has none.
func (s *KeySet) scan(m pcommon.Map, values *values) KeyedMap {
	if m == (pcommon.Map{}) {
		return KeyedMap{}
	}
	var present KeyMask
	for name, v := range m.All() {
		at := s.at[hash(name)]
		if at == 0 {
			continue
		}
		for i := range s.buckets[at] {
			key := &s.buckets[at][i]
			if key.text == name && present&key.mask == 0 { // of keys with the same name, the first counts
				present |= key.mask
				values[bits.TrailingZeros64(uint64(key.mask))] = v
				break
			}
		}
	}
	return KeyedMap{m: m, present: present, values: values}
}

// KeyedMap is a map together with the keys that it has. The zero KeyedMap is empty.
type KeyedMap struct {
	m       pcommon.Map
	present KeyMask
	// values are those of the keys that are present; nil if the map has not been scanned.
	values *values
}

// Print returns a number that tells the values of some of the keys, in the maps that have
// been scanned, from other ones.
func (f *Fields) Print(seed maphash.Seed, mask KeyMask) uint64 {
	sum := f.PrintOwn(seed, mask)
	for i := ownMaps; i < mapCount; i++ {
		sum = sum*31 + f.maps[i].print(seed, mask)
	}
	return sum
}

// PrintOwn is Print of the record itself.
func (f *Fields) PrintOwn(seed maphash.Seed, mask KeyMask) uint64 {
	return f.maps[0].print(seed, mask)*31 + f.maps[1].print(seed, mask)
}

func (m *KeyedMap) print(seed maphash.Seed, mask KeyMask) uint64 {
	var sum uint64
	for left := m.present & mask &^ sharedMask; left != 0; left &= left - 1 {
		bit := bits.TrailingZeros64(uint64(left))
		sum += mix(printOf(seed, m.values[bit]) ^ uint64(bit)<<56) //nolint:gosec // it is not negative
	}
	if (m.present & mask).Any(sharedMask) {
		for name, v := range m.m.All() { // in any order
			sum += mix(maphash.String(seed, name) ^ printOf(seed, v))
		}
	}
	return sum
}

// mix spreads the bits of a number, so that sums of such numbers differ.
func mix(n uint64) uint64 {
	n = (n ^ n>>31) * 0x9e3779b97f4a7c15
	return n ^ n>>29
}

func printOf(seed maphash.Seed, v pcommon.Value) uint64 {
	switch v.Type() {
	case pcommon.ValueTypeStr:
		return maphash.String(seed, v.Str())
	case pcommon.ValueTypeInt:
		return uint64(v.Int()) //nolint:gosec // any bits will do
	case pcommon.ValueTypeDouble:
		return math.Float64bits(v.Double())
	case pcommon.ValueTypeBool:
		if v.Bool() {
			return 1
		}
	}
	return 0
}

// unscanned returns a KeyedMap that may have any key.
func unscanned(m pcommon.Map) KeyedMap {
	if m == (pcommon.Map{}) {
		return KeyedMap{}
	}
	return KeyedMap{m: m, present: ^KeyMask(0)}
}

func (m *KeyedMap) get(key Key) (pcommon.Value, bool) {
	switch {
	case m.m == (pcommon.Map{}) || key.mask != 0 && !m.present.Any(key.mask):
		return pcommon.Value{}, false
	case m.values == nil || key.mask == 0 || key.mask == sharedMask:
		return m.m.Get(key.text)
	}
	return m.values[bits.TrailingZeros64(uint64(key.mask))], true
}
