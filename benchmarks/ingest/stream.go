// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"math/rand/v2"
	"time"

	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/phaseattr/phaseattr/benchmarks/internal/training"
)

// stream generates the boundaries of a node's ranks, one batch per step.
type stream struct {
	ranks    []training.Rank
	recorder *training.Recorder
	step     int
	// late is the share of late records; maxDelay is their delay at most, in steps.
	late     float64
	maxDelay int
	// delayed are the late records, by the step that they are sent with.
	delayed map[int]plog.ResourceLogsSlice
	random  *rand.Rand
}

func newStream(begin time.Time, late float64, maxDelay int) *stream {
	s := &stream{
		recorder: training.NewRecorder(), late: late, maxDelay: maxDelay,
		delayed: map[int]plog.ResourceLogsSlice{}, random: rand.New(rand.NewPCG(1, 2)),
	}
	for n := range training.GPUsPerNode {
		s.ranks = append(s.ranks, training.NewRank(0, n, begin))
	}
	return s
}

// begin returns the first boundary of each rank.
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
			s.delay(resource)
		}
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
