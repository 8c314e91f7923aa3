// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phasespansconnector

import (
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/connector/connectortest"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/phaseattr/phaseattr/connector/phasespansconnector/internal/metadata"
)

// BenchmarkBoundaries passes the boundaries of training steps.
func BenchmarkBoundaries(b *testing.B) {
	sink := new(consumertest.TracesSink)
	c, err := NewFactory().CreateLogsToTraces(b.Context(), connectortest.NewNopSettings(metadata.Type), createDefaultConfig(), sink)
	require.NoError(b, err)
	require.NoError(b, c.Start(b.Context(), componenttest.NewNopHost()))
	ld := plog.NewLogs()
	records := ld.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty().LogRecords()
	p := newProgram("run")
	events := []object{p.enter(0, "train")}
	for i := range 100 {
		events = append(events, step(p, float64(10*i))...)
	}
	for _, event := range events {
		require.NoError(b, records.AppendEmpty().Attributes().FromRaw(event))
	}
	b.ReportAllocs()
	for b.Loop() {
		sink.Reset()
		require.NoError(b, c.ConsumeLogs(b.Context(), ld))
	}
	require.Equal(b, 400, sink.SpanCount())
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(events)), "ns/boundary")
	require.NoError(b, c.Shutdown(b.Context()))
}
