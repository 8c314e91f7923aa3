// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"math/rand/v2"
	"time"

	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/phaseattr/phaseattr/benchmarks/internal/training"
)

// stream is the boundaries of a node's ranks, a batch for each step.
type stream struct {
	ranks    []training.Rank
	recorder *training.Recorder
	step     int
	// late is the share of the records that come late, by up to most steps.
	late float64
	most int
	// delayed are the records to come, by the step with which they do.
	delayed map[int]plog.ResourceLogsSlice
	random  *rand.Rand
}

func newStream(begin time.Time, late float64, most int) *stream {
	s := &stream{
		recorder: training.NewRecorder(), late: late, most: most,
		delayed: map[int]plog.ResourceLogsSlice{}, random: rand.New(rand.NewPCG(1, 2)),
	}
	for n := range training.GPUsPerNode {
		s.ranks = append(s.ranks, training.NewRank(0, n, begin))
	}
	return s
}

// begin returns the boundaries with which the job begins.
func (s *stream) begin() plog.Logs {
	batch := plog.NewLogs()
	for _, rank := range s.ranks {
		s.recorder.Begin(rank).ResourceLogs().At(0).CopyTo(batch.ResourceLogs().AppendEmpty())
	}
	return batch
}

// next returns the batch of the next step.
func (s *stream) next() plog.Logs {
	batch := plog.NewLogs()
	if delayed, ok := s.delayed[s.step]; ok {
		delayed.MoveAndAppendTo(batch.ResourceLogs())
		delete(s.delayed, s.step)
	}
	for _, rank := range s.ranks {
		resource := batch.ResourceLogs().AppendEmpty()
		s.recorder.Step(rank, s.step).ResourceLogs().At(0).CopyTo(resource)
		if s.late > 0 {
			s.hold(resource)
		}
	}
	s.step++
	return batch
}

// hold takes some records out, to come with a later step.
func (s *stream) hold(resource plog.ResourceLogs) {
	resource.ScopeLogs().At(0).LogRecords().RemoveIf(func(record plog.LogRecord) bool {
		if s.random.Float64() >= s.late {
			return false
		}
		at := s.step + 1 + s.random.IntN(s.most)
		if _, ok := s.delayed[at]; !ok {
			s.delayed[at] = plog.NewResourceLogsSlice()
		}
		held := s.delayed[at].AppendEmpty()
		resource.Resource().CopyTo(held.Resource())
		record.CopyTo(held.ScopeLogs().AppendEmpty().LogRecords().AppendEmpty())
		return true
	})
}
