// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net"
	"sync/atomic"

	"go.opentelemetry.io/collector/pdata/pmetric"
	"google.golang.org/grpc"
)

// The methods of OTLP.
const (
	exportLogs    = "/opentelemetry.proto.collector.logs.v1.LogsService/Export"
	exportMetrics = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"
)

// rawCodec passes messages in their encoded form, so that the sender and the sink cost as
// little as possible.
type rawCodec struct{}

// Marshal returns the bytes of a message.
func (rawCodec) Marshal(v any) ([]byte, error) { return *v.(*[]byte), nil }

// Unmarshal stores the bytes of a message.
func (rawCodec) Unmarshal(data []byte, v any) error {
	*v.(*[]byte) = data
	return nil
}

// Name names the codec.
func (rawCodec) Name() string { return "proto" }

// sink receives the output of the collectors and keeps the last metrics.
type sink struct {
	server  *grpc.Server
	address string
	last    atomic.Pointer[[]byte]
}

func startSink() (*sink, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &sink{address: listener.Addr().String()}
	s.server = grpc.NewServer(grpc.ForceServerCodec(rawCodec{}), grpc.MaxRecvMsgSize(64<<20),
		grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
			var message []byte
			if err := stream.RecvMsg(&message); err != nil {
				return err
			}
			if method, _ := grpc.MethodFromServerStream(stream); method == exportMetrics {
				s.last.Store(&message)
			}
			return stream.SendMsg(&[]byte{}) // an empty response means success
		}))
	go func() { _ = s.server.Serve(listener) }()
	return s, nil
}

func (s *sink) stop() { s.server.Stop() }

// check checks that the last data points have the attributes of the processor.
func (s *sink) check(processor string) error {
	md, err := new(pmetric.ProtoUnmarshaler).UnmarshalMetrics(*s.last.Load())
	if err != nil {
		return fmt.Errorf("%s: %w", processor, err)
	}
	for _, resource := range md.ResourceMetrics().All() {
		for _, metric := range resource.ScopeMetrics().At(0).Metrics().All() {
			for _, dp := range metric.Gauge().DataPoints().All() {
				if _, written := dp.Attributes().Get("phase_path"); written != (processor != variants[0].name) {
					return fmt.Errorf("%s: data point with phase_path: %t", processor, written)
				}
			}
		}
	}
	return nil
}
