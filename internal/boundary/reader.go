// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package boundary

import (
	"cmp"
	"math"
	"strings"
	"time"
	"unicode/utf8"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
)

// The names of fields that are not configurable.
const (
	fieldEventType    = "event_type"
	fieldTimestamp    = "timestamp_ns"
	fieldMetadata     = "metadata"
	fieldPhaseScope   = "phase_scope"
	fieldOriginScope  = "origin_phase_scope_id"
	fieldOriginThread = "origin_thread_id"
	fieldInterval     = "sampling_interval_ms"

	// The flattened forms of nested fields.
	metadataPrefix  = fieldMetadata + "."
	scopePrefix     = fieldPhaseScope + "."
	fieldMetaScope  = metadataPrefix + fieldPhaseScope
	metaScopePrefix = metadataPrefix + scopePrefix
)

// The event types that matter here.
const (
	eventPhaseEnter = "phase_enter"
	eventPhaseExit  = "phase_exit"
	eventStart      = "start"
	eventStop       = "stop"
	eventSample     = "sample"
)

// The bits of the keys that are read from telemetry whatever the configuration.
const (
	originScopeMask KeyMask = 1 << iota
	originThreadMask
	metadataMask
	metaOriginScopeMask
	metaOriginThreadMask
	timestampMask

	originMask = originScopeMask | originThreadMask | metadataMask | metaOriginScopeMask | metaOriginThreadMask
)

var (
	keyOriginScope      = Key{fieldOriginScope, originScopeMask}
	keyOriginThread     = Key{fieldOriginThread, originThreadMask}
	keyMetadata         = Key{fieldMetadata, metadataMask}
	keyMetaOriginScope  = Key{metadataPrefix + fieldOriginScope, metaOriginScopeMask}
	keyMetaOriginThread = Key{metadataPrefix + fieldOriginThread, metaOriginThreadMask}
	keyTimestamp        = Key{fieldTimestamp, timestampMask}
)

func telemetryKeys() [6]Key {
	return [...]Key{keyOriginScope, keyOriginThread, keyMetadata, keyMetaOriginScope, keyMetaOriginThread, keyTimestamp}
}

// Limits bound the size of a boundary. The zero Limits reject all.
type Limits struct {
	// TextBytes bounds the length of an ID or a name.
	TextBytes int
	// LabelBytes bounds the length of a path's label.
	LabelBytes int
	// Depth bounds the number of parts of a path.
	Depth int
}

// Reader reads events and boundaries from records. It has no state, so that it is safe
// for concurrent use.
type Reader struct {
	// SessionKey and RankKey are the names of the fields of the session ID and the rank.
	SessionKey string
	RankKey    string
	// KeepAttributes are the keys of the phases' own attributes that a Boundary has.
	KeepAttributes []string
	// Limits bound the boundaries and the session IDs.
	Limits Limits
	// Strict accepts only strings as session IDs of events, as the reference does.
	// Telemetry may name them by any scalar.
	Strict bool
}

// Identify returns the rank that a record belongs to, or why it belongs to none. The
// rank's number is 0 if the record has none.
func (r *Reader) Identify(f *Fields) (RankKey, Reason) {
	read, get := scalar, f.getNamed
	if r.Strict {
		read, get = text, f.Get
	}
	session, ok := read(get(r.SessionKey))
	if !ok {
		return RankKey{}, BadSession
	}
	if len(session) > r.Limits.TextBytes {
		return RankKey{}, TooLong
	}
	if !isText(session) {
		return RankKey{}, BadText
	}
	v, found := get(r.RankKey)
	number, ok := integer(v, found)
	if found && !ok {
		return RankKey{}, BadRank
	}
	return RankKey{Session: session, Rank: number}, OK
}

// ScopeDefaults is what counts for the records of a scope that do not say it themselves: the
// result of Identify for those that name neither a session nor a rank, and the event type.
type ScopeDefaults struct {
	rank      RankKey
	reason    Reason
	eventType string
}

// ScopeDefaults reads the defaults of a scope from fields that have no record.
func (r *Reader) ScopeDefaults(f *Fields) ScopeDefaults {
	rank, reason := r.Identify(f)
	eventType, _ := text(f.Get(fieldEventType))
	return ScopeDefaults{rank, reason, eventType}
}

// IdentifyWith returns what Identify does, given the defaults of the record's scope.
func (r *Reader) IdentifyWith(defaults *ScopeDefaults, f *Fields) (RankKey, Reason) {
	_, session := f.getOwn(r.SessionKey)
	_, rank := f.getOwn(r.RankKey)
	if session || rank {
		return r.Identify(f)
	}
	return defaults.rank, defaults.reason
}

// Named is what a record names of the rank that it belongs to. The zero Named is nothing.
type Named struct {
	// Rank is the rank that the record names, if Whole.
	Rank RankKey

	hasSession bool
	hasRank    bool
	badRank    bool
}

// Named reads the session and the rank that a record names under any of the keys.
func (r *Reader) Named(f *Fields, session, rank Keys) Named {
	var n Named
	id, ok := scalar(f.FindAny(session))
	if n.hasSession = ok; ok && len(id) <= r.Limits.TextBytes { // no rank has a longer one
		n.Rank.Session = id
	}
	v, found := f.FindAny(rank)
	n.Rank.Rank, ok = integer(v, found)
	n.hasRank, n.badRank = found, found && !ok
	return n
}

// NamedRank returns what a record names that is known to be of a rank.
func NamedRank(rank RankKey) Named { return Named{Rank: rank, hasSession: true, hasRank: true} }

// HasSession reports whether the record names a session.
func (n *Named) HasSession() bool { return n.hasSession }

// Whole reports whether the record names a session and a rank.
func (n *Named) Whole() bool { return n.hasSession && n.hasRank && !n.badRank }

// Session returns the session that the record names, if it names no rank.
func (n *Named) Session() (string, bool) { return n.Rank.Session, n.hasSession && !n.hasRank }

// Any reports whether the record names a session or a rank.
func (n *Named) Any() bool { return n.hasSession || n.hasRank }

// Allows reports whether the record names no other session and no other rank.
func (n *Named) Allows(rank *RankKey) bool {
	return (!n.hasSession || rank.Session == n.Rank.Session) && (!n.hasRank || !n.badRank && rank.Rank == n.Rank.Rank)
}

// Event is what a log record reports about its rank.
type Event struct {
	// Type is the event type; empty if the record is not an event.
	Type string
	// Time is the event time in nanoseconds since the Unix epoch, if HasTime.
	Time int64
	// HasTime is false if the time is missing or malformed.
	HasTime bool
}

// Start reports whether the event begins the work of its process, Stop whether it ends
// it.
func (e *Event) Start() bool { return e.Type == eventStart }

// Stop is described at Start.
func (e *Event) Stop() bool { return e.Type == eventStop }

// Sample reports whether the event is one that its process sends regularly.
func (e *Event) Sample() bool { return e.Type == eventSample }

// IsBoundary reports whether the event is of a boundary's type.
func (e *Event) IsBoundary() bool { return e.Type == eventPhaseEnter || e.Type == eventPhaseExit }

// SamplingInterval returns how often the process of an event says that it sends samples;
// 0 unless the event is one and says so.
func (*Reader) SamplingInterval(e *Event, f *Fields) time.Duration {
	if !e.Sample() {
		return 0
	}
	v, found := f.Get(fieldInterval)
	if !found {
		v, found = f.findIn(keyMetadata, fieldInterval, Key{text: metadataPrefix + fieldInterval})
	}
	var milliseconds float64
	if n, ok := integer(v, found); ok {
		milliseconds = float64(n)
	} else if found && v.Type() == pcommon.ValueTypeDouble {
		milliseconds = v.Double()
	}
	if milliseconds > 0 && milliseconds <= float64(time.Hour/time.Millisecond) {
		return time.Duration(milliseconds * float64(time.Millisecond))
	}
	return 0
}

// MapBody returns the body of a log record if it is a map, a zero Map otherwise.
func MapBody(lr plog.LogRecord) pcommon.Map {
	if lr.Body().Type() == pcommon.ValueTypeMap {
		return lr.Body().Map()
	}
	return pcommon.Map{}
}

// Event reads the type of a log record's event and, if it is an event, its time.
func (r *Reader) Event(lr plog.LogRecord, f *Fields) Event {
	inherited, _ := text(f.inherited(fieldEventType))
	return r.event(inherited, lr, f)
}

// EventWith returns what Event does, given the defaults of the record's scope.
func (r *Reader) EventWith(defaults *ScopeDefaults, lr plog.LogRecord, f *Fields) Event {
	return r.event(defaults.eventType, lr, f)
}

// event is Event, given the event type of the record's scope or resource.
func (r *Reader) event(inherited string, lr plog.LogRecord, f *Fields) Event {
	var e Event
	own, found := f.getOwn(fieldEventType)
	eventType, ok := text(own, found)
	// The record's own event name precedes an event type of its scope or resource.
	switch e.Type = lr.EventName(); {
	case ok:
		e.Type = eventType
	case e.Type == "" && !found:
		e.Type = inherited
	}
	if e.Type != "" {
		e.Time, e.HasTime = r.Time(lr, f)
	}
	return e
}

// Time returns the time of a log record in nanoseconds since the Unix epoch: the
// timestamp_ns field, or else the record's timestamp, or else its observed timestamp. It
// returns false if the record has no time, or a malformed one: another one would be a guess.
func (r *Reader) Time(lr plog.LogRecord, f *Fields) (int64, bool) {
	if f.Present().Any(timestampMask) {
		if v, found := f.Find(keyTimestamp); found {
			return integer(v, true)
		}
	}
	stamp := cmp.Or(lr.Timestamp(), lr.ObservedTimestamp())
	return int64(stamp), stamp != 0 && stamp <= math.MaxInt64 //nolint:gosec // false if it overflows
}

// Origin has a record's hints of the scope and the thread that it comes from. The zero
// Origin has none.
type Origin struct {
	// ScopeID identifies the scope that the record was written in; empty if unknown.
	ScopeID string
	// ThreadID identifies the thread that wrote the record, if HasThread.
	ThreadID  int64
	HasThread bool
	// Own is true when the record is the scope itself, which is one of the process that the
	// record names.
	Own bool
}

// Origin reads a record's hints, at the top level or else in its metadata.
func (r *Reader) Origin(f *Fields) Origin {
	var o Origin
	if id, ok := text(f.Find(keyOriginScope)); ok {
		o.ScopeID = id
	} else if id, ok := text(f.findIn(keyMetadata, fieldOriginScope, keyMetaOriginScope)); ok {
		o.ScopeID = id
	}
	if o.ThreadID, o.HasThread = integer(f.Find(keyOriginThread)); !o.HasThread {
		o.ThreadID, o.HasThread = integer(f.findIn(keyMetadata, fieldOriginThread, keyMetaOriginThread))
	}
	return o
}

// Boundary reads the boundary of event e, which is of a boundary's type, or returns why it
// is rejected. The boundary's texts refer to the record, its path is cached in paths.
func (r *Reader) Boundary(e *Event, f *Fields, paths *Paths) (Boundary, Reason) {
	var b Boundary
	if !e.HasTime {
		return b, BadTime
	}
	b.Time = e.Time
	var scope scopeFields
	if !scope.find(f) {
		return b, NoScope
	}
	reason := cmp.Or(
		e.readAction(&b, &scope), r.checkName(&scope), r.readPath(&b, &scope, paths),
		r.readIDs(&b, &scope), r.readThread(&b, &scope), readSequence(&b, &scope),
	)
	if reason != OK {
		return Boundary{}, reason
	}
	b.Attributes = r.readAttributes(&scope)
	return b, OK
}

// Ends returns the ID of the scope that a log record ends, if it is the exit of one.
func (r *Reader) Ends(lr plog.LogRecord, f *Fields) (scope string, ok bool) {
	var fields scopeFields
	if e := r.Event(lr, f); e.Type != eventPhaseExit || !fields.find(f) {
		return "", false
	}
	return text(fields.get(scopeID))
}

func (e *Event) readAction(b *Boundary, s *scopeFields) Reason {
	action, _ := text(s.get(scopeAction))
	switch {
	case action == "enter" && e.Type == eventPhaseEnter:
		b.Action = Enter
	case action == "exit" && e.Type == eventPhaseExit:
		b.Action = Exit
	default:
		return BadAction
	}
	return OK
}

// checkName checks the name of the phase, which is not kept: the path has it.
func (r *Reader) checkName(s *scopeFields) Reason {
	name, _ := text(s.get(scopeName))
	name = strings.TrimSpace(name)
	switch {
	case name == "":
		return BadName
	case len(name) > r.Limits.TextBytes:
		return TooLong
	case !isText(name):
		return BadText
	}
	return OK
}

// set sets a field to a text, unless it is too long or malformed.
func (r *Reader) set(field *string, text string) Reason {
	switch {
	case len(text) > r.Limits.TextBytes:
		return TooLong
	case !isText(text):
		return BadText
	}
	*field = text
	return OK
}

// IsText reports whether a text can be written to telemetry.
func IsText(text string) bool { return isText(text) }

// isText reports whether a text can be written to telemetry: OTLP demands UTF-8, and some
// exporters end a text at a NUL.
func isText(text string) bool { return utf8.ValidString(text) && strings.IndexByte(text, 0) < 0 }

func (r *Reader) readPath(b *Boundary, s *scopeFields, paths *Paths) Reason {
	items, ok := s.pathItems()
	if !ok {
		return BadPath
	}
	var buffer [stackDepth]string
	parts := buffer[:0]
	bytes := -len(labelSeparator) // there is none before the first part
	for _, item := range items.All() {
		part, named := text(item, true)
		if !named || part == "" {
			continue
		}
		if len(parts) == r.Limits.Depth {
			return TooDeep
		}
		if bytes += len(labelSeparator) + len(part); bytes > r.Limits.LabelBytes {
			return TooLong
		}
		parts = append(parts, part)
	}
	if len(parts) == 0 {
		return BadPath
	}
	if b.Path, ok = paths.of(parts); !ok {
		return BadText
	}
	return OK
}

func (r *Reader) readIDs(b *Boundary, s *scopeFields) Reason {
	id, ok := text(s.get(scopeID))
	if !ok {
		return BadScopeID
	}
	if reason := r.set(&b.ScopeID, id); reason != OK {
		return reason
	}
	v, found := s.get(scopeParentID)
	if !found || v.Type() == pcommon.ValueTypeEmpty {
		return OK
	}
	parent, ok := text(v, true)
	if !ok {
		return BadParent
	}
	return r.set(&b.ParentScopeID, parent)
}

func (r *Reader) readThread(b *Boundary, s *scopeFields) Reason {
	id, idOK := integer(s.get(scopeThreadID))
	name, nameOK := text(s.get(scopeThreadName))
	if !idOK || !nameOK {
		return BadThread
	}
	b.ThreadID = id
	return r.set(&b.ThreadName, name)
}

func readSequence(b *Boundary, s *scopeFields) Reason {
	var ok bool
	if b.Sequence, ok = integer(s.get(scopeSequence)); !ok {
		return BadSequence
	}
	return OK
}

// readAttributes returns those of r.KeepAttributes that the phase has. It skips values
// that are neither string, number nor bool, and strings that are too long or malformed.
func (r *Reader) readAttributes(s *scopeFields) []Attribute {
	var kept []Attribute
	for _, key := range r.KeepAttributes {
		if v, ok := s.attribute(key); ok {
			switch v.Type() {
			case pcommon.ValueTypeStr:
				if len(v.Str()) <= r.Limits.TextBytes && isText(v.Str()) {
					kept = append(kept, Attribute{key, strings.Clone(v.Str())})
				}
			case pcommon.ValueTypeInt, pcommon.ValueTypeDouble, pcommon.ValueTypeBool:
				kept = append(kept, Attribute{key, v.AsRaw()})
			}
		}
	}
	return kept
}
