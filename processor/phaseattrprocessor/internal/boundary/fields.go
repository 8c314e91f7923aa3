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

// Fields looks up the fields of one record in up to four maps, in this order: the
// attributes of the record (log record, data point, span), its body if that is a map, the
// attributes of its scope and those of its resource. The zero Fields has none.
type Fields struct {
	maps [4]KeyedMap
}

// ownMaps is the number of maps that are the record's own.
const ownMaps = 2

// NewFields returns the fields of a record. A zero Map has none.
func NewFields(attributes, body, scope, resource pcommon.Map) Fields {
	return Fields{maps: [...]KeyedMap{unscanned(attributes), unscanned(body), unscanned(scope), unscanned(resource)}}
}

// SetLog replaces the record by a log record, in the same scope.
func (f *Fields) SetLog(lr plog.LogRecord) {
	f.SetRecord(unscanned(lr.Attributes()), unscanned(MapBody(lr)))
}

// SetRecord replaces the record, in the same scope.
func (f *Fields) SetRecord(attributes, body KeyedMap) { f.maps[0], f.maps[1] = attributes, body }

// SetScope replaces the attributes of the scope and of the resource.
func (f *Fields) SetScope(scope, resource KeyedMap) { f.maps[2], f.maps[3] = scope, resource }

// Present returns the keys that any of the maps has.
func (f *Fields) Present() KeyMask { return f.Own() | f.maps[2].present | f.maps[3].present }

// Own returns the keys that the record itself has.
func (f *Fields) Own() KeyMask { return f.maps[0].present | f.maps[1].present }

// HasOwnOrigin reports whether the record itself may have an Origin.
func (f *Fields) HasOwnOrigin() bool { return f.Own().Any(originMask) }

// Get returns the value of the first map that has a field of that name.
func (f *Fields) Get(name string) (pcommon.Value, bool) { return f.Find(Key{text: name}) }

// Find returns the value of the first map that has the key.
func (f *Fields) Find(key Key) (pcommon.Value, bool) { return f.first(len(f.maps), key) }

// FindAny returns the value of the first map that has any of the keys, of the first key
// that this map has. A blank value is none: exporters write labels that are empty.
func (f *Fields) FindAny(keys []Key) (pcommon.Value, bool) {
	for i := range f.maps {
		for _, key := range keys {
			if v, ok := f.maps[i].get(key); ok && !isBlank(v) {
				return v, true
			}
		}
	}
	return pcommon.Value{}, false
}

// getOwn is Get in the record itself.
func (f *Fields) getOwn(name string) (pcommon.Value, bool) { return f.first(ownMaps, Key{text: name}) }

// first is Find in the first n maps.
func (f *Fields) first(n int, key Key) (pcommon.Value, bool) {
	for i := range n {
		if v, ok := f.maps[i].get(key); ok {
			return v, true
		}
	}
	return pcommon.Value{}, false
}

// findIn returns the value of the first map that has the field inside the map called
// parent, or under its flattened name, "parent.name".
func (f *Fields) findIn(parent Key, name string, flattened Key) (pcommon.Value, bool) {
	for i := range f.maps {
		if m, ok := f.maps[i].get(parent); ok && m.Type() == pcommon.ValueTypeMap {
			if v, ok := m.Map().Get(name); ok {
				return v, true
			}
		}
		if v, ok := f.maps[i].get(flattened); ok {
			return v, true
		}
	}
	return pcommon.Value{}, false
}

func isBlank(v pcommon.Value) bool {
	return v.Type() == pcommon.ValueTypeEmpty || v.Type() == pcommon.ValueTypeStr && strings.TrimSpace(v.Str()) == ""
}

// scalar returns the value as text if it is a string that is not blank, a number or a
// bool: a job ID is a number to one sender and text to another.
func scalar(v pcommon.Value, found bool) (string, bool) {
	if !found {
		return "", false
	}
	switch v.Type() {
	case pcommon.ValueTypeStr:
		text := strings.TrimSpace(v.Str())
		return text, text != ""
	case pcommon.ValueTypeInt:
		return strconv.FormatInt(v.Int(), 10), true
	case pcommon.ValueTypeDouble:
		return strconv.FormatFloat(v.Double(), 'f', -1, 64), true
	case pcommon.ValueTypeBool:
		return strconv.FormatBool(v.Bool()), true
	}
	return "", false
}

// text returns the value if it is a string.
func text(v pcommon.Value, found bool) (string, bool) {
	if !found || v.Type() != pcommon.ValueTypeStr {
		return "", false
	}
	return v.Str(), true
}

// integer returns the value if it is an integer, an integral double or decimal text: JSON
// parsers turn integers into doubles, and many emitters only write text attributes.
func integer(v pcommon.Value, found bool) (int64, bool) {
	if !found {
		return 0, false
	}
	switch v.Type() {
	case pcommon.ValueTypeInt:
		return v.Int(), true
	case pcommon.ValueTypeDouble:
		return integral(v.Double())
	case pcommon.ValueTypeStr:
		return decimal(v.Str())
	}
	return 0, false
}

func integral(d float64) (int64, bool) {
	// 2^63-1 is not a double, so the bound is 2^63, exclusive.
	if d != math.Trunc(d) || d < math.MinInt64 || d >= math.MaxInt64 {
		return 0, false
	}
	return int64(d), true
}

func decimal(s string) (int64, bool) {
	n, err := strconv.ParseInt(strings.TrimSpace(s), 10, 64)
	return n, err == nil
}
