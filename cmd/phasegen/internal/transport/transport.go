// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

// Package transport sends the telemetry of a job: over OTLP, or into files.
package transport

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/phaseattr/phaseattr/cmd/phasegen/format"
)

// retryTimeout is how long a send is retried.
const retryTimeout = 30 * time.Second

// Sink receives telemetry. Several goroutines may call Send at a time.
type Sink interface {
	Send(ctx context.Context, b *format.Batch) error
	Close() error
}

// Schemes describes the destinations of [Open].
const Schemes = "grpc://HOST:PORT or http://HOST:PORT for OTLP, file:DIR for OTLP JSON lines, " +
	"lines:DIR for OTLP JSON lines and the trainer's own log files"

// Open returns a sink for a destination.
func Open(to string) (Sink, error) {
	scheme, rest, _ := strings.Cut(to, ":")
	address, isURL := strings.CutPrefix(rest, "//")
	switch {
	case scheme == "grpc" && isURL && address != "":
		return newGRPC(address)
	case (scheme == "http" || scheme == "https") && isURL && address != "":
		return newHTTP(to), nil
	case scheme == "file" && rest != "":
		return newFiles(rest, false)
	case scheme == "lines" && rest != "":
		return newFiles(rest, true)
	}
	return nil, fmt.Errorf("to must be %s (got %q)", Schemes, to)
}

// retry calls send until it succeeds, fails for good or retryTimeout has passed. send
// reports whether its error is transient.
func retry(ctx context.Context, send func(context.Context) (transient bool, err error)) error {
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		transient, err := send(ctx)
		if err != nil && !transient {
			err = backoff.Permanent(err)
		}
		return struct{}{}, err
	}, backoff.WithMaxElapsedTime(retryTimeout))
	return err
}
