// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"iter"
	"math/rand/v2"

	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/phaseattr/phaseattr/benchmarks/internal/fleet"
	"github.com/phaseattr/phaseattr/cmd/phasegen/job"
)

// steps is more than any measurement needs.
const steps = 1_000_000

// stream generates the boundaries of a node's ranks, one batch per step.
type stream struct {
	ofRank func() (*job.Rank, plog.Logs, bool)
	stop   func()
	step   int
	// late is the share of late records; maxDelay is their delay at most, in steps.
	late     float64
	maxDelay int
	// delayed are the late records, by the step that they are sent with.
	delayed map[int]plog.ResourceLogsSlice
	random  *rand.Rand
}

func newStream(late float64, maxDelay int) *stream {
	s := &stream{late: late, maxDelay: maxDelay, delayed: map[int]plog.ResourceLogsSlice{}, random: rand.New(rand.NewPCG(1, 2))}
	node := fleet.New(0, steps, job.Config{Ranks: fleet.GPUsPerNode, Start: begin})
	s.ofRank, s.stop = iter.Pull2(fleet.Batches(node, 0))
	return s
}

// begin returns the first boundary of each rank.
func (s *stream) begin() plog.Logs {
	batch := plog.NewLogs()
	for range fleet.GPUsPerNode {
		_, boundaries, _ := s.ofRank()
		boundaries.ResourceLogs().MoveAndAppendTo(batch.ResourceLogs())
	}
	return batch
}

// next returns the batch of the next step.
func (s *stream) next() plog.Logs {
	batch := s.begin()
	if s.late > 0 {
		for _, resource := range batch.ResourceLogs().All() {
			s.delay(resource)
		}
	}
	if delayed, ok := s.delayed[s.step]; ok {
		delayed.MoveAndAppendTo(batch.ResourceLogs())
		delete(s.delayed, s.step)
	}
	s.step++
	return batch
}

// delay moves some records to a later step.
func (s *stream) delay(resource plog.ResourceLogs) {
	resource.ScopeLogs().At(0).LogRecords().RemoveIf(func(record plog.LogRecord) bool {
		if s.random.Float64() >= s.late {
			return false
		}
		at := s.step + 1 + s.random.IntN(s.maxDelay)
		if _, ok := s.delayed[at]; !ok {
			s.delayed[at] = plog.NewResourceLogsSlice()
		}
		late := s.delayed[at].AppendEmpty()
		resource.Resource().CopyTo(late.Resource())
		record.CopyTo(late.ScopeLogs().AppendEmpty().LogRecords().AppendEmpty())
		return true
	})
}
