// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package source

import (
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"

	"github.com/phaseattr/phaseattr/internal/boundary"
)

// Past the bound, the oldest anchor makes room, and one that comes again takes none.
func TestAnchorsAreBounded(t *testing.T) {
	key := func(i int) anchorKey { return anchorKey{boundary.RankKey{Session: "run"}, strconv.Itoa(i)} }
	a := newAnchors()
	for i := range 3 * maxAnchors {
		a.add(key(i), anchor{name: strconv.Itoa(i)})
		a.add(key(i), anchor{name: "again"})
	}
	require.Len(t, a.known, maxAnchors)
	require.Len(t, a.order, maxAnchors)
	for i := range 3 * maxAnchors {
		value, ok := a.get(key(i))
		require.Equal(t, i >= 2*maxAnchors, ok, "%d", i)
		if ok {
			require.Equal(t, anchor{name: strconv.Itoa(i)}, value)
		}
	}
}

// A name past the bound means the same, and is judged each time.
func TestNamesThatAreRememberedAreBounded(t *testing.T) {
	set, err := New([]Options{{Spans: &Spans{Include: []string{"step*"}}}}, boundary.Limits{Depth: 10, LabelBytes: 100, TextBytes: 100}, nil,
		componenttest.NewNopTelemetrySettings())
	require.NoError(t, err)
	r := set.Reader("")
	defer set.Done(r)
	for range 2 {
		for i := range 2 * cachedNames {
			assert.True(t, r.name(set.spans[0], "step "+strconv.Itoa(i)).claimed)
			assert.False(t, r.name(set.spans[0], "other "+strconv.Itoa(i)).claimed)
		}
		assert.Len(t, r.names[0], cachedNames)
	}
}
