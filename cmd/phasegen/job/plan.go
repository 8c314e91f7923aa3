// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package job

import "slices"

// Phase is a phase of a plan. Durations are shares of the job's step.
type Phase struct {
	Name string
	// Share is the time in the phase outside its inner phases.
	Share float64
	// Load is the utilization of the GPU during that time, from 0 to 1.
	Load float64
	// Every is how often steps have the phase: 10 means every tenth. 0 is the same as 1.
	Every int
	// Collective reports whether the ranks end the phase together: fast ranks wait in it
	// for slow ones.
	Collective bool
	// Phases are the inner phases, in order.
	Phases []Phase
}

// Plan is the structure of a program in phases.
type Plan struct {
	// Startup are the phases before the first step.
	Startup []Phase
	// Root is the name of the phase that contains all steps. If empty, there is none.
	Root string
	// Step are the phases that repeat.
	Step []Phase
	// Worker is the phase that a forked worker process repeats, Thread the one that a further
	// thread repeats, outside the root. Their shares do not matter.
	Worker, Thread Phase
}

// node is a phase at its place in the plan.
type node struct {
	Phase
	path   []string
	phases []*node
}

func newNodes(parent []string, phases []Phase) []*node {
	nodes := make([]*node, len(phases))
	for i, p := range phases {
		path := slices.Concat(parent, []string{p.Name})
		nodes[i] = &node{Phase: p, path: path, phases: newNodes(path, p.Phases)}
	}
	return nodes
}

// in reports whether a step has the phase.
func (n *node) in(step int64) bool { return n.Every <= 1 || step%int64(n.Every) == 0 }

// shares returns the sum of the shares of phases and their inner phases in a step.
func shares(nodes []*node, step int64) float64 {
	total := 0.0
	for _, n := range nodes {
		if n.in(step) {
			total += n.Share + shares(n.phases, step)
		}
	}
	return total
}
