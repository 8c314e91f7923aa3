// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package dcgm

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/phaseattr/phaseattr/test/certificates"
)

// TestWhatLeavesTheNodeIsEncrypted runs the example with secure.yaml and a Prometheus that
// accepts only clients with a certificate, and without it.
func TestWhatLeavesTheNodeIsEncrypted(t *testing.T) {
	ranks := []*rank{loadRank(t, "rank0", 0, 10)}
	r := start(t, setup{shifts: [][]*rank{ranks}, tls: certificates.New(t, "localhost")})
	counts := r.checkShared(t, ranks)
	assert.Greater(t, len(counts), 5, "phases")
	up := r.Query(t, `up{job="energy"}`, r.End)
	require.Len(t, up, 1)
	assert.InDelta(t, 1, up[0].Points[0].Value, 0, "the energy is scraped")
}
