// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.yaml.in/yaml/v3"
)

// read reads a recorded run. All of its events are to be resolved.
func read(folder, name string) (recording, error) {
	r := recording{
		name: name, events: plog.NewLogs(), records: plog.NewLogs(),
		least: referenceLeast, reference: referenceMost,
	}
	events := r.events.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty().LogRecords()
	records := r.records.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty().LogRecords()
	lines, err := os.ReadFile(filepath.Join(folder, name+".jsonl")) //nolint:gosec // it is what the caller asks for
	if err != nil {
		return r, err
	}
	for line := range bytes.Lines(lines) {
		var event map[string]any
		// JSON is YAML, which tells ints from floats.
		if err := yaml.Unmarshal(line, &event); err != nil && !errors.Is(err, io.EOF) {
			return r, fmt.Errorf("read %s: %w", name, err)
		}
		at, ok := event["timestamp_ns"].(int)
		if !ok {
			return r, fmt.Errorf("read %s: an event has no time", name)
		}
		record := events.AppendEmpty()
		record.SetTimestamp(pcommon.Timestamp(at)) //nolint:gosec // it is not negative
		if err := record.Attributes().FromRaw(event); err != nil {
			return r, fmt.Errorf("read %s: %w", name, err)
		}
		asking := records.AppendEmpty()
		record.CopyTo(asking)
		// The same record, but no event: it is resolved, and nothing is taken in.
		asking.Attributes().Remove("event_type")
	}
	return r, nil
}
