// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package gateway

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	paper "github.com/phaseattr/phaseattr/cmd/phasegen/job"
	"github.com/phaseattr/phaseattr/test/certificates"
)

// TestKeys runs the same job with different keys: the node leads boundaries and GPU metrics
// to the same gateway, and so do the job and the session if the metrics name them. Gateways
// show it when a key does not.
func TestKeys(t *testing.T) {
	ids := paper.New(paper.Config{Ranks: ranks, GPUsPerNode: gpusPerNode, Seed: 1}) // phasegen's default
	// naming lets the metrics name more than phasegen's do, before they are routed.
	naming := func(statements ...string) string {
		return "processors: {transform/name: {metric_statements: ['" + strings.Join(statements, "', '") + "']}}\n" +
			"service: {pipelines: {metrics: {processors: [transform/name, memory_limiter, transform/route, groupbyattrs/route]}}}\n"
	}
	routingKey := func(key string) string { // resource is not one of spans
		return "exporters: {debug: {}, load_balancing: {routing_key: " + key + ", routing_attributes: []}}\n" +
			"service: {pipelines: {traces: {exporters: [debug]}}}\n"
	}
	var table strings.Builder
	fmt.Fprintf(&table, "%-22s %8s %8s %8s %24s\n", "key", "right", "none", "wrong", "unknown (all gateways)")
	for _, key := range []struct {
		name, file, onTop string
		meets             bool
		gateways          int // that take part
	}{
		{"the node", "route-by-record.yaml", "", true, 3},
		{"the job", "route-by-job.yaml", naming(`set(datapoint.attributes["hpc_job"], "` + ids.ID + `")`), true, 1},
		{"the session", "route-by-session.yaml", naming(
			`set(datapoint.attributes["session_id"], "`+ids.Session+`")`,
			fmt.Sprintf(`set(datapoint.attributes["rank"], Int(Substring(datapoint.attributes["Hostname"], 9, 4)) * %d + Int(datapoint.attributes["gpu"]))`, gpusPerNode),
		), true, 1},
		{"all of the resource", "route-by-record.yaml", routingKey("resource"), false, 3},
		{"service", "route-by-record.yaml", routingKey("service"), false, 1},
	} {
		c := newCluster(t)
		gateways := []*collector{c.gateway(t, "first"), c.gateway(t, "second"), c.gateway(t, "third")}
		c.route(t, gateways...)
		onTop := []string{example(key.file)}
		if key.onTop != "" {
			onTop = append(onTop, write(t, filepath.Join(t.TempDir(), "key.yaml"), key.onTop))
		}
		c.startAgents(t, onTop...)
		job := c.run(t, 3*period)
		sent := job.wait(t)
		c.drained(t)
		c.backend.settle(sent)
		unknown := 0.0
		for _, g := range gateways {
			unknown += g.total("otelcol_processor_phase_attr_unknown_identities")
		}
		h, _ := job.check(t, c.backend)
		last := h[1] // the first one has the start of the job, the last one its end
		fmt.Fprintf(&table, "%-22s %7.2f%% %7.2f%% %7.2f%% %24.0f\n", key.name, last.right, last.none, last.wrong, unknown)
		assert.Zero(t, last.wrong, key.name)
		assert.Len(t, c.backend.shares(), key.gateways, key.name)
		if key.meets {
			assert.Greater(t, last.right, 99.0, key.name)
			assert.Zero(t, unknown, key.name)
		} else {
			assert.Less(t, last.right, 75.0, key.name)
			assert.Greater(t, unknown, 50.0, key.name)
		}
		for _, each := range append(c.agents, gateways...) {
			each.stop(t)
		}
	}
	t.Logf("\n%s", table.String())
}

// TestConfigurationsAreValid validates what is installed, with the variables that it is
// installed with.
func TestConfigurationsAreValid(t *testing.T) {
	for name, files := range map[string][]string{
		"agent":             {"agent.yaml", "gateways.yaml"},
		"agent, by record":  {"agent.yaml", "gateways.yaml", "route-by-record.yaml"},
		"agent, by job":     {"agent.yaml", "gateways.yaml", "route-by-job.yaml"},
		"agent, by session": {"agent.yaml", "gateways.yaml", "route-by-session.yaml"},
		"agent, Kafka":      {"agent.yaml", "gateways.yaml", "kafka/agent.yaml"},
		"agent, Kubernetes": {"agent.yaml", "kubernetes.yaml"},
		"agent, OTLP only":  {"agent.yaml", "kubernetes.yaml", "otlp-only.yaml"},
		"gateway":           {"gateway.yaml"},
		"gateway, Kafka":    {"gateway.yaml", "kafka/gateway.yaml"},
	} {
		var paths []string
		for _, file := range files {
			paths = append(paths, example(file))
		}
		c := newCollector(t, name, certificates.New(t, "otelcol-gateway"), nil, paths...)
		printed, err := c.run("validate").CombinedOutput()
		assert.NoError(t, err, "%s: %s", name, printed)
	}
}
