// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package transport_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/phaseattr/phaseattr/cmd/phasegen/format"
	"github.com/phaseattr/phaseattr/cmd/phasegen/internal/transport"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// batch returns a batch with an item of each signal.
func batch() *format.Batch {
	b := format.NewBatch()
	logs := b.Logs.ResourceLogs().AppendEmpty()
	logs.Resource().Attributes().PutStr(format.LogFilePath, "dir/rank0.jsonl")
	attrs := logs.ScopeLogs().AppendEmpty().LogRecords().AppendEmpty().Attributes()
	attrs.PutStr("z", "first")
	attrs.PutEmptyMap("a").PutDouble("whole", 3)
	attrs.PutEmpty("null")
	b.Traces.ResourceSpans().AppendEmpty().ScopeSpans().AppendEmpty().Spans().AppendEmpty().SetName("span")
	m := b.Metrics.ResourceMetrics().AppendEmpty().ScopeMetrics().AppendEmpty().Metrics().AppendEmpty()
	m.SetEmptyGauge().DataPoints().AppendEmpty().SetIntValue(1)
	return b
}

// receiver counts requests by signal, after a number of failures.
type receiver struct {
	mu       sync.Mutex
	failures int
	rejects  bool
	requests []string
}

// receive reports whether the request fails.
func (r *receiver) receive(signal string) (fails bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failures > 0 {
		r.failures--
		return true
	}
	r.requests = append(r.requests, signal)
	return false
}

func allSignals() []string { return []string{"logs", "traces", "metrics"} }

// httpServer is an OTLP receiver over HTTP.
func httpServer(t *testing.T, r *receiver, failure int) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		signal := strings.TrimPrefix(request.URL.Path, "/v1/")
		body, err := io.ReadAll(request.Body)
		assert.NoError(t, err)
		assert.Equal(t, "application/x-protobuf", request.Header.Get("Content-Type"))
		if r.receive(signal) {
			w.WriteHeader(failure)
			return
		}
		response := plogotlp.NewExportResponse()
		switch signal {
		case "logs":
			got := plogotlp.NewExportRequest()
			assert.NoError(t, got.UnmarshalProto(body))
			assert.Equal(t, 1, got.Logs().LogRecordCount())
			if r.rejects {
				response.PartialSuccess().SetRejectedLogRecords(1)
			}
		case "traces":
			got := ptraceotlp.NewExportRequest()
			assert.NoError(t, got.UnmarshalProto(body))
			assert.Equal(t, 1, got.Traces().SpanCount())
		case "metrics":
			got := pmetricotlp.NewExportRequest()
			assert.NoError(t, got.UnmarshalProto(body))
			assert.Equal(t, 1, got.Metrics().DataPointCount())
		}
		answer, err := response.MarshalProto()
		assert.NoError(t, err)
		_, err = w.Write(answer)
		assert.NoError(t, err)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

type (
	logsServer struct {
		plogotlp.UnimplementedGRPCServer
		*receiver
		code codes.Code
	}
	metricsServer struct {
		pmetricotlp.UnimplementedGRPCServer
		*receiver
	}
	tracesServer struct {
		ptraceotlp.UnimplementedGRPCServer
		*receiver
	}
)

func (s *logsServer) Export(context.Context, plogotlp.ExportRequest) (plogotlp.ExportResponse, error) {
	if s.receive("logs") {
		return plogotlp.NewExportResponse(), status.Error(s.code, "not now")
	}
	response := plogotlp.NewExportResponse()
	if s.rejects {
		response.PartialSuccess().SetRejectedLogRecords(1)
	}
	return response, nil
}

func (s *metricsServer) Export(context.Context, pmetricotlp.ExportRequest) (pmetricotlp.ExportResponse, error) {
	s.receive("metrics")
	return pmetricotlp.NewExportResponse(), nil
}

func (s *tracesServer) Export(context.Context, ptraceotlp.ExportRequest) (ptraceotlp.ExportResponse, error) {
	s.receive("traces")
	return ptraceotlp.NewExportResponse(), nil
}

// grpcServer is an OTLP receiver over gRPC.
func grpcServer(t *testing.T, r *receiver, failure codes.Code) string {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server := grpc.NewServer()
	plogotlp.RegisterGRPCServer(server, &logsServer{receiver: r, code: failure})
	pmetricotlp.RegisterGRPCServer(server, &metricsServer{receiver: r})
	ptraceotlp.RegisterGRPCServer(server, &tracesServer{receiver: r})
	var wg sync.WaitGroup
	wg.Go(func() { assert.NoError(t, server.Serve(listener)) })
	t.Cleanup(func() {
		server.Stop()
		wg.Wait()
	})
	return "grpc://" + listener.Addr().String()
}

func send(t *testing.T, to string) error {
	t.Helper()
	sink, err := transport.Open(to)
	require.NoError(t, err)
	defer func() { require.NoError(t, sink.Close()) }()
	return sink.Send(t.Context(), batch())
}

// servers starts a receiver of each protocol. A failure is transient or final.
func servers() map[string]func(t *testing.T, r *receiver, transient bool) string {
	return map[string]func(t *testing.T, r *receiver, transient bool) string{
		"http": func(t *testing.T, r *receiver, transient bool) string {
			if transient {
				return httpServer(t, r, http.StatusServiceUnavailable)
			}
			return httpServer(t, r, http.StatusBadRequest)
		},
		"grpc": func(t *testing.T, r *receiver, transient bool) string {
			if transient {
				return grpcServer(t, r, codes.Unavailable)
			}
			return grpcServer(t, r, codes.InvalidArgument)
		},
	}
}

func TestSendsEachSignalBoundariesFirst(t *testing.T) {
	for name, serve := range servers() {
		t.Run(name, func(t *testing.T) {
			r := &receiver{}
			require.NoError(t, send(t, serve(t, r, true)))
			assert.Equal(t, allSignals(), r.requests)
		})
	}
}

func TestRetriesTransientErrors(t *testing.T) {
	for name, serve := range servers() {
		t.Run(name, func(t *testing.T) {
			r := &receiver{failures: 1}
			require.NoError(t, send(t, serve(t, r, true)))
			assert.Equal(t, allSignals(), r.requests)
		})
	}
}

func TestReportsFinalErrors(t *testing.T) {
	for name, serve := range servers() {
		t.Run(name, func(t *testing.T) {
			r := &receiver{failures: 1}
			require.Error(t, send(t, serve(t, r, false)))
			assert.Empty(t, r.requests)
		})
	}
}

func TestReportsRejectedItems(t *testing.T) {
	for name, serve := range servers() {
		t.Run(name, func(t *testing.T) {
			require.EqualError(t, send(t, serve(t, &receiver{rejects: true}, true)), "the receiver rejected 1 items")
		})
	}
}

func TestSendEndsWithItsContext(t *testing.T) {
	for name, serve := range servers() {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			sink, err := transport.Open(serve(t, &receiver{failures: 1 << 30}, true))
			require.NoError(t, err)
			defer func() { require.NoError(t, sink.Close()) }()
			require.Error(t, sink.Send(ctx, batch()))
		})
	}
}

// Files of an earlier run are replaced, not appended to.
func TestFiles(t *testing.T) {
	dir := t.TempDir()
	for range 2 {
		sink, err := transport.Open("file:" + dir)
		require.NoError(t, err)
		require.NoError(t, sink.Send(t.Context(), batch()))
		require.NoError(t, sink.Send(t.Context(), batch()))
		require.NoError(t, sink.Close())
	}
	for _, signal := range allSignals() {
		content, err := os.ReadFile(filepath.Join(dir, signal+".jsonl"))
		require.NoError(t, err)
		lines := slices.Collect(strings.Lines(string(content)))
		require.Len(t, lines, 2)
		assert.Contains(t, lines[0], "resource")
		assert.Equal(t, lines[0], lines[1])
	}
}

// The trainer's own file keeps the order of the fields.
func TestLines(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, send(t, "lines:"+dir))
	content, err := os.ReadFile(filepath.Join(dir, "dir", "rank0.jsonl"))
	require.NoError(t, err)
	assert.Equal(t, `{"z":"first","a":{"whole":3.0},"null":null}`+"\n", string(content)) //nolint:testifylint // the order and the form of numbers count
	assert.NoFileExists(t, filepath.Join(dir, "logs.jsonl"))
	assert.FileExists(t, filepath.Join(dir, "metrics.jsonl"))
}
