// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package format

import (
	"fmt"
	"strings"

	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/phaseattr/phaseattr/cmd/phasegen/job"
)

// The scopes of the spans of NeMo Lens.
const (
	lens    = "nemo.lens"
	helpers = "nemo.lens.helpers"
)

// MegatronPlan is the plan of Megatron-LM's training loop.
func MegatronPlan() job.Plan {
	return job.Plan{
		Startup: []job.Phase{{Name: "megatron.startup", Share: 0.1, Phases: []job.Phase{
			{Name: "megatron.startup.imports", Share: 0.5},
			{Name: "megatron.startup.initialize_megatron", Share: 1},
			{Name: "megatron.startup.model_init", Share: 1, Load: 0.1},
			{Name: "megatron.startup.dataloader", Share: 0.4},
		}}},
		Root: "megatron.train",
		Step: []job.Phase{
			{Name: "megatron.train.iteration", Share: 0.04, Load: 0.05, Phases: []job.Phase{
				{Name: "megatron.train.iteration.forward_backward", Share: 0.8, Load: 0.93, Collective: true},
				{Name: "megatron.train.iteration.optimizer", Share: 0.12, Load: 0.7},
			}},
			{Name: "megatron.train.iteration_report", Share: 0.02, Phases: []job.Phase{{Name: "megatron.train.log", Share: 0.02}}},
			{Name: "megatron.checkpoint.exposed_save", Share: 0.05, Every: 50, Phases: []job.Phase{
				{Name: "megatron.checkpoint.save", Share: 0.05, Phases: []job.Phase{
					{Name: "megatron.checkpoint.save.state_dict", Share: 0.1},
					{Name: "megatron.checkpoint.save.io_write", Share: 0.6},
				}},
			}},
			{Name: "megatron.evaluate", Share: 0.02, Every: 100, Phases: []job.Phase{
				{Name: "megatron.evaluate.step", Share: 0.5, Load: 0.9},
			}},
		},
		Worker: job.Phase{Name: "megatron.checkpoint.save.finalize"},
	}
}

// Megatron is the spans of Megatron-LM, which NeMo Lens writes.
func Megatron(j *job.Job) Format {
	goodput := attribute{"is_goodput_span", true}
	iteration := attribute{"megatron.iteration", stepNumber{}}
	return &Spans{
		job:      j,
		role:     func(*job.Process, string) string { return onlyRole },
		resource: describeMegatron,
		styles: map[string]style{
			"": {scope: helpers},
			"megatron.startup": {lens, []attribute{
				goodput, {"megatron.model_type", "ModelType.encoder_or_decoder"},
			}},
			"megatron.startup.imports":                  {lens, []attribute{goodput}},
			"megatron.startup.initialize_megatron":      {lens, []attribute{goodput}},
			"megatron.startup.model_init":               {helpers, []attribute{goodput}},
			"megatron.startup.dataloader":               {helpers, []attribute{goodput}},
			"megatron.train":                            {lens, []attribute{goodput}},
			"megatron.train.iteration":                  {helpers, []attribute{iteration, {"megatron.skipped", false}}},
			"megatron.train.iteration.forward_backward": {lens, []attribute{{"num_microbatches", 16}}},
			"megatron.train.iteration.optimizer":        {lens, []attribute{{"megatron.update_successful", true}}},
			"megatron.train.iteration_report":           {scope: lens},
			"megatron.checkpoint.exposed_save":          {helpers, []attribute{goodput}},
			"megatron.checkpoint.save":                  {helpers, []attribute{iteration}},
			"megatron.evaluate":                         {helpers, []attribute{{"megatron.eval_iters", 1}}},
			"megatron.evaluate.step":                    {helpers, []attribute{{"megatron.eval_iteration", 1}}},
		},
	}
}

func describeMegatron(j *job.Job, p *job.Process, _ string, attrs pcommon.Map) {
	run := strings.TrimPrefix(j.ID, "job-")
	attrs.PutStr("service.name", "megatron-lm")
	attrs.PutStr("service.version", "0.2.0")
	attrs.PutStr("service.instance.id", fmt.Sprintf("%s-rank%d", run, p.Number))
	attrs.PutInt("dl.rank", int64(p.Number))
	attrs.PutInt("dl.world_size", int64(j.WorldSize()))
	attrs.PutInt("dl.local_rank", int64(p.GPU))
	attrs.PutInt("dl.tensor_parallel.size", 1)
	attrs.PutInt("dl.pipeline_parallel.size", 1)
	attrs.PutInt("dl.data_parallel.size", int64(j.WorldSize()))
	attrs.PutInt("dl.batch_size", 256)
	attrs.PutInt("dl.sequence_length", 4096)
	attrs.PutStr("nemo.run.id", run)
	attrs.PutInt("megatron.train_iters", 5000)
	attrs.PutStr("megatron.precision", "bf16")
	attrs.PutInt("dl.gpu.index", int64(p.GPU))
	attrs.PutStr("dl.gpu.name", model)
	attrs.PutStr("dl.gpu.uuid", p.UUID)
	attrs.PutStr("dl.gpu.pci_bus_id", p.PCI)
	attrs.PutStr("host.name", p.Host)
	attrs.PutInt("process.pid", int64(p.PID))
	attrs.PutInt("host.gpu.count", int64(j.GPUsPerNode))
	attrs.PutStr("slurm.job.id", run)
}

const loadModel = "rl.policy.load_model"

// NeMoRLPlan is the plan of NeMo-RL's synchronous GRPO.
func NeMoRLPlan() job.Plan {
	return job.Plan{
		Startup: []job.Phase{{Name: loadModel, Share: 2}},
		Step: []job.Phase{{Name: "rl.grpo.step", Share: 0.04, Phases: []job.Phase{
			{Name: "rl.grpo.data_processing", Share: 0.02},
			{Name: "rl.grpo.generation", Share: 0.02, Phases: []job.Phase{
				{Name: "rl.vllm.generate", Share: 0.48, Load: 0.6},
			}},
			{Name: "rl.grpo.reward_calculation", Share: 0.04},
			{Name: "rl.grpo.policy_and_reference_logprobs", Share: 0.13, Load: 0.85},
			{Name: "rl.grpo.advantage_calculation", Share: 0.01},
			{Name: "rl.grpo.policy_training", Share: 0.26, Load: 0.95, Collective: true},
			{Name: "rl.grpo.checkpointing", Share: 0.5, Every: 20},
		}}},
		Worker: job.Phase{Name: "rl.data_plane.put"},
	}
}

// The roles of NeMo-RL's processes. The driver, which has no worker group, reports the
// phases of the job under rank 0; workers report little.
const (
	driver = "driver"
	policy = "lm_policy"
)

// NeMoRL is the spans of NeMo-RL.
func NeMoRL(j *job.Job) Format {
	bucket := func(name string) style { return style{helpers, []attribute{{"rl.bucket", name}}} }
	return &Spans{
		job: j,
		role: func(p *job.Process, phase string) string {
			switch {
			case phase == loadModel, p.Worker > 0:
				return policy
			case p.Number == 0:
				return driver
			}
			return silent
		},
		resource: describeNeMoRL,
		styles: map[string]style{
			"":        {scope: helpers},
			loadModel: {helpers, []attribute{{"rl.backend", "megatron"}}},
			"rl.grpo.step": {helpers, []attribute{
				{"rl.iteration", stepNumber{}}, {"rl.epoch", 0}, {"rl.step", stepNumber{}},
			}},
			"rl.grpo.data_processing":               bucket("overhead"),
			"rl.vllm.generate":                      bucket("productive"),
			"rl.grpo.reward_calculation":            bucket("productive"),
			"rl.grpo.policy_and_reference_logprobs": bucket("overhead"),
			"rl.grpo.advantage_calculation":         bucket("overhead"),
			"rl.grpo.policy_training":               bucket("productive"),
		},
	}
}

func describeNeMoRL(j *job.Job, p *job.Process, role string, attrs pcommon.Map) {
	run := "grpo-" + strings.TrimPrefix(j.ID, "job-")
	world := j.WorldSize()
	if role == driver {
		world = 1
	}
	attrs.PutStr("service.name", "nemo-rl")
	attrs.PutStr("service.instance.id", fmt.Sprintf("%s-rank%d", run, p.Number))
	attrs.PutStr("nemo.run.id", run)
	attrs.PutInt("dl.rank", int64(p.Number))
	attrs.PutInt("dl.world_size", int64(world))
	attrs.PutStr("rl.algorithm", "grpo")
	attrs.PutStr("rl.model", "Qwen/Qwen3-8B")
	attrs.PutStr("nemo.precision", "bfloat16")
	attrs.PutStr("host.name", p.Host)
	attrs.PutInt("process.pid", int64(p.PID))
	if role != driver {
		attrs.PutStr("rl.worker_group", role)
	}
}
