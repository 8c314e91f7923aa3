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

	"github.com/phaseattr/phaseattr/benchmarks/internal/fleet"
	"github.com/phaseattr/phaseattr/cmd/phasegen/format"
	"github.com/phaseattr/phaseattr/cmd/phasegen/job"
)

const (
	// ranksPerRequest is the number of ranks in a request with boundaries.
	ranksPerRequest = 100
	// distinctNodes is the number of nodes with data points.
	distinctNodes = 64
)

// telemetry generates the load.
type telemetry struct {
	jobs []*job.Job
	// end is the end of the last step, which is now.
	end time.Time
}

func newTelemetry(ranks, steps int) *telemetry {
	end := time.Now()
	start := end.Add(-time.Duration(steps) * fleet.Step)
	return &telemetry{jobs: fleet.Jobs(ranks, steps, job.Config{Start: start, Reading: fleet.ReadGauges}), end: end}
}

// sendBoundaries sends all boundaries of each job in order and returns their number.
func (t *telemetry) sendBoundaries(ctx context.Context, c *collector) (int, error) {
	sent, pending := 0, plog.NewLogs()
	send := func() error {
		body, err := new(plog.ProtoMarshaler).MarshalLogs(pending)
		if err != nil {
			return err
		}
		if err := c.conn.Invoke(ctx, exportLogs, &body, new([]byte)); err != nil {
			return fmt.Errorf("send boundaries: %w", err)
		}
		sent += pending.LogRecordCount()
		pending = plog.NewLogs()
		return nil
	}
	for _, j := range t.jobs {
		for _, batch := range fleet.Batches(j, 0) {
			batch.ResourceLogs().MoveAndAppendTo(pending.ResourceLogs())
			if pending.ResourceLogs().Len() == ranksPerRequest {
				if err := send(); err != nil {
					return sent, err
				}
			}
		}
	}
	return sent, send()
}

// request is an OTLP request with the data points of a node.
type request struct {
	body   []byte
	points int
}

// metrics returns the data points of some nodes, the newest ones within the last step.
func (t *telemetry) metrics() ([]request, error) {
	j := t.jobs[0]
	nodes := map[string][]*job.Event{}
	for _, e := range fleet.Readings(j, t.end, 1)[0] {
		if e.Rank.Number < distinctNodes*fleet.GPUsPerNode {
			nodes[e.Rank.Host] = append(nodes[e.Rank.Host], e)
		}
	}
	var all []request
	for _, readings := range nodes {
		gauges := fleet.Gauges{Job: j, Identity: fleet.OnResource, Labels: fleet.UsualLabels}
		md := format.NewBatch().Append(gauges, readings...).Metrics
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
