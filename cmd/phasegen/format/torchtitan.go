// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package format

import (
	"fmt"
	"strconv"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/phaseattr/phaseattr/cmd/phasegen/job"
)

// TorchTitanPlan is the plan of TorchTitan's training loop.
func TorchTitanPlan() job.Plan {
	return job.Plan{
		Startup: []job.Phase{
			{Name: "torch_distributed_init", Share: 2},
			{Name: "model_parallelism_init", Share: 1},
		},
		Step: []job.Phase{{Name: "step", Share: 0.05, Load: 0.05, Phases: []job.Phase{
			{Name: "gc_collect", Share: 0.05, Every: 50},
			{Name: "fetching_batch", Share: 0.07},
			{Name: "fwd_bwd", Share: 0.74, Load: 0.93, Collective: true},
			{Name: "optim", Share: 0.14, Load: 0.7},
			{Name: "checkpoint_save", Share: 0.8, Every: 50},
		}}},
		Worker: job.Phase{Name: "fetching_batch"},
	}
}

// TorchTitan writes the records of TorchTitan's structured logger, as they are after a
// json_parser. They name no session: the directory of the file does.
type TorchTitan struct{ Job *job.Job }

// Append implements [Format].
func (f TorchTitan) Append(b *Batch, e *job.Event) {
	switch e.Kind {
	case job.Start, job.Enter, job.Exit:
	default:
		return
	}
	record := b.NewRecord(e.Process, func(attrs pcommon.Map) {
		attrs.PutStr(LogFilePath, f.file(e.Process))
	})
	record.SetTimestamp(timestamp(e.Rank, e.At))
	attrs := record.Attributes()
	attrs.EnsureCapacity(24)
	delta := 0.0
	if e.Kind.Boundary() {
		delta = inMilliseconds(e.At - e.Previous)
	}
	attrs.PutDouble("delta_ms", delta)
	attrs.PutInt("tid", int64(e.Process.PID)) // that of the main thread
	attrs.PutInt("rank", int64(e.Rank.Number))
	attrs.PutInt("global_rank", int64(e.Rank.Number))
	attrs.PutInt("local_rank", int64(e.Rank.GPU))
	attrs.PutStr("source", "training")
	attrs.PutStr("host_name", e.Rank.Host)
	attrs.PutInt("pid", int64(e.Process.PID))
	step := "N/A"
	if e.Scope != nil && e.Scope.Step > 0 {
		step = strconv.FormatInt(e.Scope.Step, 10)
		attrs.PutInt("step", e.Scope.Step)
		attrs.PutInt("relative_step", e.Scope.Step)
	}
	at := time.Unix(0, e.Rank.Clock(e.At))
	attrs.PutInt("time", at.Unix())
	attrs.PutInt("time_ms", at.UnixMilli())
	attrs.PutInt("time_us", at.UnixMicro())
	message := f.event(attrs, e)
	if e.Kind.Boundary() {
		message = "[step " + step + "] " + message
	}
	attrs.PutStr("caller", "torchtitan/trainer.py:812:train_step")
	attrs.PutStr("log_file", "trainer.py")
	attrs.PutStr("log_function", "train_step")
	attrs.PutStr("log_level", "INFO")
	attrs.PutStr("logger_name", "torchtitan.structured_logger")
	attrs.PutInt("seq_id", e.Sequence)
	attrs.PutStr("message", message)
}

// event adds what happens, and returns it in words.
func (TorchTitan) event(attrs pcommon.Map, e *job.Event) string {
	kind, name := "instant", "structured_logger_started"
	message := name
	took := 0.0
	switch e.Kind {
	case job.Enter:
		kind, name = "event", e.Scope.Name()+"_start"
		message = e.Scope.Name() + " " + name
	case job.Exit:
		kind, name = "event", e.Scope.Name()+"_end"
		took = inMilliseconds(e.At - e.Scope.Entered)
		message = fmt.Sprintf("%s took %.2f ms", name, took)
	}
	attrs.PutStr("log_type", kind)
	attrs.PutStr("log_type_name", name)
	attrs.PutEmpty("event_name")
	if e.Kind == job.Exit {
		attrs.PutDouble("value", took)
	}
	return message
}

// file returns the path of a process's file. Each start has a file of its own.
func (f TorchTitan) file(p *job.Process) string {
	began := time.Unix(0, p.Began).UTC()
	return fmt.Sprintf("%s/structured_logs/training.global_rank_%d.%s-%06x.jsonl",
		f.Job.ID, p.Number, began.Format("20060102-150405"), p.PID)
}

// inMilliseconds returns nanoseconds in milliseconds, with microseconds as the smallest
// unit.
func inMilliseconds(nanoseconds int64) float64 {
	return float64(nanoseconds/1000) / 1000
}
