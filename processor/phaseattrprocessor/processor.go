// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/extension/xextension/storage"
	"go.opentelemetry.io/collector/processor"
	"go.opentelemetry.io/collector/processor/processorhelper"
	"go.opentelemetry.io/otel/metric"
	"go.uber.org/zap"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/association"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/boundary"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/checkpoint"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/grace"
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
	// association knows the groups of telemetry that does not name them.
	association *association.Association
	// gate is where batches wait for their boundaries; nil when they do not.
	gate   *grace.Gate
	logger *zap.Logger
	// store keeps the index in a storage; nil when it is not kept.
	store *checkpoint.Store
	// storage is where that is, from the first start on.
	storage storage.Extension
	// paths are those written on data points.
	paths *pathBook
	// askers are the askers that no batch is using.
	askers    sync.Pool
	telemetry *metadata.TelemetryBuilder
	// instances is how many have been made and not shut down. The factory guards it.
	instances int

	// mu guards what follows.
	mu sync.Mutex
	// running is how many instances have been started and not shut down.
	running int
	stop    chan struct{}
	sweeper sync.WaitGroup
}

func newState(set processor.Settings, config *Config) (*state, error) {
	groups, err := newAssociation(config)
	if err != nil {
		return nil, err
	}
	s := &state{
		config: config,
		reader: newReader(config),
		index: replay.New(replay.Options{
			Repair:         config.Repair,
			Window:         config.Window,
			SessionTimeout: config.SessionTimeout,
			MaxRanks:      config.MaxGroups,
			MaxThreads:     config.MaxThreadsPerGroup,
			MaxOpen:        config.MaxOpenScopesPerThread,
			MaxBoundaries:  config.MaxBoundariesPerGroup,
			MaxTotal:       config.MaxBoundaries,
		}),
		association: groups,
		logger:      set.Logger,
		paths:       newPathBook(config.MaxPaths),
	}
	if _, err = newAsker(s); err != nil {
		return nil, err
	}
	s.askers.New = func() any {
		a, _ := newAsker(s) // it can be made: one has been
		return a
	}
	telemetry, err := metadata.NewTelemetryBuilder(withoutPipeline(set.TelemetrySettings))
	if err != nil {
		return nil, err
	}
	s.telemetry = telemetry
	if config.Storage != nil {
		s.store = newStore(s, set.ID)
	}
	if config.GracePeriod > 0 {
		s.gate = grace.NewGate(grace.Options{
			Period:     config.GracePeriod,
			MaxBytes:   int64(config.MaxHeldBytes),
			MaxBatches: int64(config.MaxHeldBatches),
			Reached:    s.index.Reached,
			Released:   s.released,
		})
	}
	return s, nil
}

// released counts a batch that was held.
func (s *state) released(r grace.Release) {
	ctx := context.Background()
	s.telemetry.ProcessorPhaseAttrHoldDuration.Record(ctx, r.Held.Seconds())
	if r.Expired {
		s.telemetry.ProcessorPhaseAttrGraceExpired.Add(ctx, 1)
	}
}

// advance lets go what has waited for a group.
func (s *state) advance(group boundary.RankKey) {
	if s.gate != nil {
		s.gate.Advance(group)
	}
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

// started counts an instance that runs. The first one restores what is stored, and
// starts what runs in the background.
func (s *state) started(ctx context.Context, host component.Host) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running == 0 {
		if err := s.findStorage(host); err != nil {
			return err
		}
		if err := s.observe(); err != nil {
			return err
		}
		if err := s.restore(ctx); err != nil {
			s.telemetry.Shutdown()
			return err
		}
		stop := make(chan struct{})
		s.stop = stop
		s.sweeper.Go(func() { s.sweep(context.WithoutCancel(ctx), stop) })
	}
	s.running++
	return nil
}

// stopped counts an instance less. The last one stops what runs in the background.
func (s *state) stopped(ctx context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running--
	if s.running == 0 {
		close(s.stop)
		s.sweeper.Wait()
		s.store.Close(ctx)
		s.telemetry.Shutdown()
	}
}

// observe lets the metrics of what is shared be read off.
func (s *state) observe() error {
	b := s.telemetry
	heldBytes := func() int64 { return 0 }
	if s.gate != nil {
		heldBytes = s.gate.HeldBytes
	}
	var errs []error
	for _, instrument := range []struct {
		register func(metric.Int64Callback) error
		value    func() int64
	}{
		{b.RegisterProcessorPhaseAttrGroupsCallback, func() int64 { return int64(s.index.Stats().Ranks) }},
		{b.RegisterProcessorPhaseAttrOpenScopesCallback, func() int64 { return s.index.Stats().OpenScopes }},
		{b.RegisterProcessorPhaseAttrBoundariesHeldCallback, func() int64 { return s.index.Stats().Boundaries }},
		{b.RegisterProcessorPhaseAttrRepairsCallback, func() int64 { return s.index.Stats().Repairs }},
		{b.RegisterProcessorPhaseAttrHeldBytesCallback, heldBytes},
		{b.RegisterProcessorPhaseAttrPathsCallback, s.paths.len},
		{b.RegisterProcessorPhaseAttrStoredBytesCallback, s.store.Bytes},
	} {
		errs = append(errs, instrument.register(func(_ context.Context, o metric.Int64Observer) error {
			o.Observe(instrument.value())
			return nil
		}))
	}
	return errors.Join(errs...)
}

func (s *state) sweep(ctx context.Context, stop <-chan struct{}) {
	ticker := time.NewTicker(max(min(s.config.SessionTimeout, s.config.Window)/sweepsPerTimeout, time.Millisecond))
	defer ticker.Stop()
	for {
		select {
		case <-stop:
			return
		case <-ticker.C:
			s.sweepOnce(ctx)
		}
	}
}

// sweepOnce lets go of what is over.
func (s *state) sweepOnce(ctx context.Context) {
	forgotten := s.index.Sweep()
	for _, group := range forgotten {
		s.association.Remove(group, s.index.Has)
	}
	s.store.Forget(ctx, forgotten)
}

// introduce introduces a group by its first event. It returns false when there is no
// room for the group, or it has been introduced.
func (s *state) introduce(group boundary.RankKey, in *checkpoint.Registration) bool {
	var seats []string
	if in.Claim != "" {
		seats = append(seats, in.Claim)
	}
	places := s.association.Locations(in.Identity)
	for _, place := range places {
		if place.Exclusive {
			seats = append(seats, place.String())
		}
	}
	if !s.index.Register(group, seats, in.At) {
		return false
	}
	s.association.Add(group, places)
	return true
}

// instance is what the processor of one pipeline has of its own.
type instance struct {
	*state
	tally *tally
	// queue holds what is too early; nil when nothing is held.
	queue *grace.Queue
	// done lets the factory know that the instance has been shut down.
	done func()

	// life guards what follows.
	life      sync.Mutex
	runs, end bool
}

func newInstance(set processor.Settings, s *state, done func()) (*instance, error) {
	telemetry, err := metadata.NewTelemetryBuilder(set.TelemetrySettings)
	if err != nil {
		return nil, err
	}
	return &instance{state: s, tally: newTally(telemetry, set.Logger), done: done}, nil
}

func (p *instance) options() []processorhelper.Option {
	return []processorhelper.Option{
		processorhelper.WithCapabilities(consumer.Capabilities{MutatesData: true}),
		processorhelper.WithStart(p.start),
		processorhelper.WithShutdown(p.shutdown),
	}
}

func (p *instance) start(ctx context.Context, host component.Host) error {
	p.life.Lock()
	defer p.life.Unlock()
	if p.end {
		return errors.New("the processor has been shut down")
	}
	if p.runs {
		return nil
	}
	if err := p.started(ctx, host); err != nil {
		return err
	}
	if p.gate != nil {
		p.queue = p.gate.NewQueue()
	}
	p.runs = true
	return nil
}

// shutdown passes on what is held. It may be called without a start, and more than
// once.
func (p *instance) shutdown(ctx context.Context) error {
	p.life.Lock()
	defer p.life.Unlock()
	if p.end {
		return nil
	}
	p.end = true
	defer p.done()
	if !p.runs {
		return nil
	}
	defer p.stopped(ctx)
	if p.queue == nil {
		return nil
	}
	return p.queue.Close(ctx)
}
