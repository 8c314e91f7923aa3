// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestReloadTakesTheNewConfiguration changes the configuration file and sends SIGHUP,
// twice: the collector keeps running, and answers the runs that are sent after it as
// the new configuration says.
func TestReloadTakesTheNewConfiguration(t *testing.T) {
	const plain, withSource = "[phase_resolution, phase_path]", "[phase_resolution, phase_path, phase_source]"
	file := filepath.Join(t.TempDir(), "attributes.yaml")
	configure := func(attributes string) {
		require.NoError(t, os.WriteFile(file, []byte("processors: {phase_attr: {attributes: "+attributes+"}}\n"), 0o600))
	}

	configure(plain)
	c := start(t, nil, file)
	want := answers{}
	for i, step := range []struct {
		run, attributes string
	}{
		{"single", plain},
		{"rank0", withSource},
		{"rank1", plain},
	} {
		if i > 0 {
			configure(step.attributes)
			c.signal(t, syscall.SIGHUP)
			c.waitUntilReady(t, i+1)
		}
		run := loadCapture(t, step.run)
		c.send(t, run.logs(t, run.events))
		for _, md := range run.metrics(t) {
			c.send(t, md)
		}
		for _, expected := range []answers{run.expectedOfLogs(), run.expectedOfMetrics(t)} {
			if step.attributes == withSource {
				run.addSource(expected)
			}
			want.add(expected)
		}
		assert.Equal(t, map[string]int{"accepted": len(run.scopes) * 2},
			c.counts(t, "otelcol_processor_phase_attr_boundaries", "outcome"), "boundaries since the reload")
	}
	c.stop(t)

	got := answersOfLogs(t, c.logs(t, "logs"))
	got.add(answersOfMetrics(t, c.metrics(t, "metrics")))
	compare(t, "logs and metrics", want, got)
	nothingElse(t, "logs and metrics", got)
}

// addSource adds what the reference says that its answers rest on.
func (c *capture) addSource(expected answers) {
	for k, given := range expected {
		if source := c.reference[k.from]; source != nil && source.Source != "" {
			given["phase_source"] = source.Source
		}
	}
}
