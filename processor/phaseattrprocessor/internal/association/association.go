// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package association

import (
	"hash/maphash"
	"maps"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/phaseattr/phaseattr/internal/boundary"
)

// Options configure an Association.
type Options struct {
	// Rules are at most MaxRules, in order of precedence.
	Rules   []Rule
	Devices []Device
	// Session and Rank are the telemetry's attributes of the session and the rank, beside
	// those that the rules name.
	Session, Rank string
	// SourceSessions and SourceRanks are those by which sources name them. Such a session
	// counts only if it is known or the telemetry names the rank too: others than the source
	// may use the attributes for something else.
	SourceSessions, SourceRanks []string
	// TextBytes bounds the length of a value. Longer ones count as absent.
	TextBytes int
}

// Association knows where the processes of ranks are. Its methods are safe for concurrent
// use.
type Association struct {
	// Keys has the attribute keys of all rules. Keys must not be added to it once it is in
	// use.
	Keys *boundary.KeySet

	textBytes int
	seed      maphash.Seed
	rules     []compiledRule
	// direct is the position of the direct rule, or -1, directOffset its time offset.
	direct       int
	directOffset time.Duration
	// spaces are those of the rules and those that there are always. session has the
	// sessions, processes the processes, mapped what the device map maps to.
	spaces          []*space
	session, mapped *space
	processes       []compiledRule
	// known has the telemetry keys of a field: the usual ones, and those of all rules.
	known                  map[string]*compiledKey
	hardware, hardwareType boundary.Key
	// gpuUUID are the keys of UUIDs that only GPUs have.
	gpuUUID boundary.Keys
	// sessionKeys and rankKeys are known ones, named has the bits of both.
	sessionKeys, rankKeys boundary.Keys
	named                 boundary.KeyMask
	// sourceSessions are the keys of Options.SourceSessions, and those of sources' rules.
	sourceSessions boundary.Keys
	devices        map[string][]mappedDevice

	// recordKeys are the keys of boundary records, recordFields those of each field.
	recordKeys   *boundary.KeySet
	recordFields []*compiledKey
	worldSize    boundary.Keys
	recordMask   boundary.KeyMask

	// keyMask has the bits of all keys by which ranks are found.
	keyMask boundary.KeyMask

	// changes counts the presences that were added, versions those that were removed too.
	changes, versions atomic.Uint64
	// marked has the telemetry keys of the marks that any rank is known to have.
	marked atomic.Uint64

	// noMarks are those of ranks of which none is known.
	noMarks *[marks]string

	// mu guards the fields below. Slices of presences are appended to or replaced, never
	// changed.
	mu        sync.RWMutex
	locations map[string]occupied
	owners    map[boundary.RankKey]*owner
	// hosts counts the presences on hosts with a qualified name, by the first label and the
	// whole name.
	hosts map[tenantHost]map[string]int
}

// New returns an association by rules.
func New(options Options) *Association {
	a := &Association{
		Keys:       boundary.NewKeySet(),
		textBytes:  options.TextBytes,
		seed:       maphash.MakeSeed(),
		direct:     -1,
		known:      map[string]*compiledKey{},
		devices:    map[string][]mappedDevice{},
		recordKeys: boundary.NewKeySet(),
		noMarks:    &[marks]string{},
		locations:  map[string]occupied{},
		owners:     map[boundary.RankKey]*owner{},
		hosts:      map[tenantHost]map[string]int{},
	}
	a.key(FieldSession, options.Session)
	a.key(FieldRank, options.Rank)
	a.key(FieldRank, options.SourceRanks...)
	a.addSourceSessions(options.SourceSessions)
	for i, rule := range options.Rules {
		a.rules = append(a.rules, a.compile(&rule))
		if a.rules[i].direct && a.direct < 0 {
			a.direct, a.directOffset = i, rule.TimeOffset
		}
	}
	a.addKnown()
	for i := range a.rules {
		if a.rules[i].process {
			a.rules[i].needs = a.processNeeds()
			a.rules[i].needsOfGPU = a.rules[i].needs
		}
	}
	a.addDevices(options.Devices)
	a.addRecordKeys(options)
	return a
}

func (a *Association) addSourceSessions(names []string) {
	for _, name := range names {
		a.sourceSessions = a.sourceSessions.With(a.Keys.Add(name))
	}
}

// key returns the telemetry keys of a field, some more names of it included.
func (a *Association) key(field string, names ...string) *compiledKey {
	key, ok := a.known[field]
	if !ok {
		key = &compiledKey{field: field, form: formOf(field)}
		a.known[field] = key
	}
	for _, name := range names {
		if name != "" {
			key.add(a.Keys, name)
		}
	}
	return key
}

func (a *Association) compile(rule *Rule) compiledRule {
	c := compiledRule{direct: isDirect(rule), representative: rule.Representative, offset: rule.TimeOffset}
	fields := make([]string, len(rule.Keys))
	for i, key := range rule.Keys {
		fields[i] = key.Field
		if rule.OfSource && key.Field == FieldSession {
			a.addSourceSessions(key.Names)
			continue
		}
		a.key(key.Field, key.Names...)
	}
	if c.direct {
		return c
	}
	c.space = a.space(fields)
	c.process = c.space.process && len(fields) == 2
	for _, field := range c.space.fields {
		i := slices.Index(fields, field)
		c.keys = append(c.keys, compileKey(a.Keys, field, rule.Keys[i].Names))
	}
	c.prepare()
	return c
}

// space returns the space of some fields, which it adds if it is new.
func (a *Association) space(fields []string) *space {
	for _, s := range a.spaces {
		if s.is(fields) {
			return s
		}
	}
	return a.addSpace(fields)
}

func (a *Association) addSpace(fields []string) *space {
	s := newSpace(byte(len(a.spaces)), fields) //nolint:gosec // there are few
	a.spaces = append(a.spaces, s)
	return s
}

// addKnown adds the keys and the spaces that there are whatever the rules.
func (a *Association) addKnown() {
	for _, field := range knownFields() {
		a.key(field, TelemetryNames(field)...)
	}
	a.hardware, a.hardwareType = a.Keys.Add(nameHardware), a.Keys.Add(nameHardwareType)
	for _, name := range TelemetryNames(FieldUUID) {
		if !isGeneric(name) {
			a.gpuUUID = a.gpuUUID.With(a.Keys.Add(name))
		}
	}
	for _, key := range a.known {
		a.keyMask |= key.names.Mask()
	}
	a.keyMask |= a.hardwareType.Mask() | a.sourceSessions.Mask()
	session, rank := a.key(FieldSession), a.key(FieldRank)
	a.sessionKeys, a.rankKeys, a.named = session.names, rank.names, session.names.Mask()|rank.names.Mask()|a.sourceSessions.Mask()
	a.session = a.addSpace([]string{FieldSession}) // not that of a rule, which reads the field
	for _, of := range []string{FieldHost, FieldContainer, FieldPodUID} {
		s := a.space([]string{of, FieldPID})
		s.builtin = true
		rule := compiledRule{space: s, keys: a.keysOf(s), process: true}
		rule.prepare()
		a.processes = append(a.processes, rule)
	}
	for _, fields := range [][]string{{FieldUUID}, {FieldHost, FieldPCI}, {FieldHost, FieldDevice}} {
		a.space(fields).builtin = true
	}
}

// processNeeds returns what a record needs to name a process.
func (a *Association) processNeeds() []boundary.KeyMask {
	var of boundary.KeyMask
	for _, field := range []string{FieldHost, FieldContainer, FieldPodUID} {
		of |= a.key(field).names.Mask()
	}
	return []boundary.KeyMask{a.key(FieldPID).names.Mask(), of}
}

func (a *Association) keysOf(s *space) []*compiledKey {
	var keys []*compiledKey
	for _, field := range s.fields {
		keys = append(keys, a.key(field))
	}
	return keys
}

// addRecordKeys adds the keys of the fields that are read from boundary records.
func (a *Association) addRecordKeys(options Options) {
	fields := knownFields()
	for _, rule := range options.Rules {
		for _, key := range rule.Keys {
			if !isDirect(&rule) && !slices.Contains(fields, key.Field) {
				fields = append(fields, key.Field)
			}
		}
	}
	for _, field := range fields {
		names := RecordNames(field)
		if field == FieldSession {
			names = append(names, options.SourceSessions...)
		}
		key := compileKey(a.recordKeys, field, names)
		a.recordFields = append(a.recordFields, key)
		a.recordMask |= key.names.Mask()
	}
	size := compileKey(a.recordKeys, "", []string{"world_size", "nv.dl.world_size", "dl.world_size"})
	a.worldSize = size.names
	a.recordMask |= size.names.Mask()
}

// Fields returns the fields by which telemetry is associated.
func (a *Association) Fields() []string { return slices.Sorted(maps.Keys(a.known)) }

// NamesOf returns the telemetry's attributes of a field: the usual ones, and those of the
// rules.
func (a *Association) NamesOf(field string) []string { return a.known[field].names.Names() }

// Outcomes returns the outcomes that a rule can have.
func (a *Association) Outcomes(rule int) []Outcome {
	switch r := &a.rules[rule]; {
	case r.direct && rule != a.direct:
		return nil // the first one decides
	case r.direct || !r.space.exclusive:
		return []Outcome{Matched, Several, NoRank, MissingKey}
	}
	return []Outcome{Matched, Shared, Conflict, NoRank, MissingKey}
}

// Changes is another number once Add has added a presence.
func (a *Association) Changes() uint64 { return a.changes.Load() }

// At returns the ranks known at a location, live or not.
func (a *Association) At(location string) []boundary.RankKey {
	var ranks []boundary.RankKey
	seen := map[boundary.RankKey]bool{}
	for _, p := range a.at([]byte(location)) {
		if p.removed.Load() {
			continue
		}
		if rank := p.occupant.Rank; !seen[rank] {
			seen[rank] = true
			ranks = append(ranks, rank)
		}
	}
	return ranks
}

// at returns the presences at a location. Some may be removed ones, but not all.
func (a *Association) at(location []byte) []*presence {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return a.locations[string(location)].presences
}

// location returns the location of an identity of a tenant in a space. It returns false when
// the identity lacks one of the fields.
func (a *Association) location(s *space, tenant string, id Identity, process boundary.Process) (string, bool) {
	text := s.appendTo(nil, tenant)
	for i, field := range s.fields {
		value := id.text(field)
		switch {
		case field == FieldHost:
			value = boundary.FirstLabel(value)
		case s.process && field == FieldPID:
			if value = ""; process.PID > 0 {
				value = strconv.FormatInt(process.PID, 10)
			}
		}
		if value == "" {
			return "", false
		}
		if i > 0 {
			text = append(text, 0)
		}
		text = append(text, value...)
	}
	return string(text), true
}
