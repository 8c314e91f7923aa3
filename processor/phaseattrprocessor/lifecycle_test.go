// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"context"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/extension/xextension/storage"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/processor"
	"go.opentelemetry.io/collector/processor/processortest"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/metadata"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/metadatatest"
)

// memory is a storage extension in memory, whose calls block or fail on demand.
type memory struct {
	component.StartFunc
	component.ShutdownFunc

	mu sync.Mutex
	// stored has the values of each client.
	stored map[string]map[string][]byte
	// blocked is closed when calls need not block any longer; nil when they do not.
	blocked chan struct{}
	err     error
}

func newMemory() *memory { return &memory{stored: map[string]map[string][]byte{}} }

// call blocks, whatever becomes of the caller's context, and fails, as told.
func (m *memory) call() error {
	m.mu.Lock()
	blocked, err := m.blocked, m.err
	m.mu.Unlock()
	if blocked != nil {
		<-blocked
	}
	return err
}

func (m *memory) set(blocked chan struct{}, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.blocked, m.err = blocked, err
}

// GetClient implements storage.Extension.
func (m *memory) GetClient(_ context.Context, _ component.Kind, _ component.ID, name string) (storage.Client, error) {
	if err := m.call(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.stored[name] == nil {
		m.stored[name] = map[string][]byte{}
	}
	return &memoryClient{m, m.stored[name]}, nil
}

type memoryClient struct {
	*memory
	values map[string][]byte
}

func (c *memoryClient) Get(ctx context.Context, key string) ([]byte, error) {
	op := storage.GetOperation(key)
	err := c.Batch(ctx, op)
	return op.Value, err
}

func (c *memoryClient) Set(ctx context.Context, key string, value []byte) error {
	return c.Batch(ctx, storage.SetOperation(key, value))
}

func (c *memoryClient) Delete(ctx context.Context, key string) error {
	return c.Batch(ctx, storage.DeleteOperation(key))
}

func (c *memoryClient) Batch(_ context.Context, ops ...*storage.Operation) error {
	if err := c.call(); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, op := range ops {
		switch op.Type {
		case storage.Get:
			op.Value = slices.Clone(c.values[op.Key])
		case storage.Set:
			c.values[op.Key] = slices.Clone(op.Value)
		case storage.Delete:
			delete(c.values, op.Key)
		}
	}
	return nil
}

func (c *memoryClient) Walk(_ context.Context, f storage.WalkFunc) error {
	if err := c.call(); err != nil {
		return err
	}
	c.mu.Lock()
	values := maps.Clone(c.values)
	c.mu.Unlock()
	for key, value := range values {
		if _, err := f(key, value); err != nil {
			return err
		}
	}
	return nil
}

func (c *memoryClient) Close(context.Context) error { return c.call() }

// within returns how long a call takes whose context ends after 100 ms.
func within(t *testing.T, call func(context.Context) error) time.Duration {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 100*time.Millisecond)
	defer cancel()
	start := time.Now()
	_ = call(ctx)
	return time.Since(start)
}

func TestShutdownDoesNotWaitForTheNextComponent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		factory, cfg := NewFactory(), newConfig(t, withGrace, func(cfg *Config) { cfg.Grace.MaxBatches = 1 })
		events := startLogs(t, factory, cfg, discardLogs)
		blocked := make(chan struct{})
		metrics := startMetrics(t, factory, cfg, func(context.Context, pmetric.Metrics) error {
			<-blocked
			return nil
		})
		require.NoError(t, events.ConsumeLogs(t.Context(), eventOf("s", 10, "train")))
		require.NoError(t, metrics.ConsumeMetrics(t.Context(), gaugeOf("s", 50)))
		go func() { // this caller waits for room
			_ = metrics.ConsumeMetrics(t.Context(), gaugeOf("s", 50))
		}()
		time.Sleep(2 * gracePeriod)
		synctest.Wait()
		assert.LessOrEqual(t, within(t, events.Shutdown), 100*time.Millisecond)
		assert.LessOrEqual(t, within(t, metrics.Shutdown), 100*time.Millisecond)
		close(blocked)
	})
}

// A failing next component is tried once more, so that a shutdown does not take as long as
// its retries.
func TestShutdownEndsRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		factory, cfg := NewFactory(), newConfig(t, withGrace)
		events := startLogs(t, factory, cfg, discardLogs)
		metrics := startMetrics(t, factory, cfg, func(context.Context, pmetric.Metrics) error { return errTryAgain })
		require.NoError(t, events.ConsumeLogs(t.Context(), eventOf("s", 10, "train")))
		require.NoError(t, metrics.ConsumeMetrics(t.Context(), gaugeOf("s", 50)))
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		start := time.Now()
		require.NoError(t, metrics.Shutdown(t.Context()))
		assert.Zero(t, time.Since(start))
	})
}

func TestNothingWaitsForAStorageThatBlocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ext, blocked := newMemory(), make(chan struct{})
		cfg := newConfig(t, withGrace, withStorage, func(cfg *Config) { cfg.SessionTimeout = 10 * time.Second })
		p := newPipelines(t, NewFactory(), cfg)
		p.start(t, host{componenttest.NewNopHost(), ext})
		p.events(t, 10, "train")
		ext.set(blocked, nil)
		p.logsSink.Reset()
		start := time.Now()
		p.events(t, 20, "evaluate") // stored by the time that the caller is answered, or given up
		assert.Less(t, time.Since(start), 6*time.Second)
		assert.Equal(t, 1, p.logsSink.LogRecordCount())
		time.Sleep(time.Minute) // the session is swept in the meantime
		synctest.Wait()
		for _, c := range p.components() {
			assert.LessOrEqual(t, within(t, c.Shutdown), 100*time.Millisecond)
		}

		again := newPipelines(t, NewFactory(), cfg)
		assert.LessOrEqual(t, within(t, func(ctx context.Context) error {
			return again.logs.Start(ctx, host{componenttest.NewNopHost(), ext})
		}), 100*time.Millisecond)
		assert.LessOrEqual(t, within(t, again.logs.Shutdown), 100*time.Millisecond)
		close(blocked)
		time.Sleep(time.Minute)
		synctest.Wait()
	})
}

// The pipelines of one component ID may start and stop one after the other.
func TestPipelinesWithStorageMayRunInTurn(t *testing.T) {
	cfg, factory := newConfig(t, withStorage), NewFactory()
	on := host{componenttest.NewNopHost(), fileStorage(t, t.TempDir())}
	var pipelines []processor.Logs
	for range 2 {
		p, err := factory.CreateLogs(t.Context(), processortest.NewNopSettings(metadata.Type), cfg, consumertest.NewNop())
		require.NoError(t, err)
		pipelines = append(pipelines, p)
	}
	run := &program{session: "run"}
	w := run.worker(1)
	for _, p := range pipelines {
		require.NoError(t, p.Start(t.Context(), on))
		require.NoError(t, p.ConsumeLogs(t.Context(), records(t, w.enter(1, "train"))))
		require.NoError(t, p.Shutdown(t.Context()))
	}
}

// statuses is a host that keeps what components report.
type statuses struct {
	host

	mu     sync.Mutex
	events []*componentstatus.Event
}

// Report implements componentstatus.Reporter.
func (s *statuses) Report(event *componentstatus.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, event)
}

func TestStorageThatFailsAndRecoversIsReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ext := newMemory()
		on := &statuses{host: host{componenttest.NewNopHost(), ext}}
		p := newPipelines(t, NewFactory(), newConfig(t, withStorage))
		p.start(t, on)
		require.Empty(t, on.events)
		ext.set(nil, storage.ErrStorageFull)
		p.events(t, 10, "train")
		require.NotEmpty(t, on.events)
		assert.Equal(t, componentstatus.StatusRecoverableError, on.events[0].Status())
		require.ErrorIs(t, on.events[0].Err(), storage.ErrStorageFull)
		ext.set(nil, nil)
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		on.mu.Lock()
		assert.Equal(t, componentstatus.StatusOK, on.events[len(on.events)-1].Status())
		on.mu.Unlock()
		p.shutdown(t)
	})
}

func TestComponentIDsHaveValuesOfTheirOwn(t *testing.T) {
	factory, telemetry := NewFactory(), componenttest.NewTelemetry()
	for session, name := range map[string]string{"a": "first", "b": "second"} {
		cfg, set := newConfig(t), metadatatest.NewSettings(telemetry)
		set.ID = component.NewIDWithName(metadata.Type, name)
		logs, err := factory.CreateLogs(t.Context(), set, cfg, consumertest.NewNop())
		require.NoError(t, err)
		started(t, logs)
		require.NoError(t, logs.ConsumeLogs(t.Context(), eventOf(session, 10, "train")))
		if name == "second" {
			require.NoError(t, logs.ConsumeLogs(t.Context(), eventOf("c", 10, "train")))
		}
	}
	t.Cleanup(func() { assert.NoError(t, telemetry.Shutdown(context.WithoutCancel(t.Context()))) })
	for _, name := range []string{"ranks", "window_boundaries", "open_scopes", "boundaries"} {
		got, err := telemetry.GetMetric("otelcol_processor_phase_attr_" + name)
		require.NoError(t, err)
		values := map[string]int64{}
		for _, point := range got.Data.(metricdata.Sum[int64]).DataPoints {
			id, _ := point.Attributes.Value("processor")
			values[id.AsString()] += point.Value
		}
		assert.Equal(t, map[string]int64{"phase_attr/first": 1, "phase_attr/second": 2}, values, name)
	}
}

// injectingProvider is a meter provider of a Collector that injects attributes.
type injectingProvider struct {
	metric.MeterProvider
	dropped *[]string
}

func (p injectingProvider) DropInjectedAttributes(attributes ...string) metric.MeterProvider {
	*p.dropped = append(*p.dropped, attributes...)
	return p.MeterProvider
}

// injectingCore is its core of a pipeline's logger.
type injectingCore struct {
	zapcore.Core
	bare   zapcore.Core
	fields []zapcore.Field
}

func newInjectingCore(bare zapcore.Core, fields ...zapcore.Field) injectingCore {
	return injectingCore{bare.With(fields), bare, fields}
}

func (c injectingCore) DropInjectedAttributes(attributes ...string) zapcore.Core {
	return c.bare.With(slices.DeleteFunc(slices.Clone(c.fields), func(f zapcore.Field) bool { return slices.Contains(attributes, f.Key) }))
}

func TestWhatPipelinesShareHasNoAttributesOfOne(t *testing.T) {
	core, logged := observer.New(zapcore.WarnLevel)
	telemetry := componenttest.NewTelemetry()
	set := metadatatest.NewSettings(telemetry)
	var dropped []string
	set.MeterProvider = injectingProvider{set.MeterProvider, &dropped}
	set.Logger = zap.New(newInjectingCore(core, zap.String("otelcol.pipeline.id", "logs/first"),
		zap.String("otelcol.signal", "logs"), zap.String("otelcol.component.id", "phase_attr")))
	logs, err := NewFactory().CreateLogs(t.Context(), set, newConfig(t), consumertest.NewNop())
	require.NoError(t, err)
	started(t, logs)
	t.Cleanup(func() { assert.NoError(t, telemetry.Shutdown(context.WithoutCancel(t.Context()))) })
	require.NoError(t, logs.ConsumeLogs(t.Context(), records(t, object{"event_type": "phase_enter"})))

	assert.Subset(t, dropped, []string{"otelcol.signal", "otelcol.pipeline.id", "otelcol.component.id"})
	require.Equal(t, 1, logged.Len())
	assert.Equal(t, "phase_attr", logged.All()[0].ContextMap()["otelcol.component.id"])
	assert.NotContains(t, logged.All()[0].ContextMap(), "otelcol.pipeline.id")
	assert.NotContains(t, logged.All()[0].ContextMap(), "otelcol.signal")
	got, err := telemetry.GetMetric("otelcol_processor_phase_attr_boundaries")
	require.NoError(t, err)
	id, ok := got.Data.(metricdata.Sum[int64]).DataPoints[0].Attributes.Value(attribute.Key("processor"))
	assert.True(t, ok)
	assert.Equal(t, set.ID.String(), id.AsString())
}

// faultyMeters is a meter provider that cannot make the instruments of some name, and
// refuses callbacks after some.
type faultyMeters struct {
	noop.MeterProvider
	counter   string
	callbacks int
	// registered is the number of callbacks that are registered now.
	registered *int
}

type faultyMeter struct {
	metric.Meter
	*faultyMeters
}

func (p *faultyMeters) Meter(string, ...metric.MeterOption) metric.Meter {
	return faultyMeter{noop.Meter{}, p}
}

func (m faultyMeter) Int64Counter(name string, _ ...metric.Int64CounterOption) (metric.Int64Counter, error) {
	if name == m.counter {
		return nil, errTryAgain
	}
	return noop.Int64Counter{}, nil
}

type registration struct {
	metric.Registration
	once func()
}

func (r registration) Unregister() error {
	r.once()
	return nil
}

func (m faultyMeter) RegisterCallback(metric.Callback, ...metric.Observable) (metric.Registration, error) {
	if *m.registered == m.callbacks {
		return nil, errTryAgain
	}
	*m.registered++
	return registration{noop.Registration{}, sync.OnceFunc(func() { *m.registered-- })}, nil
}

func TestCreationThatFailsLeavesNothingBehind(t *testing.T) {
	f, cfg := &factory{shared: map[*Config]*shared{}}, newConfig(t)
	for _, counter := range []string{"otelcol_processor_incoming_items", "otelcol_processor_phase_attr_boundaries"} {
		set := processortest.NewNopSettings(metadata.Type)
		set.MeterProvider = &faultyMeters{counter: counter, registered: new(int)}
		_, err := f.createLogs(t.Context(), set, cfg, consumertest.NewNop())
		require.ErrorIs(t, err, errTryAgain)
		_, err = f.createMetrics(t.Context(), set, cfg, consumertest.NewNop())
		require.ErrorIs(t, err, errTryAgain)
		_, err = f.createTraces(t.Context(), set, cfg, consumertest.NewNop())
		require.ErrorIs(t, err, errTryAgain)
		assert.Empty(t, f.shared)
	}

	// What runs is not affected.
	p := newPipelines(t, NewFactory(), cfg)
	p.start(t, componenttest.NewNopHost())
}

func TestStartThatFailsLeavesNothingBehind(t *testing.T) {
	registered := 0
	set := processortest.NewNopSettings(metadata.Type)
	set.MeterProvider = &faultyMeters{callbacks: 3, registered: &registered}
	f := &factory{shared: map[*Config]*shared{}}
	p, err := f.createLogs(t.Context(), set, newConfig(t, withGrace), consumertest.NewNop())
	require.NoError(t, err)
	require.ErrorIs(t, p.Start(t.Context(), componenttest.NewNopHost()), errTryAgain)
	assert.Zero(t, registered)
	require.NoError(t, p.Shutdown(t.Context()))
	assert.Empty(t, f.shared)
}
