// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package association

import (
	"hash/maphash"
	"slices"
	"time"

	"github.com/phaseattr/phaseattr/internal/boundary"
)

// Outcome is the result of trying a rule on a record.
type Outcome uint8

const (
	// Matched: one live rank matches.
	Matched Outcome = iota
	// Several: several live ranks match, at a location that ranks share.
	Several
	// Shared: several live ranks of one session match, at a location that is one's alone, or
	// the record does not say which part of the location it is about.
	Shared
	// Conflict: live ranks of different sessions match, at a location that is one's alone.
	Conflict
	// NoRank: no live rank matches.
	NoRank
	// MissingKey: the record lacks a key of the rule.
	MissingKey
	// Outcomes is the number of outcomes.
	Outcomes
)

// String returns the outcome as the processor's metrics name it.
func (o Outcome) String() string {
	return [Outcomes]string{"matched", "several", "shared", "conflict", "no_rank", "missing_key"}[o]
}

// Ranks reports what is known of ranks at the time of the record at hand, less the offset
// of a rule. It must not keep pointers.
type Ranks interface {
	// Interval returns the time that the record is about, in nanoseconds since the Unix epoch.
	Interval(offset time.Duration) (from, to int64)
	// Present reports whether a presence had begun and its process can answer.
	Present(o *boundary.Occupant, offset time.Duration) bool
	// Live reports whether a rank can answer.
	Live(rank *boundary.RankKey, offset time.Duration) bool
	// Session returns the ranks that are known of a session. They are complete unless a
	// record says that there are more.
	Session(tenant, id string) (ranks []int64, complete bool)
}

// Target is a rank that a record belongs to, or one of its processes.
type Target struct {
	Rank boundary.RankKey
	// Process is the number of a process of the rank, or boundary.MainProcess.
	Process int32
}

// Reason is why a record belongs to no rank, or not to one alone.
type Reason uint8

const (
	// NoReason: the record belongs to one rank.
	NoReason Reason = iota
	// NamesNothing: the record has nothing that tells a rank.
	NamesNothing
	// UnknownRank: no rank that can answer is where the record says.
	UnknownRank
	// OtherDevice: the rank is known to have another device, pod or job.
	OtherDevice
	// SharedDevice: several ranks share the device or the process, or the record does not say
	// which part of the device it is about.
	SharedDevice
	// SeveralRanks: several ranks of the session, the pod or the job match.
	SeveralRanks
)

// String returns the reason as attributes and metrics name it; empty for NoReason.
func (r Reason) String() string {
	return [...]string{"", "no_session", "unknown_session", "other_device", "shared_device", "several_ranks"}[r]
}

// maxTargets bounds the ranks that are listed for a record.
const maxTargets = 64

// Match is the result of Finder.Find.
type Match struct {
	// Targets are the ranks that the record belongs to; empty if there are none.
	Targets []Target
	// Representative reports whether Targets has a rank that answers for others as well.
	Representative bool
	// Ambiguous reports that the answer is never unique, whatever the ranks answer.
	Ambiguous bool
	// Unlisted reports that more ranks match than are listed: Targets is empty.
	Unlisted bool
	// Location is where the record says that its rank is, if Targets is empty and no rank is
	// known there; nil otherwise.
	Location []byte
	Reason   Reason
	// Departed is a process that was where the record says, or will be, if the Reason is
	// UnknownRank; nil if there is none.
	Departed *boundary.Occupant
	// Offset is that of the rule that decides.
	Offset time.Duration
}

// Finder finds the ranks of records. It is not safe for concurrent use: each goroutine
// needs its own.
type Finder struct {
	// Tried counts the outcomes per rule until the caller clears it.
	Tried [MaxRules][Outcomes]int64

	association *Association
	reader      *boundary.Reader
	keys        finderKeys

	// tenant is whose ranks are found.
	tenant string
	// inherited is what the scope and the resource name, target its rank; own is what a
	// record names itself. direct is set when target can answer for the records of the scope.
	inherited, own boundary.Named
	target         Target
	owner          *owner
	direct         bool
	// decisive are the keys with which a record may have another target.
	decisive boundary.KeyMask

	record

	// found are the ranks at the location at hand. uncertain is set when the record may be
	// about a part of the location that is another one's, vetoed when a rank there is known
	// to be elsewhere.
	found             []found
	uncertain, vetoed bool
	// departed is a process that was at a location, or will be.
	departed *boundary.Occupant
	// narrowed are the locations with several ranks, among which the later rules choose.
	narrowed []narrowed
	// entries are those of the device map for the record.
	entries []mappedDevice
	targets []Target
	match   Match
	// offset is that of the rule at hand.
	offset time.Duration
	// numbers has the positions of rank numbers in found, doubled the ranks whose number
	// another session has as well.
	numbers map[int64]int
	doubled []boundary.RankKey

	// scopePrint tells the tenant and what the scope and the resource say from other ones,
	// tenantPrint the tenant.
	scopePrint, tenantPrint uint64
	memo                    [memoSets]memoSet
	owners                  [ownerMemos]ownerMemo
	// at is the presence that was found first, timed is set when what was found depends on
	// the time.
	at    *presence
	timed bool
	// outcomes are those of the rules for the record at hand, Outcomes for one not tried.
	outcomes [MaxRules]Outcome
}

// found is a rank at a location.
type found struct {
	Target
	owner *owner
	// exact is true when it is at the record's instance of the device, twice when a rank of
	// another session has the same number.
	exact, twice bool
}

// narrowed is a location with several ranks.
type narrowed struct {
	space    *space
	location []byte
	offset   time.Duration
	// hostName and process are the record's, by which the ranks there are looked through.
	hostName string
	process  boundary.Process
}

// NewFinder returns a Finder of the ranks of an association. It reads the ranks that
// records name with reader.
func NewFinder(a *Association, reader *boundary.Reader) *Finder {
	return &Finder{
		association: a, reader: reader, keys: a.finderKeys(), numbers: map[int64]int{},
		record: record{texts: newTexts(a.textBytes)},
	}
}

// SetTenant sets whose ranks are found for the records that follow. SetScope must be called
// after it.
func (f *Finder) SetTenant(name string) {
	if f.tenant != name {
		f.tenant, f.tenantPrint = name, maphash.String(f.association.seed, name)
	}
}

// readNamed reads what a record names of the rank that it belongs to. A session that it names
// as a source does counts only if it is known, or the record names the rank too.
func (f *Finder) readNamed(fields *boundary.Fields) boundary.Named {
	a := f.association
	named := f.reader.Named(fields, a.sessionKeys, a.rankKeys)
	if a.sourceSessions.Mask() != 0 && !named.HasSession() {
		source := f.reader.Named(fields, a.sourceSessions, a.rankKeys)
		if session, alone := source.Session(); !alone || f.knows(session) {
			named = source
		}
	}
	named.Rank.Tenant = f.tenant
	return named
}

// knows reports whether a rank of a session is known.
func (f *Finder) knows(session string) bool {
	f.location = f.association.sessionLocation(f.location[:0], f.tenant, session)
	return len(f.association.at(f.location)) > 0
}

// SetScope sets the scope and the resource of the records that follow. The fields must
// not have a record.
func (f *Finder) SetScope(fields *boundary.Fields) {
	a := f.association
	f.inherited = f.readNamed(fields)
	f.own = boundary.Named{}
	f.forget()
	f.scopePrint = fields.Print(a.seed, a.keyMask) + f.tenantPrint
	f.direct, f.owner = false, nil
	if !f.inherited.Whole() {
		return
	}
	f.target = Target{f.inherited.Rank, boundary.MainProcess}
	f.owner = a.owner(&f.inherited.Rank)
	f.begin(fields, false)
	var process bool
	f.target.Process, process = f.processOf(f.owner, nil)
	f.decisive = a.named | boundary.KeyMask(a.marked.Load())
	if f.owner != nil && f.owner.summary.Load().processes {
		f.decisive |= f.keys.processMask
	}
	f.direct = process && !f.contradicts(f.owner, nil, marksOfANamed, nil) && a.directOffset == 0 &&
		(a.direct < 0 || !a.rules[a.direct].representative)
}

// FindRank returns the match of a record that is known to be of a rank.
func (f *Finder) FindRank(fields *boundary.Fields, rank *boundary.RankKey, ranks Ranks) *Match {
	f.begin(fields, false)
	f.isOwn = true
	defer func() { f.isOwn = false }()
	f.own = boundary.NamedRank(*rank)
	f.own.Rank.Tenant = f.tenant
	f.named, f.vetoed, f.departed, f.targets = &f.own, false, nil, f.targets[:0]
	f.findNamed(0, ranks)
	return &f.match
}

// forget clears what may refer to other telemetry.
func (f *Finder) forget() {
	clear(f.found[:cap(f.found)])
	clear(f.targets[:cap(f.targets)])
	clear(f.doubled[:cap(f.doubled)])
	for i := range f.narrowed[:cap(f.narrowed)] {
		n := &f.narrowed[:cap(f.narrowed)][i]
		*n = narrowed{location: n.location}
	}
	f.target, f.match, f.departed = Target{}, Match{}, nil
	f.record.forget()
}

// Inherited returns the target that Find returns for a record if its rank is live. It
// returns false when this takes more than what the scope and the resource name.
func (f *Finder) Inherited(fields *boundary.Fields) (*Target, bool) {
	return &f.target, f.direct && !fields.Own().Any(f.decisive)
}

// Named counts that a record was answered by the rank that it names.
func (f *Finder) Named() { f.count(f.association.direct, Matched) }

func (f *Finder) count(rule int, outcome Outcome) {
	if rule >= 0 {
		f.Tried[rule][outcome]++
		f.outcomes[rule] = outcome
	}
}

// Find returns the ranks that a record belongs to at its time less Match.Offset. A record that names its session and its
// rank belongs to that one. Otherwise the rules are tried in order, on the ranks that the
// record allows: those of its session, or of its number, that are not known to have
// another device, pod or job. A rule that finds several leaves the choice to the later
// ones. gpu reports whether the record is of a metric that only GPUs have.
//
// The match is valid until the next call.
func (f *Finder) Find(fields *boundary.Fields, gpu bool, ranks Ranks) *Match {
	f.begin(fields, gpu)
	f.named, f.vetoed, f.departed = &f.inherited, false, nil
	if fields.Own().Any(f.association.named) {
		f.own = f.readNamed(fields)
		f.named = &f.own
	}
	f.targets = f.targets[:0]
	if f.named.Whole() {
		f.findNamed(f.association.directOffset, ranks)
		return &f.match
	}
	key := f.memoKey()
	if m := f.remembered(&key); m != nil && m.answers(ranks) {
		f.targets = append(f.targets, m.target)
		m.count(f)
		f.match = Match{Targets: f.targets, Offset: m.offset}
		return &f.match
	}
	f.at, f.timed = nil, false
	f.match = f.findByRules(ranks)
	f.match.Offset = f.offset
	if f.match.Reason == UnknownRank {
		f.match.Departed = f.departed
	}
	if len(f.targets) == 1 && f.match.Reason == NoReason && !f.match.Representative && f.at != nil && !f.timed {
		f.remember(&key)
	}
	return &f.match
}

// findNamed sets the match to the rank that a record names.
func (f *Finder) findNamed(offset time.Duration, ranks Ranks) {
	rank := &f.named.Rank
	f.offset = offset
	t := f.owner
	if f.named != &f.inherited {
		t, rank = f.ownerOf(rank)
	}
	direct := f.association.direct
	if f.contradicts(t, nil, marksOfANamed, ranks) {
		f.count(direct, NoRank)
		f.match = Match{Reason: OtherDevice, Offset: f.offset}
		return
	}
	outcome := NoRank
	if ranks.Live(rank, f.offset) {
		outcome = Matched
	}
	f.count(direct, outcome)
	process, _ := f.processOf(t, ranks)
	f.targets = append(f.targets, Target{*rank, process})
	f.match = Match{
		Targets: f.targets, Representative: direct >= 0 && f.association.rules[direct].representative, Offset: f.offset,
	}
}

func (f *Finder) findByRules(ranks Ranks) Match {
	f.narrowed = f.narrowed[:0]
	rules := f.association.rules
	for i := range rules {
		f.outcomes[i] = Outcomes // not tried
	}
	first := -1 // the rule by which the record waits
	for i := range rules {
		rule := &rules[i]
		if rule.direct {
			continue // counted at the end
		}
		if rule.isMissing(f.present, f.gpu) {
			f.count(i, MissingKey)
			continue
		}
		f.offset = rule.offset
		outcome, mapped := NoRank, false
		if f.canFind(rule) {
			outcome, mapped = f.try(rule, ranks)
		}
		f.count(i, outcome)
		switch outcome {
		case MissingKey:
		case NoRank:
			if first < 0 || rule.waits > rules[first].waits {
				first = i
			}
		case Matched:
			f.count(f.association.direct, MissingKey)
			return f.matchOf(rule, outcome)
		default:
			if rule.representative || mapped || f.uncertain && len(f.found) == 1 {
				f.count(f.association.direct, MissingKey)
				return f.matchOf(rule, outcome)
			}
		}
	}
	f.offset = f.association.directOffset
	if len(f.narrowed) > 0 {
		f.count(f.association.direct, MissingKey)
		return f.undecided(ranks)
	}
	if session, ok := f.named.Session(); ok {
		return f.findSession(session, ranks)
	}
	f.count(f.association.direct, MissingKey)
	return f.nowhere(first, ranks)
}

// nowhere returns the match of a record that no rule finds a rank for. It has a location
// by the rule with that number, if that is not negative.
func (f *Finder) nowhere(rule int, ranks Ranks) Match {
	if f.vetoed {
		return Match{Reason: OtherDevice}
	}
	if rule < 0 {
		if f.named.Any() {
			return Match{Reason: UnknownRank}
		}
		return Match{Reason: NamesNothing}
	}
	match := Match{Reason: UnknownRank}
	f.offset = f.association.rules[rule].offset
	if f.relocate(&f.association.rules[rule], ranks) && len(f.association.at(f.location)) == 0 {
		match.Location = f.location
	}
	return match
}

// relocate sets f.location to the record's by a rule that found no rank.
func (f *Finder) relocate(rule *compiledRule, ranks Ranks) bool {
	if rule.space.device && len(f.association.devices) > 0 {
		f.location = f.location[:0]
		if f.findMapped(ranks) {
			return len(f.location) > 0
		}
	}
	if !rule.process {
		return f.locate(rule)
	}
	if f.locateProcess(rule) {
		return true
	}
	return slices.ContainsFunc(f.association.processes, func(other compiledRule) bool { return f.locateProcess(&other) })
}

// matchOf returns the match of a rule that decides.
func (f *Finder) matchOf(rule *compiledRule, outcome Outcome) Match {
	m := Match{Representative: rule.representative}
	if rule.representative {
		m.Ambiguous, m.Unlisted = f.chooseRepresentative()
	} else {
		m.Ambiguous, m.Unlisted = outcome != Matched, len(f.found) > maxTargets
		f.list()
	}
	if m.Targets = f.targets; m.Unlisted {
		m.Targets = nil
	}
	switch {
	case m.Ambiguous && (outcome == Shared || outcome == Conflict):
		m.Reason = SharedDevice
	case m.Ambiguous:
		m.Reason = SeveralRanks
	}
	return m
}

func (f *Finder) list() {
	for i := range f.found {
		f.targets = append(f.targets, f.found[i].Target)
	}
}

// chooseRepresentative lists the smallest of the ranks that were found. If two have the
// same number, they are of two jobs: all ranks of that number are listed as well. It
// reports whether there are two jobs, and whether they have more ranks than are listed.
func (f *Finder) chooseRepresentative() (ambiguous, unlisted bool) {
	smallest := f.found[0].Rank.Rank
	for i := range f.found {
		smallest = min(smallest, f.found[i].Rank.Rank)
	}
	for i := range f.found {
		r := &f.found[i]
		ambiguous = ambiguous || r.twice
		if r.Rank.Rank != smallest && !r.twice || slices.Contains(f.targets, r.Target) {
			continue
		}
		if len(f.targets) == maxTargets {
			return true, true
		}
		f.targets = append(f.targets, r.Target)
	}
	return ambiguous, false
}

// undecided returns the match of a record whose rules found several ranks, of which no
// later rule chose one.
func (f *Finder) undecided(ranks Ranks) Match {
	last := &f.narrowed[len(f.narrowed)-1]
	f.narrowed = f.narrowed[:len(f.narrowed)-1]
	f.found = f.found[:0]
	f.hostName, f.process, f.offset = last.hostName, last.process, last.offset
	f.gather(f.association.at(last.location), last.space, maxTargets+1, ranks)
	m := Match{Ambiguous: true, Reason: SeveralRanks}
	if last.space.exclusive {
		m.Reason = SharedDevice
	}
	if len(f.found) > maxTargets {
		m.Unlisted = true
		return m
	}
	f.list()
	m.Targets = f.targets
	return m
}

// findSession returns the ranks of the session that a record names without a rank, when no
// rule chooses one of them.
func (f *Finder) findSession(session string, ranks Ranks) Match {
	a := f.association
	f.timed = true
	f.location = a.sessionLocation(f.location[:0], f.tenant, session)
	known := a.at(f.location)
	numbers, complete := ranks.Session(f.tenant, session)
	f.found = f.found[:0]
	f.gather(known, a.session, maxTargets+1, ranks)
	live := len(f.found) > 0
	switch {
	case live && len(numbers) == 1 && complete:
		f.count(a.direct, Matched)
		f.list()
		return Match{Targets: f.targets}
	case live:
		f.count(a.direct, Several)
		m := Match{Ambiguous: true, Reason: SeveralRanks, Unlisted: len(f.found) > maxTargets}
		if !m.Unlisted {
			f.list()
			m.Targets = f.targets
		}
		return m
	}
	f.count(a.direct, NoRank)
	switch {
	case f.vetoed:
		return Match{Reason: OtherDevice}
	case len(known) == 0:
		return Match{Location: f.location, Reason: UnknownRank}
	case len(numbers) == 1: // it knows best why it does not answer
		rank := boundary.RankKey{Tenant: f.tenant, Session: session, Rank: numbers[0]}
		f.targets = append(f.targets, Target{rank, boundary.MainProcess})
		return Match{Targets: f.targets}
	}
	return Match{Reason: UnknownRank}
}
