// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"

	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"

	"github.com/phaseattr/phaseattr/cmd/phasegen/format"
)

// otlpHTTP sends OTLP as protobuf over HTTP.
type otlpHTTP struct {
	url    string
	client *http.Client
}

func newHTTP(url string) *otlpHTTP {
	return &otlpHTTP{strings.TrimSuffix(url, "/"), &http.Client{Transport: http.DefaultTransport.(*http.Transport).Clone()}}
}

func (h *otlpHTTP) Close() error {
	h.client.CloseIdleConnections()
	return nil
}

// Send sends boundaries before the metrics of the same time.
func (h *otlpHTTP) Send(ctx context.Context, b *format.Batch) error {
	if b.Logs.LogRecordCount() > 0 {
		response := plogotlp.NewExportResponse()
		if err := h.post(ctx, "/v1/logs", plogotlp.NewExportRequestFromLogs(b.Logs), response); err != nil {
			return err
		}
		if err := rejectedError(response.PartialSuccess().RejectedLogRecords()); err != nil {
			return err
		}
	}
	if b.Traces.SpanCount() > 0 {
		response := ptraceotlp.NewExportResponse()
		if err := h.post(ctx, "/v1/traces", ptraceotlp.NewExportRequestFromTraces(b.Traces), response); err != nil {
			return err
		}
		if err := rejectedError(response.PartialSuccess().RejectedSpans()); err != nil {
			return err
		}
	}
	if b.Metrics.DataPointCount() == 0 {
		return nil
	}
	response := pmetricotlp.NewExportResponse()
	if err := h.post(ctx, "/v1/metrics", pmetricotlp.NewExportRequestFromMetrics(b.Metrics), response); err != nil {
		return err
	}
	return rejectedError(response.PartialSuccess().RejectedDataPoints())
}

func (h *otlpHTTP) post(ctx context.Context, path string, request interface{ MarshalProto() ([]byte, error) },
	response interface{ UnmarshalProto(data []byte) error },
) error {
	body, err := request.MarshalProto()
	if err != nil {
		return err
	}
	return retry(ctx, func(ctx context.Context) (bool, error) { return h.try(ctx, path, body, response) })
}

func (h *otlpHTTP) try(ctx context.Context, path string, body []byte,
	response interface{ UnmarshalProto(data []byte) error },
) (transient bool, _ error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, h.url+path, bytes.NewReader(body))
	if err != nil {
		return false, err
	}
	request.Header.Set("Content-Type", "application/x-protobuf")
	answer, err := h.client.Do(request)
	if err != nil {
		return ctx.Err() == nil, err // the receiver may not listen yet
	}
	defer answer.Body.Close()
	content, err := io.ReadAll(answer.Body)
	if err != nil {
		return true, err
	}
	switch answer.StatusCode {
	case http.StatusOK:
		return false, response.UnmarshalProto(content)
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		transient = true
	}
	return transient, fmt.Errorf("%s%s: %s", h.url, path, answer.Status)
}
