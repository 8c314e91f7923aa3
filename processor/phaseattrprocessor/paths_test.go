// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"fmt"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/metric/metricdata/metricdatatest"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/metadatatest"
)

// steps is a program whose code puts the step's number into the phase's name: at
// second n it is in train / step n.
func steps(t *testing.T, p *pipelines, run *program, n int) {
	t.Helper()
	w := run.worker(1)
	events := []object{w.enter(0, "train")}
	for i := 1; i <= n; i++ {
		events = append(events, w.enter(float64(i)-0.2, fmt.Sprint("step ", i)), w.exit(float64(i)+0.2))
	}
	p.passLogs(t, records(t, events...))
}

func TestPathsOnDataPointsAreBounded(t *testing.T) {
	p := startPipelines(t, func(cfg *Config) { cfg.MaxPaths = 2 })
	run := &program{session: "run"}
	steps(t, p, run, 4)
	var paths []any
	for i := range 4 {
		for range 2 { // what was written before is written again
			paths = append(paths, attributesOfMetrics(p.passMetrics(t, run.gauge(float64(i+1))))[0]["phase_path"])
		}
	}
	assert.Equal(t, []any{
		"train / step 1", "train / step 1", "train / step 2", "train / step 2", "other", "other", "other", "other",
	}, paths)
	assert.Equal(t, "train / step 4", attributesOfTraces(p.passTraces(t, run.spans(3.9, 4.1)))[0]["phase_path"], "spans keep theirs")
	metadatatest.AssertEqualProcessorPhaseAttrPaths(t, p.telemetry,
		[]metricdata.DataPoint[int64]{{Value: 2}}, metricdatatest.IgnoreTimestamp())
	metadatatest.AssertEqualProcessorPhaseAttrOtherPaths(t, p.telemetry,
		[]metricdata.DataPoint[int64]{{Value: 4}}, metricdatatest.IgnoreTimestamp())
}

func TestPathsOnDataPointsAreCut(t *testing.T) {
	p := startPipelines(t, everyAttribute, func(cfg *Config) { cfg.MaxPathDepth = 1 })
	run := &program{session: "run"}
	steps(t, p, run, 1)
	point := attributesOfMetrics(p.passMetrics(t, run.gauge(1)))[0]
	assert.Equal(t, "train", point["phase_path"])
	assert.Equal(t, []any{"train"}, point["phase_paths"])
	assert.Equal(t, "train", point["phase_label"])
	assert.Equal(t, "train / step 1", attributesOfTraces(p.passTraces(t, run.spans(0.9, 1.1)))[0]["phase_path"], "spans keep theirs")
}

func TestMetricsThatAreAnsweredAreChosenByName(t *testing.T) {
	for name, tc := range map[string]struct {
		metrics MetricsConfig
		want    []string
	}{
		"all":                   {MetricsConfig{}, []string{"gpu.power", "gpu.temperature", "cpu.time"}},
		"included":              {MetricsConfig{Include: []string{"gpu.*"}}, []string{"gpu.power", "gpu.temperature"}},
		"excluded":              {MetricsConfig{Exclude: []string{"*.temperature"}}, []string{"gpu.power", "cpu.time"}},
		"included and excluded": {MetricsConfig{Include: []string{"gpu.*"}, Exclude: []string{"gpu.temp*"}}, []string{"gpu.power"}},
		"none":                  {MetricsConfig{Include: []string{"hw.*"}}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			p := startPipelines(t, func(cfg *Config) { cfg.Metrics = tc.metrics })
			run := &program{session: "run"}
			p.passLogs(t, records(t, run.worker(1).enter(0, "train")))
			md := pmetric.NewMetrics()
			for _, metric := range []string{"gpu.power", "gpu.temperature", "cpu.time"} {
				one := run.gauge(1)
				one.ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().At(0).SetName(metric)
				one.ResourceMetrics().MoveAndAppendTo(md.ResourceMetrics())
			}
			var answered []string
			for _, resource := range p.passMetrics(t, md).ResourceMetrics().All() {
				metric := resource.ScopeMetrics().At(0).Metrics().At(0)
				if _, ok := metric.Gauge().DataPoints().At(0).Attributes().Get("phase_path"); ok {
					answered = append(answered, metric.Name())
				}
			}
			assert.Equal(t, tc.want, answered)
		})
	}
}

func TestPathsAreAdmittedByManyAtOnce(t *testing.T) {
	const bound, callers, paths = 50, 8, 200
	book := newPathBook(bound)
	var wg sync.WaitGroup
	admitted := make([]map[string]bool, callers)
	for i := range callers {
		admitted[i] = map[string]bool{}
		wg.Go(func() {
			for j := range paths {
				admitted[i][book.admit(strconv.Itoa(j))] = true
			}
		})
	}
	wg.Wait()
	require.Equal(t, int64(bound), book.len())
	all := map[string]bool{}
	for _, some := range admitted {
		for path := range some {
			all[path] = true
		}
	}
	assert.Len(t, all, bound+1)
	assert.True(t, all[otherPath])
}
