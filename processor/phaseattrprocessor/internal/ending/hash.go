// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package ending

import (
	"hash/maphash"
	"math"

	"go.opentelemetry.io/collector/pdata/pcommon"
)

// Hasher hashes the attributes of points: those that tell the series of a stream apart, and
// those that tell streams apart.
type Hasher struct {
	seed maphash.Seed
	// keys are those of series; nil if all are.
	keys map[string]struct{}
}

// NewHasher returns a hasher by the keys of the attributes that tell series apart, or by
// all keys if there are none.
func NewHasher(keys []string) *Hasher {
	h := &Hasher{seed: maphash.MakeSeed()}
	if len(keys) > 0 {
		h.keys = make(map[string]struct{}, len(keys))
	}
	for _, key := range keys {
		h.keys[key] = struct{}{}
	}
	return h
}

func (h *Hasher) ofSeries(key string) bool {
	_, ok := h.keys[key]
	return ok || h.keys == nil
}

// Hash returns the hash of the attributes that tell series apart, and that of the others.
// Their order does not matter.
func (h *Hasher) Hash(attributes pcommon.Map) (series, others uint64) {
	for key, v := range attributes.All() {
		sum := mix(maphash.String(h.seed, key) ^ mix(h.Value(v)))
		if h.ofSeries(key) {
			series += sum
		} else {
			others += sum
		}
	}
	return series, others
}

// HashAll returns the hash of all attributes.
func (h *Hasher) HashAll(attributes pcommon.Map) uint64 {
	series, others := h.Hash(attributes)
	return With(series, others)
}

// Text returns the hash of what has the hash sum, with a text.
func (h *Hasher) Text(sum uint64, text string) uint64 { return mix(sum ^ maphash.String(h.seed, text)) }

// With returns the hash of what has the hash sum, with another hash.
func With(sum, other uint64) uint64 { return mix(sum*31 + other) }

// series returns the series of a point.
func (h *Hasher) series(hash uint64, attributes pcommon.Map) *Series {
	s := &Series{Hash: hash, Attributes: pcommon.NewMap()}
	for key, v := range attributes.All() {
		if h.ofSeries(key) {
			v.CopyTo(s.Attributes.PutEmpty(key))
		}
	}
	return s
}

// Put puts the attributes of a series on a point, instead of those of another one.
func (h *Hasher) Put(attributes pcommon.Map, s *Series) {
	attributes.RemoveIf(func(key string, _ pcommon.Value) bool { return h.ofSeries(key) })
	for key, v := range s.Attributes.All() {
		v.CopyTo(attributes.PutEmpty(key))
	}
}

// mix spreads the bits of a number, so that sums of such numbers differ.
func mix(n uint64) uint64 {
	n = (n ^ n>>31) * 0x9e3779b97f4a7c15
	return n ^ n>>29
}

// Value returns the hash of a value.
func (h *Hasher) Value(v pcommon.Value) uint64 {
	switch v.Type() {
	case pcommon.ValueTypeStr:
		return maphash.String(h.seed, v.Str())
	case pcommon.ValueTypeInt:
		return uint64(v.Int()) + 1 //nolint:gosec // any bits will do
	case pcommon.ValueTypeDouble:
		return math.Float64bits(v.Double()) + 2
	}
	return maphash.String(h.seed, v.AsString()) + uint64(v.Type()) + 3 //nolint:gosec // it is small
}
