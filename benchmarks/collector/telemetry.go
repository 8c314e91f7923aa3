// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"golang.org/x/sync/errgroup"

	"github.com/phaseattr/phaseattr/benchmarks/internal/training"
)

const (
	ranksPerJob = 1000
	// ranksPerRequest is the number of ranks in a request with boundaries.
	ranksPerRequest = 100
	// distinctNodes is the number of nodes with data points.
	distinctNodes = 64
)

// telemetry generates the load.
type telemetry struct {
	ranks []training.Rank
	steps int
	// begin is the start of the job, whose last step ends now.
	begin time.Time
}

func newTelemetry(ranks, steps int) *telemetry {
	t := &telemetry{steps: steps, begin: time.Now().Add(-time.Duration(steps) * training.StepDuration)}
	for i := range ranks {
		t.ranks = append(t.ranks, training.NewRank(i/ranksPerJob, i%ranksPerJob, t.begin))
	}
	return t
}

// sendBoundaries sends all boundaries in order and returns their number.
func (t *telemetry) sendBoundaries(ctx context.Context, c *collector) (int, error) {
	recorder := training.NewRecorder()
	sent := 0
	for step := -1; step < t.steps; step++ {
		for from := 0; from < len(t.ranks); from += ranksPerRequest {
			batch := plog.NewLogs()
			for _, rank := range t.ranks[from:min(from+ranksPerRequest, len(t.ranks))] {
				boundaries := recorder.Begin
				if step >= 0 {
					boundaries = func(r training.Rank) plog.Logs { return recorder.Step(r, step) }
				}
				boundaries(rank).ResourceLogs().At(0).CopyTo(batch.ResourceLogs().AppendEmpty())
			}
			body, err := new(plog.ProtoMarshaler).MarshalLogs(batch)
			if err != nil {
				return sent, err
			}
			if err := c.conn.Invoke(ctx, exportLogs, &body, new([]byte)); err != nil {
				return sent, fmt.Errorf("send boundaries: %w", err)
			}
			sent += batch.LogRecordCount()
		}
	}
	return sent, nil
}

// request is an OTLP request with the data points of a node.
type request struct {
	body   []byte
	points int
}

// metrics returns the data points of some nodes, the newest ones within the last step.
func (t *telemetry) metrics() ([]request, error) {
	last := t.begin.Add(time.Duration(t.steps)*training.StepDuration - training.StepDuration/2)
	var all []request
	for i := range min(distinctNodes, len(t.ranks)/training.GPUsPerNode) {
		node := t.ranks[i*training.GPUsPerNode:][:training.GPUsPerNode]
		md := training.Metrics(node, last, training.OnResource)
		body, err := new(pmetric.ProtoMarshaler).MarshalMetrics(md)
		if err != nil {
			return nil, err
		}
		all = append(all, request{body, md.DataPointCount()})
	}
	return all, nil
}

// sendFor loads a collector for a while and returns the number of data points sent.
func sendFor(ctx context.Context, c *collector, requests []request, o options) (int, error) {
	var points atomic.Int64
	var next atomic.Uint64
	senders, ctx := errgroup.WithContext(ctx)
	until := time.Now().Add(o.each)
	for range o.senders {
		senders.Go(func() error {
			for time.Now().Before(until) {
				r := &requests[next.Add(1)%uint64(len(requests))]
				if err := c.conn.Invoke(ctx, exportMetrics, &r.body, new([]byte)); err != nil {
					return fmt.Errorf("send data points: %w", err)
				}
				points.Add(int64(r.points))
			}
			return nil
		})
	}
	err := senders.Wait()
	return int(points.Load()), err
}
