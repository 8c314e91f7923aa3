// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/phaseattr/phaseattr/internal/boundary"
)

var (
	rank0 = boundary.RankKey{Session: "s"}
	rank1 = boundary.RankKey{Session: "s", Rank: 1}
)

// from is a sender that names no process.
func from(rank boundary.RankKey) *Sender { return &Sender{Rank: rank} }

// emitter numbers and names boundaries as a program's recorder does.
type emitter struct {
	rank     boundary.RankKey
	now      int64
	sequence int64
	stacks   map[int64][]*boundary.Boundary
	out      []*boundary.Boundary
}

func newEmitter(rank boundary.RankKey) *emitter {
	return &emitter{rank: rank, stacks: map[int64][]*boundary.Boundary{}}
}

func (e *emitter) enter(thread int64, name string) {
	e.sequence++
	b := &boundary.Boundary{
		Time: e.now, Sequence: e.sequence, ThreadID: thread, ThreadName: fmt.Sprintf("thread-%d", thread),
		ScopeID: fmt.Sprintf("%s:%d", e.rank.Session, e.sequence), Path: boundary.NewPath(name),
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

// drawRun draws the boundaries of a program with several threads, in the order in which
// it wrote them. Times may repeat.
func drawRun(t *rapid.T, rank boundary.RankKey) []*boundary.Boundary {
	e := newEmitter(rank)
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
	return slices.DeleteFunc(slices.Clone(run), func(*boundary.Boundary) bool {
		return rapid.IntRange(0, 9).Draw(t, "lost") == 0
	})
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

// addDrawn adds boundaries by two batches in turn, which are flushed now and then and at
// the end. It returns how many were accepted.
func addDrawn(t *rapid.T, x *Index, rank boundary.RankKey, arrivals []*boundary.Boundary) (accepted int) {
	batches := []*Ingest{x.Ingest(), x.Ingest()}
	for _, b := range arrivals {
		draw := rapid.IntRange(0, 19).Draw(t, "batch, flush")
		in := batches[draw%2]
		if in.Add(from(rank), b).Outcome == Accepted {
			accepted++
		}
		if draw < 2 {
			in.Flush()
		}
	}
	for _, in := range batches {
		in.Flush()
	}
	return accepted
}

// add adds boundaries as one batch.
func add(x *Index, rank boundary.RankKey, run ...*boundary.Boundary) (outcomes []Outcome) {
	in := x.Ingest()
	defer in.Flush()
	for _, b := range run {
		outcomes = append(outcomes, in.Add(from(rank), b).Outcome)
	}
	return outcomes
}

// addOne adds a boundary as a batch.
func addOne(x *Index, rank boundary.RankKey, b *boundary.Boundary) Outcome { return add(x, rank, b)[0] }

// mustAdd adds boundaries as one batch, all of which are to be accepted.
func mustAdd(t require.TestingT, x *Index, rank boundary.RankKey, run ...*boundary.Boundary) {
	for i, outcome := range add(x, rank, run...) {
		require.Equal(t, Accepted, outcome, "boundary %d", i)
	}
}

// end ends the session of a rank at its newest event.
func end(x *Index, rank boundary.RankKey) {
	if s := x.stream(rank); s != nil {
		x.Ingest().Observe(from(rank), &Event{Time: s.processes[0].clock.Now, Kind: Stop})
	}
}

// active returns the scopes at a time, sorted.
func active(x *Index, rank boundary.RankKey, at int64, whole bool) []ScopeInterval {
	scopes, _ := x.Handle(rank).Active(nil, at, whole)
	return sorted(scopes)
}

// throughout returns the scopes that were active from one moment to another, sorted: per
// thread the whole stack, or only what decides.
func throughout(x *Index, rank boundary.RankKey, from, to int64, whole bool) []ScopeInterval {
	var scopes []ScopeInterval
	s := x.stream(rank)
	for _, p := range s.processes {
		if s.status(p, to).hasScopes() {
			for i := range p.threads {
				stack, _, _ := p.threads[i].stackAt(to)
				scopes = p.threads[i].appendStack(scopes, rank, stack, from, whole)
			}
		}
	}
	return sorted(scopes)
}

func sorted(scopes []ScopeInterval) []ScopeInterval {
	slices.SortStableFunc(scopes, func(a, b ScopeInterval) int {
		return cmp.Or(
			cmp.Compare(a.ThreadID, b.ThreadID), cmp.Compare(a.Start, b.Start),
			cmp.Compare(a.Sequence, b.Sequence), cmp.Compare(a.ScopeID, b.ScopeID),
		)
	})
	return scopes
}

// deepest is the label of the deepest scope at a time, of two the upper one.
func deepest(x *Index, at int64) string {
	var path boundary.Path
	scopes, _ := x.Handle(rank0).Active(nil, at, true)
	for _, scope := range scopes {
		if scope.Path.Depth() > path.Depth() {
			path = scope.Path
		}
	}
	return path.Label()
}

func statusAt(x *Index, at int64) Status {
	_, status := x.Handle(rank0).Active(nil, at, false)
	return status
}
