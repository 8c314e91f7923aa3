// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"cmp"
	"iter"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/boundary"
)

var groups = []boundary.RankKey{{Session: "a", Rank: 0}, {Session: "a", Rank: 1}}

// naiveSpans is the strict replay as the library does it, over the
// complete run: sort, push, pop, close what is open at the end.
func naiveSpans(group boundary.RankKey, run []*boundary.Boundary) []ScopeInterval {
	sorted := slices.Clone(run)
	slices.SortStableFunc(sorted, func(a, b *boundary.Boundary) int {
		return cmp.Or(cmp.Compare(a.Time, b.Time), cmp.Compare(a.Sequence, b.Sequence), cmp.Compare(a.ScopeID, b.ScopeID))
	})
	var spans []ScopeInterval
	stacks := map[int64][]ScopeInterval{}
	end := int64(0)
	for _, b := range sorted {
		end = max(end, b.Time)
		stack := stacks[b.ThreadID]
		if b.Action == boundary.Enter {
			stacks[b.ThreadID] = append(stack, ScopeInterval{
				Rank: group, ThreadID: b.ThreadID, ThreadName: b.ThreadName, ScopeID: b.ScopeID,
				Path: b.Path, Start: b.Time, Sequence: b.Sequence,
			})
		} else if len(stack) > 0 && stack[len(stack)-1].ScopeID == b.ScopeID {
			span := stack[len(stack)-1]
			span.End = b.Time
			spans = append(spans, span)
			stacks[b.ThreadID] = stack[:len(stack)-1]
		}
	}
	for _, stack := range stacks {
		for _, span := range stack {
			span.End, span.SyntheticEnd = end, true
			spans = append(spans, span)
		}
	}
	SortScopeIntervals(spans)
	return spans
}

func spansOf(x *Index, group boundary.RankKey) []ScopeInterval {
	spans := x.ScopeIntervals(nil, group)
	SortScopeIntervals(spans)
	return spans
}

// activeOf returns the whole stacks at a moment, in an order of its own.
func activeOf(x *Index, group boundary.RankKey, at int64, whole bool) []ScopeInterval {
	spans, _ := x.Handle(group).Active(nil, at, whole)
	SortScopeIntervals(spans)
	return spans
}

// TestStrictReplayIsTheNaiveOne compares the index, fed in any order and with
// duplicates, with a replay of the sorted run, span by span and moment by moment.
func TestStrictReplayIsTheNaiveOne(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x := New(Options{})
		for _, group := range groups {
			run := drawLoss(t, drawRun(t, group))
			for _, b := range drawArrival(t, run) {
				x.Ingest().Add(group, b)
			}
			x.EndAll()
			want := naiveSpans(group, run)
			require.Equal(t, want, spansOf(x, group))
			for at := range moments(run) {
				var active []ScopeInterval
				for _, span := range want {
					if span.Start <= at && at <= span.End {
						span.End, span.SyntheticEnd = 0, false
						active = append(active, span)
					}
				}
				SortScopeIntervals(active)
				require.Equal(t, active, activeOf(x, group, at, true), "at %d", at)
			}
		}
	})
}

// TestAnyOrderGivesTheSameAnswers holds the index to its main promise: arrivals in
// any order, some twice, some lost, give the spans and answers of the sorted run.
func TestAnyOrderGivesTheSameAnswers(t *testing.T) {
	for name, repair := range map[string]bool{"strict": false, "repair": true} {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				sorted, shuffled := New(Options{Repair: repair}), New(Options{Repair: repair})
				for _, group := range groups {
					run := drawLoss(t, drawRun(t, group))
					for _, b := range run {
						require.Equal(t, Accepted, sorted.Ingest().Add(group, b).Outcome)
					}
					accepted := 0
					for _, b := range drawArrival(t, run) {
						if shuffled.Ingest().Add(group, b).Outcome == Accepted {
							accepted++
						}
					}
					require.Len(t, run, accepted, "each boundary counts once")
					require.Equal(t, spansOf(sorted, group), spansOf(shuffled, group))
					for at := range moments(run) {
						require.Equal(t, activeOf(sorted, group, at, true), activeOf(shuffled, group, at, true), "at %d", at)
						require.Equal(t, activeOf(sorted, group, at, false), activeOf(shuffled, group, at, false), "at %d", at)
						from, _ := sorted.Handle(group).Throughout(nil, at, at+7, true)
						same, _ := shuffled.Handle(group).Throughout(nil, at, at+7, true)
						SortScopeIntervals(from)
						SortScopeIntervals(same)
						require.Equal(t, from, same, "from %d to %d", at, at+7)
					}
				}
				require.Equal(t, sorted.Stats().OpenScopes, shuffled.Stats().OpenScopes)
				require.Equal(t, sorted.Stats().Boundaries, shuffled.Stats().Boundaries)
			})
		})
	}
}

// TestSpansAndAnswersAgree holds the answers at a moment and over an interval to the
// spans that the index lists, with repair and without.
func TestSpansAndAnswersAgree(t *testing.T) {
	for name, repair := range map[string]bool{"strict": false, "repair": true} {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				x, group := New(Options{Repair: repair}), groups[0]
				run := drawLoss(t, drawRun(t, group))
				for _, b := range drawArrival(t, run) {
					x.Ingest().Add(group, b)
				}
				x.EndAll()
				spans := spansOf(x, group)
				for at := range moments(run) {
					for _, to := range []int64{at + 1, at + 7} {
						var throughout []ScopeInterval
						for _, span := range spans {
							if span.Start <= at && to <= span.End {
								span.End, span.SyntheticEnd = 0, false
								throughout = append(throughout, span)
							}
						}
						SortScopeIntervals(throughout)
						got, _ := x.Handle(group).Throughout(nil, at, to, true)
						SortScopeIntervals(got)
						require.Equal(t, throughout, got, "from %d to %d", at, to)
						got, _ = x.Handle(group).Throughout(nil, at, to, false)
						SortScopeIntervals(got)
						require.Subset(t, throughout, got)
						require.Equal(t, decisive(throughout), decisive(got), "from %d to %d", at, to)
					}
				}
			})
		})
	}
}

// decisive returns the spans that decide an attribution: of each thread those of the
// largest depth and the latest one.
func decisive(spans []ScopeInterval) []ScopeInterval {
	return slices.DeleteFunc(slices.Clone(spans), func(span ScopeInterval) bool {
		deeper, later := false, false
		for _, other := range spans {
			if other.ThreadID == span.ThreadID {
				deeper = deeper || other.Path.Depth() > span.Path.Depth()
				later = later || other.Later(&span)
			}
		}
		return deeper && later
	})
}

// TestCompleteRunsNeedNoRepair holds that mending changes nothing that is right.
func TestCompleteRunsNeedNoRepair(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		strict, repaired, group := New(Options{}), New(Options{Repair: true}), groups[0]
		run := drawRun(t, group)
		for _, b := range run {
			strict.Ingest().Add(group, b)
		}
		for _, b := range drawArrival(t, run) {
			repaired.Ingest().Add(group, b)
		}
		require.Equal(t, spansOf(strict, group), spansOf(repaired, group))
	})
}

// moments are the times from before a run to after it.
func moments(run []*boundary.Boundary) iter.Seq[int64] {
	return func(yield func(int64) bool) {
		if len(run) == 0 {
			return
		}
		for at := run[0].Time - 2; at <= run[len(run)-1].Time+9; at++ {
			if !yield(at) {
				return
			}
		}
	}
}
