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
		{"\xff", "é"},
		{" "},
	}
	var paths Paths
	for _, before := range lists {
		for _, parts := range lists {
			paths.of(before)
			assert.Equal(t, NewPath(parts...), paths.of(parts), "%q after %q", parts, before)
		}
	}
}
