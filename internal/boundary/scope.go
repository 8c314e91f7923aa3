// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package boundary

import (
	"cmp"
	"slices"
	"strings"

	"go.opentelemetry.io/collector/pdata/pcommon"
)

// scopeField is a field of a phase_scope.
type scopeField uint8

const (
	scopeAction scopeField = iota
	scopeName
	scopePath
	scopeID
	scopeParentID
	scopeThreadID
	scopeThreadName
	scopeSequence
	scopeAttributes
	scopeFieldCount
)

// scopeFieldOf returns the field that records call name, or scopeFieldCount.
func scopeFieldOf(name string) scopeField {
	switch name {
	case "action":
		return scopeAction
	case "name":
		return scopeName
	case "path":
		return scopePath
	case "scope_id":
		return scopeID
	case "parent_scope_id":
		return scopeParentID
	case "thread_id":
		return scopeThreadID
	case "thread_name":
		return scopeThreadName
	case "sequence":
		return scopeSequence
	case "attributes":
		return scopeAttributes
	}
	return scopeFieldCount
}

// scopeFields are the fields of one phase_scope, nested or flattened.
type scopeFields struct {
	m      pcommon.Map
	prefix string // of the fields' names in m
	values [scopeFieldCount]pcommon.Value
	// path has the elements of a path whose list was flattened: path.0, path.1.
	path []pathElement
}

// pathElement is an element of a flattened path.
type pathElement struct {
	index int64
	value pcommon.Value
}

// read reads all fields of a map in one pass. Of fields with the same name, the first
// counts.
func (s *scopeFields) read(m pcommon.Map, prefix string) {
	s.m, s.prefix = m, prefix
	for key, v := range m.All() {
		name, ok := strings.CutPrefix(key, prefix)
		if !ok {
			continue
		}
		if field := scopeFieldOf(name); field < scopeFieldCount {
			if s.values[field] == (pcommon.Value{}) {
				s.values[field] = v
			}
		} else if element, ok := strings.CutPrefix(name, "path."); ok {
			if index, ok := decimal(element); ok {
				s.path = append(s.path, pathElement{index, v})
			}
		}
	}
}

// pathItems returns the elements of the path, nested or flattened, in order.
func (s *scopeFields) pathItems() (pcommon.Slice, bool) {
	if v, found := s.get(scopePath); found {
		if v.Type() != pcommon.ValueTypeSlice {
			return pcommon.Slice{}, false
		}
		return v.Slice(), true
	}
	slices.SortStableFunc(s.path, func(a, b pathElement) int { return cmp.Compare(a.index, b.index) })
	items := pcommon.NewSlice()
	for _, element := range s.path {
		element.value.CopyTo(items.AppendEmpty())
	}
	return items, true
}

func (s *scopeFields) get(field scopeField) (pcommon.Value, bool) {
	return s.values[field], s.values[field] != pcommon.Value{}
}

// find reads the phase_scope map of a record, in its metadata or beside it, nested or
// flattened. It returns false if the record has none.
func (s *scopeFields) find(f *Fields) bool {
	for i := range f.maps {
		m := f.maps[i].m
		if m == (pcommon.Map{}) {
			continue
		}
		if meta, ok := m.Get(fieldMetadata); ok && meta.Type() == pcommon.ValueTypeMap &&
			s.findIn(meta.Map(), fieldPhaseScope, scopePrefix) {
			return true
		}
		if s.findIn(m, fieldPhaseScope, scopePrefix) || s.findIn(m, fieldMetaScope, metaScopePrefix) {
			return true
		}
	}
	return false
}

// findIn reads the map that m has under a name, or else the fields of m with a prefix.
func (s *scopeFields) findIn(m pcommon.Map, name, prefix string) bool {
	if v, ok := m.Get(name); ok && v.Type() == pcommon.ValueTypeMap {
		s.read(v.Map(), "")
		return true
	}
	for key := range m.All() {
		if strings.HasPrefix(key, prefix) {
			s.read(m, prefix)
			return true
		}
	}
	return false
}

// attribute returns one of the phase's own attributes.
func (s *scopeFields) attribute(key string) (pcommon.Value, bool) {
	if attrs, ok := s.get(scopeAttributes); ok && attrs.Type() == pcommon.ValueTypeMap {
		return attrs.Map().Get(key)
	}
	return s.m.Get(s.prefix + "attributes." + key)
}
