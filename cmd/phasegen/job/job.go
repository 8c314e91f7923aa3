// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

// Package job models a training job: its ranks, the phases that each process of them
// is in, and what its GPUs do meanwhile. It knows nothing of formats and transports.
//
// A job is a function of its [Config]: the same seed gives the same events. Events are
// generated as they are read, so that a job of any size needs memory for its processes
// only.
package job

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

// Config describes a job.
type Config struct {
	// Ranks is the number of ranks. 0 means one for each GPU.
	Ranks int
	// Nodes is the number of nodes. 0 means as many as the ranks need.
	Nodes int
	// GPUsPerNode is the number of GPUs of a node.
	GPUsPerNode int
	// FirstNode is the number of the first node, so that jobs need not share nodes.
	FirstNode int
	// Step is the duration of a step if no rank is slow.
	Step time.Duration
	// Start is when the job starts, Duration how long it takes.
	Start    time.Time
	Duration time.Duration
	// Sample is the interval at which each process reports that it is alive.
	Sample time.Duration
	// Reading is the interval in which GPUs and processes are read once, at any time.
	Reading time.Duration
	// Forks is the number of worker processes that each rank forks.
	Forks int
	// Threads is the number of further threads of each process that trains. Their phases
	// overlap those of the main thread.
	Threads int
	// Restarts is how often the whole job is killed and starts again.
	Restarts int
	// Stragglers is the number of slow ranks.
	Stragglers int
	// ClockSkew is how far the clock of a node is off at most.
	ClockSkew time.Duration
	// Seed selects one of the jobs that fit the description.
	Seed uint64
	// Plan is the structure of the program.
	Plan Plan
}

// Limits of a job. Process IDs stay below those of other programs.
const (
	maxRanks       = 1_000_000
	maxGPUsPerNode = 1024
	maxForks       = 64
	maxRestarts    = 100
)

// Validate returns all problems of the configuration. It names the fields as the flags
// of phasegen.
func (c *Config) Validate() error {
	var errs []error
	check := func(ok bool, name string, value any, rule string) {
		if !ok {
			errs = append(errs, fmt.Errorf("%s must be %s (got %v)", name, rule, value))
		}
	}
	between := func(name string, value, from, to int) {
		check(value >= from && value <= to, name, value, fmt.Sprintf("between %d and %d", from, to))
	}
	positive := func(name string, value time.Duration) { check(value > 0, name, value, "positive") }

	between("gpus-per-node", c.GPUsPerNode, 1, maxGPUsPerNode)
	between("nodes", c.Nodes, 0, maxRanks)
	between("ranks", c.Ranks, 0, maxRanks)
	check(c.Ranks > 0 || c.Nodes > 0, "ranks", c.Ranks, "positive unless nodes is")
	if c.Ranks > 0 && c.Nodes > 0 && c.GPUsPerNode > 0 {
		check(c.Ranks <= c.Nodes*c.GPUsPerNode, "ranks", c.Ranks,
			fmt.Sprintf("at most %d, the number of GPUs of %d nodes", c.Nodes*c.GPUsPerNode, c.Nodes))
	}
	between("forks", c.Forks, 0, maxForks)
	between("restarts", c.Restarts, 0, maxRestarts)
	check(c.Stragglers >= 0, "stragglers", c.Stragglers, "0 or more")
	positive("step", c.Step)
	positive("duration", c.Duration)
	if shortest := 2 * c.Step * time.Duration(c.Restarts+1); c.Step > 0 && c.Duration > 0 && c.Restarts >= 0 {
		check(c.Duration >= shortest, "duration", c.Duration, fmt.Sprintf("at least %v, two steps for each start", shortest))
	}
	positive("sample", c.Sample)
	positive("scrape", c.Reading)
	check(c.ClockSkew >= 0, "clock-skew", c.ClockSkew, "0 or more")
	return errors.Join(errs...)
}

// Job is a training job.
type Job struct {
	Config
	// ID is the ID that the scheduler gave it, Session that of the run.
	ID, Session string
	// World are its ranks, by number.
	World []*Rank

	start, end int64
	startup    []*node
	root       *node // nil if there is none
	steps      []*node
	worker     *node
	thread     *node
}

// Rank is one rank of a job and the GPU that it uses.
type Rank struct {
	Number int
	// Host is the name of its node, GPU the index of its GPU there, which is also its
	// local rank.
	Host string
	GPU  int
	// UUID and PCI identify the GPU.
	UUID, PCI string
	// ClockOffset is how far the clock of the node is ahead, in nanoseconds.
	ClockOffset int64
	// Slow reports whether the rank is a straggler.
	Slow bool

	offset int64 // how much later than the others it begins a step
}

// Process is an operating system process of a rank.
type Process struct {
	*Rank
	PID int
	// Worker is 0 in the process that trains, and the number of a worker otherwise.
	Worker int
	// Incarnation is how often the job had been restarted before.
	Incarnation int
	// ThreadID is the ID of its main thread. Those of its other threads follow.
	ThreadID int64
	// Began is when it started.
	Began int64

	// innermost is the scope that its main thread is in, previous the time of its newest
	// boundary, or of its start, and sequence the number of that boundary.
	innermost          *Scope
	previous, sequence int64
}

// Scope is a phase that a process entered.
type Scope struct {
	// Process is the one that entered it, Thread the number of the thread: 0 is the main one.
	Process *Process
	Thread  int
	// Number is unique in the process. A forked worker inherits numbers.
	Number int64
	// Path are the names of the phase and of those around it, outermost first.
	Path   []string
	Parent *Scope
	// Step is the number of the step, or 0 outside.
	Step int64
	// Entered is when it was entered.
	Entered int64

	load float64
}

// ThreadID returns the ID of the thread that entered it.
func (s *Scope) ThreadID() int64 { return s.Process.ThreadID + int64(s.Thread) }

// Name returns the name of the phase.
func (s *Scope) Name() string { return s.Path[len(s.Path)-1] }

// New returns the job that a valid configuration describes.
func New(c Config) *Job {
	if c.Nodes == 0 {
		c.Nodes = (c.Ranks + c.GPUsPerNode - 1) / c.GPUsPerNode
	}
	if c.Ranks == 0 {
		c.Ranks = c.Nodes * c.GPUsPerNode
	}
	random := rand.New(rand.NewPCG(c.Seed, 0))
	j := &Job{
		Config:  c,
		ID:      fmt.Sprintf("job-%06d", random.IntN(1_000_000)),
		Session: uuid(random),
		World:   make([]*Rank, c.Ranks),
		start:   c.Start.UnixNano(),
		end:     c.Start.Add(c.Duration).UnixNano(),
		startup: newNodes(nil, c.Plan.Startup),
	}
	var around []string
	if c.Plan.Root != "" {
		j.root = newNodes(nil, []Phase{{Name: c.Plan.Root}})[0]
		around = j.root.path
	}
	j.steps = newNodes(around, c.Plan.Step)
	j.worker = newNodes(around, []Phase{c.Plan.Worker})[0]
	j.thread = newNodes(nil, []Phase{c.Plan.Thread})[0]
	clock := int64(0)
	for i := range j.World {
		if i%c.GPUsPerNode == 0 && c.ClockSkew > 0 {
			clock = random.Int64N(2*int64(c.ClockSkew)+1) - int64(c.ClockSkew)
		}
		j.World[i] = j.newRank(random, i, clock)
	}
	for _, i := range random.Perm(c.Ranks)[:min(c.Stragglers, c.Ranks)] {
		j.World[i].Slow = true
	}
	return j
}

func (j *Job) newRank(random *rand.Rand, number int, clock int64) *Rank {
	gpu := number % j.GPUsPerNode
	return &Rank{
		Number:      number,
		Host:        fmt.Sprintf("gpu-node-%04d", j.FirstNode+number/j.GPUsPerNode),
		GPU:         gpu,
		UUID:        "GPU-" + uuid(random),
		PCI:         fmt.Sprintf("%08X:%02X:00.0", gpu/0x80, 0x18+gpu%0x80),
		ClockOffset: clock,
		offset:      random.Int64N(min(int64(time.Millisecond), 1+int64(j.Step)/10)),
	}
}

// WorldSize returns the number of ranks.
func (j *Job) WorldSize() int { return len(j.World) }

const firstPID = 10_000

func (j *Job) newProcess(r *Rank, incarnation, worker int, began int64) *Process {
	return &Process{
		Rank:        r,
		PID:         firstPID + (incarnation*j.GPUsPerNode+r.GPU)*(j.Forks+1) + worker,
		Worker:      worker,
		Incarnation: incarnation,
		ThreadID:    140_067_956_654_144 + int64(r.GPU)<<20, // a forked worker has the thread of its parent
		Began:       began,
		previous:    began,
	}
}

func uuid(random *rand.Rand) string {
	high, low := random.Uint64(), random.Uint64()
	return fmt.Sprintf("%08x-%04x-4%03x-%04x-%012x",
		high>>32, high>>16&0xffff, high&0xfff, 0x8000|low>>48&0x3fff, low&0xffff_ffff_ffff)
}
