// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"go.opentelemetry.io/collector/pdata/pmetric"
)

// tail follows a file that another process is writing.
type tail struct {
	path   string
	offset int64
}

// each calls f with each complete line written since the last call. A file that does not
// exist yet has none.
func (t *tail) each(f func(line []byte) error) error {
	file, err := os.Open(t.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer file.Close()
	if _, err = file.Seek(t.offset, io.SeekStart); err != nil {
		return err
	}
	data, err := io.ReadAll(file)
	if err != nil {
		return err
	}
	data = data[:bytes.LastIndexByte(data, '\n')+1]
	t.offset += int64(len(data))
	return eachLine(data, f)
}

// eachLine calls f with each line that is not blank.
func eachLine(data []byte, f func(line []byte) error) error {
	for line := range bytes.Lines(data) {
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		if err := f(line); err != nil {
			return err
		}
	}
	return nil
}

// countRecords returns the number of log records in a file of events.
func countRecords(path string) (int, error) {
	data, err := os.ReadFile(path) //nolint:gosec // the user chooses the file
	if err != nil {
		return 0, err
	}
	records := 0
	err = eachLine(data, func([]byte) error { records++; return nil })
	if err == nil && records == 0 {
		err = fmt.Errorf("%s is empty", path)
	}
	return records, err
}

// countPoints returns the number of data points in a file of OTLP JSON lines.
func countPoints(path string) (int, error) {
	data, err := os.ReadFile(path) //nolint:gosec // the user chooses the file
	if err != nil {
		return 0, err
	}
	points := 0
	if err := eachLine(data, func(line []byte) error {
		md, err := (&pmetric.JSONUnmarshaler{}).UnmarshalMetrics(line)
		if err == nil {
			points += md.DataPointCount()
		}
		return err
	}); err != nil {
		return 0, fmt.Errorf("%s is not OTLP JSON with one request per line: %w", path, err)
	}
	if points == 0 {
		return 0, fmt.Errorf("%s has no data points", path)
	}
	return points, nil
}
