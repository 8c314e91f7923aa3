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

	"github.com/phaseattr/phaseattr/internal/boundary"
)

// closedInterval is a scope and the time of its end.
type closedInterval struct {
	ScopeInterval
	end int64
}

// naiveReplay is the strict replay of a complete run: sort, push, pop, close what is open
// at the end.
func naiveReplay(rank boundary.RankKey, run []*boundary.Boundary) []closedInterval {
	run = slices.Clone(run)
	slices.SortStableFunc(run, func(a, b *boundary.Boundary) int {
		return cmp.Or(cmp.Compare(a.Time, b.Time), cmp.Compare(a.Sequence, b.Sequence), cmp.Compare(a.ScopeID, b.ScopeID))
	})
	var all []closedInterval
	stacks := map[int64][]closedInterval{}
	end := int64(0)
	for _, b := range run {
		end = max(end, b.Time)
		stack := stacks[b.ThreadID]
		if b.Action == boundary.Enter {
			stacks[b.ThreadID] = append(stack, closedInterval{ScopeInterval: ScopeInterval{
				Rank: rank, ThreadID: b.ThreadID, ThreadName: b.ThreadName, ScopeID: b.ScopeID,
				Path: b.Path, Start: b.Time, Sequence: b.Sequence,
			}})
		} else if len(stack) > 0 && stack[len(stack)-1].ScopeID == b.ScopeID {
			scope := stack[len(stack)-1]
			scope.end = b.Time
			all = append(all, scope)
			stacks[b.ThreadID] = stack[:len(stack)-1]
		}
	}
	for _, stack := range stacks {
		for _, scope := range stack {
			scope.end = end
			all = append(all, scope)
		}
	}
	return all
}

// TestStrictReplayIsTheNaiveOne compares an index to which boundaries are added in any
// order and with duplicates with a replay of the sorted run.
func TestStrictReplayIsTheNaiveOne(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x := New(Options{})
		for _, rank := range []boundary.RankKey{rank0, rank1} {
			run := drawLoss(t, drawRun(t, rank))
			addDrawn(t, x, rank, drawArrival(t, run))
			end(x, rank)
			all := naiveReplay(rank, run)
			for at := range moments(run) {
				var want []ScopeInterval
				for _, scope := range all {
					if scope.Start <= at && at <= scope.end {
						want = append(want, scope.ScopeInterval)
					}
				}
				require.Equal(t, sorted(want), active(x, rank, at, true), "at %d", at)
			}
		}
	})
}

// TestAnyOrderGivesTheSameAnswers adds boundaries in any order, some twice, some never,
// and compares with the sorted run.
func TestAnyOrderGivesTheSameAnswers(t *testing.T) {
	for name, repair := range map[string]bool{"strict": false, "repair": true} {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				ordered, shuffled := New(Options{Repair: repair}), New(Options{Repair: repair})
				for _, rank := range []boundary.RankKey{rank0, rank1} {
					run := drawLoss(t, drawRun(t, rank))
					mustAdd(t, ordered, rank, run...)
					require.Len(t, run, addDrawn(t, shuffled, rank, drawArrival(t, run)), "each counts once")
					for at := range moments(run) {
						for _, whole := range []bool{true, false} {
							require.Equal(t, active(ordered, rank, at, whole), active(shuffled, rank, at, whole), "at %d", at)
						}
						require.Equal(t, throughout(ordered, rank, at, at+7, true), throughout(shuffled, rank, at, at+7, true), "from %d", at)
					}
				}
				require.Equal(t, ordered.Stats().OpenScopes, shuffled.Stats().OpenScopes)
				require.Equal(t, ordered.Stats().Boundaries, shuffled.Stats().Boundaries)
				holdsTogether(t, shuffled)
			})
		})
	}
}

// TestThroughoutAgreesWithTheMoments holds the scopes that are active throughout an
// interval to those that are active at each moment of it.
func TestThroughoutAgreesWithTheMoments(t *testing.T) {
	for name, repair := range map[string]bool{"strict": false, "repair": true} {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				x := New(Options{Repair: repair})
				run := drawLoss(t, drawRun(t, rank0))
				addDrawn(t, x, rank0, drawArrival(t, run))
				end(x, rank0)
				for from := range moments(run) {
					want := active(x, rank0, from, true)
					for to := from + 1; to < from+8; to++ {
						now := active(x, rank0, to, true)
						want = slices.DeleteFunc(want, func(scope ScopeInterval) bool {
							return !slices.ContainsFunc(now, func(other ScopeInterval) bool {
								return scope.ThreadID == other.ThreadID && scope.ScopeID == other.ScopeID &&
									scope.Start == other.Start && scope.Sequence == other.Sequence
							})
						})
						require.ElementsMatch(t, want, throughout(x, rank0, from, to, true), "from %d to %d", from, to)
						some := throughout(x, rank0, from, to, false)
						require.Subset(t, want, some)
						require.ElementsMatch(t, decisiveOf(want), decisiveOf(some), "from %d to %d", from, to)
					}
				}
			})
		})
	}
}

// decisiveOf returns the scopes that decide an attribution: of each thread those of the
// largest depth and the latest one.
func decisiveOf(scopes []ScopeInterval) []ScopeInterval {
	return slices.DeleteFunc(slices.Clone(scopes), func(scope ScopeInterval) bool {
		deeper, later := false, false
		for _, other := range scopes {
			if other.ThreadID == scope.ThreadID {
				deeper = deeper || other.Path.Depth() > scope.Path.Depth()
				later = later || other.Later(&scope)
			}
		}
		return deeper && later
	})
}

// TestCompleteRunsNeedNoRepair holds that a repair changes nothing that is right.
func TestCompleteRunsNeedNoRepair(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		strict, repaired := New(Options{}), New(Options{Repair: true})
		run := drawRun(t, rank0)
		mustAdd(t, strict, rank0, run...)
		addDrawn(t, repaired, rank0, drawArrival(t, run))
		for at := range moments(run) {
			require.Equal(t, active(strict, rank0, at, true), active(repaired, rank0, at, true), "at %d", at)
		}
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
