// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/phaseattr/phaseattr/internal/boundary"
)

// trainingRun is one thread: train, two steps in it, and in each step forward and
// backward. Every boundary is 10 after the one before it; sequence n is at time 10n.
func trainingRun() []*boundary.Boundary {
	e := newEmitter(rank0)
	enter := func(name string) { e.now += 10; e.enter(1, name) }
	exit := func() { e.now += 10; e.exit(1) }
	enter("train") // 1
	for range 2 {
		enter("step")    // 2, 8
		enter("forward") // 3, 9
		exit()
		enter("backward") // 5, 11
		exit()
		exit() // 7, 13
	}
	exit() // 14
	return e.out
}

// without returns the run without the boundaries of some sequence numbers.
func without(run []*boundary.Boundary, lost ...int64) []*boundary.Boundary {
	return slices.DeleteFunc(slices.Clone(run), func(b *boundary.Boundary) bool {
		return slices.Contains(lost, b.Sequence)
	})
}

func indexOf(options Options, run []*boundary.Boundary) *Index {
	x := New(options)
	add(x, rank0, run...)
	return x
}

func TestLostBoundarySpoilsAtMostItsOwnScope(t *testing.T) {
	const step, forward, backward = "train / step", "train / step / forward", "train / step / backward"
	for name, tc := range map[string]struct {
		lost []int64
		want map[int64]string // answers between boundaries, where the loss shows
	}{
		"exit of a leaf: open until its sibling begins": {
			lost: []int64{4}, want: map[int64]string{35: forward, 45: forward, 55: backward, 65: step},
		},
		"exit of a step: open until the next step begins": {
			lost: []int64{7}, want: map[int64]string{65: step, 75: step, 85: step, 95: forward, 135: "train"},
		},
		"enter of a leaf: its exit shows that it was open since the boundary before": {
			lost: []int64{5}, want: map[int64]string{45: backward, 55: backward, 65: step, 75: "train"},
		},
		"enter of a step: its first child shows that it was open since the boundary before": {
			lost: []int64{8}, want: map[int64]string{75: step, 85: step, 95: forward, 105: step, 135: "train"},
		},
		"enter of a step and of its first child: the child's exit names its parent": {
			lost: []int64{8, 9}, want: map[int64]string{75: "train", 95: "train", 105: step, 115: backward, 125: step, 135: "train"},
		},
		"exit of a step and enter of the next: the next child shows another step": {
			lost: []int64{7, 8}, want: map[int64]string{65: step, 75: step, 85: step, 95: forward, 105: step, 135: "train"},
		},
		"enter of the root": {
			lost: []int64{1}, want: map[int64]string{25: step, 35: forward, 75: "train", 85: step},
		},
		"everything before the middle of a step": {
			lost: []int64{1, 2, 3, 4, 5}, want: map[int64]string{55: "", 65: step, 75: "train", 85: step, 95: forward, 135: "train"},
		},
		"all exits of a branch": {
			lost: []int64{4, 6, 7}, want: map[int64]string{75: backward, 85: step, 95: forward, 135: "train"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			x := indexOf(Options{Repair: true}, without(trainingRun(), tc.lost...))
			for at, want := range tc.want {
				assert.Equal(t, want, deepest(x, at), "at %d", at)
			}
			assert.Positive(t, x.Stats().Repairs)
			assert.Zero(t, x.Stats().OpenScopes, "the last exit closes everything")
		})
	}
}

func TestStrictReplayStaysWrongAfterALostExit(t *testing.T) {
	x := indexOf(Options{}, without(trainingRun(), 4))
	assert.Equal(t, "train / step / backward", deepest(x, 55), "the enter is pushed on the open scope")
	assert.Equal(t, "train / step / forward", deepest(x, 75), "the exit of step is not that of the top")
	assert.Equal(t, "train / step / forward", deepest(x, 135))
	assert.Zero(t, x.Stats().Repairs)
}

func TestRepairedScopeEndsJustBeforeTheBoundaryThatShowsIt(t *testing.T) {
	x := indexOf(Options{Repair: true}, without(trainingRun(), 4))
	assert.Equal(t, "train / step / forward", deepest(x, 49))
	assert.Equal(t, "train / step / backward", deepest(x, 50))
}

func TestRepairIsUndoneWhenTheLostBoundaryArrives(t *testing.T) {
	run := trainingRun()
	strict, x := indexOf(Options{}, run), indexOf(Options{Repair: true}, without(run, 4, 8))
	for _, late := range []int{7, 3} {
		add(x, rank0, run[late])
	}
	for at := range moments(run) {
		assert.Equal(t, active(strict, rank0, at, true), active(x, rank0, at, true), "at %d", at)
	}
}

func TestMalformedRunsAreRepaired(t *testing.T) {
	const thread = 1
	enter := func(at int64, id, parent string, path ...string) *boundary.Boundary {
		return &boundary.Boundary{
			Time: at, Sequence: at, ThreadID: thread, ScopeID: id, ParentScopeID: parent, Path: boundary.NewPath(path...),
		}
	}
	exit := func(at int64, id, parent string, path ...string) *boundary.Boundary {
		b := enter(at, id, parent, path...)
		b.Action = boundary.Exit
		return b
	}
	onThread := func(id int64, b *boundary.Boundary) *boundary.Boundary {
		b.ThreadID = id
		return b
	}
	for name, tc := range map[string]struct {
		run  []*boundary.Boundary
		want map[int64]string
		open int64
	}{
		"exits only": {
			run:  []*boundary.Boundary{exit(10, "a", "", "train"), exit(20, "b", "", "train"), exit(30, "c", "a", "train", "step")},
			want: map[int64]string{5: "", 15: "", 25: "", 35: "train"},
			open: 1, // the parent that the last one names
		},
		"enters only": {
			run: []*boundary.Boundary{
				enter(10, "a", "", "train"), enter(20, "b", "a", "train", "step"), enter(30, "c", "a", "train", "step"),
			},
			want: map[int64]string{15: "train", 25: "train / step", 35: "train / step"},
			open: 2,
		},
		"a scope entered twice": {
			run:  []*boundary.Boundary{enter(10, "a", "", "train"), enter(20, "a", "", "train"), exit(30, "a", "", "train")},
			want: map[int64]string{15: "train", 25: "train", 35: ""},
		},
		"an exit from another thread than the enter's": {
			run: []*boundary.Boundary{
				enter(10, "a", "", "train"), onThread(2, exit(20, "a", "", "train")), enter(30, "b", "", "evaluate"),
			},
			want: map[int64]string{15: "train", 25: "train", 35: "evaluate"},
			open: 1,
		},
		"a child without a parent's ID": {
			run:  []*boundary.Boundary{enter(10, "a", "", "train"), enter(20, "b", "", "train", "step"), exit(30, "b", "", "train", "step")},
			want: map[int64]string{15: "train", 25: "train / step", 35: "train"},
			open: 1,
		},
		"a parent that is its own child": {
			run:  []*boundary.Boundary{enter(10, "a", "a", "train", "step"), exit(20, "a", "a", "train", "step")},
			want: map[int64]string{15: "train / step"},
			open: 1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			x := indexOf(Options{Repair: true}, tc.run)
			for at, want := range tc.want {
				assert.Equal(t, want, deepest(x, at), "at %d", at)
			}
			assert.Equal(t, tc.open, x.Stats().OpenScopes)
		})
	}
}
