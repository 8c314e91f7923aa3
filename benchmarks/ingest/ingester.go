// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"os"
	"time"

	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/phaseattr/phaseattr/benchmarks/internal/fleet"
	"github.com/phaseattr/phaseattr/benchmarks/internal/pipeline"
)

// batchesInARow is the number of batches that a variant ingests in a turn.
const batchesInARow = 20

// ingester unmarshals batches and passes them to a processor.
type ingester struct {
	stream      *stream
	batches     [][]byte
	marshaler   plog.ProtoMarshaler
	unmarshaler plog.ProtoUnmarshaler
	// consume passes a batch to the processor; stop stops it.
	consume func(plog.Logs) error
	stop    func() error
}

// start starts the processor of a variant and fills its window.
func (v *variant) start(ctx context.Context, window time.Duration, directory string) (*ingester, error) {
	n := &ingester{
		stream:  newStream(0, 0),
		consume: func(plog.Logs) error { return nil },
		stop:    func() error { return nil },
	}
	steps := int(window / fleet.Step)
	if v.late {
		n.stream = newStream(lateShare, steps-1)
	}
	if v.config != nil {
		o := pipeline.Options{Config: v.config, Next: consumertest.NewNop()}
		if v.storage {
			if err := os.Mkdir(directory, 0o700); err != nil {
				return nil, err
			}
			o.Storage = directory
		}
		p, err := pipeline.Start(ctx, o)
		if err != nil {
			return nil, err
		}
		n.stop = func() error { return p.Shutdown(ctx) }
		n.consume = func(batch plog.Logs) error { return p.Logs.ConsumeLogs(ctx, batch) }
	}
	err := n.consume(n.stream.begin())
	for step := 0; step < steps && err == nil; step++ {
		err = n.consume(n.stream.next())
	}
	return n, err
}

// prepare generates the batches of a turn.
func (n *ingester) prepare() error {
	for range batchesInARow {
		data, err := n.marshaler.MarshalLogs(n.stream.next())
		if err != nil {
			return err
		}
		n.batches = append(n.batches, data)
	}
	return nil
}

func (n *ingester) work() error {
	batch, err := n.unmarshaler.UnmarshalLogs(n.batches[0])
	if err != nil {
		return err
	}
	n.batches[0] = nil
	n.batches = n.batches[1:]
	return n.consume(batch)
}
