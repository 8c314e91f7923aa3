// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestSpanIDsAreThoseOfAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var x spanIDs
		known := map[string]*span{}
		most := rapid.SampledFrom([]int{3, 20, 200}).Draw(t, "most")
		for range rapid.IntRange(1, 300).Draw(t, "steps") {
			id := strconv.Itoa(rapid.IntRange(0, most).Draw(t, "id"))
			switch rapid.IntRange(0, 4).Draw(t, "kind") {
			case 0, 1, 2:
				known[id] = &span{scopeID: id}
				x.set(known[id])
			case 3:
				if s, ok := known[id]; ok {
					x.remove(s)
					delete(known, id)
				}
			case 4:
				x.remove(&span{scopeID: id}) // one that is not that of its ID
			}
			require.Same(t, known[id], x.get(id))
			require.Equal(t, len(known), x.count)
			require.LessOrEqual(t, 2*x.count, len(x.slots))
			require.LessOrEqual(t, len(x.slots), max(minSlots, 16*x.count+minSlots))
		}
		for id, s := range known {
			require.Same(t, s, x.get(id))
		}
		x.each(func(s *span) {
			require.Same(t, known[s.scopeID], s)
			delete(known, s.scopeID)
		})
		require.Empty(t, known)
	})
}
