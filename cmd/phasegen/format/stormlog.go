// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package format

import (
	"strconv"

	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/phaseattr/phaseattr/cmd/phasegen/job"
)

// Training is the plan of a training program whose author named the phases.
func Training() job.Plan {
	return job.Plan{
		Root: "train",
		Step: []job.Phase{
			{Name: "step", Share: 0.04, Load: 0.1, Phases: []job.Phase{
				{Name: "load_batch", Share: 0.1, Load: 0.03},
				{Name: "forward", Share: 0.3, Load: 0.88},
				{Name: "backward", Share: 0.36, Load: 0.97, Phases: []job.Phase{
					{Name: "all_reduce", Share: 0.1, Load: 0.55, Collective: true},
				}},
				{Name: "optimizer_step", Share: 0.1, Load: 0.7},
				{Name: "save_checkpoint", Share: 0.8, Load: 0.02, Every: 50},
			}},
		},
		Worker: job.Phase{Name: "decode"},
		Thread: job.Phase{Name: "prefetch", Phases: []job.Phase{{Name: "decode"}}},
	}
}

// Stormlog writes the events of stormlog's version 4.
type Stormlog struct {
	Job *job.Job
	// Terse leaves out what phase_attr does not read, and describes the process on the resource.
	Terse bool
}

// Append implements [Format].
func (f Stormlog) Append(b *Batch, e *job.Event) {
	event, ok := map[job.Kind]string{
		job.Start: "start", job.Enter: "phase_enter", job.Exit: "phase_exit", job.Sample: "sample", job.Stop: "stop",
	}[e.Kind]
	if !ok {
		return
	}
	record := b.NewRecord(e.Process, func(attrs pcommon.Map) { f.resource(attrs, e.Process) })
	record.SetTimestamp(timestamp(e.Rank, e.At))
	attrs := record.Attributes()
	if f.Terse {
		attrs.PutStr("event_type", event)
		if e.Kind.Boundary() {
			f.scope(attrs.PutEmptyMap("metadata").PutEmptyMap("phase_scope"), e)
		}
		return
	}
	attrs.EnsureCapacity(25)
	attrs.PutInt("schema_version", 4)
	attrs.PutInt("timestamp_ns", e.Rank.Clock(e.At))
	attrs.PutStr("event_type", event)
	attrs.PutStr("collector", "stormlog.gpu_tracker")
	attrs.PutInt("sampling_interval_ms", f.Job.Sample.Milliseconds())
	attrs.PutInt("pid", int64(e.Process.PID))
	attrs.PutStr("host", e.Rank.Host)
	attrs.PutInt("device_id", int64(e.Rank.GPU))
	attrs.PutStr("job_id", f.Job.ID)
	attrs.PutInt("rank", int64(e.Rank.Number))
	attrs.PutInt("local_rank", int64(e.Rank.GPU))
	attrs.PutInt("world_size", int64(f.Job.WorldSize()))
	attrs.PutStr("session_id", f.Job.Session)
	f.memory(attrs)
	metadata := attrs.PutEmptyMap("metadata")
	capabilities := metadata.PutEmptyMap("memory_capabilities")
	capabilities.PutBool("allocator", true)
	capabilities.PutBool("device", false)
	if e.Kind.Boundary() {
		f.scope(metadata.PutEmptyMap("phase_scope"), e)
	}
}

func (f Stormlog) resource(attrs pcommon.Map, p *job.Process) {
	if !f.Terse {
		attrs.PutStr(LogFilePath, "rank"+strconv.Itoa(p.Number)+".jsonl")
		return
	}
	attrs.PutStr("session_id", f.Job.Session)
	attrs.PutInt("rank", int64(p.Number))
	attrs.PutStr("host", p.Host)
	attrs.PutInt("pid", int64(p.PID))
	attrs.PutInt("device_id", int64(p.GPU))
}

// memory adds the counters of the allocator. A program without them writes null.
func (Stormlog) memory(attrs pcommon.Map) {
	attrs.PutInt("allocator_allocated_bytes", 30<<20)
	attrs.PutInt("allocator_reserved_bytes", 64<<20)
	attrs.PutEmpty("allocator_active_bytes")
	attrs.PutEmpty("allocator_inactive_bytes")
	attrs.PutInt("allocator_change_bytes", 0)
	attrs.PutEmpty("device_used_bytes")
	attrs.PutEmpty("device_free_bytes")
	attrs.PutEmpty("device_total_bytes")
	attrs.PutEmpty("context")
}

func (f Stormlog) scope(scope pcommon.Map, e *job.Event) {
	action := "enter"
	if e.Kind == job.Exit {
		action = "exit"
	}
	scope.PutStr("action", action)
	scope.PutStr("name", e.Scope.Name())
	path := scope.PutEmptySlice("path")
	for _, name := range e.Scope.Path {
		path.AppendEmpty().SetStr(name)
	}
	if !f.Terse {
		scope.PutInt("depth", int64(len(e.Scope.Path)))
	}
	scope.PutStr("scope_id", scopeID(f.Job, e.Scope.Number))
	if e.Scope.Parent != nil {
		scope.PutStr("parent_scope_id", scopeID(f.Job, e.Scope.Parent.Number))
	} else if !f.Terse {
		scope.PutEmpty("parent_scope_id")
	}
	scope.PutInt("sequence", e.Sequence)
	scope.PutInt("thread_id", e.Scope.ThreadID())
	name := "MainThread"
	if e.Scope.Thread > 0 {
		name = "Thread-" + strconv.Itoa(e.Scope.Thread)
	}
	scope.PutStr("thread_name", name)
	if f.Terse {
		return
	}
	attrs := scope.PutEmptyMap("attributes")
	if e.Scope.Step > 0 {
		attrs.PutInt("step", e.Scope.Step)
	}
}
