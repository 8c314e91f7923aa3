// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/phaseattr/phaseattr/benchmarks/internal/fleet"
	"github.com/phaseattr/phaseattr/cmd/phasegen/job"
)

// newWorkload checks what each contender writes.
func TestContendersWriteTheExpectedAttributes(t *testing.T) {
	node, other := newNode(0), newNode(1)
	cluster := startCluster([]*job.Job{node.job, other.job})
	defer cluster.close()
	peers, err := startPeers(t.Context(), cluster)
	require.NoError(t, err)
	ours, err := startFilled(t.Context(), node.job, []*job.Job{other.job})
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
	wrong := *node.records[0][0]
	wrong.Scope = &job.Scope{Path: []string{"another"}}
	_, err = newWorkload(t.Context(), "", logsSignal, node.job, [][]*job.Event{{&wrong}}, fleet.Logs{Job: node.job}, all[:1])
	require.ErrorContains(t, err, `want phase_path "another"`)
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
