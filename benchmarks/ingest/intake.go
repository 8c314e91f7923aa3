// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"os"
	"time"

	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/phaseattr/phaseattr/benchmarks/internal/pipeline"
	"github.com/phaseattr/phaseattr/benchmarks/internal/training"
)

// batchesInARow is how many batches an intake takes in before it is another one's turn.
const batchesInARow = 20

// intake unmarshals one batch after the other, and lets a processor take them in.
type intake struct {
	stream      *stream
	batches     [][]byte
	marshaler   plog.ProtoMarshaler
	unmarshaler plog.ProtoUnmarshaler
	// consume is the processor's; stop stops it.
	consume func(plog.Logs) error
	stop    func() error
}

// start starts the processor of a contestant, and fills its window.
func (c *contestant) start(ctx context.Context, window time.Duration, folder string) (*intake, error) {
	n := &intake{
		stream:  newStream(begin, 0, 0),
		consume: func(plog.Logs) error { return nil },
		stop:    func() error { return nil },
	}
	if c.late {
		n.stream = newStream(begin, lateShare, training.Steps(window)-1)
	}
	if c.config != nil {
		o := pipeline.Options{Config: c.config, Next: consumertest.NewNop()}
		if c.storage {
			if err := os.Mkdir(folder, 0o700); err != nil {
				return nil, err
			}
			o.Storage = folder
		}
		p, err := pipeline.Start(ctx, o)
		if err != nil {
			return nil, err
		}
		n.stop = func() error { return p.Shutdown(ctx) }
		n.consume = func(batch plog.Logs) error { return p.Logs.ConsumeLogs(ctx, batch) }
	}
	err := n.consume(n.stream.begin())
	for step := 0; step < training.Steps(window) && err == nil; step++ {
		err = n.consume(n.stream.next())
	}
	return n, err
}

// prepare makes the batches of a turn.
func (n *intake) prepare() error {
	for range batchesInARow {
		data, err := n.marshaler.MarshalLogs(n.stream.next())
		if err != nil {
			return err
		}
		n.batches = append(n.batches, data)
	}
	return nil
}

func (n *intake) work() error {
	batch, err := n.unmarshaler.UnmarshalLogs(n.batches[0])
	if err != nil {
		return err
	}
	n.batches[0] = nil
	n.batches = n.batches[1:]
	return n.consume(batch)
}
