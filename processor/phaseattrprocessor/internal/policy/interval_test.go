// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/phaseattr/phaseattr/internal/boundary"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/replay"
)

// partial are scopes of a thread of which none decides an interval, one for each path.
func partial(thread, sequence int64, names ...string) (scopes []replay.ScopeInterval) {
	for i, name := range names {
		s := scope(thread, sequence+int64(i), "train", name)
		s.Extent = replay.Partial
		scopes = append(scopes, s)
	}
	return scopes
}

func TestAttributeOfAnInterval(t *testing.T) {
	outer := scope(1, 1, "train")
	outer.Extent = replay.Partial
	halves := append(partial(1, 2, "forward", "backward"), outer)
	load := scope(2, 5, "load")
	many := replay.ScopeInterval{Rank: load.Rank, ThreadID: 3, ThreadName: "thread-3", Extent: replay.Unlisted}
	of := func(thread int64) boundary.Origin { return boundary.Origin{ThreadID: thread, HasThread: true} }
	all := func(scopes ...[]replay.ScopeInterval) (all []replay.ScopeInterval) {
		for _, s := range scopes {
			all = append(all, s...)
		}
		return all
	}
	one := func(s replay.ScopeInterval) []replay.ScopeInterval { return []replay.ScopeInterval{s} }
	listed := func(oneThread bool, paths ...string) Attribution {
		a := *ambiguousOf3(paths...)
		a.OneThread = oneThread
		return a
	}
	unlisted := func(oneThread bool) Attribution {
		return Attribution{Resolution: Ambiguous, Rank: Rank{3, true}, OneThread: oneThread, Unlisted: true}
	}
	inHalves := listed(true, "train", "train / backward", "train / forward")
	names := func(prefix string, n int) (names []string) {
		for i := range n {
			names = append(names, fmt.Sprint(prefix, i))
		}
		return names
	}
	for name, tc := range map[string]struct {
		options Options
		scopes  []replay.ScopeInterval
		origin  boundary.Origin
		want    Attribution
	}{
		"partial scopes of any depth are candidates":     {scopes: halves, want: inHalves},
		"and those of another thread":                    {scopes: all(one(load), halves), want: listed(false, "load", "train", "train / backward", "train / forward")},
		"the thread is named":                            {scopes: all(one(load), halves), origin: of(1), want: inHalves},
		"a thread that decides is named":                 {scopes: all(halves, one(load)), origin: of(2), want: unique(SourceThreadLocal, load)},
		"another thread is named":                        {scopes: halves, origin: of(9), want: inHalves},
		"a thread that decides is preferred":             {Options{Threads: Threads{Prefer: []string{"thread-2"}}}, all(halves, one(load)), boundary.Origin{}, unique(SourceThreadLocal, load)},
		"the thread is preferred":                        {Options{Threads: Threads{Prefer: []string{"thread-1"}}}, all(halves, one(load)), boundary.Origin{}, inHalves},
		"the thread is ignored":                          {Options{Threads: Threads{Ignore: []string{"thread-1"}}}, all(halves, one(load)), boundary.Origin{}, unique(SourceHeuristic, load)},
		"truncated to one path":                          {Options{MaxPathDepth: 1}, partial(1, 2, "forward"), boundary.Origin{}, truncated(SourceHeuristic, partial(1, 2, "forward")[0])},
		"halves truncated to one path":                   {Options{MaxPathDepth: 1}, halves, boundary.Origin{}, truncated(SourceHeuristic, halves[1])},
		"halves truncated to one path, the thread named": {Options{MaxPathDepth: 1}, halves, of(1), truncated(SourceThreadLocal, halves[1])},
		"too many to list":                               {scopes: one(many), want: unlisted(true)},
		"too many to list, the thread named":             {scopes: all(one(load), one(many)), origin: of(3), want: unlisted(true)},
		"too many to list, another thread named":         {scopes: all(one(load), one(many)), origin: of(2), want: unique(SourceThreadLocal, load)},
		"too many to list in another thread":             {scopes: all(one(load), one(many)), want: unlisted(false)},
		"as many as are listed":                          {scopes: all(partial(1, 1, names("a", 32)...), partial(2, 40, names("b", 32)...)), want: listed(false, sortedPaths(names("a", 32), names("b", 32))...)},
		"too many of two threads":                        {scopes: all(partial(1, 1, names("a", 33)...), partial(2, 40, names("b", 32)...)), want: unlisted(false)},
	} {
		t.Run(name, func(t *testing.T) {
			p := New(tc.options)
			var got Attribution
			for range 2 { // the second time with the buffers of the first
				assert.True(t, p.Attribute(&got, tc.scopes, tc.origin))
				if len(got.Paths) == 0 {
					got.Paths = nil
				}
				assert.Equal(t, tc.want, got)
			}
		})
	}
}

// truncated is a unique attribution to the first element of a path.
func truncated(source string, s replay.ScopeInterval) Attribution {
	s.Path = s.Path.Cut(1)
	return unique(source, s)
}

func sortedPaths(names ...[]string) (paths []string) {
	for _, some := range names {
		for _, name := range some {
			paths = append(paths, "train / "+name)
		}
	}
	slices.Sort(paths)
	return paths
}
