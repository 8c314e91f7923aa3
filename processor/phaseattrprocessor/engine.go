// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.opentelemetry.io/collector/extension/xextension/storage"
	"go.opentelemetry.io/otel/metric"
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

// engine is what the running pipelines of one component ID share.
type engine struct {
	config      *Config
	recorder    *recorder
	reader      *boundary.Reader
	index       *replay.Index
	association *association.Association
	table       *annotate.Table
	paths       *resolve.PathLimiter
	// annotators, senders and stats are those that no batch is using.
	annotators, senders, stats sync.Pool
	// buffer is where telemetry waits, unknowns what it has waited for.
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
		unknowns:    hold.NewUnknown(config.Grace.Period, config.Limits.MaxRanks),
		stop:        make(chan struct{}),
		swept:       make(chan struct{}),
	}
	e.buffer = hold.New(hold.Options{
		MaxBytes:        int64(config.Grace.MaxBytes),
		MaxParts:        int64(config.Grace.MaxBatches),
		MaxUnknownBytes: int64(config.Grace.MaxBytes / 4),
	}, e)
	newAnnotator(e) // so that the association knows all keys before it is used
	e.annotators.New = func() any { return newAnnotator(e) }
	e.stats.New = func() any { return new(batchStats) }
	e.senders.New = func() any { return association.NewSenderReader(e.association) }
	if err := e.openStore(ctx, s.id, host); err != nil {
		return nil, err
	}
	go e.sweepRegularly(context.WithoutCancel(ctx))
	if err := e.observe(); err != nil {
		e.close(ctx)
		return nil, err
	}
	e.recorder.watch.accept(e.index.Stats().Boundaries)
	e.recorder.begin(ctx, config, e.association)
	return e, nil
}

// close ends what runs in the background. It returns when ctx is done, whatever the
// storage does. Failures of the storage have been recorded.
func (e *engine) close(ctx context.Context) {
	e.recorder.telemetry.Shutdown()
	close(e.stop)
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
		Restorer: newRestorer(e),
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
	err := e.recorder.observe([]instrument{
		{b.RegisterProcessorPhaseAttrRanksCallback, func() int64 { return int64(e.index.Stats().Ranks) }},
		{b.RegisterProcessorPhaseAttrOpenScopesCallback, func() int64 { return e.index.Stats().OpenScopes }},
		{b.RegisterProcessorPhaseAttrWindowBoundariesCallback, func() int64 { return e.index.Stats().Boundaries }},
		{b.RegisterProcessorPhaseAttrMissingBoundariesCallback, func() int64 { return e.index.Stats().Missing }},
		{b.RegisterProcessorPhaseAttrRepairsCallback, func() int64 { return e.index.Stats().Repairs }},
		{b.RegisterProcessorPhaseAttrWaitingBytesCallback, e.buffer.Bytes},
		{b.RegisterProcessorPhaseAttrPathsCallback, func() int64 { return int64(e.paths.Len()) }},
		{b.RegisterProcessorPhaseAttrStoredBytesCallback, e.store.Bytes},
	})
	return errors.Join(err, b.RegisterProcessorPhaseAttrNewestEventAgeCallback(
		func(_ context.Context, o metric.Float64Observer) error {
			if lag, ok := e.index.Lag(time.Now().UnixNano()); ok {
				o.Observe(lag.Seconds(), e.recorder.processor)
			}
			return nil
		}))
}

// sweepRegularly sweeps the index, forgets paths that are no longer written, and looks
// whether anything gets a phase, until the engine is closed.
func (e *engine) sweepRegularly(ctx context.Context) {
	defer close(e.swept)
	sweep := time.NewTicker(max(min(e.config.SessionTimeout, e.config.Window)/sweepsPerTimeout, time.Millisecond))
	defer sweep.Stop()
	rotate := time.NewTicker(e.config.Window)
	defer rotate.Stop()
	look := time.NewTicker(watchEvery)
	defer look.Stop()
	for {
		select {
		case <-e.stop:
			return
		case <-look.C:
			e.recorder.watch.look(e.config)
		case <-sweep.C:
			e.sweep(ctx)
		case <-rotate.C:
			e.paths.Rotate()
		}
	}
}

// sweep stops waiting for ranks that have been silent for long, and forgets those that
// are over.
func (e *engine) sweep(ctx context.Context) {
	silent, forgotten := e.index.Sweep()
	e.forget(ctx, forgotten)
	e.buffer.Advance(append(silent, forgotten...), nil)
}

// forget forgets all that depends on ranks that the index has removed.
func (e *engine) forget(ctx context.Context, ranks []boundary.RankKey) {
	if len(ranks) == 0 {
		return
	}
	for _, rank := range ranks {
		e.association.Remove(rank, e.index.Has)
	}
	e.store.Forget(ctx, ranks)
}

// occupy makes known where a process is, which has just come there or started. It returns
// the locations, and the ranks of which a process has ended with that.
func (e *engine) occupy(o boundary.Occupant, id association.Identity) (locations []string, ended []boundary.RankKey) {
	e.association.RemovePresence(o) // the one whose number it has, or the same one
	locations, others := e.association.Add(o, id)
	for _, other := range others {
		ended = append(ended, e.index.Contend(o, other.Occupant, other.SameJob)...)
	}
	return locations, ended
}

// leave removes processes of a rank that the index has removed.
func (e *engine) leave(rank boundary.RankKey, processes []int32) {
	for _, process := range processes {
		for presence := range int32(replay.MaxPresences) {
			e.association.RemovePresence(boundary.Occupant{Rank: rank, Process: process, Presence: presence})
		}
	}
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

var _ hold.Progress = (*engine)(nil)

func (e *engine) Reached(w hold.Wait) bool {
	if w.Key.Location != "" || w.Unknown && !e.index.Has(w.Key.Rank) {
		return false
	}
	return e.index.Reached(w.Key.Rank, w.Until)
}

func (e *engine) At(location string) []boundary.RankKey { return e.association.At(location) }

func (e *engine) Changes() uint64 { return e.association.Changes() }

func (e *engine) Released(outcome hold.Outcome, waited time.Duration) {
	ctx, r := context.Background(), e.recorder
	r.telemetry.ProcessorPhaseAttrReleases.Add(ctx, 1, r.releases[outcome])
	r.telemetry.ProcessorPhaseAttrWaitDuration.Record(ctx, waited.Seconds(), r.processor)
}
