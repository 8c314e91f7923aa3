// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

// Package resolve looks up what ranks were doing, once for all items of a batch that
// need the same answer. It knows nothing of telemetry.
package resolve

import (
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/boundary"
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
	// done is true when the result is set, parted when the resolver's parts are those of
	// this lookup.
	done, parted bool
}

const (
	// cacheBits is the number of bits of a position in the cache of results.
	cacheBits = 7
	cacheSize = 1 << cacheBits
)

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
	recent  [cacheSize]int32
	origins []boundary.Origin
	// presences has a place for each presence and interval, which another one may take.
	presences [cacheSize]presence
	// asked is true when any has been asked for.
	asked bool
	// results has a place for each lookup, which another one may take. The results of a
	// scrape are few: all gauges are read at the same time.
	results   [cacheSize]Result
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
	// state is that of the interval from one moment to another, once asked.
	state    replay.State
	from, to int64
	asked    bool
}

// presence is whether an occupant was present in an interval.
type presence struct {
	boundary.Occupant
	from, to int64
	present  bool
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
	r.policy = r.whole
	if dataPoints {
		r.policy = r.truncated
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
	if r.asked {
		clear(r.presences[:])
		r.asked = false
	}
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
	recent := &r.recent[(uint64(key.Rank)+uint64(process))%cacheSize] //nolint:gosec // any bits will do
	if *recent > 0 && r.ranks[*recent-1].process == process && r.ranks[*recent-1].RankKey == *key {
		return *recent - 1
	}
	k := rankKey{*key, process}
	number, ok := r.byKey[k]
	if !ok {
		number = int32(len(r.ranks)) //nolint:gosec // a batch has fewer ranks
		r.ranks = append(r.ranks, rank{rankKey: k, handle: r.index.ProcessHandle(*key, process)})
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
	k := &r.ranks[number]
	if !k.asked || k.from != from || k.to != to {
		k.state, k.from, k.to, k.asked = k.handle.At(from, to), from, to, true
	}
	return k.state
}

// GiveUp stops waiting for the samples of a rank that has not come as far as a time.
func (r *Resolver) GiveUp(number int32, at int64) { r.ranks[number].handle.GiveUp(at) }

// Present reports whether a presence had begun, and its process can answer, in an interval.
func (r *Resolver) Present(o *boundary.Occupant, from, to int64) bool {
	p := &r.presences[uint64(o.Rank.Rank*31+int64(o.Process)*7+int64(o.Presence))%cacheSize] //nolint:gosec // any bits will do
	if p.from != from || p.to != to || p.Occupant != *o {
		r.asked = true
		*p = presence{*o, from, to, r.index.Present(o, from, to)}
	}
	return p.present
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
		result.Limited = result.Found && r.limit(&result.Attribution)
	}
	return result
}

// result returns the place of a lookup in the cache.
func (r *Resolver) result(lookup Lookup) *Result {
	sum := (uint64(lookup.From)*31+uint64(lookup.To))*31 + uint64(lookup.Rank) //nolint:gosec // any bits will do
	result := &r.results[sum*0x9e3779b97f4a7c15>>(64-cacheBits)]
	switch {
	case result.handle == replay.Handle{} && result.lookup == Lookup{}:
		r.used = append(r.used, result)
	case result.lookup == lookup:
		return result
	default:
		result.settle()
	}
	result.lookup, result.handle = lookup, r.ranks[lookup.Rank].handle
	result.done, result.parted, result.Annotated = false, false, 0
	return result
}

// limit replaces the paths of data points beyond the limit. It returns true when it did.
func (r *Resolver) limit(answer *policy.Attribution) bool {
	return r.policy == r.truncated && r.paths.Limit(answer)
}

func (r *Resolver) resolve(result *Result) {
	handle := result.handle
	r.ask(result, handle)
	if result.Status != replay.Several {
		return
	}
	// Whichever process of the rank is meant, the answer is never unique.
	var merged *policy.Attribution
	for _, process := range handle.Each(result.lookup.To) {
		r.ask(result, process)
		if result.Found {
			merged = policy.Merge(merged, result.Attribution.Clone())
		}
	}
	result.Status, result.Found, result.Reason = replay.Several, merged != nil, Processes
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

// ask sets a result to the answer of a handle.
func (r *Resolver) ask(result *Result, handle replay.Handle) {
	lookup, origin := &result.lookup, r.origins[result.lookup.Origin]
	if lookup.From == lookup.To {
		r.intervals, result.Status = handle.Active(r.intervals[:0], lookup.To, allScopes(origin))
		r.attribute(result, origin)
		return
	}
	if origin.ScopeID != "" {
		r.intervals, result.Status = handle.ScopeOver(r.intervals[:0], origin.ScopeID, lookup.From, lookup.To)
		if len(r.intervals) == 1 {
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
	if result.Status == replay.Doubtful {
		result.Reason = doubt(&result.Attribution, result.Found)
	}
	if result.Found {
		result.Attribution.Reason = result.Reason.String()
	}
}
