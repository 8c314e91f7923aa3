// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/phaseattr/phaseattr/cmd/phasegen/format"
	"github.com/phaseattr/phaseattr/cmd/phasegen/job"
)

// liveCase is a job that reports its phases in a format.
type liveCase struct {
	name, sources string
	plan          job.Plan
	format        func(*job.Job) format.Format
	// label is what the processor calls the innermost phase of a path.
	label func(path []string) string
	// delay is how long a process waits before it writes what has happened.
	delay time.Duration
	// lost is the share of what is written of boundaries that is lost.
	lost float64
	// reading is how often a GPU is read.
	reading time.Duration
}

func liveCases() []liveCase {
	joined := func(path []string) string { return strings.Join(path, " / ") }
	megatron := func(path []string) string {
		name := path[len(path)-1]
		if name == "megatron.train" {
			return ""
		}
		for _, head := range []string{"megatron.train.", "megatron."} {
			if rest, ok := strings.CutPrefix(name, head); ok {
				return strings.ReplaceAll(rest, ".", " / ")
			}
		}
		return name
	}
	inStep := func(path []string) string { return joined(path[min(1, len(path)):]) } // without the root
	return []liveCase{
		{name: "megatron", sources: "[{preset: megatron}]", plan: format.MegatronPlan(), format: format.Megatron, label: megatron},
		{
			name: "torchtitan", sources: "[{preset: torchtitan}]", plan: format.TorchTitanPlan(), label: joined,
			format: func(j *job.Job) format.Format { return format.TorchTitan{Job: j} },
		},
		{
			name: "otel", sources: "[{preset: otel, spans: {exclude: [train], path: {roots: [step]}}}]",
			plan: format.Training(), format: format.OTel, label: inStep,
		},
	}
}

// TestGPUsOfLiveJobsAreAnswered runs jobs whose processes write their phases with a delay, and
// compares the answers to the points of their GPUs, which come at once, with the truth.
func TestGPUsOfLiveJobsAreAnswered(t *testing.T) {
	for _, c := range liveCases() {
		c.reading = time.Second
		for _, c.delay = range []time.Duration{500 * time.Millisecond, 5 * time.Second} {
			t.Run(fmt.Sprint(c.name, " ", c.delay), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					shares, _ := c.run(t)
					t.Log(shares)
					assert.GreaterOrEqual(t, shares.of("right"), 0.97)
					assert.LessOrEqual(t, shares.of("wrong"), 0.005)
				})
			})
		}
	}
}

// liveShares counts the points by what became of them.
type liveShares map[string]int

func (v liveShares) of(verdict string) float64 {
	total := 0
	for _, n := range v {
		total += n
	}
	return float64(v[verdict]) / float64(max(total, 1))
}

func (v liveShares) String() string {
	return fmt.Sprintf("right %.2f%%, wrong %.2f%%, none %.2f%%, ambiguous %.2f%%",
		100*v.of("right"), 100*v.of("wrong"), 100*v.of("none"), 100*v.of("ambiguous"))
}

// reading is a moment at which a GPU is read.
type gpuReading struct {
	uuid string
	at   int64
}

// run runs the job. It returns what its points are answered while it runs, and what they would be
// after all has come.
func (c *liveCase) run(t *testing.T) (live, later liveShares) {
	t.Helper()
	p := startPipelines(t, withGrace, withSources(t, c.sources))
	j := job.New(job.Config{
		Ranks: 8, Nodes: 1, GPUsPerNode: 8, Step: 800 * time.Millisecond, Start: time.Now(), Duration: time.Minute,
		Sample: time.Second, Reading: c.reading, Seed: 1, Plan: c.plan,
	})
	trainer := c.format(j)
	waiting := map[*job.Process][]*job.Event{} // what the processes have not written
	due := map[*job.Process]time.Time{}
	now := map[string][]string{} // the phases of each GPU
	truth := map[gpuReading]string{}
	last := map[string]time.Time{} // until when a GPU's process has written
	random, read := rand.New(rand.NewPCG(7, 7)), format.NewBatch()
	for e := range j.Events() {
		c.write(t, p, trainer, waiting, due, time.Unix(0, e.At))
		time.Sleep(time.Until(time.Unix(0, e.At)))
		switch e.Kind {
		case job.DeviceReading:
			truth[gpuReading{e.Rank.UUID, e.At}] = c.truth(now[e.Rank.UUID])
			require.NoError(t, p.metrics.ConsumeMetrics(t.Context(), format.NewBatch().Append(format.DCGM{}, e).Metrics))
			read.Append(format.DCGM{}, e)
			continue
		case job.ProcessReading:
			continue
		case job.Enter:
			now[e.Rank.UUID] = e.Scope.Path
		case job.Exit:
			now[e.Rank.UUID] = e.Scope.Path[:len(e.Scope.Path)-1]
			last[e.Rank.UUID] = time.Unix(0, e.At)
		}
		if e.Kind.Boundary() && random.Float64() < c.lost {
			continue
		}
		if len(waiting[e.Process]) == 0 {
			due[e.Process] = time.Unix(0, e.At).Add(c.delay)
		}
		waiting[e.Process] = append(waiting[e.Process], e)
	}
	c.write(t, p, trainer, waiting, due, time.Now().Add(time.Hour))
	time.Sleep(time.Minute)
	live = c.judge(p, truth, last)
	p.metricsSink.Reset()
	require.NoError(t, p.metrics.ConsumeMetrics(t.Context(), read.Metrics))
	time.Sleep(time.Minute)
	return live, c.judge(p, truth, last)
}

func (c *liveCase) truth(path []string) string {
	if len(path) == 0 {
		return ""
	}
	return c.label(path)
}

// write writes what is due until a time.
func (c *liveCase) write(
	t *testing.T, p *pipelines, trainer format.Format, waiting map[*job.Process][]*job.Event, due map[*job.Process]time.Time, until time.Time,
) {
	t.Helper()
	var ready []*job.Process
	for process := range waiting {
		if !due[process].After(until) {
			ready = append(ready, process)
		}
	}
	slices.SortFunc(ready, func(a, b *job.Process) int {
		if order := due[a].Compare(due[b]); order != 0 {
			return order
		}
		return a.PID - b.PID
	})
	for _, process := range ready {
		time.Sleep(time.Until(due[process]))
		batch := format.NewBatch().Append(trainer, waiting[process]...)
		delete(waiting, process)
		if batch.Traces.SpanCount() > 0 {
			require.NoError(t, p.traces.ConsumeTraces(t.Context(), batch.Traces))
		}
		if batch.Logs.LogRecordCount() > 0 {
			require.NoError(t, p.logs.ConsumeLogs(t.Context(), batch.Logs))
		}
	}
}

// judge compares the points that came out with the truth.
func (c *liveCase) judge(p *pipelines, truth map[gpuReading]string, last map[string]time.Time) liveShares {
	found := liveShares{}
	for _, md := range p.metricsSink.AllMetrics() {
		for _, resource := range md.ResourceMetrics().All() {
			for _, metric := range resource.ScopeMetrics().At(0).Metrics().All() {
				for _, point := range metric.Gauge().DataPoints().All() {
					uuid, at := text(point.Attributes(), "UUID"), int64(point.Timestamp())
					want, said := truth[gpuReading{uuid, at}], got(point.Attributes())
					switch {
					case said == want, said == "-" && want == "", !last[uuid].After(time.Unix(0, at)) && said == "-":
						found["right"]++
					case said == "(ambiguous)":
						found["ambiguous"]++
					case said == "-":
						found["none"]++
					default:
						found["wrong"]++
					}
				}
			}
		}
	}
	return found
}
