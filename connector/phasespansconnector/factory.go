// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phasespansconnector

import (
	"context"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/connector"
	"go.opentelemetry.io/collector/consumer"

	"github.com/phaseattr/phaseattr/connector/phasespansconnector/internal/metadata"
)

// NewFactory returns the factory of the phase_spans connector.
func NewFactory() connector.Factory {
	return connector.NewFactory(
		metadata.Type,
		createDefaultConfig,
		connector.WithLogsToTraces(createLogsToTraces, metadata.LogsToTracesStability),
	)
}

func createLogsToTraces(
	_ context.Context, set connector.Settings, cfg component.Config, next consumer.Traces,
) (connector.Logs, error) {
	return newConnector(set, cfg.(*Config), next)
}
