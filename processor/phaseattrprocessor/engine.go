// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"context"
	"fmt"
	"sync"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.opentelemetry.io/collector/extension/xextension/storage"
	"go.opentelemetry.io/collector/processor"
	"go.uber.org/zap"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/annotate"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/association"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/boundary"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/checkpoint"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/hold"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/replay"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/resolve"
)

// sweepsPerTimeout is how often, in one session timeout or window, whichever is
// shorter, the index is swept.
const sweepsPerTimeout = 10

// shared is what the pipelines of one component ID share, whether they run or not.
type shared struct {
	id       component.ID
	config   *Config
	recorder *recorder
	// pipelines is the number of pipelines that have been created and not shut down. The
	// factory guards it.
	pipelines int

	// mu guards running, the number of pipelines that have been started and not shut down,
	// and engine, which is there while any is.
	mu      sync.Mutex
	running int
	engine  *engine
}

func newShared(set processor.Settings, config *Config) (*shared, error) {
	recorder, err := newRecorder(set.TelemetrySettings, set.ID)
	if err != nil {
		return nil, err
	}
	return &shared{id: set.ID, config: config, recorder: recorder}, nil
}

// start returns the engine, which the first pipeline to start makes.
func (s *shared) start(ctx context.Context, host component.Host) (*engine, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running == 0 {
		e, err := newEngine(ctx, s, host)
		if err != nil {
			return nil, err
		}
		s.engine = e
	}
	s.running++
	return s.engine, nil
}

// stop ends the engine with the last pipeline that runs.
func (s *shared) stop(ctx context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running--
	if s.running == 0 {
		s.engine.close(ctx)
		s.engine = nil
	}
}

// engine is what the running pipelines of one component ID share.
type engine struct {
	config      *Config
	recorder    *recorder
	reader      *boundary.Reader
	index       *replay.Index
	association *association.Association
	table       *annotate.Table
	paths       *resolve.PathLimiter
	// annotators are those that no batch is using.
	annotators sync.Pool
	// buffer is where telemetry waits, unknowns what it has waited for; nil without a grace
	// period.
	buffer   *hold.Buffer
	unknowns *hold.Unknown
	// store keeps the index in a storage; nil without one.
	store *checkpoint.Store

	stop, swept chan struct{}
}

// newEngine restores what is stored and starts what runs in the background.
func newEngine(ctx context.Context, s *shared, host component.Host) (*engine, error) {
	config := s.config
	e := &engine{
		config:      config,
		recorder:    s.recorder,
		reader:      newReader(config),
		index:       newIndex(config),
		association: newAssociation(config),
		table:       annotate.New(config.Attributes),
		paths:       resolve.NewPathLimiter(config.Limits.MaxPaths),
		stop:        make(chan struct{}),
		swept:       make(chan struct{}),
	}
	newAnnotator(e) // so that the association knows all keys before it is used
	e.annotators.New = func() any { return newAnnotator(e) }
	if err := e.openStore(ctx, s.id, host); err != nil {
		return nil, err
	}
	if config.Grace.Period > 0 {
		e.buffer = hold.New(hold.Options{
			MaxBytes:        int64(config.Grace.MaxBytes),
			MaxParts:        int64(config.Grace.MaxBatches),
			MaxUnknownBytes: int64(config.Grace.MaxBytes / 4),
		}, e)
		e.unknowns = hold.NewUnknown(config.Grace.Period, config.Limits.MaxRanks)
	}
	go e.sweepRegularly(context.WithoutCancel(ctx))
	if err := e.observe(); err != nil {
		e.close(ctx)
		return nil, err
	}
	return e, nil
}

// close ends what runs in the background. It returns when ctx is done, whatever the
// storage does. Failures of the storage have been recorded.
func (e *engine) close(ctx context.Context) {
	e.recorder.telemetry.Shutdown()
	close(e.stop)
	if e.buffer != nil {
		e.buffer.Stop()
	}
	select {
	case <-e.swept:
	case <-ctx.Done():
	}
	_ = e.store.Close(ctx)
}

func newReader(config *Config) *boundary.Reader {
	return &boundary.Reader{
		SessionKey:     config.SessionAttribute,
		RankKey:        config.RankAttribute,
		KeepAttributes: config.ScopeAttributes,
		Strict:         !config.Repair,
		Limits: boundary.Limits{
			TextBytes:  config.Limits.MaxTextBytes,
			LabelBytes: config.Limits.MaxLabelBytes,
			Depth:      config.Limits.MaxScopeDepth,
		},
	}
}

func newIndex(config *Config) *replay.Index {
	return replay.New(replay.Options{
		Repair:         config.Repair,
		Window:         config.Window,
		SessionTimeout: config.SessionTimeout,
		MaxRanks:       config.Limits.MaxRanks,
		MaxThreads:     config.Limits.MaxThreadsPerRank,
		MaxOpen:        config.Limits.MaxOpenScopesPerThread,
		MaxBoundaries:  config.Limits.MaxBoundariesPerRank,
		MaxTotal:       config.Limits.MaxBoundaries,
	})
}

// openStore opens the storage, if one is configured, and restores the index from it.
func (e *engine) openStore(ctx context.Context, id component.ID, host component.Host) error {
	if e.config.Storage == nil {
		return nil
	}
	extension, ok := host.GetExtensions()[*e.config.Storage]
	if !ok {
		return fmt.Errorf("storage: there is no extension %q in the service", e.config.Storage)
	}
	opener, ok := extension.(storage.Extension)
	if !ok {
		return fmt.Errorf("storage: extension %q is not a storage extension", e.config.Storage)
	}
	e.store = checkpoint.New(checkpoint.Options{
		Open: func(ctx context.Context, name string) (storage.Client, error) {
			return opener.GetClient(ctx, component.KindProcessor, id, name)
		},
		Index:    e.index,
		Register: func(rank boundary.RankKey, registration *checkpoint.Registration) { e.register(rank, registration) },
		Forget: func(rank boundary.RankKey) {
			e.index.Forget(rank)
			e.association.Remove(rank, e.index.Has)
		},
		Failed: func(ctx context.Context, operation checkpoint.Operation, times int, err error) {
			e.recorder.storageFailed(ctx, operation, times, err)
			if operation != checkpoint.Read { // a record that cannot be read says nothing of the storage
				componentstatus.ReportStatus(host, componentstatus.NewRecoverableErrorEvent(fmt.Errorf("storage: %w", err)))
			}
		},
		Recovered: func(context.Context) {
			componentstatus.ReportStatus(host, componentstatus.NewEvent(componentstatus.StatusOK))
		},
	})
	begin := time.Now()
	if err := e.store.Start(ctx); err != nil {
		return fmt.Errorf("storage: extension %q cannot be used: %w", e.config.Storage, err)
	}
	e.sweep(ctx)
	stats := e.index.Stats()
	e.recorder.logger.Info("Restored the index", zap.Int("ranks", stats.Ranks), zap.Int64("boundaries", stats.Boundaries),
		zap.Int64("open_scopes", stats.OpenScopes), zap.Duration("took", time.Since(begin)))
	return nil
}

// observe registers the metrics of what the pipelines share.
func (e *engine) observe() error {
	b := e.recorder.telemetry
	waitingBytes := func() int64 { return 0 }
	if e.buffer != nil {
		waitingBytes = e.buffer.Bytes
	}
	return e.recorder.observe([]instrument{
		{b.RegisterProcessorPhaseAttrRanksCallback, func() int64 { return int64(e.index.Stats().Ranks) }},
		{b.RegisterProcessorPhaseAttrOpenScopesCallback, func() int64 { return e.index.Stats().OpenScopes }},
		{b.RegisterProcessorPhaseAttrWindowBoundariesCallback, func() int64 { return e.index.Stats().Boundaries }},
		{b.RegisterProcessorPhaseAttrRepairsCallback, func() int64 { return e.index.Stats().Repairs }},
		{b.RegisterProcessorPhaseAttrWaitingBytesCallback, waitingBytes},
		{b.RegisterProcessorPhaseAttrPathsCallback, func() int64 { return int64(e.paths.Len()) }},
		{b.RegisterProcessorPhaseAttrStoredBytesCallback, e.store.Bytes},
	})
}

// sweepRegularly sweeps the index, and forgets paths that are no longer written, until the
// engine is closed.
func (e *engine) sweepRegularly(ctx context.Context) {
	defer close(e.swept)
	sweep := time.NewTicker(max(min(e.config.SessionTimeout, e.config.Window)/sweepsPerTimeout, time.Millisecond))
	defer sweep.Stop()
	rotate := time.NewTicker(e.config.Window)
	defer rotate.Stop()
	for {
		select {
		case <-e.stop:
			return
		case <-sweep.C:
			e.sweep(ctx)
		case <-rotate.C:
			e.paths.Rotate()
		}
	}
}

// sweep ends the sessions that have timed out, and forgets those that are over.
func (e *engine) sweep(ctx context.Context) {
	ended, forgotten := e.index.Sweep()
	for _, rank := range forgotten {
		e.association.Remove(rank, e.index.Has)
	}
	e.advance(ended, nil)
	e.store.Forget(ctx, forgotten)
}

// register registers a rank by its first event. It returns where the rank is, and the
// ranks that it ended, or false when there is no room for it, or it has been registered.
func (e *engine) register(rank boundary.RankKey, r *checkpoint.Registration) (locations []string, ended []boundary.RankKey, ok bool) {
	var claims []string
	if r.Claim != "" {
		claims = append(claims, r.Claim)
	}
	claims = append(claims, e.association.Exclusive(r.Identity)...)
	if ok, ended = e.index.Register(rank, claims, r.At); ok {
		locations, _ = e.association.Add(boundary.Occupant{Rank: rank}, r.Identity)
	}
	return locations, ended, ok
}

// annotator returns an annotator for a batch, which done takes back.
func (e *engine) annotator(s signal) *annotator {
	a := e.annotators.Get().(*annotator)
	a.begin(s == signalMetrics)
	return a
}

func (e *engine) done(a *annotator) {
	a.end()
	e.annotators.Put(a)
}

// advance releases what waited for ranks that have come further, and for locations at
// which a rank has become known.
func (e *engine) advance(ranks []boundary.RankKey, locations []string) {
	if e.buffer != nil && len(ranks)+len(locations) > 0 {
		e.buffer.Advance(ranks, locations)
	}
}

var _ hold.Progress = (*engine)(nil)

// Reached implements hold.Progress.
func (e *engine) Reached(w hold.Wait) bool {
	if w.Key.Location != "" || w.Unknown && !e.index.Has(w.Key.Rank) {
		return false
	}
	return e.index.Reached(w.Key.Rank, w.Until)
}

// At implements hold.Progress.
func (e *engine) At(location string) []boundary.RankKey { return e.association.At(location) }

// Changes implements hold.Progress.
func (e *engine) Changes() uint64 { return e.association.Changes() }

// Released implements hold.Progress.
func (e *engine) Released(outcome hold.Outcome, waited time.Duration) {
	e.recorder.released(outcome, waited)
}
