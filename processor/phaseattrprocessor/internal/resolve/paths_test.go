// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package resolve

import (
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/policy"
)

func TestLimitReplacesEveryPathBeyondTheLimit(t *testing.T) {
	l := NewPathLimiter(2)
	answer := policy.Attribution{Paths: []string{"a", "b", "c"}, Summary: policy.Summary{Path: "b"}}
	assert.True(t, l.Limit(&answer))
	assert.Equal(t, []string{"a", "b", OtherPath}, answer.Paths, "the summary has b admitted")
	assert.Equal(t, "b", answer.Summary.Path)
	assert.Empty(t, answer.Path, "there is nothing to limit")
	assert.Equal(t, 2, l.Len())

	again := policy.Attribution{Path: "a"}
	assert.False(t, l.Limit(&again))
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
			require.Equal(t, want, l.admit(path))
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
				admitted[i][l.admit(strconv.Itoa(j))] = true
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
