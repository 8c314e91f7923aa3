// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package association

import (
	"time"

	"github.com/phaseattr/phaseattr/internal/boundary"
)

// A Finder remembers memoSets times memoWays records. Those of a node are few, but two of
// them may well belong in one set.
const memoSets, memoWays = 128, 2

// memoSet is a set of memos, next the one that the next record takes.
type memoSet struct {
	memos [memoWays]memo
	next  uint8
}

// memo is the rank that was found for a record. Other records that say the same have the
// same rank as long as it is present, unless the search depended on the time.
type memo struct {
	memoKey
	at     *presence
	target Target
	offset time.Duration
	// outcomes are those of the rules, Outcomes for one that was not tried.
	outcomes [MaxRules]Outcome
}

// memoKey tells what a record says from what other ones say. The version is that of the
// association before the search, plus one.
type memoKey struct{ print, version uint64 }

func (f *Finder) memoKey() memoKey {
	a := f.association
	says := f.fields.PrintOwn(a.seed, a.keyMask)*31 + f.scopePrint
	if f.gpu {
		says++
	}
	return memoKey{says, a.versions.Load() + 1}
}

func (f *Finder) memoSet(key *memoKey) *memoSet {
	return &f.memo[(key.print^key.print>>32)%memoSets]
}

// remembered returns the memo of a record, nil if there is none.
func (f *Finder) remembered(key *memoKey) *memo {
	set := f.memoSet(key)
	for i := range set.memos {
		if set.memos[i].memoKey == *key {
			return &set.memos[i]
		}
	}
	return nil
}

// answers reports whether the rank answers at the time of the record at hand.
func (m *memo) answers(ranks Ranks) bool {
	return ranks.Present(&m.at.occupant, m.offset) && (m.target.Process != boundary.MainProcess || !m.at.isOutlived(ranks, m.offset))
}

// remember remembers what has been found for the record at hand.
func (f *Finder) remember(key *memoKey) {
	set := f.memoSet(key)
	m := &set.memos[set.next]
	for i := range set.memos {
		if set.memos[i].print == key.print {
			m = &set.memos[i]
		}
	}
	if m == &set.memos[set.next] {
		set.next = (set.next + 1) % memoWays
	}
	*m = memo{*key, f.at, f.targets[0], f.offset, f.outcomes}
}

// count counts the outcomes once more.
func (m *memo) count(f *Finder) {
	for rule := range f.association.rules {
		if outcome := m.outcomes[rule]; outcome < Outcomes {
			f.Tried[rule][outcome]++
		}
	}
}

// ownerMemos is the number of ranks of which a Finder remembers what is known of them.
const ownerMemos = 64

// ownerMemo is what is known of a rank. The version is that of the association before it was
// looked up.
type ownerMemo struct {
	owner   *owner
	version uint64
}

// ownerOf returns what is known of the rank that the record names, nil if nothing is, and the
// association's own copy of its key.
func (f *Finder) ownerOf(rank *boundary.RankKey) (*owner, *boundary.RankKey) {
	version := f.association.versions.Load()
	m := &f.owners[uint64(rank.Rank)%ownerMemos] //nolint:gosec // any bits will do
	if m.owner != nil && m.version == version {
		if key := m.owner.rank(); key != nil && *key == *rank {
			return m.owner, key
		}
	}
	t := f.association.owner(rank)
	if t != nil {
		if key := t.rank(); key != nil {
			*m = ownerMemo{t, version}
			return t, key
		}
	}
	return t, rank
}
