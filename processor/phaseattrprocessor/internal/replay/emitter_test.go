// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"fmt"

	"pgregory.net/rapid"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/boundary"
)

// emitter numbers and names boundaries as a program's recorder does.
type emitter struct {
	group    boundary.RankKey
	now      int64
	sequence int64
	stacks   map[int64][]*boundary.Boundary
	out      []*boundary.Boundary
}

func newEmitter(group boundary.RankKey) *emitter {
	return &emitter{group: group, stacks: map[int64][]*boundary.Boundary{}}
}

func (e *emitter) enter(thread int64, name string) {
	e.sequence++
	b := &boundary.Boundary{
		Time: e.now, Sequence: e.sequence, ThreadID: thread, ThreadName: fmt.Sprintf("thread-%d", thread),
		ScopeID: fmt.Sprintf("%s:%d", e.group.Session, e.sequence), Name: name, Path: boundary.NewPath(name),
	}
	if stack := e.stacks[thread]; len(stack) > 0 {
		parent := stack[len(stack)-1]
		b.ParentScopeID = parent.ScopeID
		b.Path = boundary.NewPath(append(parent.Path.Parts(), name)...)
	}
	e.stacks[thread] = append(e.stacks[thread], b)
	e.out = append(e.out, b)
}

func (e *emitter) exit(thread int64) {
	stack := e.stacks[thread]
	if len(stack) == 0 {
		return
	}
	e.sequence++
	b := *stack[len(stack)-1]
	b.Action, b.Time, b.Sequence = boundary.Exit, e.now, e.sequence
	e.stacks[thread] = stack[:len(stack)-1]
	e.out = append(e.out, &b)
}

// drawRun draws the boundaries of a program with several threads, in the order in
// which it wrote them. Times may repeat.
func drawRun(t *rapid.T, group boundary.RankKey) []*boundary.Boundary {
	e := newEmitter(group)
	e.now = rapid.Int64Range(0, 1000).Draw(t, "start")
	names := []string{"train", "step", "forward", "backward", "a / b"}
	for range rapid.IntRange(1, 60).Draw(t, "boundaries") {
		e.now += rapid.Int64Range(0, 3).Draw(t, "gap")
		thread := rapid.Int64Range(1, 3).Draw(t, "thread")
		if len(e.stacks[thread]) < 5 && rapid.IntRange(0, 9).Draw(t, "action") < 5 {
			e.enter(thread, rapid.SampledFrom(names).Draw(t, "name"))
		} else {
			e.exit(thread)
		}
	}
	return e.out
}

// drawLoss draws which boundaries of a run never arrive.
func drawLoss(t *rapid.T, run []*boundary.Boundary) []*boundary.Boundary {
	var kept []*boundary.Boundary
	for _, b := range run {
		if rapid.IntRange(0, 9).Draw(t, "lost") > 0 {
			kept = append(kept, b)
		}
	}
	return kept
}

// drawArrival draws an order of arrival in which each boundary comes once or twice.
func drawArrival(t *rapid.T, run []*boundary.Boundary) []*boundary.Boundary {
	var arrivals []*boundary.Boundary
	for _, b := range run {
		arrivals = append(arrivals, b)
		if rapid.IntRange(0, 4).Draw(t, "twice") == 0 {
			again := *b
			arrivals = append(arrivals, &again)
		}
	}
	return rapid.Permutation(arrivals).Draw(t, "arrival")
}
