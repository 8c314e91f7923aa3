// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package boundary

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestCachedPathsAreNotConfused(t *testing.T) {
	lists := [][]string{
		{"train"},
		{"step"},
		{"train", "step"},
		{"serve", "step"},
		{"train", "step", "step"},
		{"a / b", "c"},
		{"a", "b / c"},
		{"a", "b", "c"},
		{"a / b / c"},
		{"\n", "é"},
		{" "},
	}
	var paths Paths
	for _, before := range lists {
		for _, parts := range lists {
			paths.of(before)
			path, ok := paths.of(parts)
			assert.True(t, ok)
			assert.Equal(t, NewPath(parts...), path, "%q after %q", parts, before)
		}
	}
}

func TestMalformedPathsAreNotCached(t *testing.T) {
	var paths Paths
	for _, parts := range [][]string{{"\xff"}, {"train", "a\x00b"}, {"\xc3", "step"}} {
		for range 2 {
			_, ok := paths.of(parts)
			assert.False(t, ok, "%q", parts)
		}
	}
}
