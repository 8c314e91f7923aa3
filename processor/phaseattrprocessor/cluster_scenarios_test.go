// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"cmp"
	"slices"
	"strconv"
	"testing"

	"go.opentelemetry.io/collector/pdata/pmetric"
)

// question is a data point of a scenario, and the answers that are right.
type question struct {
	names object
	at    float64
	want  []answer
}

func inPhase(path string) answer { return answer{"unique", path} }

// scenarioProcess is a process on GPU gpu of the host node, whose clock is exact. Its
// records are written by its methods.
func scenarioProcess(session string, rank, pid int64, gpu int, from, to float64) *process {
	return &process{
		host: &node{name: "node", short: "node", gpus: 8}, pid: pid, gpu: gpu, job: "job", session: session, rank: rank, ranks: 1,
		from: from, to: to, random: func() float64 { return 0 },
	}
}

// entered is like scenarioProcess and enters a phase 1 s after its start.
func entered(session string, rank, pid int64, gpu int, from, to float64, phase string) *process {
	p := scenarioProcess(session, rank, pid, gpu, from, to)
	p.start()
	p.enter(from+1, phase)
	return p
}

func ofGPU(gpu int) object { return object{"Hostname": "node", "gpu": strconv.Itoa(gpu)} }

func ofPID(pid int64) object { return object{"host.name": "node", "process.pid": pid} }

func ofNamedRank(session string, rank int64) object {
	return object{"session_id": session, "rank": rank}
}

// ofNamedRankOfJob is telemetry that names its job too.
func ofNamedRankOfJob(session string, rank int64) object {
	return with(ofNamedRank(session, rank), object{"job_id": "job"})
}

// TestWhosePhaseItIs has the simplest cases of what TestClustersGetNoWrongPhase generates.
func TestWhosePhaseItIs(t *testing.T) {
	none, ambiguous := answer{}, answer{resolution: "ambiguous"}
	for name, scenario := range map[string]struct {
		edits     []func(*Config)
		processes func() []*process
		questions []question
	}{
		"a forked worker has the IDs of its trainer": {
			processes: func() []*process {
				trainer := entered("s", 0, 10, 0, 0, 20, "train")
				trainer.enter(2, "step")
				worker := trainer.fork(2.5, 20, 11)
				worker.enter(3, "decode")
				trainer.enter(3.5, "forward")
				worker.exit(4)
				trainer.exit(6)
				return []*process{trainer, worker}
			},
			questions: []question{
				{ofGPU(0), 3.25, []answer{inPhase("train / step"), ambiguous}},
				{ofGPU(0), 3.75, []answer{inPhase("train / step / forward"), ambiguous}},
				{ofGPU(0), 5, []answer{inPhase("train / step / forward")}},
				{ofNamedRank("s", 0), 5, []answer{inPhase("train / step / forward")}},
				{ofPID(10), 3.25, []answer{inPhase("train / step")}},
				{ofPID(10), 5, []answer{inPhase("train / step / forward")}},
				{ofPID(11), 3.25, []answer{inPhase("train / step / decode")}},
				{ofGPU(0), 6.5, []answer{inPhase("train / step")}},
			},
		},
		"a killed process is restarted under its session": {
			processes: func() []*process {
				first := entered("s", 0, 10, 0, 0, 5, "train")
				second := entered("s", 0, 11, 0, 8, 12, "restore")
				second.exit(11)
				second.stop()
				return []*process{first, second}
			},
			questions: []question{
				{ofGPU(0), 4, []answer{inPhase("train")}},
				{ofPID(10), 4, []answer{inPhase("train")}},
				{ofGPU(0), 8.5, []answer{none}},
				{ofGPU(0), 10, []answer{inPhase("restore")}},
				{ofNamedRank("s", 0), 10, []answer{inPhase("restore")}},
				{ofPID(11), 10, []answer{inPhase("restore")}},
				{ofPID(10), 10, []answer{none}},
				{ofGPU(0), 11.5, []answer{none}},
				{ofNamedRank("s", 0), 11.5, []answer{none}},
			},
		},
		"a killed process is restarted under a new session": {
			processes: func() []*process {
				first := entered("s", 0, 10, 0, 0, 5, "train")
				second := entered("r", 0, 11, 0, 8, 12, "restore")
				second.exit(11)
				second.stop()
				return []*process{first, second}
			},
			questions: []question{
				{ofGPU(0), 4, []answer{inPhase("train")}},
				{ofGPU(0), 10, []answer{inPhase("restore")}},
				{ofNamedRank("r", 0), 10, []answer{inPhase("restore")}},
				{ofGPU(0), 11.5, []answer{none}},
			},
		},
		"ranks trade places after a restart": {
			processes: func() []*process {
				return []*process{
					entered("s", 0, 10, 0, 0, 5, "train 0"), entered("s", 1, 11, 1, 0, 5, "train 1"),
					entered("s", 0, 12, 1, 8, 20, "restore 0"), entered("s", 1, 13, 0, 8, 20, "restore 1"),
				}
			},
			questions: []question{
				{ofGPU(0), 4, []answer{inPhase("train 0")}},
				{ofGPU(1), 4, []answer{inPhase("train 1")}},
				{ofGPU(0), 10, []answer{inPhase("restore 1")}},
				{ofGPU(1), 10, []answer{inPhase("restore 0")}},
				{ofPID(13), 10, []answer{inPhase("restore 1")}},
				{ofNamedRank("s", 0), 10, []answer{inPhase("restore 0")}},
			},
		},
		"two jobs share a device": {
			processes: func() []*process {
				first, second := entered("s", 0, 10, 0, 0, 10, "train"), scenarioProcess("r", 0, 11, 0, 2, 6)
				second.job = "another"
				second.start()
				second.enter(3, "serve")
				second.exit(5.5)
				second.stop()
				first.enter(7, "step")
				return []*process{first, second}
			},
			questions: []question{
				{ofGPU(0), 1.5, []answer{inPhase("train")}},
				{ofGPU(0), 4, []answer{ambiguous}},
				{ofPID(10), 4, []answer{inPhase("train")}},
				{ofPID(11), 4, []answer{inPhase("serve")}},
				{ofNamedRank("s", 0), 4, []answer{inPhase("train")}},
				{ofNamedRank("r", 0), 4, []answer{inPhase("serve")}},
				{with(ofGPU(0), object{"session_id": "r"}), 4, []answer{inPhase("serve")}},
				{ofGPU(0), 8, []answer{inPhase("train / step")}},
			},
		},
		"another job follows a process whose worker is left behind": {
			processes: func() []*process {
				trainer := entered("s", 0, 10, 0, 0, 10, "train")
				worker := trainer.fork(2, 20, 11)
				worker.enter(3, "decode")
				trainer.exit(5)
				trainer.stop()
				second := entered("r", 0, 12, 0, 12, 20, "serve")
				second.job = "another"
				for i := range second.written {
					second.written[i].fields["job_id"] = second.job
				}
				return []*process{trainer, worker, second}
			},
			questions: []question{
				{ofGPU(0), 4, []answer{inPhase("train")}},
				{ofGPU(0), 11, []answer{none}},
				{ofPID(11), 11, []answer{inPhase("train / decode")}},
				{ofGPU(0), 14, []answer{inPhase("serve")}},
			},
		},
		"a process with a pulse is killed": {
			processes: func() []*process {
				p := entered("s", 0, 10, 0, 0, 10, "train")
				p.pulse = 0.5
				p.samples()
				return []*process{p}
			},
			questions: []question{
				{ofGPU(0), 9.25, []answer{inPhase("train")}},
				{ofGPU(0), 16, []answer{none}},
				{ofNamedRank("s", 0), 16, []answer{none}},
				{ofPID(10), 16, []answer{none}},
				{ofGPU(0), 600, []answer{none}},
			},
		},
		"a process without a pulse is silent": {
			processes: func() []*process { return []*process{entered("s", 0, 10, 0, 0, 1000, "train")} },
			questions: []question{
				{ofGPU(0), 16, []answer{inPhase("train")}},
				{ofGPU(0), 600, []answer{inPhase("train")}},
				{ofGPU(0), 1000, []answer{none}}, // the session timeout
			},
		},
		"telemetry names its session where the only rule is by job": {
			edits: []func(*Config){onlyByJob},
			processes: func() []*process {
				return []*process{entered("s", 0, 10, 0, 0, 20, "forward"), entered("s", 1, 11, 1, 0, 20, "backward")}
			},
			questions: []question{
				{object{"job_id": "job"}, 4, []answer{inPhase("forward")}},
				{ofNamedRankOfJob("s", 0), 4, []answer{inPhase("forward")}},
				{ofNamedRankOfJob("s", 1), 4, []answer{inPhase("backward")}},
				{ofNamedRank("s", 1), 4, []answer{inPhase("backward")}},
				{ofNamedRankOfJob("s", 7), 4, []answer{none}},
				{ofNamedRankOfJob("nobody", 0), 4, []answer{none}},
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := startPipelines(t, scenario.edits...)
			c := &cluster{processes: scenario.processes()}
			all := c.written()
			slices.SortStableFunc(all, func(a, b written) int { return cmp.Compare(a.at, b.at) })
			for _, w := range all {
				p.passLogs(t, records(t, w.fields))
			}
			for _, q := range scenario.questions {
				md := pmetric.NewMetrics()
				r := reading{stamp: q.at, attributes: q.names}
				r.appendTo(t, md)
				got := answerOf(attributesOfMetrics(p.passMetrics(t, md))[0])
				if !slices.Contains(q.want, got) {
					t.Errorf("%v at %g: got %+v, want one of %+v", q.names, q.at, got, q.want)
				}
			}
		})
	}
}

// TestNewcomerMayBeReadBackwards has a neighbor on a GPU whose records arrive newest first,
// so that it seems to have come after the other process.
func TestNewcomerMayBeReadBackwards(t *testing.T) {
	first, second := entered("s", 0, 10, 0, 0, 20, "train"), scenarioProcess("r", 0, 11, 0, 5, 30)
	first.enter(10, "step")
	second.enter(6, "serve")
	second.enter(20, "decode")
	slices.Reverse(second.written)
	p := startPipelines(t)
	for _, w := range slices.Concat(first.written, second.written) {
		p.passLogs(t, records(t, w.fields))
	}
	for _, q := range []question{
		{names: ofGPU(0), at: 25, want: []answer{{resolution: "ambiguous"}}},
		{names: ofNamedRank("s", 0), at: 25, want: []answer{inPhase("train / step")}},
		{names: ofNamedRank("r", 0), at: 25, want: []answer{inPhase("serve / decode")}},
	} {
		md := pmetric.NewMetrics()
		(&reading{stamp: q.at, attributes: q.names}).appendTo(t, md)
		if got := answerOf(attributesOfMetrics(p.passMetrics(t, md))[0]); !slices.Contains(q.want, got) {
			t.Errorf("%v: got %+v, want one of %+v", q.names, got, q.want)
		}
	}
}
