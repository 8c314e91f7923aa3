// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package association

import (
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/boundary"
)

// Device is an entry of the device map, for hosts on which the training program numbers
// its devices differently from the telemetry.
type Device struct {
	// Host and Device are the telemetry's values; Device is an index or a UUID.
	Host, Device string
	// ToHost and LocalRank are the boundary records' values.
	ToHost    string
	LocalRank int
}

// Association knows the locations of ranks. Its methods are safe for concurrent use.
type Association struct {
	// Keys has the attribute keys of all rules. Keys must not be added to it once it is in
	// use.
	Keys *boundary.KeySet

	rules     []compiledRule
	textBytes int
	// located are the rules that have locations, with mapped among them if there is a
	// device map.
	located []*compiledRule
	// session and rank are the attribute keys of these two fields, identity has the bits
	// of both.
	session, rank []boundary.Key
	identity      boundary.KeyMask
	// fields are the fields of boundary records that an Identity has.
	fields []string
	// devices maps the hosts and devices of the device map to locations of mapped.
	devices map[string]string
	mapped  compiledRule

	// changes counts the locations that Add has added.
	changes atomic.Uint64

	// mu guards the fields below, which are each other's inverse.
	mu        sync.RWMutex
	ranks     map[string][]boundary.RankKey
	locations map[boundary.RankKey][]string
}

// New returns an association by at most MaxRules rules, in order of precedence. Values
// longer than textBytes count as absent.
func New(rules []Rule, devices []Device, textBytes int) *Association {
	a := &Association{
		Keys:      boundary.NewKeySet(),
		rules:     make([]compiledRule, len(rules)),
		textBytes: textBytes,
		fields:    []string{FieldHost, FieldPID, FieldDevice, FieldLocalRank, FieldJob},
		devices:   map[string]string{},
		ranks:     map[string][]boundary.RankKey{},
		locations: map[boundary.RankKey][]string{},
	}
	for i, rule := range rules {
		a.rules[i] = compile(rule, i, a.Keys)
		if !a.rules[i].direct {
			a.located = append(a.located, &a.rules[i])
		}
		for _, key := range a.rules[i].keys {
			a.addKey(&key)
		}
	}
	a.mapped = compile(Rule{Keys: []Key{{Field: FieldHost}, {Field: FieldLocalRank}}}, len(rules), a.Keys)
	if len(devices) > 0 {
		a.located = append(a.located, &a.mapped)
	}
	for _, d := range devices {
		a.devices[d.Host+"\x00"+d.Device] = a.mapped.number + "\x00" + d.ToHost + "\x00" + strconv.Itoa(d.LocalRank)
	}
	return a
}

func (a *Association) addKey(key *compiledKey) {
	switch key.field {
	case FieldSession:
		a.session = append(a.session, key.names...)
		a.identity |= key.mask
	case FieldRank:
		a.rank = append(a.rank, key.names...)
		a.identity |= key.mask
	}
	if !slices.Contains(a.fields, key.field) {
		a.fields = append(a.fields, key.field)
	}
}

// Location is where a rank is, as seen by one rule.
type Location struct {
	text string
	// Exclusive reports whether only one session at a time is there.
	Exclusive bool
}

// String returns a text that is unique to the location.
func (l Location) String() string { return l.text }

// Identity has the fields of a boundary record that locate its rank.
type Identity []FieldText

// FieldText is a field of a boundary record with its value as text.
type FieldText struct{ Field, Text string }

// Identity reads the fields that the rules use from a boundary record. The result does
// not refer to the record.
func (a *Association) Identity(f *boundary.Fields) Identity {
	var id Identity
	var text []byte
	for _, field := range a.fields {
		for _, name := range namesOf(field) {
			v, found := f.Get(name)
			var ok bool
			if text, ok = appendText(text[:0], v, found); ok && len(text) <= a.textBytes {
				id = append(id, FieldText{field, string(text)})
				break
			}
		}
	}
	return id
}

// namesOf returns the names that boundary records have for a field: its own, and that of
// the semantic conventions.
func namesOf(field string) []string {
	switch field {
	case FieldHost:
		return []string{field, "host.name"}
	case FieldPID:
		return []string{field, "process.pid"}
	}
	return []string{field}
}

// Locations returns the locations of a rank with the given identity: one for each rule all
// of whose keys are in the identity.
func (a *Association) Locations(id Identity) []Location {
	var locations []Location
	for _, rule := range a.located {
		if text, ok := a.locate(rule, id); ok {
			locations = append(locations, Location{text, rule.exclusive})
		}
	}
	return locations
}

func (a *Association) locate(rule *compiledRule, id Identity) (string, bool) {
	text := []byte(rule.number)
	for _, key := range rule.keys {
		i := slices.IndexFunc(id, func(t FieldText) bool { return t.Field == key.field })
		if i < 0 {
			return "", false
		}
		text = append(text, 0)
		start := len(text)
		if text = append(text, id[i].Text...); !a.valid(key.field, text[start:]) {
			return "", false
		}
	}
	return string(text), true
}

// valid reports whether a value can be part of a location.
func (a *Association) valid(field string, value []byte) bool {
	return len(value) > 0 && len(value) <= a.textBytes && (field != FieldDevice || value[0] != '-') // device -1 is the CPU
}

// Add adds a rank at the given locations.
func (a *Association) Add(rank boundary.RankKey, locations []Location) {
	a.mu.Lock()
	defer a.mu.Unlock()
	rank.Session = strings.Clone(rank.Session) // it may be part of a larger text
	for _, location := range locations {
		if !slices.Contains(a.ranks[location.text], rank) {
			a.ranks[location.text] = append(a.ranks[location.text], rank)
			a.locations[rank] = append(a.locations[rank], location.text)
			a.changes.Add(1)
		}
	}
}

// Changes is another number once Add has added a rank at a location.
func (a *Association) Changes() uint64 { return a.changes.Load() }

// At returns a copy of the ranks known at a location, live or not.
func (a *Association) At(location string) []boundary.RankKey {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return slices.Clone(a.ranks[location])
}

// Remove removes a rank, unless registered reports that it has been registered again.
// It calls registered with its lock held.
func (a *Association) Remove(rank boundary.RankKey, registered func(boundary.RankKey) bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if registered(rank) {
		return
	}
	for _, location := range a.locations[rank] {
		left := slices.DeleteFunc(a.ranks[location], func(r boundary.RankKey) bool { return r == rank })
		if len(left) == 0 {
			delete(a.ranks, location)
			continue
		}
		a.ranks[location] = left
	}
	delete(a.locations, rank)
}
