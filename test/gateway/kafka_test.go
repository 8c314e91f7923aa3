// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package gateway

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

const partitions = 12

// TestKafka puts Kafka between agents and gateways, and kills a gateway.
func TestKafka(t *testing.T) {
	c := newCluster(t)
	broker, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(partitions, "otlp_logs", "otlp_metrics"))
	require.NoError(t, err)
	t.Cleanup(broker.Close)
	kafka := "KAFKA=" + broker.ListenAddrs()[0]
	var gateways []*collector
	for _, name := range []string{"first", "second", "third"} {
		g := newCollector(t, name, c.certificates, []string{kafka, "BACKEND=" + c.backend.url + "/" + name},
			example("gateway.yaml"), testdata("gateway.yaml"), example("kafka/gateway.yaml"))
		g.start(t)
		gateways = append(gateways, g)
	}
	for i := range 2 {
		a := newCollector(t, fmt.Sprintf("agent%d", i+1), c.certificates, []string{kafka}, example("agent.yaml"), testdata("agent.yaml"),
			example("gateways.yaml"), example("route-by-record.yaml"), example("kafka/agent.yaml"))
		a.start(t)
		c.agents = append(c.agents, a)
	}
	awaitGroups(t, broker)
	job := c.run(t, 7*period)
	job.after(2 * period)
	gateways[1].kill(t)
	job.after(2*period + 4*time.Second)
	gateways[1].start(t)
	sent := job.wait(t)
	c.drained(t)
	c.backend.settle(sent)

	received, twice := c.backend.received()
	h, _ := job.check(t, c.backend)
	t.Logf("\n%s\n%s\npoints: %d sent, %d received, of which %d came again; nodes by gateway: %v\n",
		h.print(map[time.Duration]string{2 * period: "a gateway is killed; back after 4 s"}), topics(t, broker), sent, received, twice, c.backend.shares())
	for i, p := range h {
		assert.Zero(t, p.wrong, "wrong phases in period %d", i)
	}
	assert.Greater(t, h[1].right, 99.0)
	assert.Greater(t, h[6].right, 99.0, "after the kill")
	for node, from := range c.backend.nodes {
		assert.Len(t, from, 1, "gateways of %s", node)
	}
	assert.Len(t, c.backend.shares(), 3, "all gateways take part")
}

// awaitGroups waits until each of the consumer groups has all gateways, and checks that they
// assign the partitions in the same way.
func awaitGroups(t *testing.T, broker *kfake.Cluster) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(broker.ListenAddrs()...))
	require.NoError(t, err)
	defer client.Close()
	assigned := map[string]map[string][]int32{}
	eventually(t, "the consumer groups are stable", func() bool {
		groups, err := kadm.NewClient(client).DescribeGroups(t.Context(), "phases-logs", "phases-metrics")
		if err != nil {
			return false
		}
		for name, group := range groups {
			if group.State != "Stable" || len(group.Members) != 3 {
				return false
			}
			assigned[name] = map[string][]int32{}
			for _, member := range group.Members {
				assignment, ok := member.Assigned.AsConsumer()
				if !ok || len(assignment.Topics) != 1 {
					return false
				}
				assigned[name][*member.InstanceID] = assignment.Topics[0].Partitions
			}
		}
		return true
	})
	assert.Equal(t, assigned["phases-logs"], assigned["phases-metrics"])
}

// topics describes what is in the topics.
func topics(t *testing.T, broker *kfake.Cluster) string {
	t.Helper()
	var text strings.Builder
	fmt.Fprintf(&text, "%-14s %8s %10s %14s\n", "topic", "records", "keys", "bytes a record")
	for _, topic := range []string{"otlp_logs", "otlp_metrics"} {
		client, err := kgo.NewClient(kgo.SeedBrokers(broker.ListenAddrs()...), kgo.ConsumeTopics(topic),
			kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
		require.NoError(t, err)
		defer client.Close()
		records, size, keys := 0, 0, map[string]int32{}
		for {
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			fetches := client.PollFetches(ctx)
			cancel()
			if fetches.NumRecords() == 0 {
				break
			}
			fetches.EachRecord(func(r *kgo.Record) {
				records++
				size += len(r.Value)
				if partition, ok := keys[string(r.Key)]; ok {
					assert.Equal(t, partition, r.Partition, "a key has one partition")
				}
				keys[string(r.Key)] = r.Partition
			})
		}
		fmt.Fprintf(&text, "%-14s %8d %10d %14d\n", topic, records, len(keys), size/max(records, 1))
		assert.Len(t, keys, 32, "a key for each node")
	}
	return text.String()
}
