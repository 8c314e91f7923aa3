// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package phaseattrprocessor

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/processor"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/metadata"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/metadatatest"
)

const (
	// soakByDefault is how long the short form takes; SOAK sets another duration.
	soakByDefault = 40 * time.Second
	soakLive      = 6
	soakHostile   = 2
	// soakPeriods is how many times the pipelines are started.
	soakPeriods = 6
	// soakFloor is the least share of the live ranks' data points with the right phase; the
	// others have none, or an ambiguous one, while what they need is lost.
	soakFloor = 0.97
)

// soak is what all periods of a soak share.
type soak struct {
	config  *Config
	storage *memory

	// mu guards the pipelines at hand; whoever sends holds it for reading.
	mu        sync.RWMutex
	logs      processor.Logs
	metrics   processor.Metrics
	telemetry *componenttest.Telemetry

	in, out, resent, lost, failures atomic.Int64
	right, doubted, none, wrong     atomic.Int64
	restarts, outages, hangs        int
	heap                            []uint64
}

// receive is the next component: slow, and failing now and then.
func (s *soak) receive(items int) error {
	time.Sleep(time.Duration(rand.IntN(20)) * time.Millisecond)
	switch n := rand.IntN(1000); {
	case n < 20:
		return errors.New("not now")
	case n < 22:
		return consumererror.NewPermanent(errors.New("never"))
	}
	s.out.Add(int64(items))
	return nil
}

// judge compares the answers with what the data points want.
func (s *soak) judge(md pmetric.Metrics) {
	for _, got := range attributesOfMetrics(md) {
		want, ok := got["want"]
		switch {
		case !ok:
		case got["phase_resolution"] == nil:
			s.none.Add(1)
		case got["phase_resolution"] != "unique":
			s.doubted.Add(1)
		case got["phase_path"] == want:
			s.right.Add(1)
		default:
			s.wrong.Add(1)
		}
	}
}

func (s *soak) start(t *testing.T) {
	t.Helper()
	s.telemetry = componenttest.NewTelemetry()
	set := metadatatest.NewSettings(s.telemetry)
	set.ID = component.NewID(metadata.Type)
	nextLogs, err := consumer.NewLogs(func(_ context.Context, ld plog.Logs) error { return s.receive(ld.LogRecordCount()) })
	require.NoError(t, err)
	nextMetrics, err := consumer.NewMetrics(func(_ context.Context, md pmetric.Metrics) error {
		refused := s.receive(md.DataPointCount())
		if refused == nil {
			s.judge(md)
		}
		return refused
	})
	require.NoError(t, err)
	factory := NewFactory()
	s.logs, err = factory.CreateLogs(t.Context(), set, s.config, nextLogs)
	require.NoError(t, err)
	s.metrics, err = factory.CreateMetrics(t.Context(), set, s.config, nextMetrics)
	require.NoError(t, err)
	for _, c := range []component.Component{s.logs, s.metrics} {
		require.NoError(t, c.Start(t.Context(), host{componenttest.NewNopHost(), s.storage}))
	}
}

func (s *soak) stop(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
	defer cancel()
	for _, c := range []component.Component{s.metrics, s.logs} {
		require.NoError(t, c.Shutdown(ctx))
	}
	for _, n := range seriesOf(t, s.telemetry, "lost_items") {
		s.lost.Add(n)
	}
	require.NoError(t, s.telemetry.Shutdown(ctx))
}

// persist sends a batch until it is taken, as often as it may.
func persist[T any](s *soak, ctx context.Context, tries, items int, batch func() T, to func() func(context.Context, T) error) { //nolint:revive // s is a receiver
	for range tries {
		if items == 0 || ctx.Err() != nil {
			return
		}
		s.mu.RLock()
		err := to()(ctx, batch())
		s.mu.RUnlock()
		if err == nil {
			s.in.Add(int64(items))
			return
		}
		s.resent.Add(1)
	}
	s.failures.Add(1)
}

func (s *soak) sendLogs(ctx context.Context, tries int, ld plog.Logs) {
	again := func() plog.Logs {
		batch := plog.NewLogs()
		ld.CopyTo(batch)
		return batch
	}
	persist(s, ctx, tries, ld.LogRecordCount(), again, func() func(context.Context, plog.Logs) error { return s.logs.ConsumeLogs })
}

func (s *soak) sendMetrics(ctx context.Context, tries int, md pmetric.Metrics) {
	again := func() pmetric.Metrics {
		batch := pmetric.NewMetrics()
		md.CopyTo(batch)
		return batch
	}
	persist(s, ctx, tries, md.DataPointCount(), again, func() func(context.Context, pmetric.Metrics) error { return s.metrics.ConsumeMetrics })
}

// live is a rank whose clock may be wrong, but is its metrics' clock, too. It starts again
// now and then.
func (s *soak) live(ctx context.Context, t *testing.T, number int) {
	clock := []float64{0, 0.3, -5, 0, 3, -0.2}[number%6]
	place := on(fmt.Sprint("node", number), int64(10+number), 0)
	sending := withOrg(context.WithoutCancel(ctx), "live")
	for session := 0; ctx.Err() == nil; session++ {
		run := &program{session: fmt.Sprintf("live-%d-%d", number, session), rank: int64(number)}
		main := run.worker(1)
		now := sinceBeginning() + clock
		s.sendLogs(sending, 100, records(t, with(run.event("start", now-0.02), place), with(main.enter(now-0.01, "train"), place)))
		for step := 0; step < 150 && ctx.Err() == nil; step++ {
			now := sinceBeginning() + clock
			want := fmt.Sprint("train / step", step%7)
			md := run.gauge(now)
			gpu(fmt.Sprint("node", number), "0", now).ResourceMetrics().MoveAndAppendTo(md.ResourceMetrics())
			for _, resource := range md.ResourceMetrics().All() {
				resource.ScopeMetrics().At(0).Metrics().At(0).Gauge().DataPoints().At(0).Attributes().PutStr("want", want)
			}
			s.sendMetrics(sending, 100, md) // before its events
			enter := with(main.enter(now-0.005, fmt.Sprint("step", step%7)), place)
			sample := with(run.event("sample", now+0.005), place)
			s.sendLogs(sending, 100, records(t, enter, sample))
			time.Sleep(100 * time.Millisecond)
			s.sendLogs(sending, 100, records(t, with(main.exit(sinceBeginning()+clock), place)))
			time.Sleep(20 * time.Millisecond)
		}
		s.sendLogs(sending, 100, records(t, with(run.event("stop", sinceBeginning()+clock), place)))
	}
}

// attack is a hostile tenant, and sends what others without metadata send as well.
func (s *soak) attack(ctx context.Context, t *testing.T, number int) {
	h := &hostile{t: t, session: fmt.Sprintf("live-%d-0", number), place: on(fmt.Sprint("node", number), int64(10+number), 0), sizes: fewHostile, round: 1_000_000 * number}
	for ctx.Err() == nil {
		attacks := h.attacks()
		ld, md := attacks[h.round%len(attacks)]()
		h.round++
		sending, cancel := context.WithTimeout(withOrg(context.WithoutCancel(ctx), "hostile"), 5*time.Second)
		s.sendLogs(sending, 1, ld)
		s.sendMetrics(sending, 1, md)
		cancel()
		time.Sleep(50 * time.Millisecond)
	}
}

// trouble has the storage fail and hang, by turns, until ctx is done.
func (s *soak) trouble(ctx context.Context) {
	for ctx.Err() == nil {
		sleep(ctx, 2*time.Second)
		s.storage.set(nil, errors.New("the disk is broken"))
		s.outages++
		sleep(ctx, time.Second)
		blocked := make(chan struct{})
		s.storage.set(blocked, nil)
		s.hangs++
		sleep(ctx, time.Duration(1+rand.IntN(8))*time.Second) // callers wait for 5 s at most
		s.storage.set(nil, nil)
		close(blocked)
	}
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// period runs between two starts of the pipelines.
func (s *soak) period(t *testing.T, length time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), length)
	defer cancel()
	s.trouble(ctx)
	sleep(t.Context(), 3*time.Second) // the storage is caught up
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	s.heap = append(s.heap, stats.HeapAlloc)
}

// TestSoakUnderAttack runs everything at once: live ranks, some with wrong clocks, a hostile
// tenant, a slow next component that fails, a storage that fails and hangs, and restarts.
// What comes in must come out or be counted as lost, no live rank may get a wrong phase, and
// the memory must not grow.
func TestSoakUnderAttack(t *testing.T) {
	length := soakByDefault
	if text := os.Getenv("SOAK"); text != "" {
		var err error
		length, err = time.ParseDuration(text)
		require.NoError(t, err, "SOAK")
	}
	s := &soak{storage: newMemory(), config: newConfig(t, withTenants, withStorage, func(cfg *Config) {
		cfg.Window, cfg.SessionTimeout = time.Minute, time.Minute
		cfg.Grace.Period, cfg.Grace.MaxBytes, cfg.Grace.MaxBatches = 2*time.Second, 8<<20, 1000
		cfg.Limits.MaxRanks, cfg.Limits.MaxPaths = 400, 60
		cfg.Limits.MaxBoundariesPerRank, cfg.Limits.MaxBoundaries = 10_000, 50_000
	})}
	s.start(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var senders sync.WaitGroup
	for i := range soakLive {
		senders.Go(func() { s.live(ctx, t, i) })
	}
	for i := range soakHostile {
		senders.Go(func() { s.attack(ctx, t, i) })
	}
	for period := range soakPeriods {
		s.period(t, length/soakPeriods-3*time.Second)
		if period == soakPeriods-1 {
			cancel()
			senders.Wait()
		}
		s.mu.Lock()
		s.stop(t)
		if period < soakPeriods-1 {
			s.start(t)
			s.restarts++
		}
		s.mu.Unlock()
	}

	answered := s.right.Load() + s.doubted.Load() + s.none.Load() + s.wrong.Load()
	var heap []string
	for _, bytes := range s.heap {
		heap = append(heap, fmt.Sprintf("%.1f", float64(bytes)/(1<<20)))
	}
	t.Logf(`%s: %d restarts, %d outages and %d hangs of the storage
in: %d items; out: %d; counted as lost: %d (%d requests sent again, %d given up)
data points of live ranks: %d; right: %d (%.3f%%), ambiguous: %d, none: %d, wrong: %d
heap after each period, MiB: %s`,
		length, s.restarts, s.outages, s.hangs, s.in.Load(), s.out.Load(), s.lost.Load(), s.resent.Load(), s.failures.Load(),
		answered, s.right.Load(), 100*float64(s.right.Load())/float64(answered), s.doubted.Load(), s.none.Load(), s.wrong.Load(),
		strings.Join(heap, ", "))
	assert.Equal(t, s.in.Load(), s.out.Load()+s.lost.Load(), "items")
	assert.Zero(t, s.wrong.Load(), "wrong phases")
	assert.GreaterOrEqual(t, float64(s.right.Load()), soakFloor*float64(answered), "right phases of live ranks")
	// What waits at the moment of measuring may differ by all that the buffer holds.
	most := max(s.heap[1], s.heap[2])
	assert.LessOrEqual(t, s.heap[soakPeriods-1], most+most/4+uint64(s.config.Grace.MaxBytes), "the memory is flat")
}
