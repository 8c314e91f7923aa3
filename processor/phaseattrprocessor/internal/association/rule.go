// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

// Package association finds the groups that telemetry belongs to. Telemetry that
// does not name a session may still name the process or the device that a group's
// boundaries come from.
package association

import (
	"slices"
	"strconv"

	"go.opentelemetry.io/collector/pdata/pcommon"
)

// The fields of boundary records that mean more than their text.
const (
	FieldSession   = "session_id"
	FieldRank      = "rank"
	FieldHost      = "host"
	FieldPID       = "pid"
	FieldDevice    = "device_id"
	FieldLocalRank = "local_rank"
	FieldJob       = "job_id"
)

// Rule associates telemetry with the groups that agree with it in all its keys.
type Rule struct {
	Keys []Key
	// Representative says that the group of the smallest rank answers for all that the
	// rule names.
	Representative bool
}

// Key is a field of boundary records, and what telemetry calls it.
type Key struct {
	Field string
	Names []string
}

// direct tells whether the rule names a group by its session and rank.
func (r *Rule) direct() bool {
	return len(r.Keys) == 2 && r.key(FieldSession) >= 0 && r.key(FieldRank) >= 0
}

// key returns the position of a field's key; -1 when there is none.
func (r *Rule) key(field string) int {
	return slices.IndexFunc(r.Keys, func(k Key) bool { return k.Field == field })
}

// exclusive tells whether one session at a time has a place of the rule: a process
// or a device of a host.
func (r *Rule) exclusive() bool {
	return r.key(FieldHost) >= 0 && (r.key(FieldPID) >= 0 || r.key(FieldDevice) >= 0)
}

// place appends the text that stands for a rule, by its position, and the values of
// its keys, by theirs. It returns false when a value is missing.
func (a *Association) place(text []byte, rule *Rule, at int, value func(key int) (string, bool)) ([]byte, bool) {
	text = strconv.AppendInt(text, int64(at), 10)
	for i := range rule.Keys {
		part, ok := value(i)
		if !ok || len(part) > a.textBytes || rule.Keys[i].Field == FieldDevice && part[0] == '-' { // -1 is the CPU
			return text, false
		}
		text = append(append(text, 0), part...)
	}
	return text, true
}

// asText is a value as text, so that "0" is 0. What is empty, a map or a list has
// none.
func asText(v pcommon.Value, found bool) (string, bool) {
	if !found {
		return "", false
	}
	switch v.Type() {
	case pcommon.ValueTypeStr, pcommon.ValueTypeInt, pcommon.ValueTypeDouble, pcommon.ValueTypeBool:
		text := v.AsString()
		return text, text != ""
	}
	return "", false
}
