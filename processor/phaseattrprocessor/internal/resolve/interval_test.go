// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package resolve

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/phaseattr/phaseattr/internal/boundary"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/policy"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/replay"
)

// scope is a scope of a run, with both of its ends.
type scope struct {
	thread, sequence int64
	id               string
	path             boundary.Path
	start, end       int64
}

func (s *scope) later(than *scope) bool { return than == nil || s.sequence > than.sequence }

// run is the scopes of a rank, which it adds to an index as they open and close.
type run struct {
	index    *replay.Index
	now      int64
	sequence int64
	open     map[int64][]*scope
	scopes   []*scope
}

func newRun(options replay.Options) *run {
	return &run{index: replay.New(options), open: map[int64][]*scope{}}
}

func (r *run) add(s *scope, parent string, action boundary.Action) {
	r.sequence++
	in := r.index.Ingest()
	result := in.Add(&replay.Sender{Rank: rankOf(0)}, &boundary.Boundary{
		Action: action, Time: r.now, Sequence: r.sequence, ScopeID: s.id, ParentScopeID: parent,
		ThreadID: s.thread, ThreadName: fmt.Sprint("thread-", s.thread), Path: s.path,
	})
	if result.Outcome != replay.Accepted {
		panic(result.Outcome.String())
	}
	in.Flush()
}

func (r *run) enter(thread int64, path ...string) {
	s := &scope{
		thread: thread, sequence: r.sequence + 1, id: strconv.FormatInt(r.sequence+1, 10),
		path: boundary.NewPath(path...), start: r.now, end: math.MaxInt64,
	}
	parent := ""
	if stack := r.open[thread]; len(stack) > 0 {
		parent = stack[len(stack)-1].id
	}
	r.add(s, parent, boundary.Enter)
	r.open[thread], r.scopes = append(r.open[thread], s), append(r.scopes, s)
}

func (r *run) exit(thread int64) {
	stack := r.open[thread]
	if len(stack) == 0 {
		return
	}
	s := stack[len(stack)-1]
	s.end, r.open[thread] = r.now, stack[:len(stack)-1]
	r.add(s, "", boundary.Exit)
}

// stop ends the session.
func (r *run) stop() {
	r.index.Ingest().Observe(&replay.Sender{Rank: rankOf(0)}, &replay.Event{Time: r.now, Kind: replay.Stop})
	for _, s := range r.scopes {
		s.end = min(s.end, r.now)
	}
}

// answer is what an interval is answered with.
type answer struct {
	resolution string
	paths      []string
	scopeID    string
	reason     Reason
}

// naive answers for the time between two moments by looking at each nanosecond.
func (r *run) naive(from, to int64, depth int, origin boundary.Origin) answer {
	threads := map[int64]answer{}
	for thread := range int64(4) {
		if a := r.naiveThread(thread, from, to, depth, origin.HasThread && origin.ThreadID == thread); a.resolution != "" {
			threads[thread] = a
		}
	}
	if origin.ScopeID != "" {
		for _, s := range r.scopes {
			if s.id == origin.ScopeID && 2*(min(s.end, to)-max(s.start, from)) >= to-from {
				return answer{resolution: policy.Unique, paths: []string{s.path.Cut(depth).Label()}, scopeID: s.id}
			}
		}
	}
	if named, ok := threads[origin.ThreadID]; ok && origin.HasThread {
		return named
	}
	all := slices.Collect(maps.Values(threads))
	switch len(all) {
	case 0:
		return answer{reason: BetweenPhases}
	case 1:
		return all[0]
	}
	merged := answer{resolution: policy.Ambiguous, reason: Threads}
	for _, a := range all {
		merged.paths = append(merged.paths, a.paths...)
	}
	slices.Sort(merged.paths)
	merged.paths = slices.Compact(merged.paths)
	return merged
}

func (r *run) naiveThread(thread, from, to int64, depth int, named bool) answer {
	var own, throughout []*scope
	for _, s := range r.scopes {
		if s.thread != thread {
			continue
		}
		own = append(own, s)
		if s.start <= from && to <= s.end {
			throughout = append(throughout, s)
		}
	}
	if len(throughout) > 0 {
		if named {
			latest := throughout[len(throughout)-1]
			return answer{resolution: policy.Unique, paths: []string{latest.path.Cut(depth).Label()}, scopeID: latest.id}
		}
		return ofPaths(deepest(throughout), throughout, depth)
	}
	covered, inSome, idle := map[boundary.Path]int64{}, map[boundary.Path]bool{}, int64(0)
	var active []*scope // at some moment
	for at := from; at < to; at++ {
		var now []*scope
		prefixes := map[boundary.Path]bool{}
		for _, s := range own {
			if s.start <= at && at < s.end {
				now = append(now, s)
				for n := range s.path.Depth() {
					prefixes[s.path.Cut(n+1)] = true
				}
			}
		}
		for prefix := range prefixes {
			covered[prefix]++
		}
		for _, path := range deepest(now) {
			inSome[path] = true
		}
		if len(now) == 0 {
			idle++
		}
		active = append(active, now...)
	}
	var half []boundary.Path
	for path, time := range covered {
		if 2*time < to-from || len(half) > 0 && half[0].Depth() > path.Depth() {
			continue
		}
		if len(half) > 0 && half[0].Depth() < path.Depth() {
			half = half[:0]
		}
		half = append(half, path)
	}
	switch {
	case len(half) > 0:
		return ofPaths(half, active, depth)
	case 2*idle > to-from:
		return answer{}
	}
	return ofPaths(slices.Collect(maps.Keys(inSome)), active, depth)
}

// deepest returns the paths of the largest depth.
func deepest(scopes []*scope) []boundary.Path {
	var paths []boundary.Path
	for _, s := range scopes {
		if len(paths) > 0 && s.path.Depth() > paths[0].Depth() {
			paths = paths[:0]
		}
		if len(paths) == 0 || s.path.Depth() == paths[0].Depth() {
			paths = append(paths, s.path)
		}
	}
	return paths
}

func ofPaths(paths []boundary.Path, scopes []*scope, depth int) answer {
	var labels []string
	var latest *scope
	for _, path := range paths {
		labels = append(labels, path.Cut(depth).Label())
		for _, s := range scopes {
			if s.path == path && s.later(latest) {
				latest = s
			}
		}
	}
	slices.Sort(labels)
	labels = slices.Compact(labels)
	if len(labels) > 1 {
		return answer{resolution: policy.Ambiguous, paths: labels, reason: Interval}
	}
	if latest == nil { // no scope has this path, only longer ones
		return answer{resolution: policy.Unique, paths: labels}
	}
	return answer{resolution: policy.Unique, paths: labels, scopeID: latest.id}
}

func (r *run) resolve(resolver *Resolver, from, to int64, origin boundary.Origin) answer {
	resolver.Begin(true)
	defer resolver.End()
	key := rankOf(0)
	result := resolver.Resolve(Lookup{Rank: resolver.Rank(&key, boundary.MainProcess), Origin: resolver.Origin(origin), From: from, To: to})
	got := answer{reason: result.Reason}
	if result.Found {
		a := &result.Attribution
		got.resolution, got.paths, got.scopeID = a.Resolution, slices.Clone(a.Paths), a.ScopeID
	}
	return got
}

// TestIntervalsAreAnsweredAsNanosecondByNanosecond draws runs of threads whose scopes lie
// in each other, and with a strict index also runs in which they do not.
func TestIntervalsAreAnsweredAsNanosecondByNanosecond(t *testing.T) {
	seen := map[Reason]int{}
	names := []string{"a", "b", "c"}
	rapid.Check(t, func(t *rapid.T) {
		repair := rapid.Bool().Draw(t, "repair")
		r := newRun(replay.Options{Repair: repair})
		r.now = 100
		threads := rapid.Int64Range(1, 3).Draw(t, "threads")
		for range rapid.IntRange(1, 40).Draw(t, "boundaries") {
			r.now += rapid.Int64Range(0, 4).Draw(t, "gap")
			thread := rapid.Int64Range(1, threads).Draw(t, "thread")
			stack := r.open[thread]
			switch {
			case len(stack) > 3 || len(stack) > 0 && rapid.Bool().Draw(t, "exit"):
				r.exit(thread)
			case repair || rapid.Bool().Draw(t, "in its parent"):
				var path []string
				if len(stack) > 0 {
					path = stack[len(stack)-1].path.Parts()
				}
				r.enter(thread, append(path, rapid.SampledFrom(names).Draw(t, "name"))...)
			default:
				r.enter(thread, rapid.SliceOfN(rapid.SampledFrom(names), 1, 3).Draw(t, "path")...)
			}
		}
		last := r.now
		if r.now += 5; rapid.Bool().Draw(t, "stopped") {
			r.stop()
		} else {
			r.index.Ingest().Observe(&replay.Sender{Rank: rankOf(0)}, &replay.Event{Time: 200 + last})
		}
		truncate := rapid.IntRange(0, 2).Draw(t, "truncate")
		resolver := newResolver(r.index, truncate, 10_000)
		for range 10 {
			from := rapid.Int64Range(95, last+10).Draw(t, "from")
			to := from + rapid.Int64Range(1, 60).Draw(t, "length")
			var origin boundary.Origin
			switch rapid.IntRange(0, 5).Draw(t, "origin") {
			case 0:
				origin = boundary.Origin{ThreadID: rapid.Int64Range(1, 3).Draw(t, "named thread"), HasThread: true}
			case 1:
				origin.ScopeID = r.scopes[rapid.IntRange(0, max(0, len(r.scopes)-1)).Draw(t, "named scope")].id
			}
			want, got := r.naive(from, to, truncate, origin), r.resolve(resolver, from, to, origin)
			if got.reason == Ended { // the naive one does not tell
				got.reason = BetweenPhases
			}
			require.Equal(t, want, got, "%d to %d, %+v", from, to, origin)
			seen[got.reason]++
		}
	})
	for _, reason := range []Reason{NoReason, BetweenPhases, Threads, Interval} {
		assert.Positive(t, seen[reason], reason.String())
	}
	t.Log(seen)
}
