// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

// encode returns the signal of a batch and the batch as the body of an OTLP request.
func encode(batch any) (signal string, body []byte, err error) {
	switch batch := batch.(type) {
	case plog.Logs:
		body, err = (&plog.ProtoMarshaler{}).MarshalLogs(batch)
		return logs, body, err
	case pmetric.Metrics:
		body, err = (&pmetric.ProtoMarshaler{}).MarshalMetrics(batch)
		return metrics, body, err
	case ptrace.Traces:
		body, err = (&ptrace.ProtoMarshaler{}).MarshalTraces(batch)
		return traces, body, err
	}
	return "", nil, fmt.Errorf("%T is not a batch", batch)
}

// export sends a batch over OTLP. It returns nil if the collector acknowledged it.
func (c *collector) export(ctx context.Context, batch any) error {
	signal, body, err := encode(batch)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+c.otlp+"/v1/"+signal, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/x-protobuf")
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	responseBody, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %q", response.Status, responseBody)
	}
	return nil
}

func (c *collector) send(t *testing.T, batch any) {
	t.Helper()
	require.NoError(t, c.export(t.Context(), batch))
}

// read returns the batches that a file exporter has written so far. The file may not exist
// yet, and its last line may be incomplete.
func read[T any](t *testing.T, file string, unmarshal func([]byte) (T, error)) []T {
	t.Helper()
	var batches []T
	stream(t, file, unmarshal, func(batch T) { batches = append(batches, batch) })
	return batches
}

// stream is like read, but passes the batches to do, for large files.
func stream[T any](t *testing.T, file string, unmarshal func([]byte) (T, error), do func(T)) {
	t.Helper()
	content, err := os.Open(file)
	if os.IsNotExist(err) {
		return
	}
	require.NoError(t, err)
	defer content.Close()
	for lines := bufio.NewReader(content); ; {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return
		}
		require.NoError(t, err)
		batch, err := unmarshal(line)
		require.NoError(t, err, "in %s", file)
		do(batch)
	}
}

func (c *collector) logs(t *testing.T, exporter string) []plog.Logs {
	t.Helper()
	return read(t, filepath.Join(c.output, exporter+".jsonl"), (&plog.JSONUnmarshaler{}).UnmarshalLogs)
}

func (c *collector) metrics(t *testing.T, exporter string) []pmetric.Metrics {
	t.Helper()
	return read(t, filepath.Join(c.output, exporter+".jsonl"), (&pmetric.JSONUnmarshaler{}).UnmarshalMetrics)
}

func (c *collector) traces(t *testing.T, exporter string) []ptrace.Traces {
	t.Helper()
	return read(t, filepath.Join(c.output, exporter+".jsonl"), (&ptrace.JSONUnmarshaler{}).UnmarshalTraces)
}

// These functions call do for each record, with the attributes of its resource.

func eachLogRecord(batches []plog.Logs, do func(resource pcommon.Map, record plog.LogRecord)) {
	for _, ld := range batches {
		for _, resource := range ld.ResourceLogs().All() {
			for _, scope := range resource.ScopeLogs().All() {
				for _, record := range scope.LogRecords().All() {
					do(resource.Resource().Attributes(), record)
				}
			}
		}
	}
}

func eachDataPoint(batches []pmetric.Metrics, do func(resource pcommon.Map, metric pmetric.Metric, dp pmetric.NumberDataPoint)) {
	for _, md := range batches {
		for _, resource := range md.ResourceMetrics().All() {
			for _, scope := range resource.ScopeMetrics().All() {
				for _, metric := range scope.Metrics().All() {
					for _, dp := range metric.Gauge().DataPoints().All() {
						do(resource.Resource().Attributes(), metric, dp)
					}
				}
			}
		}
	}
}

func eachSpan(batches []ptrace.Traces, do func(resource pcommon.Map, span ptrace.Span)) {
	for _, td := range batches {
		for _, resource := range td.ResourceSpans().All() {
			for _, scope := range resource.ScopeSpans().All() {
				for _, span := range scope.Spans().All() {
					do(resource.Resource().Attributes(), span)
				}
			}
		}
	}
}

// annotation has the attributes of a record that begin with phase_.
type annotation map[string]string

func annotationOf(attributes pcommon.Map) annotation {
	found := annotation{}
	for key, value := range attributes.All() {
		if strings.HasPrefix(key, "phase_") {
			found[key] = value.AsString()
		}
	}
	return found
}

// key identifies a record of a signal.
type key struct {
	session  string
	metric   string // of a data point
	from, to int64  // equal, except for spans
}

// annotations has the annotations of the records of a signal.
type annotations map[key]annotation

// put stores the annotation of a record and fails if there is one already.
func (a annotations) put(t *testing.T, k key, got annotation) {
	t.Helper()
	_, exists := a[k]
	require.False(t, exists, "duplicate record: %+v", k)
	a[k] = got
}

func (a annotations) add(more annotations) { maps.Copy(a, more) }

func logAnnotations(t *testing.T, batches []plog.Logs) annotations {
	t.Helper()
	got := annotations{}
	eachLogRecord(batches, func(_ pcommon.Map, record plog.LogRecord) {
		at := number(record.Attributes(), "timestamp_ns")
		got.put(t, key{session: text(record.Attributes(), "session_id"), from: at, to: at}, annotationOf(record.Attributes()))
	})
	return got
}

func metricAnnotations(t *testing.T, batches []pmetric.Metrics) annotations {
	t.Helper()
	got := annotations{}
	eachDataPoint(batches, func(resource pcommon.Map, metric pmetric.Metric, dp pmetric.NumberDataPoint) {
		at := int64(dp.Timestamp())
		k := key{session: text(resource, "session_id"), metric: metric.Name(), from: at, to: at}
		got.put(t, k, annotationOf(dp.Attributes()))
	})
	return got
}

func spanAnnotations(t *testing.T, batches []ptrace.Traces) annotations {
	t.Helper()
	got := annotations{}
	eachSpan(batches, func(resource pcommon.Map, span ptrace.Span) {
		k := key{session: text(resource, "session_id"), from: int64(span.StartTimestamp()), to: int64(span.EndTimestamp())}
		got.put(t, k, annotationOf(span.Attributes()))
	})
	return got
}

func text(attributes pcommon.Map, name string) string {
	if value, ok := attributes.Get(name); ok {
		return value.AsString()
	}
	return ""
}

func number(attributes pcommon.Map, name string) int64 {
	if value, ok := attributes.Get(name); ok {
		return value.Int()
	}
	return 0
}

// maxShown is how many mismatches a comparison reports.
const maxShown = 3

// compare removes the wanted records from those that were received and returns how many
// have the wanted annotation.
func compare(t *testing.T, what string, want, received annotations) (equal int) {
	t.Helper()
	wrong := 0
	for k, expected := range want {
		got, ok := received[k]
		delete(received, k)
		if ok && maps.Equal(expected, got) {
			equal++
			continue
		}
		wrong++
		if wrong <= maxShown {
			t.Errorf("%s: %+v: want %v, got %v (received: %t)", what, k, expected, got, ok)
		}
	}
	assert.Equal(t, len(want), equal, "%s with the right annotation", what)
	return equal
}

// nothingElse checks that compare has removed all records.
func nothingElse(t *testing.T, what string, received annotations) {
	t.Helper()
	for k, got := range received {
		t.Errorf("%s: %d unexpected records, such as %+v %v", what, len(received), k, got)
		return
	}
}
