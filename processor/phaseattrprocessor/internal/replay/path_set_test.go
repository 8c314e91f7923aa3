// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/phaseattr/phaseattr/internal/boundary"
)

// TestPathSetIsASet adds few paths and more than are few.
func TestPathSetIsASet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var set pathSet
		known := map[boundary.Path]bool{}
		different := rapid.SampledFrom([]int{3, 3 * fewPaths}).Draw(t, "different")
		for range rapid.IntRange(0, 200).Draw(t, "operations") {
			path := boundary.NewPath(strconv.Itoa(rapid.IntRange(1, different).Draw(t, "path")))
			if rapid.IntRange(0, 3).Draw(t, "remove") == 0 {
				set.remove(path)
				delete(known, path)
				continue
			}
			require.Equal(t, !known[path], set.add(path))
			known[path] = true
		}
	})
}
