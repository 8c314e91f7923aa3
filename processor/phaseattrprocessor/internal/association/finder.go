// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package association

import (
	"cmp"
	"slices"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/boundary"
)

// Outcome is the result of trying a rule on a record.
type Outcome uint8

const (
	// Matched: one live rank matches.
	Matched Outcome = iota
	// Several: several live ranks match.
	Several
	// NoRank: no live rank matches.
	NoRank
	// MissingKey: the record lacks a key of the rule.
	MissingKey
	// Outcomes is the number of outcomes.
	Outcomes
)

// String returns the outcome as the processor's metrics name it.
func (o Outcome) String() string {
	return [Outcomes]string{"matched", "several", "no_rank", "missing_key"}[o]
}

// Ranks reports which ranks can answer for the record at hand.
type Ranks interface {
	// Live reports whether a rank can answer. It must not keep the pointer.
	Live(rank *boundary.RankKey) bool
}

// Match is the result of Finder.Find.
type Match struct {
	// Ranks are the ranks that the record belongs to; empty if there are none. They are
	// valid until the next call.
	Ranks []boundary.RankKey
	// Representative reports whether Ranks has one rank that answers for others as well.
	Representative bool
	// Location is the record's location by the first rule all of whose keys the record has,
	// if Ranks is empty and no rank is known there; nil otherwise. It is valid until the
	// next call.
	Location []byte
}

// Finder finds the ranks of records. It is not safe for concurrent use: each goroutine
// needs its own.
type Finder struct {
	// Tried counts the outcomes per rule until the caller clears it.
	Tried [MaxRules][Outcomes]int64

	association *Association
	reader      *boundary.Reader
	// inherited is the rank that the scope and the resource name, own the one that a record
	// names itself.
	inherited, own boundary.Named
	// direct is set when the first rule takes the rank from inherited alone.
	direct bool
	// location is the record's by the rule at hand, vacant the one for Match.Location, device
	// the record's key in the device map. All are reused.
	location, vacant, device []byte
	found                    []boundary.RankKey
}

// NewFinder returns a Finder of the ranks of an association. It reads the ranks that
// records name with reader.
func NewFinder(a *Association, reader *boundary.Reader) *Finder {
	return &Finder{association: a, reader: reader}
}

// SetScope sets the scope and the resource of the records that follow. The fields must
// not have a record.
func (f *Finder) SetScope(fields *boundary.Fields) {
	a := f.association
	f.inherited = f.reader.Named(fields, a.session, a.rank)
	f.direct = f.inherited.Whole() && len(a.rules) > 0 && a.rules[0].direct && !a.rules[0].representative
	f.own = boundary.Named{}
	clear(f.found[:cap(f.found)]) // it may refer to another resource
}

// Inherited returns the rank that Find returns for a record if that rank is live. It
// returns false when this takes more than the names in the scope and the resource.
func (f *Finder) Inherited(fields *boundary.Fields) (*boundary.RankKey, bool) {
	return &f.inherited.Rank, f.direct && !fields.Own().Any(f.association.identity)
}

// Find returns the live ranks of the first rule that matches any. If no rule does, it
// returns the rank that the record names, if it names one. A record that names its
// session or its rank only matches ranks that have the same.
func (f *Finder) Find(fields *boundary.Fields, ranks Ranks) Match {
	a := f.association
	named := &f.inherited
	if fields.Own().Any(a.identity) {
		f.own = f.reader.Named(fields, a.session, a.rank)
		named = &f.own
	}
	var location []byte
	complete := false // whether the record has all keys of an earlier rule
	for i := range a.rules {
		rule := &a.rules[i]
		outcome, vacant := f.try(rule, fields, named, ranks)
		f.Tried[i][outcome]++
		switch outcome {
		case Matched:
			return Match{Ranks: f.found, Representative: rule.representative}
		case Several:
			return f.several(rule)
		case NoRank:
			if vacant && !complete {
				f.vacant = append(f.vacant[:0], f.location...)
				location = f.vacant
			}
			complete = true
		}
	}
	if named.Whole() {
		f.found = append(f.found[:0], named.Rank)
		return Match{Ranks: f.found}
	}
	return Match{Location: location}
}

// several returns the match of a rule that found several ranks.
func (f *Finder) several(rule *compiledRule) Match {
	if rule.representative {
		smallest := slices.MinFunc(f.found, func(a, b boundary.RankKey) int {
			return cmp.Or(cmp.Compare(a.Rank, b.Rank), cmp.Compare(a.Session, b.Session))
		})
		f.found = append(f.found[:0], smallest)
	}
	return Match{Ranks: f.found, Representative: rule.representative}
}

// try tries a rule and leaves the live ranks that match in f.found. It reports as vacant
// that the record has a location by the rule, f.location, and no rank is known there.
func (f *Finder) try(
	rule *compiledRule, fields *boundary.Fields, named *boundary.Named, ranks Ranks,
) (outcome Outcome, vacant bool) {
	if rule.direct {
		switch {
		case !named.Whole():
			return MissingKey, false
		case !ranks.Live(&named.Rank):
			return NoRank, false
		}
		f.found = append(f.found[:0], named.Rank)
		return Matched, false
	}
	if !f.locate(rule, fields) {
		return MissingKey, false
	}
	known := f.findAt(named, ranks)
	switch len(f.found) {
	case 0:
		return NoRank, !known
	case 1:
		return Matched, false
	}
	return Several, false
}

// findAt sets f.found to the live ranks at f.location that the record allows. It reports
// whether any rank is known there.
func (f *Finder) findAt(named *boundary.Named, ranks Ranks) (known bool) {
	f.association.mu.RLock()
	f.found = append(f.found[:0], f.association.ranks[string(f.location)]...)
	f.association.mu.RUnlock()
	known = len(f.found) > 0
	live := f.found[:0]
	for i := range f.found {
		if rank := &f.found[i]; named.Allows(rank) && ranks.Live(rank) {
			live = append(live, *rank)
		}
	}
	f.found = live
	return known
}

// locate sets f.location to the record's by a rule. It returns false when the record
// lacks one of the rule's keys.
func (f *Finder) locate(rule *compiledRule, fields *boundary.Fields) bool {
	present := fields.Present()
	for i := range rule.keys {
		if !present.Any(rule.keys[i].mask) {
			return false
		}
	}
	f.location = append(f.location[:0], rule.number...)
	for i := range rule.keys {
		key := &rule.keys[i]
		f.location = append(f.location, 0)
		start := len(f.location)
		v, found := fields.FindAny(key.names)
		var ok bool
		if f.location, ok = appendText(f.location, v, found); !ok || !f.association.valid(key.field, f.location[start:]) {
			return false
		}
	}
	f.mapDevice(rule, fields)
	return true
}

// mapDevice replaces f.location by the one that the device map has for the record's
// device, if any.
func (f *Finder) mapDevice(rule *compiledRule, fields *boundary.Fields) {
	devices := f.association.devices
	if len(devices) == 0 || rule.host < 0 || rule.device < 0 {
		return
	}
	v, found := fields.FindAny(rule.keys[rule.host].names)
	f.device, _ = appendText(f.device[:0], v, found)
	f.device = append(f.device, 0)
	host := len(f.device)
	for _, name := range rule.keys[rule.device].names {
		v, found := fields.Find(name)
		f.device, found = appendText(f.device[:host], v, found)
		if location, mapped := devices[string(f.device)]; found && mapped {
			f.location = append(f.location[:0], location...)
			return
		}
	}
}
