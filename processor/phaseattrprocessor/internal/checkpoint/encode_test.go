// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/boundary"
)

// drawBoundary draws a boundary whose fields need not make sense together.
func drawBoundary(t *rapid.T) boundary.Boundary {
	id := rapid.SampledFrom([]string{"", "s", "session:1", "session:2", "session:21", "session:210", "5f0c"})
	return boundary.Boundary{
		Time:          rapid.Int64().Draw(t, "time"),
		Sequence:      rapid.OneOf(rapid.Int64(), rapid.Int64Range(1, 3)).Draw(t, "sequence"),
		ThreadID:      rapid.Int64Range(1, 2).Draw(t, "thread"),
		ThreadName:    rapid.SampledFrom([]string{"", "main", "loader"}).Draw(t, "thread name"),
		ScopeID:       id.Draw(t, "scope"),
		ParentScopeID: id.Draw(t, "parent"),
		Path: rapid.SampledFrom([]boundary.Path{
			boundary.NewPath("train"), boundary.NewPath("train", "step"), boundary.NewPath("a / b"), boundary.NewPath("a", "b"),
		}).Draw(t, "path"),
		Attributes: rapid.SampledFrom([][]boundary.Attribute{
			nil, {{Key: "epoch", Value: int64(-3)}}, {{Key: "epoch", Value: "main"}, {Key: "lr", Value: 0.5}, {Key: "warm", Value: true}},
		}).Draw(t, "attributes"),
	}
}

// drawBoundaries draws boundaries, many of which follow from the ones before.
func drawBoundaries(t *rapid.T) []boundary.Boundary {
	var all, open []boundary.Boundary
	for range rapid.IntRange(1, 40).Draw(t, "boundaries") {
		b := drawBoundary(t)
		last := len(open) - 1
		switch way := rapid.IntRange(0, 5).Draw(t, "way"); {
		case way < 2 && last >= 0:
			exit := open[last]
			exit.Action, exit.Time, exit.Sequence = boundary.Exit, b.Time, all[len(all)-1].Sequence+1
			if rapid.IntRange(0, 3).Draw(t, "odd exit") == 0 {
				exit.Attributes = b.Attributes
			}
			open = open[:last]
			b = exit
		case way == 2:
			b.Action = boundary.Exit
		default:
			if way > 3 && last >= 0 {
				b.ThreadID, b.ThreadName, b.ParentScopeID = open[last].ThreadID, open[last].ThreadName, open[last].ScopeID
			}
			open = append(open, b)
		}
		all = append(all, b)
	}
	return all
}

func TestBoundariesAreReadAsWritten(t *testing.T) {
	w := newWriter() // reused, like the writers of entries
	rapid.Check(t, func(t *rapid.T) {
		w.reset()
		want := drawBoundaries(t)
		for i := range want {
			w.boundary(&want[i])
		}
		var got []boundary.Boundary
		for r := newReader(w.data); !r.done(); {
			got = append(got, r.boundary(r.byte()))
			require.NoError(t, r.err)
		}
		require.Equal(t, want, got)
	})
}
