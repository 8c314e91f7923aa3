// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
)

// TestReloadAppliesTheNewConfiguration changes the configuration file and sends SIGHUP,
// twice: the collector keeps running and annotates the runs that follow according to the
// new configuration.
func TestReloadAppliesTheNewConfiguration(t *testing.T) {
	const plain, withSource = "[phase_resolution, phase_path]", "[phase_resolution, phase_path, phase_source]"
	file := filepath.Join(t.TempDir(), "attributes.yaml")
	configure := func(attributes string) {
		require.NoError(t, os.WriteFile(file, []byte("processors: {phase_attr: {attributes: "+attributes+"}}\n"), 0o600))
	}

	configure(plain)
	c := start(t, nil, file)
	want := annotations{}
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
		for _, expected := range []annotations{run.expectedLogs(), run.expectedMetrics(t)} {
			if step.attributes == withSource {
				run.addSource(expected)
			}
			want.add(expected)
		}
		assert.Equal(t, map[string]int{"accepted": len(run.scopes) * 2},
			c.counts(t, "otelcol_processor_phase_attr_boundaries", "outcome"), "boundaries since the reload")
	}
	c.stop(t)

	got := logAnnotations(t, c.logs(t, "logs"))
	got.add(metricAnnotations(t, c.metrics(t, "metrics")))
	compare(t, "logs and metrics", want, got)
	nothingElse(t, "logs and metrics", got)
}

// TestReloadLosesNothing reloads while batches of all signals wait: each record is
// forwarded once, annotated with what is known by then. After the reload, the run is
// unknown until it is sent again.
func TestReloadLosesNothing(t *testing.T) {
	const batches = 240
	run := loadCapture(t, "single")
	first, newest, known := run.firstHalf(t)
	c := start(t, []string{"GRACE_PERIOD=1h", "MAX_BATCHES=10000"}, "grace.yaml")
	for reload := range 2 {
		c.send(t, run.logs(t, first))
		from, to := int64(reload)*batches, int64(reload+1)*batches
		for id := from; id < to; id++ {
			c.send(t, run.numbered(id, newest))
		}
		assert.Len(t, c.numberedRecords(t), int(from*batchSize), "records that should wait")
		c.signal(t, syscall.SIGHUP)
		c.waitUntilReady(t, reload+2)
		assert.Len(t, c.numberedRecords(t), int(to*batchSize), "records received by the end of the reload")
	}
	c.send(t, run.numbered(2*batches, newest)) // log records of an unknown run do not wait
	c.eventually(t, "the last batch", func() bool { return len(c.numberedRecords(t)) > 2*batches*batchSize })
	c.send(t, run.logs(t, run.events))
	for _, md := range run.metrics(t) {
		c.send(t, md)
	}
	c.stop(t)

	received := c.numberedRecords(t)
	assert.Len(t, received, (2*batches+1)*batchSize)
	for record, got := range received {
		want := known
		if record >= 2*batches*batchSize {
			want = annotation{}
		}
		assert.Equal(t, []annotation{want}, got, "record %d", record)
	}
	got := metricAnnotations(t, slices.DeleteFunc(c.metrics(t, "metrics"), isNumbered))
	compare(t, "metrics of the run", run.expectedMetrics(t), got)
	nothingElse(t, "metrics of the run", got)
}

// isNumbered reports whether a batch has numbered records.
func isNumbered(md pmetric.Metrics) bool {
	numbered := false
	eachDataPoint([]pmetric.Metrics{md}, func(_ pcommon.Map, _ pmetric.Metric, dp pmetric.NumberDataPoint) {
		_, has := dp.Attributes().Get("record")
		numbered = numbered || has
	})
	return numbered
}

// addSource adds phase_source according to the reference.
func (c *capture) addSource(expected annotations) {
	for k, want := range expected {
		if source := c.reference[k.from]; source != nil && source.Source != "" {
			want["phase_source"] = source.Source
		}
	}
}
