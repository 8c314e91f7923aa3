// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/phaseattr/phaseattr/internal/boundary"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/replay"
)

func TestThreadsThatDecide(t *testing.T) {
	on := func(id int64, name string, path ...string) replay.ScopeInterval {
		return replay.ScopeInterval{ThreadID: id, ThreadName: name, ScopeID: name, Sequence: id, Path: boundary.NewPath(path...)}
	}
	main := on(1, "MainThread", "train", "step")
	loader0, loader1 := on(2, "loader-0", "prefetch"), on(3, "loader-1", "prefetch")
	for name, tc := range map[string]struct {
		threads Threads
		scopes  []replay.ScopeInterval
		origin  boundary.Origin
		want    Attribution // only resolution, source and path
	}{
		"preferred among others": {
			threads: Threads{Prefer: []string{"MainThread"}},
			scopes:  []replay.ScopeInterval{loader0, main, loader1},
			want:    Attribution{Resolution: Unique, Source: SourceThreadLocal, Path: "train / step"},
		},
		"preferred and alone": {
			threads: Threads{Prefer: []string{"MainThread"}},
			scopes:  []replay.ScopeInterval{main},
			want:    Attribution{Resolution: Unique, Source: SourceThreadLocal, Path: "train / step"},
		},
		"preferred, but in no phase": {
			threads: Threads{Prefer: []string{"MainThread"}},
			scopes:  []replay.ScopeInterval{loader0, loader1},
			want:    Attribution{Resolution: Ambiguous},
		},
		"the first preference that is in a phase": {
			threads: Threads{Prefer: []string{"trainer", "loader-1", "MainThread"}},
			scopes:  []replay.ScopeInterval{main, loader0, loader1},
			want:    Attribution{Resolution: Unique, Source: SourceThreadLocal, Path: "prefetch"},
		},
		"a preference for several threads": {
			threads: Threads{Prefer: []string{"loader-*"}},
			scopes:  []replay.ScopeInterval{main, loader0, loader1},
			want:    Attribution{Resolution: Ambiguous},
		},
		"ignored": {
			threads: Threads{Ignore: []string{"loader-?"}},
			scopes:  []replay.ScopeInterval{loader0, main, loader1},
			want:    Attribution{Resolution: Unique, Source: SourceHeuristic, Path: "train / step"},
		},
		"all ignored": {
			threads: Threads{Ignore: []string{"*"}},
			scopes:  []replay.ScopeInterval{loader0, main},
		},
		"preferred and ignored": {
			threads: Threads{Prefer: []string{"loader-*"}, Ignore: []string{"loader-0"}},
			scopes:  []replay.ScopeInterval{loader0, main, loader1},
			want:    Attribution{Resolution: Unique, Source: SourceThreadLocal, Path: "prefetch"},
		},
		"ignored, but named by the record": {
			threads: Threads{Prefer: []string{"MainThread"}, Ignore: []string{"loader-*"}},
			scopes:  []replay.ScopeInterval{loader0, main},
			origin:  boundary.Origin{ThreadID: 2, HasThread: true},
			want:    Attribution{Resolution: Unique, Source: SourceThreadLocal, Path: "prefetch"},
		},
		"ignored, but its scope is named by the record": {
			threads: Threads{Prefer: []string{"MainThread"}, Ignore: []string{"loader-*"}},
			scopes:  []replay.ScopeInterval{loader0, main},
			origin:  boundary.Origin{ScopeID: "loader-0"},
			want:    Attribution{Resolution: Unique, Source: SourceExact, Path: "prefetch"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := New(Options{Threads: tc.threads})
			var got Attribution
			for range 2 { // the second time with the buffers of the first
				found := p.Attribute(&got, tc.scopes, tc.origin)
				assert.Equal(t, tc.want.Resolution != "", found)
				assert.Equal(t, tc.want, Attribution{Resolution: got.Resolution, Source: got.Source, Path: got.Path})
			}
		})
	}
}

func TestValidPattern(t *testing.T) {
	assert.True(t, ValidPattern("loader-[0-9]*"))
	assert.False(t, ValidPattern("loader-["))
}

func TestAttributeDoesNotAllocate(t *testing.T) {
	scopes := []replay.ScopeInterval{
		scope(1, 1, "train"), scope(1, 2, "train", "step"), scope(2, 3, "load"), scope(3, 4, "load"),
	}
	for name, threads := range map[string]Threads{
		"all":       {},
		"preferred": {Prefer: []string{"main", "thread-1"}},
		"ignored":   {Ignore: []string{"thread-[23]"}},
	} {
		t.Run(name, func(t *testing.T) {
			p := New(Options{Threads: threads})
			var a Attribution
			assert.Zero(t, testing.AllocsPerRun(100, func() { p.Attribute(&a, scopes, boundary.Origin{}) }))
		})
	}
}

func TestSlashIsACharacterLikeAnyOtherInPatterns(t *testing.T) {
	for pattern, names := range map[string][]string{
		"loader*":     {"loader/0", "loader"},
		"eval/*":      {"eval/loss", "eval/loss/mean"},
		"a?b":         {"a/b"},
		"perf[/_]cpu": {"perf/cpu", "perf_cpu"},
	} {
		for _, name := range names {
			assert.True(t, Matches(pattern, name), "%s, %s", pattern, name)
		}
		assert.False(t, Matches(pattern, "other/name"))
	}
}
