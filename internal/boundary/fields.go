// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package boundary

import (
	"math"
	"math/bits"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
)

// Fields looks up the fields of one record in up to four maps, in this order: the
// attributes of the record (log record, data point, span), its body if that is a map, the
// attributes of its scope and those of its resource. The zero Fields has none.
type Fields struct {
	maps [mapCount]KeyedMap
	// scanned has the values of the maps that have been scanned.
	scanned *[mapCount]values
}

const (
	mapCount = 4
	// ownMaps is the number of maps that are the record's own.
	ownMaps = 2
)

// NewFields returns the fields of a record. A zero Map has none.
func NewFields(attributes, body, scope, resource pcommon.Map) Fields {
	return Fields{maps: [...]KeyedMap{unscanned(attributes), unscanned(body), unscanned(scope), unscanned(resource)}}
}

// SetLog replaces the record by a log record, in the same scope.
func (f *Fields) SetLog(lr plog.LogRecord) {
	f.SetRecord(lr.Attributes(), MapBody(lr))
}

// SetRecord replaces the record, in the same scope.
func (f *Fields) SetRecord(attributes, body pcommon.Map) {
	f.maps[0], f.maps[1] = unscanned(attributes), unscanned(body)
}

// ScanRecord replaces the record, in the same scope. Its values are found with one look
// at each attribute.
func (f *Fields) ScanRecord(keys *KeySet, attributes, body pcommon.Map) {
	f.scan(keys, 0, attributes)
	f.scan(keys, 1, body)
}

// ScanScope replaces the attributes of the scope and of the resource. There is no record
// then.
func (f *Fields) ScanScope(keys *KeySet, scope, resource pcommon.Map) {
	f.maps[0], f.maps[1] = KeyedMap{}, KeyedMap{}
	f.scan(keys, 2, scope)
	f.scan(keys, 3, resource)
}

// ScanSame replaces the record by that of other fields, in the same scope.
func (f *Fields) ScanSame(keys *KeySet, other *Fields) {
	f.ScanRecord(keys, other.maps[0].m, other.maps[1].m)
}

// ScanSameScope replaces the scope and the resource by those of other fields.
func (f *Fields) ScanSameScope(keys *KeySet, other *Fields) {
	f.ScanScope(keys, other.maps[2].m, other.maps[3].m)
}

func (f *Fields) scan(keys *KeySet, at int, m pcommon.Map) {
	if f.scanned == nil {
		f.scanned = new([mapCount]values)
	}
	f.maps[at] = keys.scan(m, &f.scanned[at])
}

// Clear forgets all maps, and what they refer to.
func (f *Fields) Clear() {
	f.maps = [mapCount]KeyedMap{}
	if f.scanned != nil {
		*f.scanned = [mapCount]values{}
	}
}

// Attributes returns the keys that the attributes of the record have.
func (f *Fields) Attributes() KeyMask { return f.maps[0].present }

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
// that this map has. Only scalars that are not blank count: exporters write labels that
// are empty.
func (f *Fields) FindAny(keys Keys) (pcommon.Value, bool) { return findAny(f.maps[:], &keys) }

// FindOwn is FindAny in the record itself.
func (f *Fields) FindOwn(keys Keys) (pcommon.Value, bool) { return findAny(f.maps[:ownMaps], &keys) }

// FindInherited is FindAny in the record's scope and resource.
func (f *Fields) FindInherited(keys Keys) (pcommon.Value, bool) {
	return findAny(f.maps[ownMaps:], &keys)
}

// findAny is FindAny in some maps.
func findAny(maps []KeyedMap, keys *Keys) (pcommon.Value, bool) {
	for i := range maps {
		m := &maps[i]
		there := m.present & keys.mask
		if there == 0 {
			continue
		}
		if m.values != nil && there&(there-1) == 0 && there != sharedMask { // the usual case
			if v := m.values[bits.TrailingZeros64(uint64(there))]; isNamed(v) {
				return v, true
			}
			continue
		}
		for _, key := range keys.list {
			if v, ok := m.get(key); ok && isNamed(v) {
				return v, true
			}
		}
	}
	return pcommon.Value{}, false
}

// Integer returns the integer under any of the keys.
func (f *Fields) Integer(keys Keys) (int64, bool) { return integer(f.FindAny(keys)) }

// getNamed is Get for a value that is not blank, if there is one.
func (f *Fields) getNamed(name string) (pcommon.Value, bool) {
	key := Key{text: name}
	blank, found := pcommon.Value{}, false
	for i := range f.maps {
		v, ok := f.maps[i].get(key)
		if ok && !isBlank(v) {
			return v, true
		}
		if ok && !found {
			blank, found = v, true
		}
	}
	return blank, found
}

// getOwn is Get in the record itself.
func (f *Fields) getOwn(name string) (pcommon.Value, bool) { return f.first(ownMaps, Key{text: name}) }

// inherited is Get in the record's scope and resource.
func (f *Fields) inherited(name string) (pcommon.Value, bool) {
	for i := ownMaps; i < mapCount; i++ {
		if v, ok := f.maps[i].get(Key{text: name}); ok {
			return v, true
		}
	}
	return pcommon.Value{}, false
}

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

// isNamed reports whether a value is a scalar that is not blank.
func isNamed(v pcommon.Value) bool {
	switch v.Type() {
	case pcommon.ValueTypeStr:
		text := v.Str()
		return text != "" && text[0] > ' ' && text[0] < utf8.RuneSelf || strings.TrimSpace(text) != ""
	case pcommon.ValueTypeInt, pcommon.ValueTypeDouble, pcommon.ValueTypeBool:
		return true
	}
	return false
}

// AppendText appends the text of a value: that of a string without the spaces around it,
// and of 3.0 what 3 has. It returns false if the value is blank or no scalar.
func AppendText(text []byte, v pcommon.Value) ([]byte, bool) {
	switch v.Type() {
	case pcommon.ValueTypeStr:
		value := strings.TrimSpace(v.Str())
		return append(text, value...), value != ""
	case pcommon.ValueTypeInt:
		return strconv.AppendInt(text, v.Int(), 10), true
	case pcommon.ValueTypeDouble:
		return strconv.AppendFloat(text, v.Double(), 'f', -1, 64), true
	case pcommon.ValueTypeBool:
		return strconv.AppendBool(text, v.Bool()), true
	}
	return text, false
}

// Text returns the text of a value. That of a string refers to the value.
func Text(v pcommon.Value) (string, bool) {
	if v.Type() == pcommon.ValueTypeStr {
		text := strings.TrimSpace(v.Str())
		return text, text != ""
	}
	text, ok := AppendText(nil, v)
	return string(text), ok
}

// scalar is Text of a value that may not be there: a job ID is a number to one sender and
// text to another.
func scalar(v pcommon.Value, found bool) (string, bool) {
	if !found {
		return "", false
	}
	return Text(v)
}

// text returns the value if it is a string.
func text(v pcommon.Value, found bool) (string, bool) {
	if !found || v.Type() != pcommon.ValueTypeStr {
		return "", false
	}
	return v.Str(), true
}

// Integer returns the value if it is an integer, an integral double or decimal text.
func Integer(v pcommon.Value) (int64, bool) { return integer(v, true) }

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
