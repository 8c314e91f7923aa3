// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"context"
	"fmt"

	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/phaseattr/phaseattr/cmd/phasegen/format"
)

// otlpGRPC sends OTLP over gRPC.
type otlpGRPC struct {
	conn    *grpc.ClientConn
	logs    plogotlp.GRPCClient
	metrics pmetricotlp.GRPCClient
	traces  ptraceotlp.GRPCClient
}

func newGRPC(address string) (*otlpGRPC, error) {
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, err
	}
	return &otlpGRPC{conn, plogotlp.NewGRPCClient(conn), pmetricotlp.NewGRPCClient(conn), ptraceotlp.NewGRPCClient(conn)}, nil
}

func (g *otlpGRPC) Close() error { return g.conn.Close() }

// Send sends boundaries before the metrics of the same time.
func (g *otlpGRPC) Send(ctx context.Context, b *format.Batch) error {
	if b.Logs.LogRecordCount() > 0 {
		if err := retry(ctx, func(ctx context.Context) (bool, error) {
			response, err := g.logs.Export(ctx, plogotlp.NewExportRequestFromLogs(b.Logs))
			return outcome(err, func() int64 { return response.PartialSuccess().RejectedLogRecords() })
		}); err != nil {
			return err
		}
	}
	if b.Traces.SpanCount() > 0 {
		if err := retry(ctx, func(ctx context.Context) (bool, error) {
			response, err := g.traces.Export(ctx, ptraceotlp.NewExportRequestFromTraces(b.Traces))
			return outcome(err, func() int64 { return response.PartialSuccess().RejectedSpans() })
		}); err != nil {
			return err
		}
	}
	if b.Metrics.DataPointCount() == 0 {
		return nil
	}
	return retry(ctx, func(ctx context.Context) (bool, error) {
		response, err := g.metrics.Export(ctx, pmetricotlp.NewExportRequestFromMetrics(b.Metrics))
		return outcome(err, func() int64 { return response.PartialSuccess().RejectedDataPoints() })
	})
}

// outcome returns the error of an export and whether it is transient. It does not call
// rejected if there is an error, and thus no response.
func outcome(err error, rejected func() int64) (transient bool, _ error) {
	switch {
	case status.Code(err) == codes.Unavailable || status.Code(err) == codes.ResourceExhausted:
		return true, err
	case err != nil:
		return false, err
	}
	return false, rejectedError(rejected())
}

func rejectedError(n int64) error {
	if n == 0 {
		return nil
	}
	return fmt.Errorf("the receiver rejected %d items", n)
}
