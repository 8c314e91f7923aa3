// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"fmt"
	"math/rand/v2"
)

const (
	clusterLength = 60.0  // s of true time
	clockJitter   = 0.003 // s that a record's time may be off its host's clock
	clockSkew     = 2.0   // s that a host's clock may be off
)

// slot is a GPU of a node.
type slot struct {
	host *node
	gpu  int
}

// cluster is what ran on some nodes for a minute.
type cluster struct {
	random    *rand.Rand
	nodes     []*node
	processes []*process
	used      map[slot]bool
	lastPID   int64
	lastJob   string
}

func newCluster(seed uint64) *cluster {
	c := &cluster{random: rand.New(rand.NewPCG(seed, 13)), used: map[slot]bool{}, lastPID: 4000}
	for i := range 1 + c.random.IntN(4) {
		c.nodes = append(c.nodes, c.node(i))
	}
	for i := range 1 + c.random.IntN(3) {
		c.job(i)
	}
	return c
}

func (c *cluster) node(i int) *node {
	n := &node{
		short: fmt.Sprint("node-", i), domain: ".cluster.example", skew: c.between(-clockSkew, clockSkew), gpus: 1 + c.random.IntN(4),
		devices: deviceNames(c.random.IntN(int(deviceNaming))),
	}
	n.name = n.short
	if c.chance(0.5) {
		n.name += n.domain
	}
	return n
}

func (c *cluster) chance(share float64) bool { return c.random.Float64() < share }

func (c *cluster) between(low, high float64) float64 { return low + c.random.Float64()*(high-low) }

func (c *cluster) jitter() float64 { return c.between(-clockJitter, clockJitter) }

func (c *cluster) pid() int64 { c.lastPID += 1 + c.random.Int64N(3); return c.lastPID }

// jobPlan is what a job does in a minute.
type jobPlan struct {
	number         int
	id             string
	slots          []slot // by rank
	pulse          float64
	statesPulse    bool
	sessionPerRank bool
	forks          bool
	newSession     bool // after a restart
	keepPIDs       bool // after a restart
	generation     int
}

// job adds the processes of a job.
func (c *cluster) job(i int) {
	p := &jobPlan{
		number: i, id: fmt.Sprint("job-", i), slots: c.slots(), statesPulse: c.chance(0.5), sessionPerRank: c.chance(0.3),
		forks: c.chance(0.4), newSession: c.chance(0.5), keepPIDs: c.chance(0.2),
	}
	if len(p.slots) == 0 {
		return
	}
	if c.chance(0.6) {
		p.pulse = 0.5
	}
	if c.lastJob != "" && c.chance(0.15) && !c.shares(p.slots) {
		p.id = c.lastJob // two jobs of one name
	}
	c.lastJob = p.id
	for _, s := range p.slots {
		c.used[s] = true
	}
	c.live(p, c.between(0.5, 5))
}

// slots draws the GPUs of a job, most often free ones.
func (c *cluster) slots() []slot {
	shared := c.chance(0.3)
	var all []slot
	for _, n := range c.nodes {
		for gpu := range n.gpus {
			if s := (slot{n, gpu}); shared || !c.used[s] {
				all = append(all, s)
			}
		}
	}
	c.random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all[:min(len(all), 1+c.random.IntN(5))]
}

func (c *cluster) shares(slots []slot) bool {
	for _, s := range slots {
		if c.used[s] {
			return true
		}
	}
	return false
}

// live lets a job run from a time on: undisturbed, or with a restart of one rank or of
// all of them, in their places or in others.
func (c *cluster) live(p *jobPlan, from float64) {
	end := c.between(40, clusterLength-1)
	change := from + c.between(8, 25)
	switch c.random.IntN(5) {
	case 0:
		c.generationOf(p, from, end, c.chance(0.5), nil)
	case 1:
		c.restartOne(p, from, change, end)
	case 2: // gone for good
		c.generationOf(p, from, change, true, nil)
	default:
		killed := c.chance(0.7)
		first := c.generationOf(p, from, change, killed, nil)
		if p.newSession {
			p.generation++
		}
		if c.chance(0.5) && len(p.slots) > 1 {
			p.slots = append(p.slots[1:], p.slots[0]) // ranks trade places
			first = nil
		}
		c.generationOf(p, change+c.between(1, 8), end, c.chance(0.5), first)
	}
}

// generationOf runs all ranks of a job. The processes that they replace, if any, give
// them their process IDs where the plan says so.
func (c *cluster) generationOf(p *jobPlan, from, to float64, killed bool, replaced []*process) []*process {
	var all []*process
	for rank := range p.slots {
		run := c.process(p, rank, from+c.between(0, 0.3), to+c.between(0, 0.2), killed)
		if replaced != nil && p.keepPIDs {
			run.pid = replaced[rank].pid
		}
		c.train(run, p.forks)
		all = append(all, run)
	}
	return all
}

// restartOne kills one rank and starts it again while the others run on.
func (c *cluster) restartOne(p *jobPlan, from, change, end float64) {
	unlucky := c.random.IntN(len(p.slots))
	for rank := range p.slots {
		if rank != unlucky {
			c.train(c.process(p, rank, from, end, false), p.forks)
			continue
		}
		first := c.process(p, rank, from, change, true)
		c.train(first, p.forks)
		if p.newSession && (p.sessionPerRank || len(p.slots) == 1) {
			p.generation++
		}
		second := c.process(p, rank, change+c.between(0.5, 8), end, false)
		if p.keepPIDs {
			second.pid = first.pid
		}
		c.train(second, p.forks)
		p.generation = 0
	}
}

func (c *cluster) process(p *jobPlan, rank int, from, to float64, killed bool) *process {
	run := &process{
		host: p.slots[rank].host, gpu: p.slots[rank].gpu, pid: c.pid(), job: p.id,
		session: fmt.Sprintf("run-%d-%d", p.number, p.generation), rank: int64(rank), ranks: int64(len(p.slots)),
		pulse: p.pulse, statesPulse: p.statesPulse, from: from, to: to, killed: killed, random: c.jitter,
	}
	if p.sessionPerRank {
		run.session += fmt.Sprint("-rank", rank)
	}
	c.processes = append(c.processes, run)
	return run
}

// train writes the records of a process. The outermost phase has a name of its own in
// each process, so that an answer shows whose it is.
func (c *cluster) train(p *process, forks bool) {
	p.start()
	at := p.from + c.between(0.05, 0.3)
	p.enter(at, fmt.Sprint("train-", len(c.processes)))
	forked := 0.0
	for at < p.to-4 || p.killed && at < p.to {
		at = c.step(p, at)
		if forks && at > forked && at < p.to-6 {
			forked = c.worker(p, at)
		}
	}
	if !p.killed {
		p.to = at + 1
		p.exit(at + 0.01)
		p.stop()
	}
	p.samples()
}

// step returns the time of its exit.
func (c *cluster) step(p *process, at float64) float64 {
	at += c.between(0.0005, 0.05)
	p.enter(at, "step")
	for _, name := range []string{"load", "forward", "backward", "optimizer"} {
		at += c.between(0.0005, 0.03)
		p.enter(at, name)
		if c.chance(0.15) {
			at += c.between(0.0005, 0.003) // shorter than the clock jitters
		} else {
			at += c.between(0.05, 0.8)
		}
		p.exit(at)
	}
	at += c.between(0.0005, 0.02)
	p.exit(at)
	return at
}

// worker forks a data loader's worker between two steps and returns the time of its end.
// It does not outlive its trainer.
func (c *cluster) worker(p *process, at float64) float64 {
	end := min(at+c.between(2, 6), p.to)
	if !p.killed {
		end = min(end, p.to-5)
	}
	w := p.fork(at, end, c.pid())
	for next := at + c.between(0.05, 0.5); next < end; next += c.between(0.05, 0.5) {
		w.enter(next, "decode")
		next += c.between(0.05, 0.5)
		w.exit(next)
	}
	c.processes = append(c.processes, w)
	return end
}
