// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package training

import (
	"fmt"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
)

// GPUsPerNode is how many ranks run on a node.
const GPUsPerNode = 8

// Rank is one process of a job.
type Rank struct {
	// Job and Number say which.
	Job, Number int
	// Start is when its first step begins.
	Start time.Time
}

// NewRank returns a rank of a job that began at a time. The ranks of a job do not step
// at quite the same moments.
func NewRank(job, number int, start time.Time) Rank {
	skew := time.Duration(number%100) * 137 * time.Microsecond
	return Rank{Job: job, Number: number, Start: start.Add(skew)}
}

// Session is the session ID of the job.
func (r Rank) Session() string { return fmt.Sprintf("5923ed05-815c-4937-af70-%012d", r.Job) }

// Host is the node that the rank runs on. No two jobs share one.
func (r Rank) Host() string { return fmt.Sprintf("gpu-node-%02d-%04d", r.Job, r.Number/GPUsPerNode) }

// GPU is the device that the rank uses, as its node numbers them.
func (r Rank) GPU() int { return r.Number % GPUsPerNode }

// PID is the rank's process ID.
func (r Rank) PID() int64 { return int64(20_000 + r.GPU()) }

// Path is the label of the phase that the rank is in at a time. The time must not be
// that of a boundary.
func (r Rank) Path(at time.Time) string {
	return labels[at.Sub(r.Start)%StepDuration/slot]
}

// within returns the middle of the stretch between two boundaries that a time lies in.
func (r Rank) within(at time.Time) time.Time {
	return r.Start.Add(at.Sub(r.Start).Truncate(slot) + slot/2)
}

// PodIP is the address of the pod that the rank runs in.
func (r Rank) PodIP() string {
	n := r.Job*1000 + r.Number
	return fmt.Sprintf("10.%d.%d.%d", n>>16&255, n>>8&255, n&255)
}

// describe puts on a resource what a program's SDK and a node's agent put there.
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
