// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

// Package association finds the ranks that telemetry belongs to. Telemetry that does not
// name a session may still name the process or the device of a rank.
package association

import (
	"slices"
	"strconv"
	"strings"

	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/boundary"
)

// MaxRules bounds the number of association rules, each of which has its own metric
// attributes.
const MaxRules = 16

// The fields of boundary records that the rules treat specially.
const (
	FieldSession   = "session_id"
	FieldRank      = "rank"
	FieldHost      = "host"
	FieldPID       = "pid"
	FieldDevice    = "device_id"
	FieldLocalRank = "local_rank"
	FieldJob       = "job_id"
)

// Rule associates telemetry with the ranks whose boundary records have the same values
// for all of its keys.
type Rule struct {
	Keys []Key
	// Representative reports whether the smallest rank answers for all ranks that match.
	Representative bool
}

// Key pairs a field of boundary records with the telemetry attributes that hold it.
type Key struct {
	Field string
	// Names are the attribute keys, in order of precedence within one attribute map.
	Names []string
}

// compiledRule is a Rule prepared for lookups.
type compiledRule struct {
	// number is the rule's position, with which all its locations begin.
	number string
	keys   []compiledKey
	// host and device are the positions of these two keys, or -1.
	host, device int
	// direct rules take the rank from the session and the rank that the telemetry names,
	// and have no locations.
	direct bool
	// exclusive reports whether a location of the rule, a process or a device, belongs to
	// one session at a time.
	exclusive      bool
	representative bool
}

type compiledKey struct {
	field string
	names []boundary.Key
	// mask has the bits of all names.
	mask boundary.KeyMask
}

func compile(rule Rule, number int, keySet *boundary.KeySet) compiledRule {
	position := func(field string) int {
		return slices.IndexFunc(rule.Keys, func(k Key) bool { return k.Field == field })
	}
	c := compiledRule{
		number:         strconv.Itoa(number),
		keys:           make([]compiledKey, len(rule.Keys)),
		host:           position(FieldHost),
		device:         position(FieldDevice),
		direct:         len(rule.Keys) == 2 && position(FieldSession) >= 0 && position(FieldRank) >= 0,
		representative: rule.Representative,
	}
	c.exclusive = c.host >= 0 && (c.device >= 0 || position(FieldPID) >= 0)
	for i, key := range rule.Keys {
		c.keys[i].field = key.Field
		for _, name := range key.Names {
			k := keySet.Add(name)
			c.keys[i].names = append(c.keys[i].names, k)
			c.keys[i].mask |= k.Mask()
		}
	}
	return c
}

// appendText appends a scalar as text, so that the string "0" equals the integer 0. It
// returns false when there is no value, or one that is empty, a map, a list or bytes.
func appendText(text []byte, v pcommon.Value, found bool) ([]byte, bool) {
	if !found {
		return text, false
	}
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
