// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package resolve

const (
	// cacheSize is the number of places of a cache, cacheSets that of its sets, cacheWays that
	// of the places of a set, of which a key can have any. The items of a scrape repeat a few
	// dozen keys, of which two or three may well belong in one set.
	cacheSize = cacheSets * cacheWays
	cacheSets = 32
	cacheWays = 4
)

// cache gives places to the newest keys of a batch. What is known of a key is kept beside
// it, in an array of the same size.
type cache[K comparable] struct {
	keys [cacheSize]K
	// filled are the numbers of places of each set that are taken, next those of the places
	// that the next key takes once all are.
	filled, next [cacheSets]uint8
}

// place returns the place of a key in the first sets, of which there are a power of two, and
// whether it had that already. If not, another key may have had it. Any sum will do that
// depends on the key only.
func (c *cache[K]) place(key *K, sets, sum uint64) (place int, known bool) {
	set := sum * 0x9e3779b97f4a7c15 >> 32 & (sets - 1)
	first, filled := int(set*cacheWays), int(c.filled[set]) //nolint:gosec // there are few
	for i := first; i < first+filled; i++ {
		if c.keys[i] == *key {
			return i, true
		}
	}
	if filled < cacheWays {
		place = first + filled
		c.filled[set]++
	} else {
		place = first + int(c.next[set])
		c.next[set] = (c.next[set] + 1) % cacheWays
	}
	c.keys[place] = *key
	return place, false
}

// clear forgets all keys.
func (c *cache[K]) clear() {
	if c.filled != [cacheSets]uint8{} {
		*c = cache[K]{}
	}
}
