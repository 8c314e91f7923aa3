// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/phaseattr/phaseattr/internal/boundary"
)

// oracle answers from a list of intervals by looking at all of them.
type oracle map[string]boundary.Interval

// path is the path of an interval, empty when a parent is missing.
func (o oracle) path(iv boundary.Interval) string {
	if label := iv.Path.Label(); label != "" || iv.ParentScopeID == "" {
		return label + iv.Name
	}
	parent, ok := o[iv.ParentScopeID]
	if !ok {
		return ""
	}
	path := o.path(parent)
	if path == "" {
		return ""
	}
	return path + " / " + iv.Name
}

// isBelow reports whether an interval has another one among its parents.
func (o oracle) isBelow(iv boundary.Interval, above string) bool {
	for iv.ParentScopeID != "" {
		if iv.ParentScopeID == above {
			return true
		}
		iv = o[iv.ParentScopeID]
	}
	return false
}

// at returns the paths of the intervals of a time that have no other one inside them.
func (o oracle) at(time int64) []string {
	paths := []string{}
	for id, iv := range o {
		if iv.Start > time || time >= iv.End {
			continue
		}
		outer := false
		for _, inner := range o {
			outer = outer || inner.Start <= time && time < inner.End && inner.Lane == iv.Lane && o.isBelow(inner, id)
		}
		if !outer {
			label := o.path(iv)
			if iv.Lane != "" {
				label = iv.Lane + ": " + label
			}
			paths = append(paths, label)
		}
	}
	slices.Sort(paths)
	return paths
}

// drawTree draws nested intervals: of a parent, some overlap and some outlive it.
func drawTree(t *rapid.T) (all []boundary.Interval) {
	names := rapid.SampledFrom([]string{"step", "forward", "backward", "save"})
	var draw func(parent string, depth int, start, end int64)
	draw = func(parent string, depth int, start, end int64) {
		at := start
		for n := rapid.IntRange(0, 3).Draw(t, "children"); n > 0 && end-at > 2; n-- {
			iv := boundary.Interval{Name: names.Draw(t, "name"), ParentScopeID: parent, ScopeID: fmt.Sprintf("%03d", len(all))}
			iv.Start = rapid.Int64Range(at, end-1).Draw(t, "start")
			iv.End = rapid.Int64Range(iv.Start+1, end).Draw(t, "end")
			switch rapid.IntRange(0, 9).Draw(t, "odd") {
			case 0:
				iv.End += 5 // outlives its parent, or overlaps the next one
			case 1:
				iv.Path, iv.Name = boundary.NewPath("iteration", iv.Name), ""
			case 2:
				iv.Lane = rapid.SampledFrom([]string{"loader", "17"}).Draw(t, "lane")
			}
			all = append(all, iv)
			at = iv.End
			if depth < 4 {
				draw(iv.ScopeID, depth+1, iv.Start, iv.End)
			}
		}
	}
	draw("", 0, 0, 300)
	return all
}

func TestIntervalsInAnyOrderAndTwiceGiveTheAnswersOfAll(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := drawTree(t)
		known := oracle{}
		for _, iv := range all {
			known[iv.ScopeID] = iv
		}
		order := rapid.Permutation(append(slices.Clone(all), all[:len(all)/2]...)).Draw(t, "order")
		x := New(Options{Repair: true, MaxDepth: 64, MaxThreads: 64})
		in := x.Ingest()
		for i := range order {
			if rapid.IntRange(0, 4).Draw(t, "announced") == 0 {
				open := order[i]
				open.Open, open.End = true, 0
				in.AddInterval(&spanSender, &open)
			}
			in.AddInterval(&spanSender, &order[i])
			if rapid.IntRange(0, 9).Draw(t, "restart") == 0 {
				snapshot, _ := x.Snapshot(spanSender.Rank)
				x = New(x.options)
				require.True(t, x.Restore(&snapshot))
				in = x.Ingest()
			}
		}
		in.Flush()
		require.Equal(t, int64(2*len(all)), x.Stats().Boundaries)
		for at := int64(-1); at < 310; at += 3 {
			got := []string{}
			scopes, _ := x.Handle(spanSender.Rank).Active(nil, at, false)
			threads := map[int64]bool{}
			for i := range scopes {
				label := scopes[i].Path.Label()
				if scopes[i].ThreadName != "" {
					label = scopes[i].ThreadName + ": " + label
				}
				got = append(got, label)
				require.False(t, threads[scopes[i].ThreadID], "each in a lane of its own")
				threads[scopes[i].ThreadID] = true
			}
			slices.Sort(got)
			require.Equal(t, known.at(at), got, "at %d of %s", at, describe(all))
		}
	})
}

func describe(all []boundary.Interval) string {
	var text strings.Builder
	for i := range all {
		fmt.Fprintf(&text, "\n%+v", all[i])
	}
	return text.String()
}

func TestIntervalsOfTelemetryAreAnsweredTheSameInAnyOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := drawTree(t)
		from := rapid.Int64Range(0, 250).Draw(t, "from")
		to := from + rapid.Int64Range(1, 60).Draw(t, "length")
		answers := func(order []boundary.Interval) []ScopeInterval {
			x := New(Options{Repair: true, MaxDepth: 64, MaxThreads: 64})
			in := x.Ingest()
			for i := range order {
				in.AddInterval(&spanSender, &order[i])
			}
			var c Coverage
			scopes, _ := x.Handle(spanSender.Rank).Over(nil, &c, from, to)
			slices.SortFunc(scopes, func(a, b ScopeInterval) int {
				return strings.Compare(fmt.Sprint(a.ThreadID, a.ScopeID, a.Path.Label()), fmt.Sprint(b.ThreadID, b.ScopeID, b.Path.Label()))
			})
			// Whatever is unique was active for at least half of the time.
			if len(scopes) == 1 && scopes[0].Extent == Decides {
				var covered int64
				for at := from; at < to; at++ {
					for _, iv := range all {
						path := oracle{}.label(all, iv)
						if iv.Start <= at && at < iv.End && (path == scopes[0].Path.Label() || strings.HasPrefix(path, scopes[0].Path.Label()+" / ")) {
							covered++
							break
						}
					}
				}
				require.GreaterOrEqual(t, 2*covered, to-from)
			}
			return scopes
		}
		require.Equal(t, answers(all), answers(rapid.Permutation(all).Draw(t, "order")))
	})
}

// label is the path of one of several intervals.
func (oracle) label(all []boundary.Interval, iv boundary.Interval) string {
	known := oracle{}
	for _, other := range all {
		known[other.ScopeID] = other
	}
	return known.path(iv)
}
