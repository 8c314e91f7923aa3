// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package boundary

import (
	"cmp"
	"math"
	"strings"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
)

// The names of the library's fields that are not open to configuration.
const (
	fieldEventType     = "event_type"
	fieldTimestamp     = "timestamp_ns"
	fieldMetadata      = "metadata"
	fieldPhaseScope    = "phase_scope"
	fieldOriginScope   = "origin_phase_scope_id"
	fieldOriginThread  = "origin_thread_id"
	eventPhaseEnter    = "phase_enter"
	eventPhaseExit     = "phase_exit"
	eventStop          = "stop"
	dottedScope        = fieldPhaseScope + "."
	dottedMetaScope    = fieldMetadata + "." + fieldPhaseScope
	dottedMetaScopeDot = dottedMetaScope + "."
)

// telemetryNames are the fields that are read from telemetry, whatever the configuration.
func telemetryNames() [6]Key {
	return [...]Key{nameOriginScope, nameOriginThread, nameMetadata, nameMetaOriginScope, nameMetaOriginThread, nameTimestamp}
}

// Each has a bit of its own.
const (
	originScopeBit KeyMask = 1 << iota
	originThreadBit
	metadataBit
	metaOriginScopeBit
	metaOriginThreadBit
	timestampBit

	originBits = originScopeBit | originThreadBit | metadataBit | metaOriginScopeBit | metaOriginThreadBit
)

var (
	nameOriginScope      = Key{fieldOriginScope, originScopeBit}
	nameOriginThread     = Key{fieldOriginThread, originThreadBit}
	nameMetadata         = Key{fieldMetadata, metadataBit}
	nameMetaOriginScope  = Key{fieldMetadata + "." + fieldOriginScope, metaOriginScopeBit}
	nameMetaOriginThread = Key{fieldMetadata + "." + fieldOriginThread, metaOriginThreadBit}
	nameTimestamp        = Key{fieldTimestamp, timestampBit}
)

// Limits bound what one boundary may make the index keep.
type Limits struct {
	// TextBytes is the length that an ID or a name may have.
	TextBytes int
	// LabelBytes is the length that a path's label may have.
	LabelBytes int
	// Depth is the number of parts that a path may have.
	Depth int
}

// Reader finds the fields of events and boundaries in records. It keeps no state:
// one Reader serves all goroutines.
type Reader struct {
	// SessionKey and RankKey are the attribute names that hold the session ID and the
	// rank.
	SessionKey string
	RankKey    string
	// KeepAttributes are the keys of the phases' own attributes that a Boundary
	// keeps.
	KeepAttributes []string
	// Limits bound the texts of a boundary.
	Limits Limits
	// Exact takes ints for ints only, as the library does with its own JSON. It is
	// meant for files that no JSON parser has been at.
	Exact bool
}

// Identify reads which group a record belongs to. A record without a session has
// none; so has one whose rank is there but is no rank. No rank at all means 0.
func (r *Reader) Identify(f *Fields) (RankKey, Reason) {
	session, ok := text(f.Get(r.SessionKey))
	if !ok {
		return RankKey{}, BadSession
	}
	if len(session) > r.Limits.TextBytes {
		return RankKey{}, TooLong
	}
	rank, ok := r.rank(f.Get(r.RankKey))
	if !ok {
		return RankKey{}, BadRank
	}
	return RankKey{Session: session, Rank: rank}, OK
}

// ScopeDefaults is where the records of a scope belong that do not say it themselves.
type ScopeDefaults struct {
	group  RankKey
	reason Reason
}

// ScopeDefaults reads the home of a scope's records from fields that have no record.
func (r *Reader) ScopeDefaults(f *Fields) ScopeDefaults {
	group, reason := r.Identify(f)
	return ScopeDefaults{group, reason}
}

// IdentifyWith is Group for a record whose home is known.
func (r *Reader) IdentifyWith(home *ScopeDefaults, f *Fields) (RankKey, Reason) {
	_, session := f.getOwn(r.SessionKey)
	_, rank := f.getOwn(r.RankKey)
	if session || rank {
		return r.Identify(f)
	}
	return home.group, home.reason
}

func (r *Reader) rank(v pcommon.Value, found bool) (int64, bool) {
	if !found {
		return 0, true
	}
	if v.Type() == pcommon.ValueTypeStr { // decimal text is a rank even to the library
		return decimal(v.Str())
	}
	return integer(v, true, r.Exact)
}

// Named is what a record says itself of the group that it belongs to.
type Named struct {
	Rank      RankKey
	hasSession bool
	hasRank    bool
	badRank    bool
}

// Named reads the session and the rank that a record names under one of some names.
func (r *Reader) Named(f *Fields, session, rank []Key) Named {
	var n Named
	id, ok := text(f.FindAny(session))
	if n.hasSession = ok && len(id) <= r.Limits.TextBytes; n.hasSession {
		n.Rank.Session = id
	}
	v, found := f.FindAny(rank)
	n.Rank.Rank, ok = r.rank(v, found)
	n.hasRank, n.badRank = found, !ok
	return n
}

// Whole tells whether the record names a group: a session and, unless it is 0, a
// rank.
func (n *Named) Whole() bool { return n.hasSession && !n.badRank }

// Allows tells whether a group is not at odds with what the record names.
func (n *Named) Allows(g RankKey) bool {
	return (!n.hasSession || g.Session == n.Rank.Session) && (!n.hasRank || !n.badRank && g.Rank == n.Rank.Rank)
}

// Event is what a log record says about its group.
type Event struct {
	// Type is the event type; empty when the record is no event.
	Type string
	// Time is the record's time in nanoseconds since the Unix epoch.
	Time int64
	// HasTime is false when the record has no time, or a malformed one.
	HasTime bool
}

// Stop tells whether the event ends its session.
func (e *Event) Stop() bool { return e.Type == eventStop }

// IsBoundary tells whether the event's type is that of a boundary.
func (e *Event) IsBoundary() bool { return e.Type == eventPhaseEnter || e.Type == eventPhaseExit }

// MapBody is the body of a log record if it is a map, and else a zero Map.
func MapBody(lr plog.LogRecord) pcommon.Map {
	if lr.Body().Type() == pcommon.ValueTypeMap {
		return lr.Body().Map()
	}
	return pcommon.Map{}
}

// Event reads a log record's event type and, if it has one, its time.
func (r *Reader) Event(lr plog.LogRecord, f *Fields) Event {
	var e Event
	// The record's own event name goes before an event type of its scope or resource.
	if eventType, ok := text(f.getOwn(fieldEventType)); ok {
		e.Type = eventType
	} else if e.Type = lr.EventName(); e.Type == "" {
		e.Type, _ = text(f.Get(fieldEventType))
	}
	if e.Type != "" {
		e.Time, e.HasTime = r.Time(lr, f)
	}
	return e
}

// Time reads the time of a log record, in nanoseconds since the Unix epoch: the
// timestamp_ns field, else the first of the record's own timestamps that is set. It
// returns false when the record has none, or a malformed one, which is not replaced by
// a guess.
func (r *Reader) Time(lr plog.LogRecord, f *Fields) (int64, bool) {
	if v, found := f.Find(nameTimestamp); found {
		return integer(v, true, r.Exact)
	}
	stamp := cmp.Or(lr.Timestamp(), lr.ObservedTimestamp())
	return int64(stamp), stamp != 0 && stamp <= math.MaxInt64 //nolint:gosec // the bool says so when it does not fit
}

// Process reads which process the records of a group come from. It is not known
// unless both the host and the process ID are given.
func (r *Reader) Process(f *Fields, group RankKey) Process {
	for _, keys := range [...][2]string{{"host", "pid"}, {"host.name", "process.pid"}} {
		host, hostOK := text(f.Get(keys[0]))
		v, found := f.Get(keys[1])
		if pid, ok := integer(v, found, r.Exact); ok && hostOK && len(host) <= r.Limits.TextBytes {
			return Process{Host: strings.Clone(host), PID: pid, Rank: group.Rank}
		}
	}
	return Process{}
}

// Origin are the hints of a record about the scope or thread that it came from.
type Origin struct {
	// ScopeID is the scope that the record was written in; empty when unknown.
	ScopeID string
	// ThreadID is the thread that wrote the record, if HasThread.
	ThreadID  int64
	HasThread bool
}

// Origin reads a record's hints, at the top level or in its metadata.
func (r *Reader) Origin(f *Fields) Origin {
	var o Origin
	if id, ok := text(f.Find(nameOriginScope)); ok {
		o.ScopeID = id
	} else if id, ok := text(f.findIn(nameMetadata, fieldOriginScope, nameMetaOriginScope)); ok {
		o.ScopeID = id
	}
	v, found := f.Find(nameOriginThread)
	o.ThreadID, o.HasThread = integer(v, found, r.Exact)
	if !o.HasThread {
		v, found = f.findIn(nameMetadata, fieldOriginThread, nameMetaOriginThread)
		o.ThreadID, o.HasThread = integer(v, found, r.Exact)
	}
	return o
}

// Boundary reads the boundary that event e, of a boundary's type, stands for. Its texts
// are those of the record, its path is one of paths.
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
		e.readAction(&b, &scope), r.readName(&b, &scope), r.readPath(&b, &scope, paths),
		r.readIDs(&b, &scope), r.readThread(&b, &scope), r.readSequence(&b, &scope),
	)
	if reason != OK {
		return Boundary{}, reason
	}
	b.Attributes = r.readAttributes(&scope)
	return b, OK
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

func (r *Reader) readName(b *Boundary, s *scopeFields) Reason {
	name, _ := text(s.get(scopeName))
	if name = strings.TrimSpace(name); name == "" {
		return BadName
	}
	return r.keep(&b.Name, name)
}

// keep stores a text that is not too long.
func (r *Reader) keep(field *string, text string) Reason {
	if len(text) > r.Limits.TextBytes {
		return TooLong
	}
	*field = text
	return OK
}

func (r *Reader) readPath(b *Boundary, s *scopeFields, paths *Paths) Reason {
	v, found := s.get(scopePath)
	if !found || v.Type() != pcommon.ValueTypeSlice {
		return BadPath
	}
	items := v.Slice()
	var room [usualDepth]string
	parts := room[:0]
	bytes := -len(labelSeparator) // none stands before the first part
	for _, item := range items.All() {
		part, ok := text(item, true)
		if !ok || part == "" {
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
	b.Path = paths.of(parts)
	return OK
}

func (r *Reader) readIDs(b *Boundary, s *scopeFields) Reason {
	id, ok := text(s.get(scopeID))
	if !ok {
		return BadScopeID
	}
	if reason := r.keep(&b.ScopeID, id); reason != OK {
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
	return r.keep(&b.ParentScopeID, parent)
}

func (r *Reader) readThread(b *Boundary, s *scopeFields) Reason {
	v, found := s.get(scopeThreadID)
	id, idOK := integer(v, found, r.Exact)
	name, nameOK := text(s.get(scopeThreadName))
	if !idOK || !nameOK {
		return BadThread
	}
	b.ThreadID = id
	return r.keep(&b.ThreadName, name)
}

func (r *Reader) readSequence(b *Boundary, s *scopeFields) Reason {
	v, found := s.get(scopeSequence)
	var ok bool
	if b.Sequence, ok = integer(v, found, r.Exact); !ok {
		return BadSequence
	}
	return OK
}

// readAttributes keeps the phase's attributes that the reader was told to keep. A
// value that is neither text, number nor bool, or too long, is left out.
func (r *Reader) readAttributes(s *scopeFields) []Attribute {
	var kept []Attribute
	for _, key := range r.KeepAttributes {
		if v, ok := s.attribute(key); ok {
			switch v.Type() {
			case pcommon.ValueTypeStr:
				if len(v.Str()) <= r.Limits.TextBytes {
					kept = append(kept, Attribute{key, strings.Clone(v.Str())})
				}
			case pcommon.ValueTypeInt, pcommon.ValueTypeDouble, pcommon.ValueTypeBool:
				kept = append(kept, Attribute{key, v.AsRaw()})
			}
		}
	}
	return kept
}
