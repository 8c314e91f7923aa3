// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package training

import (
	"fmt"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
)

// GPUsPerNode is the number of ranks on a node.
const GPUsPerNode = 8

// Rank is one process of a job.
type Rank struct {
	// Job and Number identify the rank.
	Job, Number int
	// Start is the time of its first step.
	Start time.Time
}

// NewRank returns a rank of a job that started at the given time. The ranks of a job are
// slightly out of step.
func NewRank(job, number int, start time.Time) Rank {
	skew := time.Duration(number%100) * 137 * time.Microsecond
	return Rank{Job: job, Number: number, Start: start.Add(skew)}
}

// Session returns the session ID of the job.
func (r Rank) Session() string { return fmt.Sprintf("5923ed05-815c-4937-af70-%012d", r.Job) }

// Host returns the node of the rank. Jobs do not share nodes.
func (r Rank) Host() string { return fmt.Sprintf("gpu-node-%02d-%04d", r.Job, r.Number/GPUsPerNode) }

// GPU returns the index of the rank's device on its node.
func (r Rank) GPU() int { return r.Number % GPUsPerNode }

// PID returns the rank's process ID.
func (r Rank) PID() int64 { return int64(20_000 + r.GPU()) }

// Path returns the label of the rank's phase at a time, which must not be that of a
// boundary.
func (r Rank) Path(at time.Time) string {
	return labels[at.Sub(r.Start)%StepDuration/slot]
}

// within returns the middle of the interval between the two boundaries around a time.
func (r Rank) within(at time.Time) time.Time {
	return r.Start.Add(at.Sub(r.Start).Truncate(slot) + slot/2)
}

// PodIP returns the address of the rank's pod.
func (r Rank) PodIP() string {
	n := r.Job*1000 + r.Number
	return fmt.Sprintf("10.%d.%d.%d", n>>16&255, n>>8&255, n&255)
}

// describe adds the resource attributes of a program's SDK and a node's agent, and the
// session and rank if named is set.
func (r Rank) describe(resource pcommon.Map, named bool) {
	resource.PutStr("service.name", "trainer")
	resource.PutStr("service.instance.id", fmt.Sprintf("trainer-%d-%d", r.Job, r.Number))
	resource.PutStr("host.name", r.Host())
	resource.PutInt("process.pid", r.PID())
	resource.PutStr("k8s.pod.ip", r.PodIP())
	resource.PutStr("telemetry.sdk.language", "python")
	if named {
		resource.PutStr("session_id", r.Session())
		resource.PutInt("rank", int64(r.Number))
	}
}

func timestamp(at time.Time) pcommon.Timestamp { return pcommon.NewTimestampFromTime(at) }
