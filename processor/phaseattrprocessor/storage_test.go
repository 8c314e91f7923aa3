// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"context"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/open-telemetry/opentelemetry-collector-contrib/extension/storage/filestorage"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/extension"
	"go.opentelemetry.io/collector/extension/extensiontest"
	"go.opentelemetry.io/collector/extension/xextension/storage"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
)

var storageID = component.MustNewID("file_storage")

func withStorage(cfg *Config) { cfg.Storage = &storageID }

// host is a collector with one extension.
type host struct {
	component.Host
	extension component.Component
}

func (h host) GetExtensions() map[component.ID]component.Component {
	return map[component.ID]component.Component{storageID: h.extension}
}

// fileStorage is a file_storage on a directory.
func fileStorage(t *testing.T, directory string) extension.Extension {
	t.Helper()
	factory := filestorage.NewFactory()
	cfg := factory.CreateDefaultConfig().(*filestorage.Config)
	cfg.Directory = directory
	ext, err := factory.Create(t.Context(), extensiontest.NewNopSettings(factory.Type()), cfg)
	require.NoError(t, err)
	return ext
}

// startOn makes pipelines of a new factory and starts them on a directory.
func startOn(t *testing.T, directory string, edits ...func(*Config)) *pipelines {
	t.Helper()
	p := newPipelines(t, NewFactory(), newConfig(t, append(edits, withStorage)...))
	p.start(t, host{componenttest.NewNopHost(), fileStorage(t, directory)})
	return p
}

// killed returns a directory as the death of the process leaves it now.
func killed(t *testing.T, directory string) string {
	t.Helper()
	left := t.TempDir()
	require.NoError(t, os.CopyFS(left, os.DirFS(directory)))
	return left
}

func TestAKilledCollectorGoesOnWhereItWas(t *testing.T) {
	directory := t.TempDir()
	p := startOn(t, directory)
	run := &program{session: "run"}
	w := run.worker(1)
	place := on("node", 10, 0)
	p.passLogs(t, records(t, with(w.enter(1, "train"), place), with(w.enter(2, "step"), place)))
	p.passLogs(t, records(t, with(w.exit(3), place)))

	p = startOn(t, killed(t, directory))
	assert.Equal(t, "train / step", p.path(t, run, 2.5))
	assert.Equal(t, "train", p.path(t, run, 4))
	_, path := p.ofGPU(t, "node", "0", 2.5)
	assert.Equal(t, "train / step", path, "the device is known again")

	p.passLogs(t, records(t, with(w.enter(5, "eval"), place), with(w.exit(6), place), with(w.exit(7), place), with(run.event("sample", 8), place)))
	assert.Equal(t, "train / eval", p.path(t, run, 5.5))
	assert.Nil(t, p.path(t, run, 7.5))
}

func TestASessionTakesOverFromOneThatWasRestored(t *testing.T) {
	directory := t.TempDir()
	p := startOn(t, directory)
	p.runsOn(t, on("node", 10, 0), 1, "old", 0, "train")
	p = startOn(t, killed(t, directory))
	p.runsOn(t, on("node", 10, 0), 10, "new", 0, "serve")
	for at, want := range map[float64]any{5: "train", 1.5: "train", 10.5: "serve", 30: "serve"} {
		_, path := p.ofGPU(t, "node", "0", at)
		assert.Equal(t, want, path, "at %v", at)
	}

	directory = t.TempDir()
	p = startOn(t, directory)
	p.runsOn(t, on("node", 10, 0), 1, "old", 0, "train")
	p.runsOn(t, on("node", 10, 0), 10, "new", 0, "serve")
	p = startOn(t, killed(t, directory))
	for at, want := range map[float64]any{5: "train", 1.5: "train", 10.5: "serve", 30: "serve"} {
		_, path := p.ofGPU(t, "node", "0", at)
		assert.Equal(t, want, path, "restored, at %v", at)
	}
}

func TestAStorageFromAnotherHostAnswersForThatHostOnly(t *testing.T) {
	directory := t.TempDir()
	p := startOn(t, directory)
	p.runsOn(t, on("there", 10, 0), 1, "a", 0, "train")
	p = startOn(t, killed(t, directory))
	_, path := p.ofGPU(t, "here", "0", 1.5)
	assert.Nil(t, path)
	p.runsOn(t, on("here", 10, 0), 1, "b", 0, "serve")
	for host, want := range map[string]any{"here": "serve", "there": "train"} {
		_, path := p.ofGPU(t, host, "0", 1.5)
		assert.Equal(t, want, path, host)
	}
}

func TestCapturesAreAnsweredAsIfTheCollectorHadNeverBeenKilled(t *testing.T) {
	for _, name := range captureNames {
		t.Run(name, func(t *testing.T) {
			c := readCapture(t, name)
			directory := t.TempDir()
			p := startOn(t, directory)
			for i, e := range c.events {
				p.passLogs(t, records(t, e))
				if i%(len(c.events)/5+1) == 0 {
					directory = killed(t, directory)
					p = startOn(t, directory, everyAttributeOfTheReference)
				}
			}
			p = startOn(t, killed(t, directory), everyAttributeOfTheReference)
			for i, e := range c.events {
				delete(e, "event_type") // what is asked now must not be taken in again
				require.Equal(t, asAttributes(c.answers[i]), attributesOfLogs(p.passLogs(t, records(t, e)))[0], "line %d", i+1)
			}
		})
	}
}

func TestWithoutTheStorageThereIsNoStart(t *testing.T) {
	other, err := extensiontest.NewNopFactory().Create(t.Context(), extensiontest.NewNopSettings(extensiontest.NopType), nil)
	require.NoError(t, err)
	for name, tc := range map[string]struct {
		host component.Host
		want string
	}{
		"no extension":              {componenttest.NewNopHost(), `storage: there is no extension "file_storage" in the service`},
		"another kind of extension": {host{componenttest.NewNopHost(), other}, `storage: extension "file_storage" is not a storage extension`},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPipelines(t, NewFactory(), newConfig(t, withStorage))
			assert.EqualError(t, p.logs.Start(t.Context(), tc.host), tc.want)
		})
	}
}

// brittle is a storage whose writes fail on demand.
type brittle struct {
	storage.Extension
	fails atomic.Bool
}

type brittleClient struct {
	storage.Client
	storage.Walker
	fails *atomic.Bool
}

func (b *brittle) GetClient(ctx context.Context, kind component.Kind, id component.ID, name string) (storage.Client, error) {
	client, err := b.Extension.GetClient(ctx, kind, id, name)
	if err != nil {
		return nil, err
	}
	return brittleClient{client, client.(storage.Walker), &b.fails}, nil
}

func (c brittleClient) Batch(ctx context.Context, ops ...*storage.Operation) error {
	if c.fails.Load() {
		return storage.ErrStorageFull
	}
	return c.Client.Batch(ctx, ops...)
}

func TestAStorageThatFailsStopsNothingAndIsMadeUpFor(t *testing.T) {
	directory := t.TempDir()
	ext := &brittle{Extension: fileStorage(t, directory).(storage.Extension)}
	p := newPipelines(t, NewFactory(), newConfig(t, withStorage))
	p.start(t, host{componenttest.NewNopHost(), ext})
	run := &program{session: "run"}
	w := run.worker(1)
	p.passLogs(t, records(t, w.enter(1, "train")))
	ext.fails.Store(true)
	p.passLogs(t, records(t, w.enter(2, "step")))
	p.passLogs(t, records(t, w.enter(3, "forward")))
	assert.Equal(t, "train / step / forward", p.path(t, run, 4))
	assert.Positive(t, storageFailures(t, p, "write"))

	restarted := startOn(t, killed(t, directory))
	assert.Equal(t, "train", restarted.path(t, run, 4), "what was not written is not there")

	ext.fails.Store(false)
	require.Eventually(t, func() bool {
		return startOn(t, killed(t, directory)).path(t, run, 4) == "train / step / forward"
	}, 10*time.Second, 100*time.Millisecond, "it is written once that is possible")
	p.passLogs(t, records(t, w.exit(5)))
	assert.Equal(t, "train / step", startOn(t, killed(t, directory)).path(t, run, 6))
}

func TestAStorageThatCannotBeOpenedIsTriedAgain(t *testing.T) {
	directory := t.TempDir()
	first := startOn(t, directory)
	old := &program{session: "old"}
	first.passLogs(t, records(t, old.worker(1).enter(1, "train")))

	second := startOn(t, directory) // the first one has locked the file
	assert.Positive(t, storageFailures(t, second, "open"))
	run := &program{session: "run"}
	second.passLogs(t, records(t, run.worker(1).enter(1, "train")))
	assert.Equal(t, "train", second.path(t, run, 2))
	assert.Nil(t, second.path(t, old, 2))

	first.shutdown(t)
	require.Eventually(t, func() bool { return second.path(t, old, 2) == "train" }, 10*time.Second, 100*time.Millisecond)
	second.shutdown(t)
	third := startOn(t, directory)
	for _, program := range []*program{old, run} {
		assert.Equal(t, "train", third.path(t, program, 2))
	}
}

// storageFailures is how often an operation of the storage has failed.
func storageFailures(t *testing.T, p *pipelines, operation string) int64 {
	t.Helper()
	metric, err := p.telemetry.GetMetric("otelcol_processor_phase_attr_storage_failures")
	require.NoError(t, err)
	for _, point := range metric.Data.(metricdata.Sum[int64]).DataPoints {
		if value, _ := point.Attributes.Value("operation"); value.AsString() == operation {
			return point.Value
		}
	}
	return 0
}

// Which processes work beside another one, and which are peers, is known after a restart, before
// any of them has sent anything again.
func TestARestartKeepsWhatProcessesAreToEachOther(t *testing.T) {
	sources := withSources(t, "[{preset: megatron}, {preset: nemo_rl}]")
	directory := t.TempDir()
	p := startOn(t, directory, sources)
	send := func(resource object, name string, from, to float64) {
		t.Helper()
		td := ptrace.NewTraces()
		r := td.ResourceSpans().AppendEmpty()
		require.NoError(t, r.Resource().Attributes().FromRaw(resource))
		scope := r.ScopeSpans().AppendEmpty()
		scope.Scope().SetName("nemo.lens")
		addSpan(scope.Spans(), 1, 0, name, from, to)
		p.passTraces(t, td)
	}
	worker := object{"nv.dl.run.uuid": "a", "nv.dl.rank": 6, "nv.dl.role": "ckpt_worker", "host.name": "node", "process.pid": 10, "nv.gpu.uuid": "GPU-a"}
	driver := object{"nemo.run.id": "b", "dl.rank": 0, "host.name": "node", "process.pid": 20}
	collector := object{"nemo.run.id": "b", "dl.rank": 0, "host.name": "node", "process.pid": 21}
	send(worker, "nv.nvrx.ckpt.save.write", 1, 100)
	send(driver, "rl.grpo.policy_training", 10, 20)
	send(driver, "rl.grpo.evaluate", 90, 100)
	send(collector, "rl.grpo.generation", 40, 100)
	for _, when := range []string{"before", "after"} {
		for name, q := range map[string]struct {
			names object
			at    float64
			want  string
		}{
			"the worker's rank":                {object{"nv.dl.run.uuid": "a", "nv.dl.rank": 6}, 50, "-"},
			"the worker's GPU":                 {object{"UUID": "GPU-a"}, 50, "-"},
			"the worker":                       {object{"host.name": "node", "process.pid": 10}, 50, "ckpt / save / write"},
			"the run while the driver trains":  {object{"nemo.run.id": "b"}, 15, "grpo.policy_training"},
			"the run while one of two is busy": {object{"nemo.run.id": "b"}, 50, "grpo.generation"},
			"the run while both are":           {object{"nemo.run.id": "b"}, 95, "(ambiguous)"},
		} {
			assert.Equal(t, q.want, p.answerAt(t, q.names, q.at), "%s, %s a restart", name, when)
		}
		directory = killed(t, directory)
		p = startOn(t, directory, sources)
	}
}
