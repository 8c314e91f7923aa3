// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package gateway

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// TestGatewaysComeAndGo runs a job of 256 ranks on 32 nodes while gateways are killed, join
// and leave.
func TestGatewaysComeAndGo(t *testing.T) {
	c := newCluster(t)
	forgetful := c.gateway(t, "forgetful", testdata("forgetful.yaml"))
	second, third := c.gateway(t, "second"), c.gateway(t, "third")
	c.route(t, forgetful, second, third)
	c.startAgents(t, example("route-by-record.yaml"))

	const down = 4 * time.Second
	events := map[time.Duration]string{}
	at := func(job *job, offset time.Duration, what string, do func()) {
		job.after(offset)
		events[offset.Truncate(period)] = what
		do()
	}
	job := c.run(t, 100*time.Second)
	at(job, 15*time.Second, "a gateway without storage is killed; back after 4 s", func() { forgetful.kill(t) })
	job.after(15*time.Second + down)
	forgetful.start(t)
	at(job, 35*time.Second, "a gateway with storage is killed; back after 4 s", func() { second.kill(t) })
	job.after(35*time.Second + down)
	second.start(t)
	fourth := c.gateway(t, "fourth")
	at(job, 55*time.Second, "a fourth gateway joins", func() { c.route(t, forgetful, second, third, fourth) })
	at(job, 75*time.Second, "it leaves", func() {
		c.route(t, forgetful, second, third)
		fourth.awaitIdle(t)
		fourth.stop(t)
	})
	sent := job.wait(t)
	c.drained(t)
	c.backend.settle(sent)

	received, twice := c.backend.received()
	h, table := job.check(t, c.backend)
	t.Logf("\n%s\n%s\nnodes by gateway: %v\npoints: %d sent, %d received, of which %d came again; otelcol_processor_phase_attr_unknown_identities: %v\n",
		h.print(events), table, c.backend.shares(), sent, received, twice, third.total("otelcol_processor_phase_attr_unknown_identities"))

	for i, p := range h {
		offset := time.Duration(i) * period
		assert.Zero(t, p.wrong, "wrong phases at %v", offset)
		if strings.Contains(events[offset+period], "killed") {
			assert.Less(t, p.missing, 100, "what a gateway that is killed has in memory, at %v", offset)
			continue
		}
		assert.Zero(t, p.missing, "missing points at %v", offset)
		if events[offset-period] == "" && events[offset] == "" && events[offset+period] == "" {
			assert.Greater(t, p.right, 99.0, "right phases at %v", offset)
		}
	}
	assert.Len(t, c.backend.shares(), 4, "all gateways take part")
}
