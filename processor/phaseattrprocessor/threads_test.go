// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// mainPath is what the main thread of a recorded run was in at a moment: the deepest
// of its scopes that had begun and not ended before.
func mainPath(run captured, at int64) string {
	paths := map[string][]string{}
	for _, e := range run.events {
		metadata, _ := e["metadata"].(object)
		scope, ok := metadata["phase_scope"].(object)
		if !ok || scope["thread_name"] != "MainThread" {
			continue
		}
		id, when := scope["scope_id"].(string), e["timestamp_ns"].(int64)
		switch {
		case scope["action"] == "enter" && when <= at:
			for _, part := range scope["path"].([]any) {
				paths[id] = append(paths[id], part.(string))
			}
		case scope["action"] == "exit" && when < at:
			paths[id] = nil
		}
	}
	var deepest []string
	for _, path := range paths {
		if len(path) > len(deepest) {
			deepest = path
		}
	}
	return strings.Join(deepest, " / ")
}

func TestPreferredThreadAnswersForTheProgram(t *testing.T) {
	run := readCapture(t, "threads")
	slices.SortStableFunc(run.events, func(a, b object) int {
		return int(a["timestamp_ns"].(int64) - b["timestamp_ns"].(int64))
	})
	ambiguous := map[bool]int{}
	for _, prefer := range []bool{false, true} {
		p := startPipelines(t, everyAttribute, func(cfg *Config) {
			if prefer {
				cfg.Threads.Prefer = []string{"MainThread"}
			}
		})
		for i, got := range attributesOfLogs(p.passLogs(t, records(t, run.events...))) {
			if got["phase_resolution"] == "ambiguous" {
				ambiguous[prefer]++
			}
			path := mainPath(run, run.events[i]["timestamp_ns"].(int64))
			if !prefer || path == "" {
				continue
			}
			require.Equal(t, "unique", got["phase_resolution"], "record %d", i)
			require.Equal(t, path, got["phase_path"], "record %d", i)
			if run.events[i]["origin_thread_id"] == nil {
				require.Equal(t, "thread_local", got["phase_source"], "record %d", i)
			}
		}
	}
	t.Logf("threads: %d records, %d ambiguous, %d with the main thread preferred", len(run.events), ambiguous[false], ambiguous[true])
	assert.Positive(t, ambiguous[false])
	assert.Less(t, ambiguous[true], ambiguous[false]/10)
}
