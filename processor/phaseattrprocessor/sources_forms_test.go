// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"encoding/json"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

// recordsOf returns the JSON lines of a sample as log records, as json_parser does.
func recordsOf(t *testing.T, name string) plog.Logs {
	t.Helper()
	ld := plog.NewLogs()
	for _, line := range sampleLines(t, name) {
		var fields object
		require.NoError(t, json.Unmarshal(line, &fields))
		record := ld.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty().LogRecords().AppendEmpty()
		require.NoError(t, record.Attributes().FromRaw(fields))
	}
	return ld
}

// sampleGauge is a point with some attributes, at a time of a sample in seconds.
func sampleGauge(t *testing.T, attributes object, at float64) pmetric.Metrics {
	t.Helper()
	md := pmetric.NewMetrics()
	metric := md.ResourceMetrics().AppendEmpty().ScopeMetrics().AppendEmpty().Metrics().AppendEmpty()
	metric.SetName("DCGM_FI_DEV_GPU_UTIL")
	point := metric.SetEmptyGauge().DataPoints().AppendEmpty()
	point.SetTimestamp(pcommon.Timestamp(sampleEpoch + int64(at*1e9)))
	require.NoError(t, point.Attributes().FromRaw(attributes))
	return md
}

// at returns the attributes of a point after it has waited.
func (p *pipelines) at(t *testing.T, attributes object, at float64) pcommon.Map {
	t.Helper()
	p.metricsSink.Reset()
	require.NoError(t, p.metrics.ConsumeMetrics(t.Context(), sampleGauge(t, attributes, at)))
	time.Sleep(time.Minute)
	require.Len(t, p.metricsSink.AllMetrics(), 1)
	return p.metricsSink.AllMetrics()[0].ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().At(0).Gauge().DataPoints().At(0).Attributes()
}

// answerAt is what a data point with some attributes gets: its path, (ambiguous), or a dash.
func (p *pipelines) answerAt(t *testing.T, attributes object, at float64) string {
	t.Helper()
	md := pmetric.NewMetrics()
	dp := md.ResourceMetrics().AppendEmpty().ScopeMetrics().AppendEmpty().Metrics().AppendEmpty().SetEmptyGauge().DataPoints().AppendEmpty()
	dp.SetTimestamp(timestamp(at))
	require.NoError(t, dp.Attributes().FromRaw(attributes))
	out := p.passMetrics(t, md)
	return got(out.ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().At(0).Gauge().DataPoints().At(0).Attributes())
}

// DFTracer writes a record for a whole phase, with its start and its duration.
func TestRecordsOfWholePhasesAreIntervals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := startAtSampleEpoch(t, `[{logs: {name: [name], duration: {field: dur, unit: us, time: start}, time: {field: ts, unit: us}, session: [pid], lane: [tid]}}]`)
		require.NoError(t, p.logs.ConsumeLogs(t.Context(), recordsOf(t, "dftracer.jsonl")))
		for at, want := range map[float64]string{0.01: "read_batch", 0.1: "forward", 0.2: "backward"} {
			assert.Equal(t, want, got(p.at(t, object{"pid": "61001", "process.pid": 61001}, at)), at)
		}
	})
}

// Records of schema 4 have nulls where a device cannot tell.
func TestStormlogsNewestSchemaIsRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := startAtSampleEpoch(t, "[{preset: megatron}, {preset: stormlog}]")
		require.NoError(t, p.logs.ConsumeLogs(t.Context(), recordsOf(t, "stormlog_v4.jsonl")))
		assert.Equal(t, "train / step", got(p.at(t, object{"session_id": "6a0f5c1e-0e5b-4c3a-8a5d-2f5f8a1d9e77", "rank": 2}, 0.0025)))
	})
}

// A worker that writes checkpoints has the rank and the GPU of its trainer, which alone answers
// for them.
func TestACheckpointWorkerDoesNotAnswerForTheGPU(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := startAtSampleEpoch(t, "[{preset: megatron}]")
		for _, td := range sampleSpans(t, "megatron_nv_spans.jsonl") {
			require.NoError(t, p.traces.ConsumeTraces(t.Context(), td))
		}
		for name, attributes := range map[string]object{
			"by the GPU": {"UUID": "GPU-3c9e5488-115d-c275-ff0a-bc39c4dbf6b6", "gpu": "2", "Hostname": "node-03"},
			"by the run": {"nv.dl.run.uuid": "5b0c2f0e-88f4-5d0a-9d3a-1f6f5b1f7a10", "nv.dl.rank": 6},
		} {
			assert.Equal(t, "iteration / forward_backward", got(p.at(t, attributes, 38.0)), name)
			assert.Equal(t, "-", got(p.at(t, attributes, 37.39)), name) // the worker is writing
		}
		assert.Equal(t, "ckpt / save / write", got(p.at(t, object{"host.name": "node-03", "process.pid": 52906}, 38.0)))
	})
}

// The trainer may be the first process of a container, of which its spans do not say which one, and
// its helper another process there.
func TestAHelperIsNeverTheTrainerWhicheverComesFirst(t *testing.T) {
	for _, pid := range []int64{10, 1, 0} {
		of := func(pid int64, role, name string, id uint64, from, to float64) ptrace.Traces {
			td, spans := trainerSpans()
			resource := td.ResourceSpans().At(0)
			resource.ScopeSpans().At(0).Scope().SetName("nemo.lens")
			require.NoError(t, resource.Resource().Attributes().FromRaw(object{
				"nv.dl.run.uuid": "run", "nv.dl.rank": 0, "nv.dl.role": role, "host.name": "node", "process.pid": pid, "nv.gpu.uuid": "GPU-1",
			}))
			addSpan(spans, id, 0, name, from, to)
			return td
		}
		trainer := func(id uint64, from, to float64) ptrace.Traces {
			return of(pid, "trainer", "nv.dl.training.iteration", id, from, to)
		}
		helper := func(id uint64, from, to float64) ptrace.Traces {
			return of(52, "ckpt_worker", "nv.nvrx.ckpt.save.write", id, from, to)
		}
		for _, order := range [][]int{{0, 1, 2, 3}, {2, 3, 0, 1}, {2, 0, 3, 1}, {0, 2, 1, 3}, {3, 2, 1, 0}} {
			directory := t.TempDir()
			p := startOn(t, directory, withSources(t, "[{preset: megatron}]"))
			for n, i := range order {
				if n == 2 {
					directory = killed(t, directory)
					p = startOn(t, directory, withSources(t, "[{preset: megatron}]"))
				}
				p.passTraces(t, []ptrace.Traces{trainer(1, 1, 9), trainer(2, 12, 20), helper(3, 1, 10), helper(4, 10.5, 21)}[i])
			}
			for at, want := range map[float64]string{5: "iteration", 9.5: "-", 11: "-", 15: "iteration", 20.5: "-"} {
				assert.Equal(t, want, p.answerAt(t, object{"UUID": "GPU-1"}, at), "pid %d, %v, at %v", pid, order, at)
				assert.Equal(t, want, p.answerAt(t, object{"nv.dl.run.uuid": "run", "nv.dl.rank": 0}, at), "pid %d, %v, at %v", pid, order, at)
			}
			assert.Equal(t, "ckpt / save / write", p.answerAt(t, object{"host.name": "node", "process.pid": 52}, 15), "pid %d, %v", pid, order)
		}
	}
}

// The spans of NeMo-RL's driver are the job's, and say whether the time was productive.
func TestTheDriversPhasesAreTheJobs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(time.Unix(0, sampleEpoch).Add(2 * time.Hour)))
		p := startPipelines(t, withGrace, withSources(t, "[{preset: nemo_rl}]"), func(cfg *Config) { cfg.ScopeAttributes = []string{"rl.bucket"} })
		for _, td := range sampleSpans(t, "nemo_rl_spans.jsonl") {
			require.NoError(t, p.traces.ConsumeTraces(t.Context(), td))
		}
		for _, attributes := range []object{
			{"UUID": "GPU-of-any-worker", "hpc_job": "grpo-qwen-7"},
			{"nemo.run.id": "grpo-qwen-7", "gpu": "3"},
		} {
			answer := p.at(t, attributes, 20)
			assert.Equal(t, "grpo.policy_training", got(answer), attributes)
			assert.Equal(t, "productive", text(answer, "rl.bucket"), attributes)
			assert.Equal(t, "(ambiguous)", got(p.at(t, attributes, 80)), attributes) // the driver's and the collector's
		}
	})
}

// A line that a regular expression has taken apart is text, its numbers too.
func TestNumbersOfRecordsMayBeText(t *testing.T) {
	for name, took := range map[string]any{"text": " 2.50 ", "an integer as text": "2", "a double": 2.5, "an integer": 2} {
		p := startPipelines(t, withSources(t, `[{logs: {name: [name], duration: {field: took, unit: s}, session: [run]}}]`))
		ld := records(t, object{"name": "generate", "took": took, "run": "r"})
		ld.ResourceLogs().At(0).ScopeLogs().At(0).LogRecords().At(0).SetTimestamp(timestamp(20))
		p.passLogs(t, ld)
		assert.Equal(t, "generate", p.answerAt(t, object{"run": "r"}, 18.5), name)
		assert.Equal(t, "-", p.answerAt(t, object{"run": "r"}, 17), name)
	}
}

// The directory of all runs may be called as that of each one's logs.
func TestTheSessionEndsAtTheLastDirectoryOfTheName(t *testing.T) {
	for _, path := range []string{
		"/data/structured_logs/%s/structured_logs/training.jsonl", "/data/%s/structured_logs/training.jsonl",
		"%s/structured_logs/training.jsonl", `C:\data\%s\structured_logs\training.jsonl`,
	} {
		p := startPipelines(t, withSources(t, "[{preset: torchtitan}]"))
		for i, run := range []string{"one", "two"} {
			p.passLogs(t, records(t, object{
				"log_type": "event", "log_type_name": "phase_" + run + "_start", "source": "training", "global_rank": 0, "seq_id": 0,
				"host_name": run, "pid": 10 + i, "local_rank": 0, "time_us": moment(1) / 1000, "log.file.path": fmt.Sprintf(path, run),
			}))
		}
		for _, run := range []string{"one", "two"} {
			assert.Equal(t, "phase_"+run, p.answerAt(t, object{"host.name": run, "gpu": 0}, 2), path)
		}
	}
}

// A condition on spans may have space wherever OTTL allows it.
func TestAConditionOnSpansIsAskedOfEachOfThem(t *testing.T) {
	for _, where := range []string{
		`span.name != "detail"`, `span .name != "detail"`, "not (span\n.\nname == \"detail\")", `resource.attributes["rank"] == 0 and span .name != "detail"`,
	} {
		p := startPipelines(t, withSources(t, fmt.Sprintf(`[{spans: {session: [session_id], rank: [rank], where: %q}}]`, where)))
		td, spans := trainerSpans()
		addSpan(spans, 1, 0, "step", 1, 10)
		addSpan(spans, 2, 1, "detail", 2, 9)
		p.passTraces(t, td)
		assert.Equal(t, "step", p.answerAt(t, object{"session_id": "run", "rank": 0}, 5), where)
	}
}

// A pending span announces its parent. One without a parent announces nothing, and would never
// end; of one that does not say what the announced span is below, the path is not known.
func TestAPendingSpanSaysWhatItAnnouncesAndBelowWhat(t *testing.T) {
	forward := object{"session_id": "run", "rank": 0}
	for name, below := range map[string]string{"a root": "0000000000000000", "a child": "00000000000000ab", "a child, in capitals": "00000000000000AB"} {
		p := startPipelines(t, withSources(t, "[{preset: otel}]"))
		p.passTraces(t, pendingSpan(t, 1, object{"logfire.pending_parent_id": below}))
		want := "forward"
		if name != "a root" {
			td, spans := trainerSpans()
			addSpan(spans, 0xab, 0, "step", 1, 3)
			p.passTraces(t, td)
			want = "step / forward"
		}
		assert.Equal(t, want, p.answerAt(t, forward, 2), name) // its end has not come when the step has ended
		assert.Empty(t, p.rejections(t, "otel"), name)
	}
	for name, tc := range map[string]struct {
		reason  string
		parent  uint64
		pending object
	}{
		"nothing":                       {"scope_id", 0, object{"logfire.pending_parent_id": "0000000000000000"}},
		"a span below what is not said": {"parent_scope_id", 1, object{}},
		"a span below a blank":          {"parent_scope_id", 1, object{"logfire.pending_parent_id": " "}},
	} {
		p := startPipelines(t, withSources(t, "[{preset: otel}]"))
		p.passTraces(t, pendingSpan(t, tc.parent, tc.pending))
		assert.Equal(t, map[string]int64{tc.reason: 1}, p.rejections(t, "otel"), name)
		assert.Equal(t, "-", p.answerAt(t, forward, 10), name)
	}
}

// pendingSpan is a span that announces its parent.
func pendingSpan(t *testing.T, parent uint64, attributes object) ptrace.Traces {
	t.Helper()
	td, spans := trainerSpans()
	span := addSpan(spans, 2, parent, "forward", 2, 2)
	require.NoError(t, span.Attributes().FromRaw(with(attributes, object{"logfire.span_type": "pending_span"})))
	return td
}

// Records without numbers are stacked by their order alone, whatever is repeated.
func TestRecordsWithoutNumbersAreStacked(t *testing.T) {
	directory := t.TempDir()
	source := withSources(t, "[{logs: {name: [name], enter: {suffix: _start}, exit: {suffix: _end}, session: [run]}}]")
	p := startOn(t, directory, source)
	for step := range 4 {
		for i, name := range []string{"step_start", "generate_start", "generate_end", "train_start", "train_end", "step_end"} {
			ld := records(t, object{"name": name, "run": "r"})
			ld.ResourceLogs().At(0).ScopeLogs().At(0).LogRecords().At(0).SetTimestamp(timestamp(float64(100*step + 10*i)))
			p.passLogs(t, ld)
		}
		directory = killed(t, directory)
		p = startOn(t, directory, source)
	}
	for step := range 4 {
		for at, want := range map[int]string{5: "step", 15: "step / generate", 25: "step", 35: "step / train", 45: "step", 55: "-"} {
			assert.Equal(t, want, p.answerAt(t, object{"run": "r"}, float64(100*step+at)), "step %d, at %d", step, at)
		}
	}
}

// The suffix of one kind may end with that of the other.
func TestTheLongerSuffixCounts(t *testing.T) {
	for _, suffixes := range [][2]string{{"_on", "_not_on"}, {"_not_off", "_off"}} {
		p := startPipelines(t, withSources(t, fmt.Sprintf(
			"[{logs: {name: [name], enter: {suffix: %s}, exit: {suffix: %s}, session: [run]}}]", suffixes[0], suffixes[1])))
		ld := records(t, object{"name": "eval" + suffixes[0], "run": "r"}, object{"name": "eval" + suffixes[1], "run": "r"})
		for i, record := range ld.ResourceLogs().At(0).ScopeLogs().At(0).LogRecords().All() {
			record.SetTimestamp(timestamp(float64(10 * (i + 1))))
		}
		p.passLogs(t, ld)
		assert.Equal(t, "eval", p.answerAt(t, object{"run": "r"}, 15), suffixes)
		assert.Equal(t, "-", p.answerAt(t, object{"run": "r"}, 20), suffixes)
	}
}
