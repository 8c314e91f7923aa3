// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/phaseattr/phaseattr/benchmarks/internal/training"
)

// What is measured is right: newWorkload checks what each contender writes.
func TestContendersWriteWhatTheyAreTo(t *testing.T) {
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
	// The rank of another node has other answers.
	_, err = newWorkload(t.Context(), "", logsSignal, distinct(func(last time.Time) plog.Logs {
		return training.Logs(node, last)
	}), ranks[len(node):], all[:1])
	require.Error(t, err)
	require.NoError(t, shutdown(t.Context(), all))
}
