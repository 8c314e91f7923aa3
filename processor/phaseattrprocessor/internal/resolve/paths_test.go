// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package resolve

import (
	"fmt"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/phaseattr/phaseattr/internal/boundary"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/policy"
)

func TestLimitReplacesEveryPathBeyondTheLimit(t *testing.T) {
	l := NewPathLimiter(2)
	answer := policy.Attribution{Paths: []string{"a", "b", "c"}, Summary: policy.Summary{Path: "b"}}
	assert.True(t, l.Limit(&boundary.RankKey{Session: "run"}, &answer))
	assert.Equal(t, []string{"a", "b", OtherPath}, answer.Paths, "the summary has b admitted")
	assert.Equal(t, "b", answer.Summary.Path)
	assert.Empty(t, answer.Path, "there is nothing to limit")
	assert.Equal(t, 2, l.Len())

	again := policy.Attribution{Path: "a"}
	assert.False(t, l.Limit(&boundary.RankKey{Session: "run"}, &again))
	assert.Equal(t, "a", again.Path)
}

// TestPathsAreForgottenAfterOneToTwoRounds compares the limiter with a list of paths and
// the rounds in which they were last written.
func TestPathsAreForgottenAfterOneToTwoRounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const limit = 3
		l, round, last := NewPathLimiter(limit), 0, map[string]int{}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			if rapid.IntRange(0, 5).Draw(t, "rotate") == 0 {
				l.Rotate()
				round++
				for path, written := range last {
					if written < round-1 {
						delete(last, path)
					}
				}
				continue
			}
			path := rapid.SampledFrom([]string{"a", "b", "c", "d", "e"}).Draw(t, "path")
			want := path
			if _, ok := last[path]; !ok && len(last) == limit {
				want = OtherPath
			} else {
				last[path] = round
			}
			require.Equal(t, want, l.admit(session{id: "run"}, path))
			require.Equal(t, len(last), l.Len())
		}
	})
}

func TestPathsAreAdmittedByManyAtOnce(t *testing.T) {
	const bound, callers, paths = 50, 8, 200
	l := NewPathLimiter(bound)
	var wg sync.WaitGroup
	admitted := make([]map[string]bool, callers)
	for i := range callers {
		admitted[i] = map[string]bool{}
		wg.Go(func() {
			for j := range paths {
				admitted[i][l.admit(session{id: "run"}, strconv.Itoa(j))] = true
			}
		})
	}
	wg.Wait()
	require.Equal(t, bound, l.Len())
	all := map[string]bool{}
	for _, some := range admitted {
		for path := range some {
			all[path] = true
		}
	}
	assert.Len(t, all, bound+1)
	assert.True(t, all[OtherPath])
}

// TestSessionKeepsToItsShareOfThePaths has one run with a path of its own for each step
// beside runs with a few paths each.
func TestSessionKeepsToItsShareOfThePaths(t *testing.T) {
	const limit, runs, each = 1000, 20, 12
	l := NewPathLimiter(limit)
	noisy := 0
	makeUp := func() {
		l.admit(session{id: "noisy"}, strconv.Itoa(noisy))
		noisy++
	}
	for range 2 * limit {
		makeUp()
	}
	other := 0
	for i := range runs {
		for j := range each {
			path := fmt.Sprint("phase ", j, " of run ", i)
			if l.admit(session{id: fmt.Sprint("run ", i)}, path) == OtherPath {
				other++
			}
			for range 10 {
				makeUp()
			}
		}
	}
	t.Logf("%d of %d paths of the other runs are %q; %d of %d of the noisy one are admitted", other, runs*each, OtherPath, l.sessions[session{id: "noisy"}], noisy)
	assert.Zero(t, other)
	assert.Equal(t, limit, l.Len())
	assert.Equal(t, limit-runs*each, l.sessions[session{id: "noisy"}])
	assert.Equal(t, "0", l.admit(session{id: "noisy"}, "0"), "its oldest paths are the last to go")

	for i := range 10_000 { // each has its share, which is one path at least
		l.admit(session{id: fmt.Sprint("session ", i)}, fmt.Sprint("path ", i))
	}
	assert.Equal(t, limit, l.Len())
	l.Rotate()
	l.Rotate()
	assert.Zero(t, l.Len())
	assert.Empty(t, l.sessions)
}

// A tenant whose many sessions make up paths takes none of another one's.
func TestATenantHasAShareOfThePaths(t *testing.T) {
	l := NewPathLimiter(100)
	admit := func(tenant, session, path string) bool {
		answer := policy.Attribution{Path: path}
		return !l.Limit(&boundary.RankKey{Tenant: tenant, Session: session}, &answer)
	}
	for i := range 1000 {
		admit("hostile", strconv.Itoa(i), fmt.Sprint("made up ", i))
	}
	for i := range 50 {
		assert.True(t, admit("other", "run", fmt.Sprint("phase ", i)), i)
		admit("hostile", fmt.Sprint("more", i), fmt.Sprint("made up once more ", i))
	}
	assert.False(t, admit("other", "run", "one more"), "it has its share")
	for i := range 50 {
		assert.True(t, admit("other", "run", fmt.Sprint("phase ", i)), i)
	}
	assert.Equal(t, 100, l.Len())
}
