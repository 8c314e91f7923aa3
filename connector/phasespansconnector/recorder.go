// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phasespansconnector

import (
	"context"
	"errors"

	"go.opentelemetry.io/collector/connector"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/phaseattr/phaseattr/connector/phasespansconnector/internal/metadata"
)

// Why a boundary was skipped, beside the reasons of package boundary.
const (
	reasonDuplicate     = "duplicate"
	reasonLate          = "late"
	reasonNoStart       = "no_start"
	reasonMaxOpenScopes = "max_open_scopes"
)

// Why an open scope was dropped.
const (
	droppedLostExit = "lost_exit"
	droppedEvicted  = "evicted"
)

// ends says what ended a span.
type ends string

const (
	endsByExit    ends = "exit"
	endsSynthetic ends = "synthetic"
)

// recorder records the connector's metrics. The attribute sets of what happens all the
// time are made once.
type recorder struct {
	telemetry *metadata.TelemetryBuilder
	// connector is the component ID.
	connector     attribute.KeyValue
	enters, exits metric.MeasurementOption
	// complete is for spans that an exit has ended and whose unit is known.
	complete metric.MeasurementOption
}

func newRecorder(set connector.Settings, open, processes func() int64) (*recorder, error) {
	telemetry, err := metadata.NewTelemetryBuilder(set.TelemetrySettings)
	if err != nil {
		return nil, err
	}
	r := &recorder{telemetry: telemetry, connector: attribute.Stringer("connector", set.ID)}
	r.enters, r.exits = r.with(attribute.String("outcome", "entered")), r.with(attribute.String("outcome", "span"))
	r.complete = r.of(endsByExit, true)
	observe := func(size func() int64) metric.Int64Callback {
		return func(_ context.Context, o metric.Int64Observer) error {
			o.Observe(size(), r.with())
			return nil
		}
	}
	if err := errors.Join(
		telemetry.RegisterConnectorPhaseSpansOpenScopesCallback(observe(open)),
		telemetry.RegisterConnectorPhaseSpansProcessesCallback(observe(processes)),
	); err != nil {
		return nil, err
	}
	return r, nil
}

// with returns the attributes of a series.
func (r *recorder) with(attributes ...attribute.KeyValue) metric.MeasurementOption {
	return metric.WithAttributeSet(attribute.NewSet(append(attributes, r.connector)...))
}

// entered counts an enter that is remembered, skipped a boundary that is of no use.
func (r *recorder) entered(ctx context.Context) {
	r.telemetry.ConnectorPhaseSpansBoundaries.Add(ctx, 1, r.enters)
}

func (r *recorder) skipped(ctx context.Context, reason string) {
	r.telemetry.ConnectorPhaseSpansBoundaries.Add(ctx, 1, r.with(attribute.String("outcome", "skipped"), attribute.String("reason", reason)))
}

// exited counts an exit that became a span.
func (r *recorder) exited(ctx context.Context) {
	r.telemetry.ConnectorPhaseSpansBoundaries.Add(ctx, 1, r.exits)
}

// span counts a span.
func (r *recorder) span(ctx context.Context, by ends, unitKnown bool) {
	attributes := r.complete
	if by != endsByExit || !unitKnown {
		attributes = r.of(by, unitKnown)
	}
	r.telemetry.ConnectorPhaseSpansSpans.Add(ctx, 1, attributes)
}

func (r *recorder) of(by ends, unitKnown bool) metric.MeasurementOption {
	unit := "known"
	if !unitKnown {
		unit = "unknown"
	}
	return r.with(attribute.String("end", string(by)), attribute.String("unit", unit))
}

// dropped counts open scopes that were forgotten.
func (r *recorder) dropped(ctx context.Context, reason string, scopes int) {
	if scopes > 0 {
		r.telemetry.ConnectorPhaseSpansDroppedScopes.Add(ctx, int64(scopes), r.with(attribute.String("reason", reason)))
	}
}

func (r *recorder) shutdown() { r.telemetry.Shutdown() }
