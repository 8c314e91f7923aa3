// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package association

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/boundary"
)

// Device is an entry of the static map, for hosts on which the program numbers its
// devices otherwise than the telemetry does.
type Device struct {
	// Host and Device are what the telemetry says; Device is an index or a UUID.
	Host, Device string
	// ToHost and LocalRank are what the boundary records say.
	ToHost    string
	LocalRank int
}

// Association knows which groups are where. Its methods may be called from many
// goroutines.
type Association struct {
	// Keys knows what telemetry calls the keys of the rules.
	Keys *boundary.KeySet

	rules     []Rule
	textBytes int
	// direct says which rules are, names what telemetry calls their keys, by rule and key.
	direct []bool
	names  [][][]boundary.Key
	// keys are the bits of the names, by rule and key.
	keys [][]boundary.KeyMask
	// session and rank are what telemetry calls these two, identity the bits of both.
	session, rank []boundary.Key
	identity      boundary.KeyMask
	// fields are those of boundary records that say where a group is.
	fields []string
	// devices translates the places of mapped devices to places of mapped.
	devices map[string]string
	// mapped is the rule that mapped devices are looked up by, after all others.
	mapped Rule

	// mu guards what follows.
	mu sync.RWMutex
	// groups lists the groups at each place, places the places of each group.
	groups map[string][]boundary.RankKey
	places map[boundary.RankKey][]string
}

// New returns an association by rules, the first one first. A value longer than
// textBytes is none.
func New(rules []Rule, devices []Device, textBytes int) *Association {
	a := &Association{
		Keys:     boundary.NewKeySet(),
		rules:     rules,
		textBytes: textBytes,
		devices:   map[string]string{},
		mapped:    Rule{Keys: []Key{{Field: FieldHost}, {Field: FieldLocalRank}}},
		fields:    []string{FieldHost, FieldPID, FieldDevice, FieldLocalRank, FieldJob},
		groups:    map[string][]boundary.RankKey{},
		places:    map[boundary.RankKey][]string{},
	}
	for _, rule := range rules {
		keys, bits := make([][]boundary.Key, len(rule.Keys)), make([]boundary.KeyMask, len(rule.Keys))
		for i, key := range rule.Keys {
			for _, text := range key.Names {
				name := a.Keys.Add(text)
				keys[i] = append(keys[i], name)
				bits[i] |= name.Mask()
			}
			switch key.Field {
			case FieldSession:
				a.session = append(a.session, keys[i]...)
			case FieldRank:
				a.rank = append(a.rank, keys[i]...)
			}
			if !slices.Contains(a.fields, key.Field) {
				a.fields = append(a.fields, key.Field)
			}
		}
		a.names = append(a.names, keys)
		a.keys = append(a.keys, bits)
		a.direct = append(a.direct, rule.direct())
	}
	for _, name := range slices.Concat(a.session, a.rank) {
		a.identity |= name.Mask()
	}
	for _, d := range devices {
		a.devices[d.Host+"\x00"+d.Device] = strconv.Itoa(len(rules)) + "\x00" + d.ToHost + "\x00" + strconv.Itoa(d.LocalRank)
	}
	return a
}

// Location is where a group is, by a rule.
type Location struct {
	text string
	// Exclusive is true when only one session at a time is there.
	Exclusive bool
}

// String is the same for the same place only.
func (p Location) String() string { return p.text }

// Identity is what the records of a group say of where it is: fields and their texts.
type Identity []FieldText

// FieldText is a field of boundary records with its value as text.
type FieldText struct{ Field, Text string }

// Identity reads from a record of a group the fields that rules may ask for. What is
// returned keeps no reference to the record.
func (a *Association) Identity(f *boundary.Fields) Identity {
	var id Identity
	for _, field := range a.fields {
		if text, ok := asText(f.Get(field)); ok && len(text) <= a.textBytes {
			id = append(id, FieldText{field, strings.Clone(text)})
		}
	}
	return id
}

// Locations lists where a group of an identity is.
func (a *Association) Locations(id Identity) []Location {
	var places []Location
	add := func(rule *Rule, i int) {
		text, ok := a.place(nil, rule, i, func(key int) (string, bool) {
			at := slices.IndexFunc(id, func(t FieldText) bool { return t.Field == rule.Keys[key].Field })
			if at < 0 {
				return "", false
			}
			return id[at].Text, true
		})
		if ok {
			places = append(places, Location{string(text), rule.exclusive()})
		}
	}
	for i := range a.rules {
		if !a.direct[i] {
			add(&a.rules[i], i)
		}
	}
	if len(a.devices) > 0 {
		add(&a.mapped, len(a.rules))
	}
	return places
}

// Add files a group under its places.
func (a *Association) Add(group boundary.RankKey, places []Location) {
	a.mu.Lock()
	defer a.mu.Unlock()
	group.Session = strings.Clone(group.Session) // it may be part of a larger text
	for _, place := range places {
		if !slices.Contains(a.groups[place.text], group) {
			a.groups[place.text] = append(a.groups[place.text], group)
			a.places[group] = append(a.places[group], place.text)
		}
	}
}

// Remove takes a group out, unless it is back.
func (a *Association) Remove(group boundary.RankKey, back func(boundary.RankKey) bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if back(group) {
		return
	}
	for _, place := range a.places[group] {
		left := slices.DeleteFunc(a.groups[place], func(g boundary.RankKey) bool { return g == group })
		if len(left) == 0 {
			delete(a.groups, place)
			continue
		}
		a.groups[place] = left
	}
	delete(a.places, group)
}

// Outcome is what a rule came to for a record.
type Outcome uint8

const (
	// Matched: the rule names one live group.
	Matched Outcome = iota
	// Several: the rule names several live groups.
	Several
	// NoRank: no live group agrees in the rule's keys.
	NoRank
	// MissingKey: the record lacks a key of the rule.
	MissingKey
	// Outcomes is how many there are.
	Outcomes
)

// String names the outcome as the processor's metrics do.
func (o Outcome) String() string {
	return [Outcomes]string{"matched", "several", "no_group", "missing_key"}[o]
}

// Finder finds the groups of records. It keeps room to do so, so that each goroutine
// needs its own.
type Finder struct {
	*Association
	// Named reads the group that a record names itself, by the names that it has for the
	// session and the rank.
	Named func(f *boundary.Fields, session, rank []boundary.Key) boundary.Named
	// Live tells whether a group can answer.
	Live func(boundary.RankKey) bool
	// Tried is told what each rule that was tried came to.
	Tried func(rule int, outcome Outcome)

	// inherited is what the scope and the resource of the records at hand name; settled
	// is true when the first rule takes the group from it alone.
	inherited boundary.Named
	settled   bool
	text      []byte
	found     []boundary.RankKey
}

// SetScope reads what the scope and the resource of the records that follow name. The
// fields are to have no record's.
func (f *Finder) SetScope(fields *boundary.Fields) {
	f.inherited = f.Named(fields, f.session, f.rank)
	f.settled = f.inherited.Whole() && len(f.rules) > 0 && f.direct[0] && !f.rules[0].Representative
	clear(f.found[:cap(f.found)]) // it may hold the texts of other resources
}

// Inherited returns the group that Find finds for a record by what its scope and
// resource name, provided that the group is live. It returns false when the record
// itself, or a rule, has a say in it.
func (f *Finder) Inherited(fields *boundary.Fields) (*boundary.RankKey, bool) {
	return &f.inherited.Rank, f.settled && !fields.Own().Any(f.identity)
}

// Find returns the live groups that the first rule to name any names, and whether
// one of them stands for others. When there is none, it returns the group that the
// record names itself, if it does. A record that names its session, or its rank, is
// never given a group of another. What is returned is good until the next call.
func (f *Finder) Find(fields *boundary.Fields) (groups []boundary.RankKey, representative bool) {
	named := f.inherited
	if fields.Own().Any(f.identity) {
		named = f.Named(fields, f.session, f.rank)
	}
	f.found = f.found[:0]
	for i := range f.rules {
		rule := &f.rules[i]
		outcome := f.try(rule, i, fields, &named)
		f.Tried(i, outcome)
		switch {
		case outcome == Several && rule.Representative:
			smallest := slices.MinFunc(f.found, func(a, b boundary.RankKey) int {
				return cmp.Or(cmp.Compare(a.Rank, b.Rank), cmp.Compare(a.Session, b.Session))
			})
			f.found = append(f.found[:0], smallest)
			return f.found, true
		case outcome == Matched || outcome == Several:
			return f.found, rule.Representative
		}
	}
	if named.Whole() {
		f.found = append(f.found[:0], named.Rank)
	}
	return f.found, false
}

func (f *Finder) try(rule *Rule, i int, fields *boundary.Fields, named *boundary.Named) Outcome {
	f.found = f.found[:0]
	if f.direct[i] {
		if !named.Whole() {
			return MissingKey
		}
		if !f.Live(named.Rank) {
			return NoRank
		}
		f.found = append(f.found, named.Rank)
		return Matched
	}
	present := fields.Present()
	for _, bits := range f.keys[i] {
		if !present.Any(bits) {
			return MissingKey
		}
	}
	var complete bool
	value := func(key int) (string, bool) { return asText(fields.FindAny(f.names[i][key])) }
	if f.text, complete = f.place(f.text[:0], rule, i, value); !complete {
		return MissingKey
	}
	f.mu.RLock()
	at := f.groups[string(f.text)]
	if place, ok := f.device(rule, i, fields); ok {
		at = f.groups[place]
	}
	f.found = append(f.found, at...)
	f.mu.RUnlock()
	f.found = slices.DeleteFunc(f.found, func(g boundary.RankKey) bool { return !named.Allows(g) || !f.Live(g) })
	switch len(f.found) {
	case 0:
		return NoRank
	case 1:
		return Matched
	}
	return Several
}

// device returns the place that the static map has for a record's device.
func (f *Finder) device(rule *Rule, i int, fields *boundary.Fields) (string, bool) {
	host, device := rule.key(FieldHost), rule.key(FieldDevice)
	if len(f.devices) == 0 || host < 0 || device < 0 {
		return "", false
	}
	name, _ := asText(fields.FindAny(f.names[i][host]))
	for _, candidate := range f.names[i][device] {
		v, found := fields.Find(candidate)
		if !found {
			continue
		}
		id, _ := asText(v, true)
		if place, ok := f.devices[name+"\x00"+id]; ok {
			return place, true
		}
	}
	return "", false
}
