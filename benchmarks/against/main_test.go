// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// build writes a program that prints what peers would, and fails unless it is called with
// the given arguments.
func build(t *testing.T, ratios string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "peers")
	script := fmt.Sprintf("#!/bin/sh\n[ \"$*\" = '-rounds 3 -ratios' ] || exit 1\nprintf '%s'\n", ratios)
	require.NoError(t, os.WriteFile(file, []byte(script), 0o700))
	return file
}

func TestRunComparesWorkloads(t *testing.T) {
	older := build(t, `gauges\t1.2\nlogs, 5\t2\n`)
	newer := build(t, `gauges\t0.9\nlogs, 5\t2.5\n`)
	var out bytes.Buffer
	require.NoError(t, run(&out, older, newer, []string{"-rounds", "3"}, 2))
	assert.Regexp(t, `gauges +1\.20 +0\.90 +0\.75 +0\.75 +0\.75\n +logs, 5 +2\.00 +2\.50 +1\.25 +1\.25 +1\.25\n`, out.String())
}

func TestRunRefusesBuildsThatMeasureOtherThings(t *testing.T) {
	older, newer := build(t, `gauges\t1.2\n`), build(t, `logs\t1.2\n`)
	require.ErrorContains(t, run(&bytes.Buffer{}, older, newer, []string{"-rounds", "3"}, 1), "gauges: 1 ratios of the old build, 0 of the new one")
	require.ErrorContains(t, run(&bytes.Buffer{}, older, newer, nil, 1), "run "+older)
	require.ErrorContains(t, run(&bytes.Buffer{}, older, build(t, `no ratio\n`), []string{"-rounds", "3"}, 1), "read the ratios")
}
