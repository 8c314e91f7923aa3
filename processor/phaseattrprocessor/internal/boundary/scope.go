// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package boundary

import (
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

// scopeFieldOf returns the field that has a name in a record, or scopeFieldCount.
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
	prefix string // what stands before a field's name in m
	values [scopeFieldCount]pcommon.Value
}

// read finds all fields of a map in one pass. Of those that are there twice, the first
// one counts.
func (s *scopeFields) read(m pcommon.Map, prefix string) {
	s.m, s.prefix = m, prefix
	for key, v := range m.All() {
		name, ok := strings.CutPrefix(key, prefix)
		if !ok {
			continue
		}
		if field := scopeFieldOf(name); field < scopeFieldCount && s.values[field] == (pcommon.Value{}) {
			s.values[field] = v
		}
	}
}

func (s *scopeFields) get(field scopeField) (pcommon.Value, bool) {
	return s.values[field], s.values[field] != pcommon.Value{}
}

// find looks for the phase_scope map: in metadata or beside it, nested or with its path
// in dots.
func (s *scopeFields) find(f *Fields) bool {
	for i := range f.places {
		place := f.places[i].m
		if place == (pcommon.Map{}) {
			continue
		}
		if meta, ok := place.Get(fieldMetadata); ok && meta.Type() == pcommon.ValueTypeMap &&
			s.findIn(meta.Map(), fieldPhaseScope, dottedScope) {
			return true
		}
		if s.findIn(place, fieldPhaseScope, dottedScope) || s.findIn(place, dottedMetaScope, dottedMetaScopeDot) {
			return true
		}
	}
	return false
}

func (s *scopeFields) findIn(m pcommon.Map, nested, dotted string) bool {
	if v, ok := m.Get(nested); ok && v.Type() == pcommon.ValueTypeMap {
		s.read(v.Map(), "")
		return true
	}
	for key := range m.All() {
		if strings.HasPrefix(key, dotted) {
			s.read(m, dotted)
			return true
		}
	}
	return false
}

func (s *scopeFields) attribute(key string) (pcommon.Value, bool) {
	if attrs, ok := s.get(scopeAttributes); ok && attrs.Type() == pcommon.ValueTypeMap {
		return attrs.Map().Get(key)
	}
	return s.m.Get(s.prefix + "attributes." + key)
}
