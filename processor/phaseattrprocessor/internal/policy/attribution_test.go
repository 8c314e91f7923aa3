// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"math/rand/v2"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func ambiguous(paths ...string) *Attribution {
	return &Attribution{Resolution: Ambiguous, Paths: paths}
}

// ambiguousOf3 is ambiguous with rank 3.
func ambiguousOf3(paths ...string) *Attribution {
	return &Attribution{Resolution: Ambiguous, Paths: paths, Rank: Rank{3, true}}
}

func TestMerge(t *testing.T) {
	forward := unique(SourceHeuristic, scope(1, 3, "forward"))
	exact := unique(SourceExact, scope(1, 3, "forward"))
	forwardAgain := unique(SourceHeuristic, scope(1, 5, "forward"))
	otherThread := unique(SourceHeuristic, scope(2, 3, "forward"))
	backward := unique(SourceHeuristic, scope(1, 4, "backward"))
	bare := Attribution{Resolution: Unique, Path: "forward", HasPath: true}
	empty := &Attribution{Resolution: Ambiguous}

	for _, tc := range []struct {
		name                string
		first, second, want *Attribution
	}{
		{"nothing", nil, nil, nil},
		{"nothing with something", nil, &forward, &forward},
		{"something with nothing", &forward, nil, &forward},
		{"no path with a path", empty, &forward, &forward},
		{"a path with no path", &forward, empty, &forward},
		{"no path with no path", empty, &Attribution{Resolution: Unique}, &Attribution{Resolution: Unique}},
		{"empty labels only", &Attribution{Resolution: Ambiguous, Paths: []string{"", ""}}, &forward, &forward},
		{"the same scope", &forward, &exact, &forward},
		{"the same scope the other way round", &exact, &forward, &exact},
		{"another scope in the same label", &forward, &forwardAgain, ambiguousOf3("forward")},
		{"another thread in the same label", &forward, &otherThread, ambiguousOf3("forward")},
		{"a scope and none in the same label", &forward, &bare, ambiguous("forward")},
		{"no scopes in the same label", &bare, &bare, &bare},
		{"another label", &forward, &backward, ambiguousOf3("backward", "forward")},
		{"ambiguous with unique", ambiguous("a", "forward"), &forward, ambiguous("a", "forward")},
		{"ambiguous with the same", ambiguous("forward"), ambiguous("forward"), ambiguous("forward")},
		{"empty labels are left out", ambiguous("", "b"), ambiguous("a", ""), ambiguous("a", "b")},
	} {
		t.Run(tc.name, func(t *testing.T) {
			assert.Equal(t, tc.want, Merge(tc.first, tc.second))
		})
	}
}

func TestAnythingMergedWithUnlistedIsUnlisted(t *testing.T) {
	forward := unique(SourceHeuristic, scope(1, 3, "forward"))
	of3 := func() *Attribution {
		a := Unlisted()
		a.Rank = Rank{3, true}
		return a
	}
	assert.Equal(t, Unlisted(), Merge(nil, Unlisted()))
	assert.Equal(t, Unlisted(), Merge(Unlisted(), &forward), "of another rank, or an unknown one")
	assert.Equal(t, of3(), Merge(&forward, of3()))
	assert.Equal(t, of3(), Merge(of3(), ambiguousOf3("a")))
	assert.Equal(t, Unlisted(), Merge(of3(), &Attribution{Resolution: Ambiguous}))
}

func TestSeveralRanksAreNeverUnique(t *testing.T) {
	forward := unique(SourceHeuristic, scope(1, 3, "forward"))
	var many []string
	for i := range MaxListed + 1 {
		many = append(many, strconv.Itoa(i))
	}
	for name, tc := range map[string]struct {
		merged, want *Attribution
	}{
		"nothing":                      {nil, nil},
		"one that was in a phase":      {Merge(nil, &forward), ambiguousOf3("forward")},
		"twice the same scope":         {Merge(&forward, &forward), ambiguousOf3("forward")},
		"several candidates":           {ambiguousOf3("a", "b"), ambiguousOf3("a", "b")},
		"as many as are listed":        {ambiguous(many[1:]...), ambiguous(many[1:]...)},
		"more candidates":              {ambiguousOf3(many...), &Attribution{Resolution: Ambiguous, Unlisted: true, Rank: Rank{3, true}}},
		"unlisted":                     {Unlisted(), Unlisted()},
		"a path without a list of one": {&Attribution{Resolution: Unique, Path: "a", HasPath: true}, ambiguous("a")},
	} {
		t.Run(name, func(t *testing.T) { assert.Equal(t, tc.want, tc.merged.NotUnique()) })
	}
	assert.Equal(t, unique(SourceHeuristic, scope(1, 3, "forward")), forward, "what is merged does not change")
}

func TestMergeKeepsACommonRank(t *testing.T) {
	of := func(a Attribution, rank Rank) *Attribution {
		a.Rank = rank
		return &a
	}
	forward, backward := unique(SourceHeuristic, scope(1, 3, "forward")), unique(SourceHeuristic, scope(1, 4, "backward"))
	unknown, zero, three := Rank{}, Rank{0, true}, Rank{3, true}
	for _, tc := range []struct {
		name                string
		first, second, want Rank
	}{
		{"the same", three, three, three},
		{"zero", zero, zero, zero},
		{"different ones", three, zero, unknown},
		{"one only", zero, unknown, unknown},
		{"one only, the other way round", unknown, three, unknown},
	} {
		t.Run(tc.name, func(t *testing.T) {
			first, again := of(forward, tc.first), of(forward, tc.second)
			assert.Equal(t, of(forward, tc.want), Merge(first, again), "the same scope")
			assert.Equal(t, of(forward, tc.first), first, "the merged ones do not change")
			assert.Equal(t, of(*ambiguous("backward", "forward"), tc.want), Merge(first, of(backward, tc.second)))
			assert.Equal(t, first, Merge(first, nil))
		})
	}
}

func TestLabel(t *testing.T) {
	for _, tc := range []struct {
		name string
		a    *Attribution
		want string
	}{
		{"nothing", nil, ""},
		{"unique", &Attribution{Resolution: Unique, Path: "a", Paths: []string{"a"}}, "a"},
		{"unique, single label only", &Attribution{Resolution: Unique, Paths: []string{"", "a"}}, "a"},
		{"unique, several labels only", &Attribution{Resolution: Unique, Paths: []string{"a", "b"}}, ""},
		{"unique, no label", &Attribution{Resolution: Unique}, ""},
		{"ambiguous", ambiguous("a", "b"), "(ambiguous) a | b"},
		{"ambiguous, one label", ambiguous("", "a"), "(ambiguous) a"},
		{"ambiguous, no label", ambiguous(), ""},
		{"likely", &Attribution{Resolution: Ambiguous, Paths: []string{"a", "b"}, Summary: Summary{"b", SourceHeuristic}}, "(likely) b"},
		{"likely, from elsewhere", &Attribution{Resolution: Ambiguous, Paths: []string{"a"}, Summary: Summary{"b", SourceExact}}, "(ambiguous) a"},
		{"likely, without a path", &Attribution{Resolution: Ambiguous, Paths: []string{"a"}, Summary: Summary{"", SourceHeuristic}}, "(ambiguous) a"},
		{"another resolution", &Attribution{Resolution: "none", Path: "a", Paths: []string{"a"}}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			assert.Equal(t, tc.want, tc.a.Label())
		})
	}
}

// Includes never says that nothing changes when merging would change something.
func TestWhatIsIncludedChangesNothing(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	of := func() *Attribution {
		a := &Attribution{Resolution: Ambiguous, Rank: Rank{Number: rng.Int64N(2), Known: true}}
		for _, label := range []string{"a", "b", "c"} {
			if rng.IntN(2) == 0 {
				a.Paths = append(a.Paths, label)
			}
		}
		switch rng.IntN(6) {
		case 0:
			return Unlisted()
		case 1:
			a.Summary = Summary{Path: "a", Source: SourceHeuristic}
		case 2:
			a.OneThread = true
		case 3:
			*a = Attribution{Resolution: Unique, Source: SourceExact, Path: "b", HasPath: true, HasScope: true, ScopeID: "1", Rank: a.Rank}
			if rng.IntN(2) == 0 {
				a.Paths = []string{"b"}
			}
		}
		return a
	}
	included := 0
	for range 10_000 {
		merged := of()
		for range 3 {
			next := of()
			if merged.Includes(next) {
				included++
				require.Equal(t, merged, Merge(merged, next), "%+v", next)
			}
			merged = Merge(merged, next)
		}
	}
	assert.Greater(t, included, 1000)
}
