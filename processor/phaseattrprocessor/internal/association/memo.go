// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package association

import "time"

// memoSize is the number of records that a Finder remembers.
const memoSize = 256

// memo is the rank that was found for a record. Other records that say the same have the
// same rank as long as it is present, unless the search depended on the time.
type memo struct {
	known bool
	// print tells what the record says from what other ones say, version is that of the
	// association.
	print, version uint64
	at             *presence
	target         Target
	offset         time.Duration
	// outcomes are those of the rules, Outcomes for one that was not tried.
	outcomes [MaxRules]Outcome
}

// remembered returns the memo of the record at hand. It is known if the record is.
func (f *Finder) remembered() *memo {
	a := f.association
	says := f.fields.PrintOwn(a.seed, a.keyMask)*31 + f.scopePrint
	if f.gpu {
		says++
	}
	m := &f.memo[(says^says>>32)%memoSize]
	version := a.versions.Load()
	m.known = m.known && m.print == says && m.version == version
	m.print, m.version = says, version
	return m
}

// remember sets the memo of the record at hand.
func (m *memo) remember(f *Finder) {
	m.known, m.at, m.target, m.offset, m.outcomes = true, f.at, f.targets[0], f.offset, f.outcomes
}

// count counts the outcomes once more.
func (m *memo) count(f *Finder) {
	for rule := range f.association.rules {
		if outcome := m.outcomes[rule]; outcome < Outcomes {
			f.Tried[rule][outcome]++
		}
	}
}
