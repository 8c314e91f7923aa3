// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"context"
	"sync"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/processor"
	"go.opentelemetry.io/collector/processor/processorhelper"
	"go.opentelemetry.io/otel/metric"
	"go.uber.org/zap"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/boundary"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/metadata"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/replay"
)

// sweepsPerTimeout is how often, in one session timeout or window, whichever is
// shorter, ended sessions are looked for.
const sweepsPerTimeout = 10

// state is what the pipelines of one component ID share. It lives from the first
// instance's Start to the last one's Shutdown.
type state struct {
	config *Config
	reader *boundary.Reader
	index  *replay.Index
	logger *zap.Logger
	// askers are the askers that no batch is using.
	askers sync.Pool
	// release lets go of the state.
	release func()

	// mu guards what follows.
	mu        sync.Mutex
	users     int
	telemetry *metadata.TelemetryBuilder
	stop      context.CancelFunc
	sweeper   sync.WaitGroup
}

func newState(set processor.Settings, config *Config, release func()) (*state, error) {
	s := &state{
		config: config,
		reader: newReader(config),
		index: replay.New(replay.Options{
			Repair:         config.Repair,
			Window:         config.Window,
			SessionTimeout: config.SessionTimeout,
			MaxGroups:      config.MaxGroups,
			MaxThreads:     config.MaxThreadsPerGroup,
			MaxOpen:        config.MaxOpenScopesPerThread,
			MaxBoundaries:  config.MaxBoundariesPerGroup,
			MaxTotal:       config.MaxBoundaries,
		}),
		logger:  set.Logger,
		release: release,
	}
	s.askers.New = func() any { return newAsker(s) }
	var err error
	s.telemetry, err = metadata.NewTelemetryBuilder(withoutPipeline(set.TelemetrySettings))
	return s, err
}

func newReader(config *Config) *boundary.Reader {
	return &boundary.Reader{
		SessionKey:     config.SessionAttribute,
		RankKey:        config.RankAttribute,
		KeepAttributes: config.ScopeAttributes,
		Limits: boundary.Limits{
			TextBytes:  config.MaxTextBytes,
			LabelBytes: config.MaxLabelBytes,
			Depth:      config.MaxDepth,
		},
	}
}

// withoutPipeline takes the names of the first pipeline off the metrics of what all
// pipelines share. Where the settings offer no way to, they stay.
func withoutPipeline(set component.TelemetrySettings) component.TelemetrySettings {
	provider, ok := set.MeterProvider.(interface {
		DropInjectedAttributes(attributes ...string) metric.MeterProvider
	})
	if ok {
		set.MeterProvider = provider.DropInjectedAttributes("otelcol.signal", "otelcol.pipeline.id")
	}
	return set
}

// acquire counts a user. The first one starts what runs in the background.
func (s *state) acquire() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.users++; s.users > 1 {
		return nil
	}
	if err := s.observe(); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	s.sweeper.Go(func() { s.sweep(ctx) })
	return nil
}

// free counts a user less. The last one stops what runs in the background.
func (s *state) free() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.users--; s.users > 0 {
		return
	}
	s.stop()
	s.sweeper.Wait()
	s.telemetry.Shutdown()
	s.release()
}

func (s *state) observe() error {
	gauges := []struct {
		register func(metric.Int64Callback) error
		value    func(replay.Stats) int64
	}{
		{s.telemetry.RegisterProcessorPhaseAttrGroupsCallback, func(st replay.Stats) int64 { return int64(st.Groups) }},
		{s.telemetry.RegisterProcessorPhaseAttrOpenScopesCallback, func(st replay.Stats) int64 { return st.OpenScopes }},
		{s.telemetry.RegisterProcessorPhaseAttrBoundariesHeldCallback, func(st replay.Stats) int64 { return st.Boundaries }},
	}
	for _, gauge := range gauges {
		if err := gauge.register(func(_ context.Context, o metric.Int64Observer) error {
			o.Observe(gauge.value(s.index.Stats()))
			return nil
		}); err != nil {
			return err
		}
	}
	return nil
}

func (s *state) sweep(ctx context.Context) {
	ticker := time.NewTicker(max(min(s.config.SessionTimeout, s.config.Window)/sweepsPerTimeout, time.Millisecond))
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			s.index.Sweep()
		}
	}
}

// instance is the processor of one pipeline.
type instance struct {
	*state
	tally *tally

	// life guards running.
	life    sync.Mutex
	running bool
}

func newInstance(set processor.Settings, s *state) (*instance, error) {
	telemetry, err := metadata.NewTelemetryBuilder(set.TelemetrySettings)
	if err != nil {
		return nil, err
	}
	return &instance{state: s, tally: newTally(telemetry, set.Logger)}, nil
}

func (p *instance) options() []processorhelper.Option {
	return []processorhelper.Option{
		processorhelper.WithCapabilities(consumer.Capabilities{MutatesData: true}),
		processorhelper.WithStart(p.start),
		processorhelper.WithShutdown(p.shutdown),
	}
}

func (p *instance) start(context.Context, component.Host) error {
	p.life.Lock()
	defer p.life.Unlock()
	if p.running {
		return nil
	}
	if err := p.acquire(); err != nil {
		return err
	}
	p.running = true
	return nil
}

// shutdown may be called without a start, and more than once.
func (p *instance) shutdown(context.Context) error {
	p.life.Lock()
	defer p.life.Unlock()
	if p.running {
		p.running = false
		p.free()
	}
	return nil
}
