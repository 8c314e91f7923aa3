// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/phaseattr/phaseattr/benchmarks/internal/training"
)

// newWorkload checks what each contender writes.
func TestContendersWriteTheExpectedAttributes(t *testing.T) {
	var ranks []training.Rank
	for n := range 2 * training.GPUsPerNode {
		ranks = append(ranks, training.NewRank(0, n, begin))
	}
	node := ranks[:training.GPUsPerNode]
	cluster := startCluster(ranks)
	defer cluster.close()
	peers, err := startPeers(t.Context(), cluster)
	require.NoError(t, err)
	ours, err := startFilled(t.Context(), ranks, len(node))
	require.NoError(t, err)
	all := append([]*pipelines{ours}, peers...)

	workloads, err := nodeWorkloads(t.Context(), node, all)
	require.NoError(t, err)
	for _, w := range workloads {
		assert.Equal(t, 1000, w.records, w.name)
		assert.Len(t, w.contenders, 2+len(all), w.name)
	}
	for _, c := range bestCases() {
		w, failed := c.workload(t.Context(), node, ours)
		require.NoError(t, failed)
		assert.Equal(t, 1000, w.records, w.name)
		assert.Len(t, w.contenders, 3, w.name)
	}
	// The ranks of another node are in other phases.
	_, err = newWorkload(t.Context(), "", logsSignal, distinct(func(last time.Time) plog.Logs {
		return training.Logs(node, last)
	}), ranks[len(node):], all[:1])
	require.Error(t, err)
	require.NoError(t, shutdown(t.Context(), all))
}

func TestTheRatioToTheFloorIsTheLastLine(t *testing.T) {
	r := results{rows: []row{{contender: floorName, ratio: 1}, {contender: phaseAttr, ratio: 1.25}, {contender: phaseAttr, ratio: 2}}}
	for i, c := range bestCases() {
		r.best = append(r.best, bestRow{of: c, own: row{ratio: float64(3 + i)}})
	}
	var out bytes.Buffer
	require.NoError(t, r.print(&out))
	assert.True(t, strings.HasSuffix(out.String(), "\n\nratio to best floor: 4.00\nratio to floor: 1.25\n"), out.String())
}
