// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A path that is no longer written makes room for another one.
func TestPathsThatAreNoLongerWrittenAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := startPipelines(t, func(cfg *Config) { cfg.Limits.MaxPaths = 2 })
		run := &program{session: "run"}
		w := run.worker(1)
		written := func(phase string) any {
			t.Helper()
			at := time.Since(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)).Seconds()
			p.passLogs(t, records(t, w.enter(at, phase), w.exit(at+1)))
			time.Sleep(2 * time.Second)
			return p.path(t, run, at+0.5)
		}
		require.Equal(t, "always", written("always"))
		require.Equal(t, "first", written("first"))
		require.Equal(t, "other", written("second"))
		for range 25 {
			time.Sleep(time.Minute)
			require.Equal(t, "always", written("always"))
		}
		assert.Equal(t, "second", written("second"), "the first one was not written for two windows")
		assert.Equal(t, "always", written("always"), "this one was")
		assert.Equal(t, "other", written("third"))
		p.shutdown(t)
	})
}

// A program that makes up ever new paths leaves those alone that are in use.
func TestNewPathsDoNotReplaceThoseInUse(t *testing.T) {
	p := startPipelines(t, func(cfg *Config) { cfg.Limits.MaxPaths = 3 })
	run := &program{session: "run"}
	w := run.worker(1)
	for i := range 20 {
		at := float64(10 * i)
		p.passLogs(t, records(t, w.enter(at, "step"), w.exit(at+1), w.enter(at+2, fmt.Sprint("step ", i)), w.exit(at+3), run.event("sample", at+9)))
		want := any(fmt.Sprint("step ", i))
		if i > 1 {
			want = "other"
		}
		require.Equal(t, "step", p.path(t, run, at+0.5))
		require.Equal(t, want, p.path(t, run, at+2.5))
	}
	assert.Equal(t, int64(3), valueOf(t, p.telemetry, "otelcol_processor_phase_attr_paths", "processor", "phase_attr"))
	assert.Equal(t, int64(18), valueOf(t, p.telemetry, "otelcol_processor_phase_attr_other_paths", "processor", "phase_attr"))
}
