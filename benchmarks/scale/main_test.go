// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestRunPrintsTablesAndDraws(t *testing.T) {
	var out bytes.Buffer
	chart := filepath.Join(t.TempDir(), "scale.svg")
	require.NoError(t, run(t.Context(), &out, "8,16", chart, 1<<30))
	assert.Contains(t, out.String(), "32 microbatches")
	assert.FileExists(t, chart)
}
