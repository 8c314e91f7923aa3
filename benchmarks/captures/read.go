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

// read reads a recorded run, of which all events are to be resolved.
func read(directory, name string) (recording, error) {
	r := recording{
		name: name, events: plog.NewLogs(), records: plog.NewLogs(),
		least: referenceLeast, reference: referenceMost,
	}
	events := r.events.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty().LogRecords()
	records := r.records.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty().LogRecords()
	lines, err := os.ReadFile(filepath.Join(directory, name+".jsonl")) //nolint:gosec // the caller names the directory
	if err != nil {
		return r, err
	}
	for line := range bytes.Lines(lines) {
		var event map[string]any
		// YAML, of which JSON is a subset, distinguishes ints from floats.
		if err := yaml.Unmarshal(line, &event); err != nil && !errors.Is(err, io.EOF) {
			return r, fmt.Errorf("read %s: %w", name, err)
		}
		at, ok := event["timestamp_ns"].(int)
		if !ok {
			return r, fmt.Errorf("read %s: event without timestamp_ns", name)
		}
		record := events.AppendEmpty()
		record.SetTimestamp(pcommon.Timestamp(at)) //nolint:gosec // it is not negative
		if err := record.Attributes().FromRaw(event); err != nil {
			return r, fmt.Errorf("read %s: %w", name, err)
		}
		copied := records.AppendEmpty()
		record.CopyTo(copied)
		// Without its type the record is resolved but not ingested as an event.
		copied.Attributes().Remove("event_type")
	}
	return r, nil
}
