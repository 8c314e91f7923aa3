// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

// Package jaeger runs examples/jaeger: its collector reads the events of recorded runs and
// fills a Jaeger, whose query API is compared with the runs.
package jaeger

import (
	"bytes"
	"encoding/json"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"

	"github.com/phaseattr/phaseattr/test/loopback"
	"github.com/phaseattr/phaseattr/test/program"
)

// rig is the running example.
type rig struct {
	// query, otlp and exporter are the URLs of Jaeger's query API, of the collector's OTLP
	// receiver and of its prometheus exporter.
	query, otlp, exporter string
	// events is the directory from which the collector reads the runs.
	events string
}

// start starts the example. Everything keeps running until the test ends.
func start(t *testing.T) *rig {
	t.Helper()
	addresses, err := loopback.FreeAddresses(7)
	require.NoError(t, err)
	query, queryGRPC, jaeger, otlp, health, exporter, telemetry := addresses[0], addresses[1], addresses[2], addresses[3], addresses[4], addresses[5], addresses[6]
	telemetryHost, telemetryPort, err := net.SplitHostPort(telemetry)
	require.NoError(t, err)
	r := &rig{query: "http://" + query, otlp: "http://" + otlp, exporter: "http://" + exporter, events: t.TempDir()}

	program.Run(t, "JAEGER", []string{"QUERY_ADDRESS=" + query, "QUERY_GRPC_ADDRESS=" + queryGRPC, "JAEGER_ADDRESS=" + jaeger},
		"--config", example("jaeger.yaml"))
	program.Eventually(t, "Jaeger is ready", func() bool { return program.Get(t, r.query+"/api/services") != nil })
	program.Run(t, "OTELCOL_JAEGER", []string{
		"STORMLOG_DIR=" + r.events, "OTLP_ADDRESS=" + otlp, "JAEGER_ADDRESS=" + jaeger, "HEALTH_ADDRESS=" + health,
		"EXPORTER_ADDRESS=" + exporter, "TELEMETRY_HOST=" + telemetryHost, "TELEMETRY_PORT=" + telemetryPort,
		"PROCESS_TIMEOUT=15s", "FLUSH_INTERVAL=1s",
	}, "--config", example("collector.yaml"))
	program.Eventually(t, "the collector is ready", func() bool { return program.Get(t, "http://"+health) != nil })
	return r
}

func example(file string) string {
	return filepath.Join("..", "..", "examples", "jaeger", file)
}

// read lets the collector read a recorded run.
func (r *rig) read(t *testing.T, run string) {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("..", "..", "testdata", "captures", run+".jsonl"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(r.events, run+".part"), content, 0o600))
	require.NoError(t, os.Rename(filepath.Join(r.events, run+".part"), filepath.Join(r.events, run+".jsonl")))
}

// send sends spans to the collector.
func (r *rig) send(t *testing.T, td ptrace.Traces) {
	t.Helper()
	body, err := ptraceotlp.NewExportRequestFromTraces(td).MarshalJSON()
	require.NoError(t, err)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, r.otlp+"/v1/traces", bytes.NewReader(body))
	require.NoError(t, err)
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.Equal(t, http.StatusOK, response.StatusCode)
}

// The time in which all recorded runs took place.
var runsStart, runsEnd = time.Unix(1_795_358_000, 0), time.Unix(1_795_360_000, 0)

// spans returns the spans that Jaeger has of a service.
func (r *rig) spans(t *testing.T, service string) ptrace.Traces {
	t.Helper()
	body := program.Get(t, r.query+"/api/v3/traces?"+url.Values{
		"query.service_name":   {service},
		"query.start_time_min": {runsStart.UTC().Format(time.RFC3339Nano)},
		"query.start_time_max": {runsEnd.UTC().Format(time.RFC3339Nano)},
		"query.num_traces":     {"50000"},
		"query.raw_traces":     {"true"},
	}.Encode())
	if body == nil {
		return ptrace.NewTraces() // none yet
	}
	var answer struct{ Result json.RawMessage }
	require.NoError(t, json.Unmarshal(body, &answer))
	td, err := (&ptrace.JSONUnmarshaler{}).UnmarshalTraces(answer.Result)
	require.NoError(t, err)
	return td
}

// found is a span that a search has found.
type found struct {
	TraceID       string
	SpanID        string
	OperationName string
	Tags          []struct {
		Key   string
		Value any
	}
}

func (f *found) tag(key string) any {
	for _, tag := range f.Tags {
		if tag.Key == key {
			return tag.Value
		}
	}
	return nil
}

// search returns the spans of the traces of a service that have a span with all tags.
func (r *rig) search(t *testing.T, service string, tags map[string]string) []found {
	t.Helper()
	text, err := json.Marshal(tags)
	require.NoError(t, err)
	body := program.Get(t, r.query+"/api/traces?"+url.Values{
		"service": {service}, "tags": {string(text)}, "limit": {"50000"},
		"start": {strconv.FormatInt(runsStart.UnixMicro(), 10)}, "end": {strconv.FormatInt(runsEnd.UnixMicro(), 10)},
	}.Encode())
	require.NotNil(t, body)
	var answer struct{ Data []struct{ Spans []found } }
	require.NoError(t, json.Unmarshal(body, &answer))
	var spans []found
	for _, trace := range answer.Data {
		spans = append(spans, trace.Spans...)
	}
	return spans
}
