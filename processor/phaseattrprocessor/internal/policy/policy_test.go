// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/phaseattr/phaseattr/internal/boundary"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/replay"
)

// scope is an active scope of a thread of rank 3, with an ID from its sequence.
func scope(thread, sequence int64, path ...string) replay.ScopeInterval {
	return replay.ScopeInterval{
		Rank: boundary.RankKey{Session: "run", Rank: 3}, ThreadID: thread, ThreadName: "thread-" + string(rune('0'+thread)),
		ScopeID: "run:" + string(rune('0'+sequence)), Sequence: sequence, Path: boundary.NewPath(path...),
	}
}

func unique(source string, s replay.ScopeInterval) Attribution {
	label := s.Path.Label()
	return Attribution{
		Resolution: Unique, Source: source, Path: label, HasPath: true, Paths: []string{label},
		ScopeID: s.ScopeID, ThreadID: s.ThreadID, ThreadName: s.ThreadName, HasScope: true,
		Rank: Rank{s.Rank.Rank, true},
	}
}

func TestAttribute(t *testing.T) {
	train, step := scope(1, 1, "train"), scope(1, 2, "train", "step")
	forward, backward := scope(1, 3, "train", "step", "forward"), scope(1, 5, "train", "step", "backward")
	load, loadAgain := scope(2, 4, "load"), scope(2, 6, "load")
	otherLoad := scope(3, 7, "load")
	joined := scope(4, 8, "train / step")

	for _, tc := range []struct {
		name   string
		scopes []replay.ScopeInterval
		origin boundary.Origin
		want   Attribution
	}{
		{
			name: "one thread, the deepest counts", scopes: []replay.ScopeInterval{train, forward, step},
			want: unique(SourceHeuristic, forward),
		},
		{
			name: "one thread, two of the deepest differ", scopes: []replay.ScopeInterval{forward, backward, step},
			want: Attribution{
				Resolution: Ambiguous,
				Paths:      []string{"train / step / backward", "train / step / forward"},
				Summary:    Summary{"train / step / backward", SourceHeuristic},
				Rank:       Rank{3, true},
				OneThread:  true,
			},
		},
		{
			name: "one thread, the deepest agree, the latest answers", scopes: []replay.ScopeInterval{loadAgain, load},
			want: unique(SourceHeuristic, loadAgain),
		},
		{
			name: "two threads", scopes: []replay.ScopeInterval{load, forward, step},
			want: Attribution{
				Resolution: Ambiguous, Paths: []string{"load", "train / step / forward"},
				Summary: Summary{"load", SourceHeuristic}, Rank: Rank{3, true},
			},
		},
		{
			name: "two threads in one label", scopes: []replay.ScopeInterval{load, otherLoad},
			want: Attribution{Resolution: Ambiguous, Paths: []string{"load"}, Rank: Rank{3, true}},
		},
		{
			name: "two paths in one label", scopes: []replay.ScopeInterval{step, joined},
			want: Attribution{Resolution: Ambiguous, Paths: []string{"train / step"}, Rank: Rank{3, true}},
		},
		{
			name: "scope named", scopes: []replay.ScopeInterval{load, forward, step},
			origin: boundary.Origin{ScopeID: step.ScopeID}, want: unique(SourceExact, step),
		},
		{
			name: "scope named before thread", scopes: []replay.ScopeInterval{load, forward, step},
			origin: boundary.Origin{ScopeID: step.ScopeID, ThreadID: 2, HasThread: true}, want: unique(SourceExact, step),
		},
		{
			name: "scope named that is not active", scopes: []replay.ScopeInterval{forward, step},
			origin: boundary.Origin{ScopeID: "run:9"}, want: unique(SourceHeuristic, forward),
		},
		{
			name: "scope named that is active twice", scopes: []replay.ScopeInterval{forward, step, forward},
			origin: boundary.Origin{ScopeID: forward.ScopeID, ThreadID: 1, HasThread: true},
			want:   unique(SourceThreadLocal, forward),
		},
		{
			name: "thread named, its latest counts, not its deepest", scopes: []replay.ScopeInterval{forward, scope(1, 9, "eval"), load},
			origin: boundary.Origin{ThreadID: 1, HasThread: true}, want: unique(SourceThreadLocal, scope(1, 9, "eval")),
		},
		{
			name: "thread named that is in no phase", scopes: []replay.ScopeInterval{forward},
			origin: boundary.Origin{ThreadID: 9, HasThread: true}, want: unique(SourceHeuristic, forward),
		},
		{
			name: "thread zero not named", scopes: []replay.ScopeInterval{forward, load, scope(0, 9, "idle")},
			want: Attribution{
				Resolution: Ambiguous, Paths: []string{"idle", "load", "train / step / forward"},
				Summary: Summary{"idle", SourceHeuristic}, Rank: Rank{3, true},
			},
		},
		{
			name: "the same sequence, the larger scope ID is later",
			scopes: []replay.ScopeInterval{
				{ThreadID: 1, Sequence: 1, ScopeID: "b", Path: boundary.NewPath("p")},
				{ThreadID: 1, Sequence: 1, ScopeID: "a", Path: boundary.NewPath("p")},
			},
			want: unique(SourceHeuristic, replay.ScopeInterval{ThreadID: 1, ScopeID: "b", Path: boundary.NewPath("p")}),
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := New(Options{})
			var got Attribution
			for range 2 { // the second time with the buffers of the first
				assert.True(t, p.Attribute(&got, tc.scopes, tc.origin))
				assert.Equal(t, tc.want, got)
			}
			assert.False(t, p.Attribute(&got, nil, tc.origin))
		})
	}
}

func TestCloneOutlivesTheNextAttribution(t *testing.T) {
	p := New(Options{})
	var a Attribution
	require.True(t, p.Attribute(&a, []replay.ScopeInterval{scope(1, 1, "first")}, boundary.Origin{}))
	clone := a.Clone()
	require.True(t, p.Attribute(&a, []replay.ScopeInterval{scope(1, 2, "second")}, boundary.Origin{}))
	assert.Equal(t, []string{"first"}, clone.Paths)
	assert.Equal(t, Rank{3, true}, clone.Rank)
	assert.Equal(t, []string{"second"}, a.Paths)
}
