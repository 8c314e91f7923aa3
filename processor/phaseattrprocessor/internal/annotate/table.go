// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

// Package annotate writes attributions to the attributes of telemetry.
package annotate

import (
	"slices"

	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/policy"
)

// attribute is an attribute that can be written: its name, how it is written, and when
// two attributions have the same value of it.
type attribute struct {
	name  string
	write func(attrs pcommon.Map, name string, a *policy.Attribution)
	equal func(x, y *policy.Attribution) bool
}

// attributes lists the attributes that can be written.
func attributes() []attribute {
	return []attribute{
		// unique or ambiguous
		text(ResolutionAttribute, func(a *policy.Attribution) string { return a.Resolution }),
		// the path of a unique phase: train / step / forward
		text(PathAttribute, func(a *policy.Attribution) string { return a.Path }),
		// what the answer rests on: exact, thread_local, representative or heuristic
		text("phase_source", func(a *policy.Attribution) string { return a.Source }),
		// the candidate paths
		{
			"phase_paths",
			func(attrs pcommon.Map, name string, a *policy.Attribution) {
				if len(a.Paths) == 0 {
					attrs.Remove(name)
					return
				}
				paths := attrs.PutEmptySlice(name)
				paths.EnsureCapacity(len(a.Paths))
				for _, path := range a.Paths {
					paths.AppendEmpty().SetStr(path)
				}
			},
			func(x, y *policy.Attribution) bool { return slices.Equal(x.Paths, y.Paths) },
		},
		// the likely path of an ambiguous answer
		text("phase_summary", func(a *policy.Attribution) string { return a.Summary.Path }),
		// the answer in one line
		text("phase_label", func(a *policy.Attribution) string { return a.Label() }),
		// the answering scope, and its thread
		text("phase_scope_id", func(a *policy.Attribution) string { return a.ScopeID }),
		number("phase_thread_id", func(a *policy.Attribution) (int64, bool) { return a.ThreadID, a.HasScope }),
		text("phase_thread_name", func(a *policy.Attribution) string { return a.ThreadName }),
		// the rank that answered, unless several did, or one for others
		number(RankAttribute, func(a *policy.Attribution) (int64, bool) { return a.Rank.Number, a.Rank.Known }),
		// when the scope began that the record ends, in nanoseconds since the Unix epoch, and
		// how long it lasted, in seconds
		number(StartAttribute, func(a *policy.Attribution) (int64, bool) { return a.Start, a.Ended }),
		{
			DurationAttribute,
			func(attrs pcommon.Map, name string, a *policy.Attribution) {
				if a.Ended {
					attrs.PutDouble(name, a.Duration.Seconds())
				} else {
					attrs.Remove(name)
				}
			},
			func(x, y *policy.Attribution) bool { return x.Ended == y.Ended && x.Duration == y.Duration },
		},
		// why the answer is not unique, or there is none
		text(reasonAttribute, func(a *policy.Attribution) string { return a.Reason }),
	}
}

// text is an attribute that is not there when it is empty.
func text(name string, value func(*policy.Attribution) string) attribute {
	return attribute{
		name,
		func(attrs pcommon.Map, name string, a *policy.Attribution) {
			if v := value(a); v != "" {
				attrs.PutStr(name, v)
			} else {
				attrs.Remove(name)
			}
		},
		func(x, y *policy.Attribution) bool { return value(x) == value(y) },
	}
}

// number is an attribute that is there when the value has one.
func number(name string, value func(*policy.Attribution) (int64, bool)) attribute {
	return attribute{
		name,
		func(attrs pcommon.Map, name string, a *policy.Attribution) {
			if v, ok := value(a); ok {
				attrs.PutInt(name, v)
			} else {
				attrs.Remove(name)
			}
		},
		func(x, y *policy.Attribution) bool {
			v, ok := value(x)
			w, known := value(y)
			return v == w && ok == known
		},
	}
}

// Names lists the attributes that can be written.
func Names[Name ~string]() []Name {
	var names []Name
	for _, a := range attributes() {
		names = append(names, Name(a.name))
	}
	return names
}

const (
	reasonAttribute = "phase_reason"

	// ResolutionAttribute, PathAttribute and RankAttribute are what phase.active always has.
	ResolutionAttribute = "phase_resolution"
	PathAttribute       = "phase_path"
	RankAttribute       = "phase_rank"

	// StartAttribute and DurationAttribute are written only to records that end a scope.
	StartAttribute    = "phase_start"
	DurationAttribute = "phase_duration"
)

// Table writes some attributes.
type Table struct {
	attributes []attribute
	reason     bool // is among them
}

// New returns a table of the attributes of some names, in their order. Other names are
// left out.
func New[Name ~string](names []Name) *Table {
	t := &Table{}
	all := attributes()
	for _, name := range names {
		if i := slices.IndexFunc(all, func(a attribute) bool { return a.name == string(name) }); i >= 0 {
			t.attributes = append(t.attributes, all[i])
			t.reason = t.reason || name == reasonAttribute
		}
	}
	return t
}

// Write puts an attribution, and the attributes of its scope, on telemetry. It removes
// what an earlier one said beyond it. present says whether any of the table's attributes
// may be there already.
func (t *Table) Write(attrs pcommon.Map, a *policy.Attribution, present bool) {
	if !present {
		attrs.EnsureCapacity(attrs.Len() + len(t.attributes) + len(a.Attributes))
	}
	for i := range t.attributes {
		t.attributes[i].write(attrs, t.attributes[i].name, a)
	}
	for _, attribute := range a.Attributes {
		_ = attrs.PutEmpty(attribute.Key).FromRaw(attribute.Value) // a string, an int64, a float64 or a bool
	}
}

// WriteReason puts on telemetry why there is no attribution, if that is among the
// attributes.
func (t *Table) WriteReason(attrs pcommon.Map, reason string) {
	if t.reason {
		attrs.PutStr(reasonAttribute, reason)
	}
}

// Equal reports whether two attributions are written alike.
func (t *Table) Equal(x, y *policy.Attribution) bool {
	for i := range t.attributes {
		if !t.attributes[i].equal(x, y) {
			return false
		}
	}
	return slices.Equal(x.Attributes, y.Attributes)
}
