// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestRunPrintsBothTables(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, run(t.Context(), options{rounds: 1, window: 10 * time.Second, fullRanks: 1, idleRanks: 8}, &out))
	assert.Contains(t, out.String(), "\nratio to unmarshalling: ")
	assert.Contains(t, out.String(), "heap of an idle rank: ")
}
