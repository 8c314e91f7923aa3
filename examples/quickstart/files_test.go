// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const captures = "../../testdata/captures/"

func TestTailReturnsCompleteLinesOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out.jsonl")
	follow := tail{path: path}
	read := func() (lines []string) {
		require.NoError(t, follow.each(func(line []byte) error {
			lines = append(lines, string(line))
			return nil
		}))
		return lines
	}
	write := func(text string) { require.NoError(t, os.WriteFile(path, []byte(text), 0o600)) }

	assert.Empty(t, read(), "the file does not exist yet")
	write("a\nb")
	assert.Equal(t, []string{"a"}, read())
	assert.Empty(t, read())
	write("a\nbc\n\nd\n")
	assert.Equal(t, []string{"bc", "d"}, read())
}

func TestCountsOfARecordedRun(t *testing.T) {
	records, err := countRecords(captures + "single.jsonl")
	require.NoError(t, err)
	assert.Equal(t, 274, records)

	points, err := countPoints(captures + "single.metrics.jsonl")
	require.NoError(t, err)
	assert.Equal(t, 144, points)
}

func TestFilesWithoutDataAreErrors(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	_, err := countRecords(filepath.Join(dir, "missing"))
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = countRecords(file("blank", "\n \n"))
	require.ErrorContains(t, err, "is empty")
	_, err = countPoints(filepath.Join(dir, "missing"))
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = countPoints(file("text", "no JSON\n"))
	require.ErrorContains(t, err, "is not OTLP JSON")
	_, err = countPoints(captures + "single.jsonl")
	require.ErrorContains(t, err, "has no data points")
}
