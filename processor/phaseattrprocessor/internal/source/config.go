// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

// Package source reads phases from the telemetry of training frameworks: spans, or log
// records that begin and end phases. How a framework writes them is configuration, of
// which the presets are parts.
package source

// Spans says which spans are phases.
type Spans struct {
	// Scopes lists patterns of the names of instrumentation scopes whose spans are read.
	// Default: all.
	Scopes []string `mapstructure:"scopes"`

	// Where is an OTTL condition on a span. Default: none.
	Where string `mapstructure:"where"`

	// Include lists patterns of the names of spans that are phases. Default: all.
	Include []string `mapstructure:"include"`

	// Exclude lists patterns of the names of spans that are no phases, even if included. Paths
	// from parents leave them out. Default: none.
	Exclude []string `mapstructure:"exclude"`

	// Session lists the attributes that hold the session ID; the first one that a span, its
	// scope or its resource has counts.
	Session []string `mapstructure:"session"`

	// Rank lists the attributes that hold the rank, as Session does. Without any, all spans
	// are of rank 0.
	Rank []string `mapstructure:"rank"`

	// Group lists attributes that tell ranks with the same number in one session apart: their
	// values become a part of the session ID. Default: none.
	Group []string `mapstructure:"group"`

	// Lane lists the attributes that name the thread of a span; the values of those that it
	// has are joined by slashes, with those in them escaped as in a URL. Default: none, so
	// that spans that overlap without one lying in the other are in different threads.
	Lane []string `mapstructure:"lane"`

	// Main tells the processes that answer for their rank, and its device, from helpers.
	Main Main `mapstructure:"main"`

	// Path says what the path of a phase is made of.
	Path Path `mapstructure:"path"`

	// Truncated lists attributes that are true if the end of a span is not a real one.
	Truncated []string `mapstructure:"truncated"`

	// Inverted lists attributes that are true if the times of a span are not real ones.
	Inverted []string `mapstructure:"inverted"`

	// Pending says which spans announce one that has begun.
	Pending Pending `mapstructure:"pending"`

	// Anchor says which spans without a duration begin a phase of which a later span, their
	// child, has the end.
	Anchor Affix `mapstructure:"anchor"`

	// PartialSpans reads log records whose body is a span that has begun, as the OpenTelemetry
	// partial span processor writes them. Default: false.
	PartialSpans bool `mapstructure:"partial_spans"`

	_ struct{}
}

// Main tells the processes that answer for their rank from its helpers, such as those that
// write checkpoints.
type Main struct {
	// Field is the attribute that names what a process does. A process without it answers.
	Field string `mapstructure:"field"`

	// Values lists the values of the processes that answer. Default: none.
	Values []string `mapstructure:"values"`

	_ struct{}
}

// The values of Path.From.
const (
	FromParents = "parents"
	FromName    = "name"
)

// Path says what the path of a phase is made of.
type Path struct {
	// From is parents, for the names of the spans from the outermost to this one, or name.
	// Default: parents.
	From string `mapstructure:"from"`

	// Strip lists beginnings of names that are cut off; the first one that matches.
	Strip []string `mapstructure:"strip"`

	// Split divides a name into the elements of the path. Default: it is not divided.
	Split string `mapstructure:"split"`

	// Roots lists patterns of the names of spans that begin a path, whatever their parents
	// are: a span around the whole run ends too late to be a part of paths. Default: none.
	Roots []string `mapstructure:"roots"`

	_ struct{}
}

// Pending says which spans announce one that has begun, which is their parent.
type Pending struct {
	// Field is the attribute that tells these spans from others. Default: none are read.
	Field string `mapstructure:"field"`

	// Value is the value that it has on them.
	Value string `mapstructure:"value"`

	// Parent is the attribute that holds the ID of the parent of the announced span.
	Parent string `mapstructure:"parent"`

	_ struct{}
}

// Affix is what a name ends with.
type Affix struct {
	// Suffix is the end of the name. The phase is called what is before it.
	Suffix string `mapstructure:"suffix"`

	_ struct{}
}

// Logs says which log records begin and end phases.
type Logs struct {
	// Where is an OTTL condition on a log record. Default: none.
	Where string `mapstructure:"where"`

	// Name lists the attributes that hold the name of the phase.
	Name []string `mapstructure:"name"`

	// Enter says which names begin a phase.
	Enter Affix `mapstructure:"enter"`

	// Exit says which names end one.
	Exit Exit `mapstructure:"exit"`

	// Duration says how long the phase of a record took that is written once for the whole
	// phase.
	Duration Duration `mapstructure:"duration"`

	// Session, Rank, Group and Lane are those of Spans.
	Session []string `mapstructure:"session"`

	// Rank is described at Spans.
	Rank []string `mapstructure:"rank"`

	// Group is described at Spans.
	Group []string `mapstructure:"group"`

	// Lane is described at Spans.
	Lane []string `mapstructure:"lane"`

	// SessionPath takes the session from the path of the file, if no attribute has it.
	SessionPath SessionPath `mapstructure:"session_path"`

	// Sequence lists the attributes that hold the number of a record in its process.
	Sequence []string `mapstructure:"sequence"`

	// Time is the attribute that holds the time. Default: the record's timestamp.
	Time Number `mapstructure:"time"`

	// ScopeAttributes lists attributes of a record that are the phase's own. Those that the
	// processor's scope_attributes names are written. Default: all.
	ScopeAttributes []string `mapstructure:"scope_attributes"`

	_ struct{}
}

// Exit says which names end a phase.
type Exit struct {
	// Suffix is the end of the name. The phase is called what is before it.
	Suffix string `mapstructure:"suffix"`

	// Took is the attribute that holds how long the phase has taken, if its begin is lost.
	Took Number `mapstructure:"took"`

	_ struct{}
}

// Number is an attribute that holds a time.
type Number struct {
	// Field is the attribute.
	Field string `mapstructure:"field"`

	// Unit is s, ms, us or ns.
	Unit string `mapstructure:"unit"`

	_ struct{}
}

// The values of Duration.Time.
const (
	AtStart = "start"
	AtEnd   = "end"
)

// Duration says how long the phase of a record took.
type Duration struct {
	// Field is the attribute. Default: none, so that records begin and end phases.
	Field string `mapstructure:"field"`

	// Unit is s, ms, us or ns.
	Unit string `mapstructure:"unit"`

	// Time says whether the time of the record is the start or the end of the phase.
	// Default: end.
	Time string `mapstructure:"time"`

	_ struct{}
}

// SessionPath takes the session from the path of the file that a record is from.
type SessionPath struct {
	// Field is the attribute that holds the path.
	Field string `mapstructure:"field"`

	// Before is the directory before which the session ends.
	Before string `mapstructure:"before"`

	_ struct{}
}
