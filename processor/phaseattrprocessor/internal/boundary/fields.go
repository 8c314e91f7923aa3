// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package boundary

import (
	"math"
	"strconv"
	"strings"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
)

// Fields are the places in which the fields of one record are looked for, first
// to last: the attributes of the record (log record, data point, span), its map
// body, and the attributes of its scope and of its resource.
type Fields struct {
	places [4]KeyedMap
}

// ownPlaces is how many of the places are the record's own.
const ownPlaces = 2

// NewFields lists the places in order: the record's attributes and map body, and the
// attributes of its scope and resource. A zero Map is left out.
func NewFields(attributes, body, scope, resource pcommon.Map) Fields {
	return Fields{places: [...]KeyedMap{anyIn(attributes), anyIn(body), anyIn(scope), anyIn(resource)}}
}

// SetLog sets the attributes and the map body to those of a log record.
func (f *Fields) SetLog(lr plog.LogRecord) { f.SetRecord(anyIn(lr.Attributes()), anyIn(MapBody(lr))) }

// SetRecord sets the attributes and the map body of the record.
func (f *Fields) SetRecord(attributes, body KeyedMap) { f.places[0], f.places[1] = attributes, body }

// SetScope sets the attributes of the scope and of the resource.
func (f *Fields) SetScope(scope, resource KeyedMap) { f.places[2], f.places[3] = scope, resource }

// Present says which names are in any of the places.
func (f *Fields) Present() KeyMask { return f.Own() | f.places[2].present | f.places[3].present }

// Own says which names are in the record itself.
func (f *Fields) Own() KeyMask { return f.places[0].present | f.places[1].present }

// HasOwnOrigin tells whether hints may be in the record itself.
func (f *Fields) HasOwnOrigin() bool { return f.Own().Any(originBits) }

// Get returns the first value found under key.
func (f *Fields) Get(key string) (pcommon.Value, bool) { return f.Find(Key{text: key}) }

// Find returns the first value found under a name.
func (f *Fields) Find(name Key) (pcommon.Value, bool) { return f.first(len(f.places), name) }

// FindAny returns the first value found under one of the names, place by place.
func (f *Fields) FindAny(names []Key) (pcommon.Value, bool) {
	for i := range f.places {
		for _, name := range names {
			if v, ok := f.places[i].get(name); ok {
				return v, true
			}
		}
	}
	return pcommon.Value{}, false
}

// getOwn returns the first value found under key in the record itself.
func (f *Fields) getOwn(key string) (pcommon.Value, bool) { return f.first(ownPlaces, Key{text: key}) }

// first returns the first value found under a name in the first n places.
func (f *Fields) first(n int, name Key) (pcommon.Value, bool) {
	for i := range n {
		if v, ok := f.places[i].get(name); ok {
			return v, true
		}
	}
	return pcommon.Value{}, false
}

// findIn returns the first value found under key inside the map called parent, or
// under the flattened name "parent.key".
func (f *Fields) findIn(parent Key, key string, flattened Key) (pcommon.Value, bool) {
	for i := range f.places {
		if m, ok := f.places[i].get(parent); ok && m.Type() == pcommon.ValueTypeMap {
			if v, ok := m.Map().Get(key); ok {
				return v, true
			}
		}
		if v, ok := f.places[i].get(flattened); ok {
			return v, true
		}
	}
	return pcommon.Value{}, false
}

// text returns a string value.
func text(v pcommon.Value, found bool) (string, bool) {
	if !found || v.Type() != pcommon.ValueTypeStr {
		return "", false
	}
	return v.Str(), true
}

// integer returns an int value. Unless exact, an integral double and a decimal
// text count too: JSON parsers make doubles of ints, and many emitters have text
// attributes only.
func integer(v pcommon.Value, found, exact bool) (int64, bool) {
	switch {
	case !found:
		return 0, false
	case v.Type() == pcommon.ValueTypeInt:
		return v.Int(), true
	case exact:
		return 0, false
	case v.Type() == pcommon.ValueTypeDouble:
		return integral(v.Double())
	case v.Type() == pcommon.ValueTypeStr:
		return decimal(v.Str())
	}
	return 0, false
}

func integral(d float64) (int64, bool) {
	// 2^63 is a double, 2^63-1 is not: what is below the former fits.
	if d != math.Trunc(d) || d < math.MinInt64 || d >= math.MaxInt64 {
		return 0, false
	}
	return int64(d), true
}

func decimal(s string) (int64, bool) {
	n, err := strconv.ParseInt(strings.TrimSpace(s), 10, 64)
	return n, err == nil
}
