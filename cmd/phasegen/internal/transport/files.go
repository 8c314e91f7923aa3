// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/phaseattr/phaseattr/cmd/phasegen/format"
)

// files writes JSON lines into files of a directory. Files of an earlier run are replaced.
type files struct {
	dir string
	// own writes log records to the files of the trainer instead of as OTLP.
	own bool

	mu sync.Mutex
	// written are the files that this run has written to.
	written map[string]bool
}

func newFiles(dir string, own bool) (*files, error) {
	return &files{dir: dir, own: own, written: map[string]bool{}}, os.MkdirAll(dir, 0o750)
}

func (f *files) Close() error { return nil }

// Send appends a batch to the files.
func (f *files) Send(_ context.Context, b *format.Batch) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	var errs []error
	if b.Logs.LogRecordCount() > 0 {
		errs = append(errs, f.sendLogs(b.Logs))
	}
	if b.Traces.SpanCount() > 0 {
		line, err := (&ptrace.JSONMarshaler{}).MarshalTraces(b.Traces)
		errs = append(errs, err, f.append("traces.jsonl", line))
	}
	if b.Metrics.DataPointCount() > 0 {
		line, err := (&pmetric.JSONMarshaler{}).MarshalMetrics(b.Metrics)
		errs = append(errs, err, f.append("metrics.jsonl", line))
	}
	return errors.Join(errs...)
}

func (f *files) sendLogs(ld plog.Logs) error {
	if !f.own {
		line, err := (&plog.JSONMarshaler{}).MarshalLogs(ld)
		return errors.Join(err, f.append("logs.jsonl", line))
	}
	for _, resource := range ld.ResourceLogs().All() {
		path, _ := resource.Resource().Attributes().Get(format.LogFilePath)
		var lines bytes.Buffer
		for _, scope := range resource.ScopeLogs().All() {
			for _, record := range scope.LogRecords().All() {
				if err := writeMap(&lines, record.Attributes()); err != nil {
					return err
				}
				lines.WriteByte('\n')
			}
		}
		if err := f.append(path.AsString(), bytes.TrimSuffix(lines.Bytes(), []byte("\n"))); err != nil {
			return err
		}
	}
	return nil
}

// append appends lines to a file. It does not keep files open: a job can have more than a
// process may.
func (f *files) append(name string, lines []byte) error {
	path := filepath.Join(f.dir, name)
	flag := os.O_APPEND
	if !f.written[path] {
		f.written[path] = true
		flag = os.O_TRUNC
		if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
			return err
		}
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|flag, 0o600) //nolint:gosec // the user chooses the directory
	if err != nil {
		return err
	}
	_, err = file.Write(append(lines, '\n'))
	return errors.Join(err, file.Close())
}

// writeMap writes a map as JSON and keeps the order of its keys.
func writeMap(out *bytes.Buffer, m pcommon.Map) error {
	out.WriteByte('{')
	first := true
	for key, value := range m.All() {
		if !first {
			out.WriteByte(',')
		}
		first = false
		name, err := json.Marshal(key)
		if err != nil {
			return err
		}
		out.Write(name)
		out.WriteByte(':')
		if err := writeValue(out, value); err != nil {
			return err
		}
	}
	out.WriteByte('}')
	return nil
}

func writeValue(out *bytes.Buffer, value pcommon.Value) error {
	switch value.Type() {
	case pcommon.ValueTypeMap:
		return writeMap(out, value.Map())
	case pcommon.ValueTypeDouble: // as Python writes it: 3.0 is not 3
		if text := strconv.FormatFloat(value.Double(), 'f', -1, 64); !strings.Contains(text, ".") {
			out.WriteString(text + ".0")
			return nil
		}
	}
	text, err := json.Marshal(value.AsRaw())
	out.Write(text)
	return err
}
