// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"fmt"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/metadata"
)

// on is where a program runs: what its records say of it.
func on(host string, pid, device int64) object {
	return object{"host": host, "pid": pid, "device_id": device, "local_rank": device, "job_id": "job"}
}

// runsOn sends the events of a program that enters a phase and runs on.
func (p *pipelines) runsOn(t *testing.T, place object, at float64, session string, rank int64, phase string) {
	t.Helper()
	run := &program{session: session, rank: rank}
	p.passLogs(t, records(t, with(run.worker(1).enter(at, phase), place), with(run.event("sample", at+1), place)))
}

// gpu is a gauge as dcgm-exporter has it.
func gpu(host, index string, at float64) pmetric.Metrics {
	md := pmetric.NewMetrics()
	resource := md.ResourceMetrics().AppendEmpty()
	metric := resource.ScopeMetrics().AppendEmpty().Metrics().AppendEmpty()
	metric.SetName("DCGM_FI_DEV_GPU_UTIL")
	dp := metric.SetEmptyGauge().DataPoints().AppendEmpty()
	dp.SetTimestamp(timestamp(at))
	for name, value := range map[string]string{
		"gpu": index, "UUID": "GPU-" + host + index, "device": "nvidia" + index, "Hostname": host, "modelName": "NVIDIA H200",
	} {
		dp.Attributes().PutStr(name, value)
	}
	return md
}

// ofGPU is what a GPU's data point gets.
func (p *pipelines) ofGPU(t *testing.T, host, index string, at float64) (resolution, path any) {
	t.Helper()
	got := attributesOfMetrics(p.passMetrics(t, gpu(host, index, at)))[0]
	return got["phase_resolution"], got["phase_path"]
}

func TestMetricsOfADeviceGetThePhaseOfItsRank(t *testing.T) {
	p := startPipelines(t)
	p.runsOn(t, on("node", 10, 0), 1, "a", 0, "forward")
	p.runsOn(t, on("node", 11, 1), 1, "b", 1, "backward")
	p.runsOn(t, on("far", 10, 0), 1, "c", 2, "checkpoint")
	for device, want := range map[[2]string]any{
		{"node", "0"}: "forward", {"node", "1"}: "backward", {"far", "0"}: "checkpoint", {"far", "1"}: nil, {"other", "0"}: nil,
	} {
		_, path := p.ofGPU(t, device[0], device[1], 2)
		assert.Equal(t, want, path, device)
	}
	_, path := p.ofGPU(t, "node", "0", 0.5)
	assert.Nil(t, path, "before the session began")
}

func TestTwoProcessesOnOneDeviceAreAmbiguous(t *testing.T) {
	p := startPipelines(t)
	p.runsOn(t, on("node", 10, 0), 1, "a", 0, "forward")
	p.runsOn(t, on("node", 11, 0), 1, "b", 1, "backward")
	p.passLogs(t, records(t, (&program{session: "a"}).event("sample", 3))) // the first one is still alive
	resolution, path := p.ofGPU(t, "node", "0", 2)
	assert.Equal(t, "ambiguous", resolution)
	assert.Nil(t, path)
	assertCounts(t, p.telemetry, "associations",
		tried(0, "matched", 5), tried(0, "missing_key", 1), tried(1, "missing_key", 1), tried(2, "missing_key", 1),
		tried(3, "missing_key", 1), tried(4, "missing_key", 1), tried(5, "no_rank", 1), tried(6, "missing_key", 1),
		tried(7, "conflict", 1),
	)
}

// Whether the device was at work for the one that was in a phase is not known.
func TestOneOfTwoProcessesOnADeviceInAPhaseIsAmbiguous(t *testing.T) {
	p := startPipelines(t, func(cfg *Config) { cfg.Attributes = append(cfg.Attributes, "phase_paths", "phase_rank") })
	p.runsOn(t, on("node", 10, 0), 1, "a", 4, "forward")
	idle := &program{session: "b", rank: 1}
	p.passLogs(t, records(t, with(idle.event("sample", 1.5), on("node", 11, 0))))
	for _, run := range []*program{{session: "a", rank: 4}, idle} {
		p.passLogs(t, records(t, run.event("sample", 3))) // both are still alive
	}
	got := attributesOfMetrics(p.passMetrics(t, gpu("node", "0", 2)))[0]
	assert.Equal(t, "ambiguous", got["phase_resolution"])
	assert.Equal(t, []any{"forward"}, got["phase_paths"])
	assert.NotContains(t, got, "phase_path")
	assert.NotContains(t, got, "phase_rank")
}

func tried(rule int, outcome string, n int64) metricdata.DataPoint[int64] {
	return metricdata.DataPoint[int64]{
		Attributes: attribute.NewSet(
			attribute.Stringer("processor", metadata.Type), attribute.Int("rule", rule), attribute.String("outcome", outcome),
		),
		Value: n,
	}
}

func TestMetricsOfADeviceGetItsRankUnlessThereAreTwo(t *testing.T) {
	for name, tc := range map[string]struct {
		runs []program // on one device
		in   []string  // the phase that each is in
		want any
	}{
		"one":                          {[]program{{session: "a", rank: 4}}, []string{"forward"}, int64(4)},
		"two":                          {[]program{{session: "a", rank: 4}, {session: "b"}}, []string{"forward", "backward"}, nil},
		"two in one phase":             {[]program{{session: "a", rank: 4}, {session: "b"}}, []string{"forward", "forward"}, nil},
		"two whose scopes share an ID": {[]program{{session: "a", rank: 4}, {session: "a"}}, []string{"forward", "forward"}, nil},
		"one of two sessions":          {[]program{{session: "a", rank: 4}, {session: "b", rank: 4}}, []string{"forward", "backward"}, int64(4)},
	} {
		t.Run(name, func(t *testing.T) {
			p := startPipelines(t, func(cfg *Config) { cfg.Attributes = append(cfg.Attributes, "phase_rank") })
			for i, run := range tc.runs {
				p.runsOn(t, on("node", int64(i), 0), 1, run.session, run.rank, tc.in[i])
			}
			for _, run := range tc.runs {
				p.passLogs(t, records(t, run.event("sample", 3))) // still alive
			}
			got := attributesOfMetrics(p.passMetrics(t, ranked(gpu("node", "0", 2))))[0]
			assert.Contains(t, got, "phase_resolution")
			assert.Equal(t, tc.want, got["phase_rank"])
		})
	}
}

// ranked is a gauge that comes with a rank.
func ranked(md pmetric.Metrics) pmetric.Metrics {
	md.ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().At(0).Gauge().DataPoints().At(0).
		Attributes().PutStr("phase_rank", "upstream")
	return md
}

func TestDeviceThatChangesHands(t *testing.T) {
	p := startPipelines(t)
	p.runsOn(t, on("node", 10, 0), 1, "first", 0, "train") // and is gone, without a stop
	p.runsOn(t, on("node", 11, 0), 2.5, "second", 0, "evaluate")
	for at, want := range map[float64]any{0.5: nil, 1.5: "train", 2: "train", 2.2: "train", 2.5: "evaluate", 3: "evaluate"} {
		_, path := p.ofGPU(t, "node", "0", at)
		assert.Equal(t, want, path, "at %g", at)
	}
}

func TestRepresentativeRankAnswersForItsJob(t *testing.T) {
	p := startPipelines(t, func(cfg *Config) {
		cfg.Attributes = append(cfg.Attributes, "phase_source", "phase_rank")
		cfg.Association = []AssociationRule{{
			Keys: []AssociationKey{{Field: "job_id", Names: []string{"job"}}}, Representative: true,
		}}
	})
	p.runsOn(t, on("node", 11, 1), 1, "b", 1, "backward")
	p.runsOn(t, on("node", 10, 0), 1, "a", 0, "forward")
	p.passLogs(t, records(t, with((&program{session: "a", sequence: 1}).worker(2).enter(3, "load"), on("node", 10, 0))))
	of := func(at float64) object {
		md := ranked(gpu("far", "7", at))
		md.ResourceMetrics().At(0).Resource().Attributes().PutStr("job", "job")
		return attributesOfMetrics(p.passMetrics(t, md))[0]
	}
	got := of(2)
	assert.Equal(t, "forward", got["phase_path"])
	assert.Equal(t, "representative", got["phase_source"])
	assert.NotContains(t, got, "phase_rank")
	got = of(3.5)
	assert.Equal(t, "ambiguous", got["phase_resolution"])
	assert.NotContains(t, got, "phase_rank")
}

// labeled is a gauge of a GPU with labels, and with attributes of its resource.
func labeled(md pmetric.Metrics, labels, resource object) pmetric.Metrics {
	rm := md.ResourceMetrics().At(0)
	for name, value := range labels {
		rm.ScopeMetrics().At(0).Metrics().At(0).Gauge().DataPoints().At(0).Attributes().PutStr(name, value.(string))
	}
	for name, value := range resource {
		rm.Resource().Attributes().PutStr(name, value.(string))
	}
	return md
}

// Two pods on a node, and two Slurm jobs, have one GPU each, and all call it device 0.
func TestDevicesThatProgramsCallAlikeAreToldByPodOrJob(t *testing.T) {
	p := startPipelines(t)
	for i, what := range []object{{"k8s.pod.name": "train-a"}, {"k8s.pod.name": "train-b"}, {"job_id": "4711"}, {"job_id": "4712"}} {
		place := with(object{"host": fmt.Sprint("in-", i), "pid": int64(1), "device_id": int64(0)}, what)
		p.runsOn(t, place, 1, strconv.Itoa(i), 0, fmt.Sprint("phase ", i))
	}
	for _, tc := range []struct {
		index            string
		labels, resource object
		want             any
	}{
		{"0", object{"pod": "train-a", "namespace": "ml", "container": "main"}, object{"k8s.pod.name": "dcgm-exporter-x"}, "phase 0"},
		{"1", object{"pod": "train-b", "namespace": "ml", "container": "main"}, object{"k8s.pod.name": "dcgm-exporter-x"}, "phase 1"},
		{"2", object{"hpc_job": "4711"}, nil, "phase 2"},
		{"3", object{"hpc_job": "4712"}, nil, "phase 3"},
		{"4", object{"hpc_job": "4713"}, nil, nil},
		{"5", object{"pod": "", "hpc_job": ""}, nil, nil},
	} {
		got := attributesOfMetrics(p.passMetrics(t, labeled(gpu("node", tc.index, 2), tc.labels, tc.resource)))[0]
		assert.Equal(t, tc.want, got["phase_path"], tc)
	}
}

// An exporter that runs in a job reports the node's other GPUs as well.
func TestJobOfTheExporterDoesNotDecideWhoseDeviceItIs(t *testing.T) {
	p := startPipelines(t)
	p.runsOn(t, with(on("node", 10, 0), object{"job_id": "4711"}), 1, "a", 0, "forward")
	job := object{"job_id": "4711"}
	for index, want := range map[string]object{
		"0": {"phase_resolution": "unique", "phase_path": "forward"},
		"5": {"phase_resolution": "ambiguous"},
	} {
		got := attributesOfMetrics(p.passMetrics(t, labeled(gpu("node", index, 2), nil, job)))[0]
		assert.Equal(t, want["phase_resolution"], got["phase_resolution"], index)
		assert.Equal(t, want["phase_path"], got["phase_path"], index)
	}
}

func TestHardwareThatIsNoGPUHasNoPhase(t *testing.T) {
	p := startPipelines(t)
	p.runsOn(t, on("node", 10, 0), 1, "a", 0, "forward")
	for _, tc := range []struct {
		metric string
		labels object
		want   any
	}{
		{"hw.fan.speed", object{"hw.id": "0"}, nil},
		{"hw.temperature", object{"hw.id": "0", "hw.type": "physical_disk"}, nil},
		{"hw.temperature", object{"hw.id": "0", "hw.type": "gpu"}, "forward"},
		{"hw.gpu.utilization", object{"hw.id": "0"}, "forward"},
	} {
		md := gpu("node", "0", 2)
		metric := md.ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().At(0)
		metric.SetName(tc.metric)
		metric.Gauge().DataPoints().At(0).Attributes().Clear()
		got := attributesOfMetrics(p.passMetrics(t, labeled(md, tc.labels, object{"host.name": "NODE.example.com"})))[0]
		assert.Equal(t, tc.want, got["phase_path"], tc)
	}
}

func TestMoreRanksThanAreListedAreAmbiguous(t *testing.T) {
	p := startPipelines(t, everyAttribute)
	for rank := range int64(65) {
		p.runsOn(t, object{"job_id": "big"}, 1, "run", rank, "forward")
	}
	md := labeled(gpu("node", "0", 2), object{"hpc_job": "big"}, nil)
	got := attributesOfMetrics(p.passMetrics(t, md))[0]
	assert.Equal(t, "ambiguous", got["phase_resolution"])
	assert.Empty(t, got["phase_paths"])
}

func TestSessionWithoutRankIsAmbiguousUnlessARuleDecides(t *testing.T) {
	p := startPipelines(t)
	p.runsOn(t, on("node", 10, 0), 1, "run", 0, "forward")
	p.runsOn(t, on("node", 13, 3), 1, "run", 3, "bubble")
	session := object{"session_id": "run"}
	for index, want := range map[string]any{"0": "forward", "3": "bubble", "5": nil} {
		got := attributesOfMetrics(p.passMetrics(t, labeled(gpu("node", index, 2), nil, session)))[0]
		assert.Equal(t, want, got["phase_path"], index)
		if want == nil {
			assert.Equal(t, "ambiguous", got["phase_resolution"])
		}
	}
}

// A rank goes on on another host, whose records do not say which GPU it is. The UUID of the one that
// it had before excludes it from nothing there.
func TestTheDeviceOfAFormerProcessExcludesItsSuccessorFromNothing(t *testing.T) {
	p := startPipelines(t)
	p.runsOn(t, with(on("far", 10, 0), object{"gpu_uuid": "GPU-far0"}), 1, "a", 4, "train")
	p.runsOn(t, on("node", 20, 0), 60, "a", 4, "restore")
	_, path := p.ofGPU(t, "node", "0", 61)
	assert.Equal(t, "restore", path)

	p.runsOn(t, with(on("node", 30, 0), object{"job_id": "another"}), 61, "b", 2, "serve")
	resolution, path := p.ofGPU(t, "node", "0", 62)
	assert.Equal(t, "ambiguous", resolution, "got %v", path)
	resolution, _ = p.ofGPU(t, "far", "0", 62)
	assert.Nil(t, resolution)
	_, path = p.ofGPU(t, "far", "0", 2)
	assert.Equal(t, "train", path)
	attributes := attributesOfMetrics(p.passMetrics(t, gpu("far", "0", 2)))[0]
	assert.Equal(t, "train", attributes["phase_path"])
}

func TestDeviceMapSaysWhoseDeviceItIs(t *testing.T) {
	p := startPipelines(t, func(cfg *Config) {
		cfg.DeviceMap = []DeviceMapping{
			{Host: "node", Device: "GPU-node6", LocalRank: 1},
			{Host: "alias", Device: "0", ToHost: "node", LocalRank: 0},
		}
	})
	p.runsOn(t, on("node", 10, 0), 1, "a", 0, "forward")
	p.runsOn(t, on("node", 11, 1), 1, "b", 1, "backward")
	for device, want := range map[[2]string]any{
		{"node", "6"}: "backward", {"alias", "0"}: "forward", {"node", "0"}: "forward", {"node", "7"}: nil,
	} {
		_, path := p.ofGPU(t, device[0], device[1], 2)
		assert.Equal(t, want, path, device)
	}
}

// Keys that have no bit of their own are slower to look up.
func TestDefaultNamesAndAllAttributesHaveBitsOfTheirOwn(t *testing.T) {
	keys := newAssociation(newConfig(t)).Keys
	for _, name := range append(attributeNames(), "an attribute to come") {
		keys.Add(string(name))
	}
	last, next := keys.Add("last"), keys.Add("next")
	assert.NotEqual(t, last.Mask(), next.Mask())
}

// TestDefaultRulesMatchTheREADME compares the rules in the README with the default rules.
func TestDefaultRulesMatchTheREADME(t *testing.T) {
	cfg := newConfig(t)
	found := false
	for _, block := range yamlBlocks(read(t, componentREADME)) {
		conf, err := confmap.NewRetrievedFromYAML([]byte(block))
		require.NoError(t, err)
		raw, err := conf.AsConf()
		if err != nil || !raw.IsSet("processors::phase_attr::association") {
			continue
		}
		sub, err := raw.Sub("processors::phase_attr")
		require.NoError(t, err)
		written := newConfig(t)
		require.NoError(t, sub.Unmarshal(written))
		assert.Equal(t, cfg.rules(), written.rules())
		found = true
	}
	assert.True(t, found)
}

func TestEnergyOfADeviceIsSplitByThePhasesOfItsRank(t *testing.T) {
	p := startPipelines(t, split, func(cfg *Config) { cfg.Limits.MaxPaths = 1 })
	place := on("node", 10, 0)
	w := (&program{session: "a"}).worker(1)
	p.passLogs(t, records(t, with(w.enter(1, "train"), place), with(w.exit(2), place), with(w.enter(2, "evaluate"), place), with(w.exit(4), place)))
	md := counter(1, 3, int64(100))
	md.ResourceMetrics().At(0).Resource().Attributes().Clear() // of the run's session
	attrs := md.ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().At(0).Sum().DataPoints().At(0).Attributes()
	attrs.Clear()
	attrs.PutStr("Hostname", "node")
	attrs.PutStr("gpu", "0")
	paths := map[any]int64{}
	for _, dp := range sumsOf(p.passMetrics(t, md)) {
		paths[dp.Attributes().AsRaw()["phase_path"]] += dp.IntValue()
	}
	assert.Equal(t, map[any]int64{"train": 50, "other": 50}, paths)
	assertCounts(t, p.telemetry, "associations",
		tried(0, "matched", 4), tried(0, "missing_key", 1), tried(1, "missing_key", 1), tried(2, "missing_key", 1),
		tried(3, "missing_key", 1), tried(4, "missing_key", 1), tried(5, "missing_key", 1), tried(6, "missing_key", 1),
		tried(7, "matched", 1),
	)
}

func TestReasonSaysWhatBecameOfTheProcessOnADevice(t *testing.T) {
	for name, tc := range map[string]struct {
		last string // the type of its last event
		at   float64
		want string
	}{
		"it stopped":                  {"stop", 60, "ended"},
		"it sampled":                  {"sample", 60, "gone"},
		"it was silent for very long": {"peak", 10_000, "ended"},
	} {
		t.Run(name, func(t *testing.T) {
			p := startPipelines(t, func(cfg *Config) { cfg.Attributes = append(cfg.Attributes, "phase_reason") })
			run, place := &program{session: "a"}, on("node", 10, 0)
			p.passLogs(t, records(t, with(run.worker(1).enter(1, "train"), place),
				with(with(run.event(tc.last, 2), place), object{"sampling_interval_ms": int64(100)})))
			of := func(at float64) any {
				return attributesOfMetrics(p.passMetrics(t, gpu("node", "0", at)))[0]["phase_reason"]
			}
			assert.Equal(t, tc.want, of(tc.at))
			assert.Equal(t, "unknown_session", of(0.5), "it had not come yet")
			assert.Nil(t, of(1.5))
		})
	}
}
