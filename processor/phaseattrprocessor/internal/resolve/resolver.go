// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

// Package resolve looks up what ranks were doing, once for all items of a batch that
// need the same answer. It knows nothing of telemetry.
package resolve

import (
	"github.com/phaseattr/phaseattr/internal/boundary"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/policy"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/replay"
)

// Lookup asks what a rank was doing from one moment to another, or at one moment if
// they are the same. Lookups of one Resolver compare with ==.
type Lookup struct {
	// Rank and Origin are what Resolver.Rank and Resolver.Origin returned.
	Rank, Origin int32
	// From and To are in nanoseconds since the Unix epoch.
	From, To int64
}

// Result is the result of a lookup.
type Result struct {
	Attribution policy.Attribution
	// Found is false when no phase was active, or nothing is known.
	Found bool
	// Status says how far the index could answer.
	Status replay.Status
	// Reason is why the answer is not unique.
	Reason Reason
	// Limited is true when a path was replaced by OtherPath.
	Limited bool
	// Annotated is the number of items that the caller has annotated from the result.
	Annotated int64

	lookup Lookup
	handle replay.Handle
	// used is true when the place of the result has been used for the batch, done when the
	// result is set, parted when the resolver's parts are those of this lookup.
	used, done, parted bool
}

// Resolver resolves the lookups of one batch at a time. It is for one goroutine, and
// reuses its memory for the next batch.
type Resolver struct {
	index *replay.Index
	// whole is the policy of logs and spans, truncated that of data points.
	whole, truncated, policy *policy.Policy
	// paths limits the paths of data points.
	paths *PathLimiter

	ranks []rank
	// byKey has the positions in ranks, recent those of the ranks that were seen last, plus
	// one, by number.
	byKey   map[rankKey]int32
	recent  [recentRanks]int32
	origins []boundary.Origin
	// states and presences are what the index knows of the ranks and presences that were asked
	// about last. The results of a scrape are few, too: all gauges are read at the same time.
	states     [cacheSize]replay.State
	stateOf    cache[stateKey]
	presences  [cacheSize]bool
	presenceOf cache[presenceKey]
	results    [cacheSize]Result
	resultOf   cache[Lookup]
	// sets is the number of sets of the results that are used. Few moments of logs and spans are
	// asked about twice, and those soon after each other.
	sets uint64
	// used are the results of the batch.
	used      []*Result
	intervals []replay.ScopeInterval
	coverage  replay.Coverage

	parts  []Part
	parted *Result
}

// rankKey identifies a rank, or a process of it.
type rankKey struct {
	boundary.RankKey
	process int32
}

// rank is a rank that the batch names, or one of its processes.
type rank struct {
	rankKey
	handle replay.Handle
	// settled is the state of most intervals.
	settled replay.Settled
}

// recentRanks is the number of ranks that are found without a search for their keys.
const recentRanks = 128

// stateKey asks for the state of a rank in an interval, presenceKey whether an occupant was
// present in it.
type stateKey struct {
	from, to int64
	rank     int32
}

type presenceKey struct {
	from, to int64
	boundary.Occupant
}

// sumOf sums up an interval and a number for a cache.
func sumOf(from, to int64, number uint64) uint64 {
	return (uint64(from)*31+uint64(to))*31 + number //nolint:gosec // any bits will do
}

// New returns a resolver on an index. truncatePaths is the number of elements that the
// paths of data points have at most, 0 for all.
func New(index *replay.Index, threads policy.Threads, truncatePaths int, paths *PathLimiter) *Resolver {
	return &Resolver{
		index:     index,
		whole:     policy.New(policy.Options{Threads: threads}),
		truncated: policy.New(policy.Options{Threads: threads, MaxPathDepth: truncatePaths}),
		paths:     paths,
		byKey:     map[rankKey]int32{},
		origins:   make([]boundary.Origin, 1),
	}
}

// Begin begins a batch: of data points, whose paths become labels of series, or of
// other telemetry.
func (r *Resolver) Begin(dataPoints bool) {
	r.policy, r.sets = r.whole, cacheSets/8
	if dataPoints {
		r.policy, r.sets = r.truncated, cacheSets
	}
}

// End records what was annotated, and forgets the batch.
func (r *Resolver) End() {
	for _, result := range r.used {
		result.settle()
		paths := result.Attribution.Paths
		clear(paths[:cap(paths)])
		*result = Result{Attribution: policy.Attribution{Paths: paths[:0]}}
	}
	r.used = r.used[:0]
	clear(r.intervals[:cap(r.intervals)])
	clear(r.parts[:cap(r.parts)])
	clear(r.ranks)
	clear(r.byKey)
	clear(r.origins)
	clear(r.recent[:])
	r.resultOf.clear()
	r.Refresh()
	r.ranks, r.origins, r.parted = r.ranks[:0], r.origins[:1], nil
}

// settle lets the index know what was annotated, so that it can tell how much a late
// boundary would have changed.
func (res *Result) settle() {
	if res.Annotated > 0 {
		res.handle.NoteLookup(res.lookup.To, res.Annotated)
	}
}

// Rank returns the batch's number of a rank, or of one of its processes.
func (r *Resolver) Rank(key *boundary.RankKey, process int32) int32 {
	recent := &r.recent[(uint64(key.Rank)+uint64(process))%recentRanks] //nolint:gosec // any bits will do
	if *recent > 0 && r.ranks[*recent-1].process == process && r.ranks[*recent-1].RankKey == *key {
		return *recent - 1
	}
	k := rankKey{*key, process}
	number, ok := r.byKey[k]
	if !ok {
		number = int32(len(r.ranks)) //nolint:gosec // a batch has fewer ranks
		handle := r.index.ProcessHandle(*key, process)
		r.ranks = append(r.ranks, rank{rankKey: k, handle: handle, settled: handle.Settled()})
		r.byKey[k] = number
	}
	*recent = number + 1
	return number
}

// Key returns the rank of a number.
func (r *Resolver) Key(number int32) boundary.RankKey { return r.ranks[number].RankKey }

// Ranks returns how many ranks the batch has named.
func (r *Resolver) Ranks() int { return len(r.ranks) }

// State returns what the index knows of a rank in an interval.
func (r *Resolver) State(number int32, from, to int64) replay.State {
	of := &r.ranks[number]
	if of.settled.Has(to) {
		return of.settled.State
	}
	key := stateKey{from, to, number}
	place, known := r.stateOf.place(&key, cacheSets, sumOf(from, to, uint64(number))) //nolint:gosec // not negative
	if !known {
		r.states[place] = of.handle.At(from, to)
	}
	return r.states[place]
}

// GiveUp stops waiting for the samples of a rank that has not come as far as a time.
func (r *Resolver) GiveUp(number int32, at int64) {
	r.ranks[number].handle.GiveUp(at)
	r.stateOf.clear()
}

// Refresh lets the index be asked again about the states and presences of ranks.
func (r *Resolver) Refresh() {
	r.stateOf.clear()
	r.presenceOf.clear()
}

// Present reports whether a presence had begun, and its process can answer, in an interval.
func (r *Resolver) Present(o *boundary.Occupant, from, to int64) bool {
	key := presenceKey{from, to, *o}
	number := uint64(o.Rank.Rank*31 + int64(o.Process)*7 + int64(o.Presence)) //nolint:gosec // any bits will do
	place, known := r.presenceOf.place(&key, cacheSets, sumOf(from, to, number))
	if !known {
		r.presences[place] = r.index.Present(o, from, to)
	}
	return r.presences[place]
}

// Absence returns why a process that is known at a place does not answer at a time.
func (r *Resolver) Absence(o *boundary.Occupant, at int64) Reason {
	switch r.index.StatusOf(o, at) {
	case replay.Ended:
		return Ended
	case replay.Gone:
		return Gone
	}
	return UnknownSession
}

// Origin returns the batch's number of an item's hints; 0 is that of none.
func (r *Resolver) Origin(origin boundary.Origin) int32 {
	if origin == (boundary.Origin{}) {
		return 0
	}
	if last := len(r.origins) - 1; r.origins[last] != origin {
		r.origins = append(r.origins, origin)
	}
	return int32(len(r.origins) - 1) //nolint:gosec // a batch has fewer items
}

// Resolve returns the result of a lookup. It is valid until another one.
func (r *Resolver) Resolve(lookup Lookup) *Result {
	result := r.result(lookup)
	if !result.done {
		r.resolve(result)
		result.done = true
		result.Limited = result.Found && r.limit(lookup.Rank, &result.Attribution)
	}
	return result
}

// result returns the result of a lookup, which may not be done.
func (r *Resolver) result(lookup Lookup) *Result {
	place, known := r.resultOf.place(&lookup, r.sets, sumOf(lookup.From, lookup.To, uint64(lookup.Rank))) //nolint:gosec // not negative
	result := &r.results[place]
	switch {
	case known:
		return result
	case result.used:
		result.settle()
	default:
		r.used = append(r.used, result)
	}
	result.lookup, result.handle = lookup, r.ranks[lookup.Rank].handle
	result.used, result.done, result.parted, result.Annotated = true, false, false, 0
	return result
}

// limit replaces the paths of a rank's data points beyond the limit. It returns true when it
// did.
func (r *Resolver) limit(rank int32, answer *policy.Attribution) bool {
	return r.policy == r.truncated && r.paths.Limit(&r.ranks[rank].RankKey, answer)
}

func (r *Resolver) resolve(result *Result) {
	handle := result.handle
	r.ask(result, handle)
	status := result.Status
	if status != replay.Several && status != replay.Peers {
		return
	}
	// Whichever process of the rank is meant, the answer is not unique, except that of the only
	// peer in a phase.
	var merged *policy.Attribution
	var only replay.Handle
	found, unknown := 0, false
	for _, process := range handle.Each(result.lookup.To) {
		r.ask(result, process)
		if result.Found {
			if merged == nil || !merged.Includes(&result.Attribution) {
				merged = policy.Merge(merged, result.Attribution.Clone())
			}
			only = process
			found++
		} else {
			unknown = unknown || result.Reason != BetweenPhases && result.Reason != Ended && result.Reason != Gone
		}
	}
	switch {
	case status == replay.Peers && found == 1 && !unknown:
		r.ask(result, only)
		return
	case status == replay.Peers && found == 0:
		return // as the last one
	}
	result.Status, result.Found, result.Reason = status, merged != nil, Processes
	if result.Found {
		result.Attribution = *merged.NotUnique()
		result.Attribution.Reason = Processes.String()
	}
}

// doubt makes an answer ambiguous, unless its telemetry names the scope, because a
// boundary around it is missing. It returns the reason.
func doubt(answer *policy.Attribution, found bool) Reason {
	switch {
	case !found:
		return IncompletePath
	case answer.Source == policy.SourceExact:
		return NoReason
	}
	*answer = *answer.NotUnique()
	return IncompletePath
}

// incomplete returns the reason of an answer of which a part of the path has not come.
func incomplete(reason Reason) Reason {
	if reason == NoReason || reason == BetweenPhases {
		return IncompletePath
	}
	return reason
}

// ask sets a result to the answer of a handle.
func (r *Resolver) ask(result *Result, handle replay.Handle) {
	lookup, origin := &result.lookup, r.origins[result.lookup.Origin]
	if origin.Own {
		handle = handle.Alone()
	}
	if lookup.From == lookup.To {
		r.intervals, result.Status = handle.Active(r.intervals[:0], lookup.To, allScopes(origin))
		r.attribute(result, origin)
		return
	}
	if origin.ScopeID != "" {
		r.intervals, result.Status = handle.ScopeOver(r.intervals[:0], origin.ScopeID, lookup.From, lookup.To)
		if len(r.intervals) == 1 || len(r.intervals) == 0 && result.Status == replay.Incomplete {
			r.attribute(result, origin)
			return
		}
		origin.ScopeID = ""
	}
	r.intervals, result.Status = handle.Over(r.intervals[:0], &r.coverage, lookup.From, lookup.To)
	r.attribute(result, origin)
}

// allScopes reports whether a lookup needs all scopes of the stacks: its origin may name any.
func allScopes(origin boundary.Origin) bool { return origin.ScopeID != "" }

func (r *Resolver) attribute(result *Result, origin boundary.Origin) {
	result.Found = r.policy.Attribute(&result.Attribution, r.intervals, origin)
	result.Reason = reasonOf(result.Status, result.Found, &result.Attribution)
	switch result.Status {
	case replay.Doubtful:
		result.Reason = doubt(&result.Attribution, result.Found)
	case replay.Incomplete: // the known part of the path is certain
		result.Reason = incomplete(result.Reason)
	}
	if result.Found {
		result.Attribution.Reason = result.Reason.String()
	}
}
