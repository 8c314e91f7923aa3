// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.opentelemetry.io/collector/extension/xextension/storage"
	"go.opentelemetry.io/otel/metric"
	"go.uber.org/zap"

	"github.com/phaseattr/phaseattr/internal/boundary"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/annotate"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/association"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/checkpoint"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/doubt"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/ending"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/hold"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/replay"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/resolve"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/source"
)

// sweepsPerTimeout is how often, in one session timeout or window, whichever is
// shorter, the index is swept.
const sweepsPerTimeout = 10

// engine is what the running pipelines of one component ID share.
type engine struct {
	config      *Config
	recorder    *recorder
	reader      *boundary.Reader
	sources     *source.Set
	stormlog    bool // whether its records are read
	index       *replay.Index
	association *association.Association
	tenants     *tenants
	table       *annotate.Table
	paths       *resolve.PathLimiter
	// annotators, senders and stats are those that no batch is using.
	annotators, senders, stats sync.Pool
	// buffer is where telemetry waits, unknowns what it has waited for.
	buffer   *hold.Buffer
	unknowns *hold.Unknown
	doubts   *doubts
	// store keeps the index in a storage; nil without one.
	store *checkpoint.Store

	stop, swept chan struct{}

	// mu guards trackers: those of the pipelines whose series are ended.
	mu       sync.Mutex
	trackers []*ending.Tracker
}

// track adds a tracker to those that are observed.
func (e *engine) track(t *ending.Tracker) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.trackers = append(e.trackers, t)
}

// streams returns the number of streams that are tracked.
func (e *engine) streams() (n int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, t := range e.trackers {
		n += int64(t.Len())
	}
	return n
}

// newEngine restores what is stored and starts what runs in the background.
func newEngine(ctx context.Context, s *shared, host component.Host) (*engine, error) {
	config := s.config
	sources, err := newSources(config, s.settings)
	if err != nil {
		return nil, err
	}
	e := &engine{
		sources:     sources,
		stormlog:    config.readsStormlog(),
		config:      config,
		recorder:    s.recorder,
		reader:      newReader(config),
		index:       newIndex(config),
		association: newAssociation(config),
		tenants:     newTenants(config),
		table:       annotate.New(config.Attributes),
		paths:       resolve.NewPathLimiter(config.Limits.MaxPaths),
		unknowns:    hold.NewUnknown(config.Grace.Period, config.Limits.MaxRanks),
		doubts:      doubt.New[checkpoint.Sender, *doubted](replay.MaxAhead),
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
		MaxFuture:      config.MaxFuture,
		Grace:          config.Grace.Period,
		MaxDepth:       config.Limits.MaxScopeDepth,
		MaxLabelBytes:  config.Limits.MaxLabelBytes,
		MaxRanks:       config.Limits.MaxRanks,
		MaxThreads:     config.Limits.MaxThreadsPerRank,
		MaxOpen:        config.Limits.MaxOpenScopesPerThread,
		MaxBoundaries:  config.Limits.MaxBoundariesPerRank,
		MaxTotal:       config.Limits.MaxBoundaries,
		Tenants:        len(config.MetadataKeys) > 0,
		MaxRankBytes:   config.Limits.MemoryPerRank,
		MaxBytes:       config.Limits.Memory,
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
		Restorer: func() checkpoint.Restorer { return newRestorer(e) },
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
	for _, tenant := range e.index.Tenants() {
		e.tenants.add(tenant, math.MaxInt) // what is stored stays
	}
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
		{b.RegisterProcessorPhaseAttrIndexBytesCallback, func() int64 { return e.index.Stats().Bytes }},
		{b.RegisterProcessorPhaseAttrMissingBoundariesCallback, func() int64 { return e.index.Stats().Missing }},
		{b.RegisterProcessorPhaseAttrRepairsCallback, func() int64 { return e.index.Stats().Repairs }},
		{b.RegisterProcessorPhaseAttrWaitingBytesCallback, e.buffer.Bytes},
		{b.RegisterProcessorPhaseAttrPathsCallback, func() int64 { return int64(e.paths.Len()) }},
		{b.RegisterProcessorPhaseAttrStoredBytesCallback, e.store.Bytes},
		{b.RegisterProcessorPhaseAttrStreamsCallback, e.streams},
	})
	err = errors.Join(err, b.RegisterProcessorPhaseAttrUnknownIdentitiesCallback(
		func(_ context.Context, o metric.Int64Observer) error {
			ranks, locations := e.unknownIdentities()
			o.Observe(int64(len(ranks)), e.recorder.unknownRanks)
			o.Observe(int64(locations), e.recorder.unknownLocations)
			return nil
		}))
	return errors.Join(err, b.RegisterProcessorPhaseAttrNewestEventAgeCallback(
		func(_ context.Context, o metric.Float64Observer) error {
			if lag, ok := e.index.Lag(time.Now().UnixNano()); ok {
				o.Observe(lag.Seconds(), e.recorder.processor)
			}
			return nil
		}))
}

// unknownIdentities returns the ranks that metrics have named and of which no event has
// come, and the number of other locations, such as devices, of which this is so.
func (e *engine) unknownIdentities() (ranks []boundary.RankKey, locations int) {
	for _, key := range e.unknowns.Stayed(time.Now(), e.isKnown) {
		if key.Location != "" {
			locations++
		} else {
			ranks = append(ranks, key.Rank)
		}
	}
	return ranks, locations
}

func (e *engine) isKnown(key hold.Key) bool {
	if key.Location != "" {
		return len(e.association.At(key.Location)) > 0
	}
	return e.index.Has(key.Rank)
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
			ranks, _ := e.unknownIdentities()
			e.recorder.watch.look(e.config, ranks)
		case <-sweep.C:
			e.sweep(ctx)
		case <-rotate.C:
			e.paths.Rotate()
		}
	}
}

// sweep stops waiting for ranks that have been silent for long, and forgets those that
// are over. It gives up events that have been doubted for long.
func (e *engine) sweep(ctx context.Context) {
	e.recorder.unconfirmed(ctx, e.doubts.Sweep(e.config.SessionTimeout))
	silent, forgotten := e.index.Sweep()
	e.forget(ctx, forgotten)
	e.buffer.Advance(append(silent, forgotten...), nil)
	e.tenants.forget(e.config.Window, e.index.HasTenant)
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
func (e *engine) occupy(added *replay.Added, id association.Identity) (locations []string, ended []boundary.RankKey) {
	o := added.Occupant
	e.association.RemovePresence(o) // the one whose number it has, or the same one
	locations, others := e.association.Add(o, id, added.Lifespan)
	for _, other := range others {
		ended = append(ended, e.index.Contend(o, other.Occupant, other.SameJob)...)
	}
	return locations, ended
}

// leave removes processes of a rank that the index has removed.
func (e *engine) leave(rank boundary.RankKey, processes []int32) {
	for _, process := range processes {
		e.association.RemoveProcess(rank, process)
	}
}

// annotator returns an annotator for a batch of a tenant, which done takes back.
func (e *engine) annotator(ctx context.Context, s signal) *annotator {
	a := e.annotators.Get().(*annotator)
	a.begin(ctx, s == signalMetrics)
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
