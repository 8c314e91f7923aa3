// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package job_test

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/phaseattr/phaseattr/cmd/phasegen/format"
	"github.com/phaseattr/phaseattr/cmd/phasegen/job"
)

func plans() map[string]job.Plan {
	return map[string]job.Plan{
		"training": format.Training(), "megatron": format.MegatronPlan(),
		"torchtitan": format.TorchTitanPlan(), "nemo_rl": format.NeMoRLPlan(),
	}
}

// configs generates jobs of a few ranks and seconds.
func configs() *rapid.Generator[job.Config] {
	return rapid.Custom(func(t *rapid.T) job.Config {
		step := time.Duration(rapid.IntRange(50, 700).Draw(t, "step")) * time.Millisecond
		restarts := rapid.IntRange(0, 2).Draw(t, "restarts")
		names := []string{"training", "megatron", "torchtitan", "nemo_rl"}
		plan := plans()[rapid.SampledFrom(names).Draw(t, "plan")]
		plan.Thread = format.Training().Thread
		return job.Config{
			Ranks:       rapid.IntRange(1, 9).Draw(t, "ranks"),
			GPUsPerNode: rapid.IntRange(1, 4).Draw(t, "gpus"),
			Step:        step,
			Start:       time.Unix(1_795_000_000, 0),
			Duration:    step*time.Duration(2*restarts+2) + time.Duration(rapid.IntRange(0, 1000).Draw(t, "more"))*time.Millisecond,
			Sample:      300 * time.Millisecond,
			Reading:     200 * time.Millisecond,
			Forks:       rapid.IntRange(0, 2).Draw(t, "forks"),
			Threads:     rapid.IntRange(0, 2).Draw(t, "threads"),
			Restarts:    restarts,
			Stragglers:  rapid.IntRange(0, 2).Draw(t, "stragglers"),
			ClockSkew:   time.Duration(rapid.IntRange(0, 100).Draw(t, "skew")) * time.Millisecond,
			Seed:        rapid.Uint64().Draw(t, "seed"),
			Plan:        plan,
		}
	})
}

func events(c job.Config) []job.Event {
	var all []job.Event
	for e := range job.New(c).Events() {
		all = append(all, *e)
	}
	return all
}

// The same configuration gives the same events.
func TestJobIsAFunctionOfItsConfig(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := configs().Draw(t, "config")
		require.NoError(t, c.Validate())
		first, again := events(c), events(c)
		assert.Equal(t, first, again)
	})
}

func TestSeedSelectsTheJob(t *testing.T) {
	c := job.Config{
		Ranks: 1, GPUsPerNode: 1, Step: time.Second, Start: time.Unix(1_795_000_000, 0), Duration: 5 * time.Second,
		Sample: time.Second, Reading: time.Second, Plan: format.Training(),
	}
	other := c
	other.Seed = 1
	assert.NotEqual(t, job.New(c).Session, job.New(other).Session)
	assert.NotEqual(t, events(c)[4].At, events(other)[4].At)
}

// checker checks the events of a process.
type checker struct {
	threads          [3]threadChecker
	sequence         int64
	previous         int64
	started, stopped bool
	numbers          map[int64]bool
}

// threadChecker checks the events of a thread.
type threadChecker struct {
	stack     []*job.Scope
	inherited *job.Scope
	at        int64
}

// innermost returns the scope that the thread is in.
func (c *threadChecker) innermost() *job.Scope {
	if n := len(c.stack); n > 0 {
		return c.stack[n-1]
	}
	return c.inherited
}

func (c *checker) check(t *rapid.T, e *job.Event) {
	thread := &c.threads[0]
	if e.Scope != nil {
		thread = &c.threads[e.Scope.Thread]
	}
	require.Greater(t, e.At, thread.at, "times of a thread are unique")
	thread.at = e.At
	require.False(t, c.stopped, "nothing follows the end of a process")
	if e.Process.Worker == 0 {
		require.Equal(t, e.Kind == job.Start, !c.started, "a process starts once, and first")
	}
	c.started = true
	switch e.Kind {
	case job.Enter:
		if e.Process.Worker > 0 && c.sequence == 0 {
			thread.inherited = e.Scope.Parent
		}
		thread.enter(t, e)
		require.False(t, c.numbers[e.Scope.Number], "numbers of a process are unique")
		c.numbers[e.Scope.Number] = true
	case job.Exit:
		require.NotEmpty(t, thread.stack)
		require.Same(t, thread.innermost(), e.Scope, "the innermost scope ends first")
		thread.stack = thread.stack[:len(thread.stack)-1]
	case job.Stop:
		for i := range c.threads {
			require.Empty(t, c.threads[i].stack, "a process that stops has left all phases")
		}
		c.stopped = true
	case job.Kill:
		c.stopped = true
	}
	if e.Kind.Boundary() {
		if c.sequence > 0 {
			require.Equal(t, c.sequence+1, e.Sequence)
			require.Equal(t, c.previous, e.Previous)
		}
		c.sequence, c.previous = e.Sequence, e.At
	}
}

// read checks a reading of the process.
func (c *checker) read(t *rapid.T, e *job.Event) {
	require.Same(t, c.threads[0].innermost(), e.Scope, "the scope of a reading")
	if c.sequence > 0 {
		require.Equal(t, c.previous, e.Previous)
	}
}

func (c *threadChecker) enter(t *rapid.T, e *job.Event) {
	parent := c.innermost()
	require.Same(t, parent, e.Scope.Parent)
	depth := 1
	if parent != nil {
		depth = len(parent.Path) + 1
		require.Equal(t, parent.Path, e.Scope.Path[:depth-1])
	}
	require.Len(t, e.Scope.Path, depth)
	require.Equal(t, e.At, e.Scope.Entered)
	c.stack = append(c.stack, e.Scope)
}

// Each process is in order, whatever the job.
func TestEventsOfAProcess(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		config := configs().Draw(t, "config")
		j := job.New(config)
		start, end := config.Start.UnixNano(), config.Start.Add(config.Duration).UnixNano()
		checkers := map[*job.Process]*checker{}
		last := int64(0)
		readings := 0
		for e := range j.Events() {
			if e.At < last || e.At < start {
				t.Fatalf("an event at %d follows one at %d of a job that begins at %d", e.At, last, start)
			}
			last = e.At
			if e.Kind.Reading() {
				require.Less(t, e.At, end)
				readings++
				if e.Process != nil {
					checkers[e.Process].read(t, e)
				}
				continue
			}
			if checkers[e.Process] == nil {
				checkers[e.Process] = &checker{numbers: map[int64]bool{}}
			}
			checkers[e.Process].check(t, e)
		}
		mains := 0
		for p, c := range checkers {
			if p.Worker == 0 {
				mains++
				require.True(t, c.stopped, "a process ends")
			}
		}
		assert.Equal(t, config.Ranks*(config.Restarts+1), mains)
		assert.GreaterOrEqual(t, readings, config.Ranks*int(config.Duration/config.Reading))
	})
}

// No two processes of a host have the same ID, and no two GPUs the same UUID.
func TestIdentitiesAreUnique(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type hostPID struct {
			host string
			pid  int
		}
		j := job.New(configs().Draw(t, "config"))
		processes := map[hostPID]*job.Process{}
		uuids := map[string]bool{}
		for _, r := range j.World {
			require.False(t, uuids[r.UUID])
			uuids[r.UUID] = true
		}
		for e := range j.Events() {
			if e.Process == nil {
				continue
			}
			key := hostPID{e.Rank.Host, e.Process.PID}
			require.True(t, processes[key] == nil || processes[key] == e.Process)
			processes[key] = e.Process
		}
	})
}

// A slow rank takes longer in its phases; the others wait for it, so that all begin the
// next step together.
func TestRanksWaitForStragglers(t *testing.T) {
	c := job.Config{
		Ranks: 8, GPUsPerNode: 8, Step: time.Second, Start: time.Unix(1_795_000_000, 0), Duration: 20 * time.Second,
		Sample: time.Second, Reading: time.Second, Stragglers: 1, Seed: 3, Plan: format.Training(),
	}
	waited := map[*job.Rank]int64{}
	begins := map[int64][]int64{}
	for e := range job.New(c).Events() {
		switch {
		case e.Kind == job.Exit && e.Scope.Name() == "all_reduce":
			waited[e.Rank] += e.At - e.Scope.Entered
		case e.Kind == job.Enter && e.Scope.Name() == "step":
			begins[e.Scope.Step] = append(begins[e.Scope.Step], e.At)
		}
	}
	var slow, fast []int64
	for r, duration := range waited {
		if r.Slow {
			slow = append(slow, duration)
		} else {
			fast = append(fast, duration)
		}
	}
	require.Len(t, slow, 1)
	assert.Less(t, 2*slow[0], slices.Min(fast))
	for step, times := range begins {
		require.Len(t, times, 8, "step %d", step)
		assert.Less(t, slices.Max(times)-slices.Min(times), int64(time.Millisecond), "step %d", step)
	}
}

// A killed job leaves phases open and starts again with other processes of the same session.
func TestRestart(t *testing.T) {
	c := job.Config{
		Ranks: 2, GPUsPerNode: 2, Step: 100 * time.Millisecond, Start: time.Unix(1_795_000_000, 0), Duration: 4 * time.Second,
		Sample: time.Second, Reading: time.Second, Restarts: 1, Plan: format.Training(),
	}
	var kinds []job.Kind
	pids := map[int]bool{}
	for e := range job.New(c).Events() {
		if e.Rank.Number == 0 && (e.Kind == job.Start || e.Kind == job.Stop || e.Kind == job.Kill) {
			kinds = append(kinds, e.Kind)
			pids[e.Process.PID] = true
		}
	}
	assert.Equal(t, []job.Kind{job.Start, job.Kill, job.Start, job.Stop}, kinds)
	assert.Len(t, pids, 2)
}

// The phases of a step without those that only some steps have fill the step.
func TestPlansFillTheStep(t *testing.T) {
	var total func(phases []job.Phase) float64
	total = func(phases []job.Phase) float64 {
		sum := 0.0
		for _, p := range phases {
			if p.Every <= 1 {
				sum += p.Share + total(p.Phases)
			}
		}
		return sum
	}
	for name, plan := range plans() {
		assert.InDelta(t, 1, total(plan.Step), 1e-9, name)
	}
}

// A job of many ranks is not held in memory: reading its first events is quick.
func TestEventsAreGeneratedAsTheyAreRead(t *testing.T) {
	c := job.Config{
		Ranks: 100, GPUsPerNode: 8, Step: time.Millisecond, Start: time.Unix(1_795_000_000, 0), Duration: 10 * 365 * 24 * time.Hour,
		Sample: time.Second, Reading: time.Second, Plan: format.Training(),
	}
	read := 0
	for range job.New(c).Events() {
		read++
		if read == 10_000 {
			break
		}
	}
	assert.Equal(t, 10_000, read)
}

func TestValidateNamesTheFlagAndTheValue(t *testing.T) {
	valid := job.Config{
		Ranks: 8, GPUsPerNode: 8, Step: time.Second, Duration: time.Minute, Sample: time.Second, Reading: time.Second,
	}
	require.NoError(t, valid.Validate())
	for want, change := range map[string]func(*job.Config){
		"gpus-per-node must be between 1 and 1024 (got 0)":                func(c *job.Config) { c.GPUsPerNode = 0 },
		"nodes must be between 0 and 1000000 (got -1)":                    func(c *job.Config) { c.Nodes = -1 },
		"ranks must be between 0 and 1000000 (got -1)":                    func(c *job.Config) { c.Ranks, c.Nodes = -1, 1 },
		"ranks must be positive unless nodes is (got 0)":                  func(c *job.Config) { c.Ranks = 0 },
		"ranks must be at most 8, the number of GPUs of 1 nodes (got 9)":  func(c *job.Config) { c.Ranks, c.Nodes = 9, 1 },
		"forks must be between 0 and 64 (got 65)":                         func(c *job.Config) { c.Forks = 65 },
		"restarts must be between 0 and 100 (got -1)":                     func(c *job.Config) { c.Restarts = -1 },
		"stragglers must be 0 or more (got -1)":                           func(c *job.Config) { c.Stragglers = -1 },
		"step must be positive (got 0s)":                                  func(c *job.Config) { c.Step = 0 },
		"duration must be positive (got -1s)":                             func(c *job.Config) { c.Duration = -time.Second },
		"duration must be at least 4s, two steps for each start (got 3s)": func(c *job.Config) { c.Restarts, c.Duration = 1, 3*time.Second },
		"sample must be positive (got 0s)":                                func(c *job.Config) { c.Sample = 0 },
		"scrape must be positive (got 0s)":                                func(c *job.Config) { c.Reading = 0 },
		"clock-skew must be 0 or more (got -1s)":                          func(c *job.Config) { c.ClockSkew = -time.Second },
	} {
		c := valid
		change(&c)
		require.EqualError(t, c.Validate(), want)
	}
}
