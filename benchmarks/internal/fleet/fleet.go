// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

// Package fleet has the jobs that the benchmarks run, and the telemetry of their ranks
// beside the boundaries.
package fleet

import (
	"iter"
	"time"

	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/phaseattr/phaseattr/cmd/phasegen/format"
	"github.com/phaseattr/phaseattr/cmd/phasegen/job"
)

const (
	// GPUsPerNode is the number of ranks on a node, RanksPerJob that of a job at most.
	GPUsPerNode, RanksPerJob = 8, 1000
	// BoundariesPerStep is the number of boundaries in a step, Step its usual duration.
	BoundariesPerStep, Step = 20, 500 * time.Millisecond
	// BoundariesPerSecond is the rate of a rank with usual steps.
	BoundariesPerSecond = int(BoundariesPerStep * time.Second / Step)

	// interval is the time that a batch of telemetry covers.
	interval = 5 * time.Second
)

// plan has evenly spaced boundaries, all within one phase that does not end. Phases can be
// shorter than planned, so that there is time between two steps.
func plan() job.Plan {
	const share = 1. / (BoundariesPerStep - 1)
	return job.Plan{
		Root: "train",
		Step: []job.Phase{{Name: "step", Share: 5 * share, Phases: []job.Phase{
			{Name: "load_batch", Share: share},
			{Name: "forward", Share: 4 * share, Phases: []job.Phase{
				{Name: "attention", Share: share}, {Name: "mlp", Share: share}, {Name: "loss", Share: share},
			}},
			{Name: "backward", Share: 3 * share, Phases: []job.Phase{
				{Name: "gradients", Share: share}, {Name: "all_reduce", Share: share},
			}},
			{Name: "optimizer_step", Share: share},
		}}},
	}
}

// New returns a job that runs for a number of steps. The configuration has the number of
// ranks, the start and the interval of the readings; a step takes as long as usual unless it
// says otherwise. Jobs of different numbers share neither a session nor a node.
func New(number, steps int, c job.Config) *job.Job {
	if c.Step == 0 {
		c.Step = Step
	}
	c.GPUsPerNode, c.FirstNode = GPUsPerNode, number*RanksPerJob/GPUsPerNode
	c.Duration = time.Duration(steps)*c.Step + c.Step/2 // no time for another step
	c.Sample = 2 * c.Duration                           // never
	if c.Reading == 0 {
		c.Reading = c.Duration
	}
	c.Seed, c.Plan = uint64(number), plan() //nolint:gosec // not negative
	return job.New(c)
}

// Jobs returns jobs with a number of ranks in total.
func Jobs(ranks, steps int, c job.Config) []*job.Job {
	var jobs []*job.Job
	for ; ranks > 0; ranks -= RanksPerJob {
		c.Ranks = min(ranks, RanksPerJob)
		jobs = append(jobs, New(len(jobs), steps, c))
	}
	return jobs
}

// Batches returns the boundaries of a job from a step on, in batches of one rank: the first step
// of each rank, then the second one. Step 0 is the begin of the outermost phase.
func Batches(j *job.Job, from int64) iter.Seq2[*job.Rank, plog.Logs] {
	return func(yield func(*job.Rank, plog.Logs) bool) {
		f := format.Stormlog{Job: j, Terse: true}
		open := make([]*format.Batch, len(j.World))
		for e := range j.Events() {
			if !e.Kind.Boundary() || e.Scope.Step < from {
				continue
			}
			b := &open[e.Rank.Number]
			if *b == nil {
				*b = format.NewBatch()
			}
			f.Append(*b, e)
			if depth := len(e.Scope.Path); e.Kind == job.Enter && depth == 1 || e.Kind == job.Exit && depth == 2 {
				if !yield(e.Rank, (*b).Logs) {
					return
				}
				*b = nil
			}
		}
	}
}

// Readings returns the readings of the processes of a job, for batches of telemetry that
// follow one another up to a time.
func Readings(j *job.Job, until time.Time, batches int) [][]*job.Event {
	from := until.Add(-time.Duration(batches) * interval).UnixNano()
	all := make([][]*job.Event, batches)
	for e := range j.Events() {
		if e.At >= until.UnixNano() {
			break
		}
		if e.Kind == job.ProcessReading && e.At >= from {
			i := (e.At - from) / int64(interval)
			all[i] = append(all[i], e)
		}
	}
	return all
}
