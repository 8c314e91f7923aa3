// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

// Package association finds the ranks that telemetry belongs to. Telemetry that does not
// name a rank may still name its session, process, pod, job or device.
package association

import (
	"encoding/binary"
	"slices"
	"sync/atomic"
	"time"

	"github.com/phaseattr/phaseattr/internal/boundary"
)

// MaxRules bounds the number of association rules, each of which has its own metric
// attributes.
const MaxRules = 16

// Rule associates telemetry with the ranks whose boundary records have the same values
// for all of its keys.
type Rule struct {
	Keys []Key
	// Representative reports whether the smallest rank answers for all ranks that match.
	Representative bool
	// TimeOffset is how far the clock of what the rule associates is ahead of the ranks'.
	TimeOffset time.Duration
	// OfSource is true for a rule that a source brings.
	OfSource bool
}

// Key pairs a field of boundary records with the telemetry attributes that hold it.
type Key struct {
	Field string
	// Names are the attribute keys, in order of precedence within one attribute map.
	Names []string
}

// space is a kind of locations: the values of some fields.
type space struct {
	// number tells the locations of spaces apart.
	number byte
	fields []string
	// host is the position of the host among the fields, or -1.
	host int
	// exclusive reports whether a location, a process or a device, belongs to one process
	// at a time.
	exclusive bool
	// device and process report which of them a location is.
	device, process bool
	// pod and job report whether the field is among the fields.
	pod, job bool
	// builtin reports whether ranks contend for the locations, whatever the rules.
	builtin bool
	// locations counts those at which a rank is known.
	locations atomic.Int64
}

func newSpace(number byte, fields []string) *space {
	has := func(field string) bool { return slices.Contains(fields, field) }
	s := &space{number: number, fields: fields, host: slices.Index(fields, FieldHost), pod: has(FieldPod)}
	s.device = has(FieldUUID) || s.host >= 0 && (has(FieldPCI) || has(FieldDevice))
	s.process = has(FieldPID) && (s.host >= 0 || has(FieldContainer) || has(FieldPodUID))
	s.job = has(FieldJob) && s.host < 0
	s.exclusive = s.device || s.process
	return s
}

// is reports whether the fields are those of the space, in any order.
func (s *space) is(fields []string) bool {
	return len(fields) == len(s.fields) &&
		!slices.ContainsFunc(fields, func(field string) bool { return !slices.Contains(s.fields, field) })
}

// compiledRule is a Rule prepared for lookups.
type compiledRule struct {
	// needs has, for each key, bits of which a record must have one: for a record of a GPU,
	// and for another.
	needs, needsOfGPU []boundary.KeyMask
	space             *space
	// keys are those of the space's fields, in the same order, pid the one of the process ID.
	keys []*compiledKey
	pid  *compiledKey
	// direct rules take the rank from the session and the rank that the telemetry names,
	// and have no locations.
	direct bool
	// process rules find a process by its host, container or pod, whichever is named.
	process        bool
	representative bool
	offset         time.Duration
	// waits is how well a location tells when the rank of a record has become known. Most
	// ranks tell their host and an index, but neither a UUID nor their pod.
	waits int
}

// isMissing reports whether a record lacks a key.
func (r *compiledRule) isMissing(present boundary.KeyMask, gpu bool) bool {
	needs := r.needs
	if gpu {
		needs = r.needsOfGPU
	}
	for _, mask := range needs {
		if !present.Any(mask) {
			return true
		}
	}
	return false
}

// ofTenant is set in the number of a space in the locations of a tenant, whose name follows.
const ofTenant = 0x80

// appendTo appends what locations of a tenant in the space begin with.
func (s *space) appendTo(to []byte, tenant string) []byte {
	if tenant == "" {
		return append(to, s.number)
	}
	to = binary.AppendUvarint(append(to, s.number|ofTenant), uint64(len(tenant)))
	return append(to, tenant...)
}

// spaceOf returns the space of a location.
func (a *Association) spaceOf(location []byte) *space { return a.spaces[location[0]&^ofTenant] }

func (r *compiledRule) prepare() {
	for i, key := range r.keys {
		r.needs = append(r.needs, key.general.Mask())
		r.needsOfGPU = append(r.needsOfGPU, key.names.Mask())
		if r.space.fields[i] == FieldPID {
			r.pid = key
		}
	}
	switch s := r.space; {
	case s.process:
		r.waits = 2
	case s.device && slices.Contains(s.fields, FieldDevice):
		r.waits = 1
	}
}

// compiledKey has the telemetry attributes of a field.
type compiledKey struct {
	field string
	form  form
	// names are all attributes, general those that need not be of a GPU.
	names, general boundary.Keys
}

func (k *compiledKey) add(keys *boundary.KeySet, name string) {
	key := keys.Add(name)
	k.names = k.names.With(key)
	if name != nameHardware {
		k.general = k.general.With(key)
	}
}

func compileKey(keys *boundary.KeySet, field string, names []string) *compiledKey {
	k := &compiledKey{field: field, form: formOf(field)}
	for _, name := range names {
		k.add(keys, name)
	}
	return k
}

func isDirect(rule *Rule) bool {
	has := func(field string) bool {
		return slices.ContainsFunc(rule.Keys, func(k Key) bool { return k.Field == field })
	}
	return len(rule.Keys) == 2 && has(FieldSession) && has(FieldRank)
}
