// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestMeasureOfARecordedRun(t *testing.T) {
	r, err := read(filepath.Join("..", "..", "testdata", "captures"), "crash")
	require.NoError(t, err)
	assert.Equal(t, 157, r.records.LogRecordCount())
	whole, resolve, err := r.measure(t.Context(), 1)
	require.NoError(t, err)
	assert.Positive(t, whole)
	assert.Positive(t, resolve)
}
