// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"context"
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
)

// sinceBeginning is the present in seconds after the beginning of a test's times.
func sinceBeginning() float64 { return float64(time.Now().UnixNano()-moment(0)) / 1e9 }

// hostile makes the telemetry of a sender that attacks whoever shares the index with it: it
// knows their sessions, ranks, hosts, processes and devices.
type hostile struct {
	t *testing.T
	// sessions and place are what the others name.
	session string
	place   object
	// sizes is how much it sends at a time.
	sizes hostileSizes
	round int
}

// hostileSizes is how many threads, paths, page views, long texts, sessions on a device, scopes
// at one moment and waiting data points a hostile sender sends at a time.
type hostileSizes struct{ threads, paths, views, texts, crowd, scopes, waiting int }

var (
	// fewHostile fit into small limits, and fill them.
	fewHostile = hostileSizes{threads: 80, paths: 20, views: 200, texts: 20, crowd: 20, scopes: 60, waiting: 20}
	// manyHostile fill the limits by default.
	manyHostile = hostileSizes{threads: 32_000, paths: 1000, views: 20_000, texts: 5000, crowd: 16_000, scopes: 64_000, waiting: 10_000}
)

// attacks are the ways in which a sender can do harm. Each returns what it sends.
func (h *hostile) attacks() []func() (plog.Logs, pmetric.Metrics) {
	run := func(i int) *program { return &program{session: h.session, rank: int64(i)} }
	made := func(name string, i int) *program {
		return &program{session: fmt.Sprintf("%s-%d-%d", name, h.round, i)}
	}
	at := func(e object) object { return with(e, h.place) }
	logs := func(events ...object) (plog.Logs, pmetric.Metrics) {
		return records(h.t, events...), pmetric.NewMetrics()
	}
	many := func(n int, event func(i int) object) (plog.Logs, pmetric.Metrics) {
		var events []object
		for i := range n {
			events = append(events, event(i))
		}
		return logs(events...)
	}
	now := sinceBeginning()
	minutes := func(n float64) float64 { return now + n*60 }
	return []func() (plog.Logs, pmetric.Metrics){
		func() (plog.Logs, pmetric.Metrics) { // one record ends runs, or takes their places
			last := at(run(0).event("stop", now))
			last["timestamp_ns"] = int64(math.MaxInt64)
			return logs(at(run(0).event("stop", minutes(11))), at(run(0).event("stop", now)), at(made("other", 0).event("sample", minutes(9))),
				at(made("other", 1).event("start", now)), last)
		},
		func() (plog.Logs, pmetric.Metrics) { // sequence numbers that nothing follows
			w := run(0).worker(1)
			w.sequence = math.MaxInt64 - 4
			return logs(at(w.enter(minutes(9), "hostile")), at(w.enter(minutes(18), "hostile")))
		},
		func() (plog.Logs, pmetric.Metrics) { return logs(at(run(0).event("sample", minutes(9)))) },
		func() (plog.Logs, pmetric.Metrics) { // threads that are never left
			return many(h.sizes.threads, func(i int) object {
				return at(run(0).worker(int64(1000+h.round*h.sizes.threads+i)).enter(now, "hostile"))
			})
		},
		func() (plog.Logs, pmetric.Metrics) { // path names
			ld, md := many(h.sizes.paths, func(i int) object { return made("paths", i).worker(1).enter(now, fmt.Sprint("path ", h.round, i)) })
			for i := range h.sizes.paths {
				made("paths", i).gauge(now).ResourceMetrics().MoveAndAppendTo(md.ResourceMetrics())
			}
			return ld, md
		},
		func() (plog.Logs, pmetric.Metrics) { // page views
			return many(h.sizes.views, func(i int) object { return made("view", i).event("page_view", now) })
		},
		func() (plog.Logs, pmetric.Metrics) { // long texts
			return many(h.sizes.texts, func(i int) object {
				return made(strings.Repeat("s", 200), i).worker(1).enter(now, strings.Repeat("n", 240))
			})
		},
		func() (plog.Logs, pmetric.Metrics) { // sessions on one device, and its metrics
			ld, _ := many(h.sizes.crowd, func(i int) object { return at(made("crowd", i).worker(1).enter(now, "hostile")) })
			return ld, gpu("node", "0", now)
		},
		func() (plog.Logs, pmetric.Metrics) { // scopes upon scopes, at one moment
			w := run(1).worker(1)
			return many(h.sizes.scopes, func(i int) object {
				if i%60 == 0 {
					w.open = nil // deeper ones would be refused
				}
				return at(w.enter(now, "hostile"))
			})
		},
		func() (plog.Logs, pmetric.Metrics) { // a point to split over them
			return plog.NewLogs(), metricTypes(pmetric.AggregationTemporalityDelta)[0].point(timestamp(minutes(-5)), timestamp(now))
		},
		func() (plog.Logs, pmetric.Metrics) { // what waits for a session that is silent
			md := pmetric.NewMetrics()
			for i := range h.sizes.waiting {
				run(2).gauge(now+float64(i)/1000, minutes(1)).ResourceMetrics().MoveAndAppendTo(md.ResourceMetrics())
			}
			return records(h.t, at(run(2).worker(1).enter(now, "hostile"))), md
		},
		func() (plog.Logs, pmetric.Metrics) { // what nobody can store
			return logs(at(run(0).worker(1).enter(now, "\xff\xfe")), at((&program{session: "\xff"}).worker(1).enter(now, "a\x00b")))
		},
	}
}

// strike sends what the next attack makes, and gives up once ctx is done.
func (h *hostile) strike(ctx context.Context, p *pipelines) {
	attacks := h.attacks()
	ld, md := attacks[h.round%len(attacks)]()
	h.round++
	_ = p.logs.ConsumeLogs(ctx, ld) // it does not care
	_ = p.metrics.ConsumeMetrics(ctx, md)
}

// victim is a run that steps through its phases.
type victim struct {
	run     *program
	main    *worker
	place   object
	slowest time.Duration
}

// step sends a second of the run: its events half a second late, and metrics of its session,
// and its device, at once, and some that are late.
func (v *victim) step(t *testing.T, ctx context.Context, p *pipelines, i int) { //nolint:revive // t comes first
	t.Helper()
	p.logsSink.Reset()
	now := sinceBeginning()
	begin := time.Now()
	for _, md := range []pmetric.Metrics{v.run.gauge(now), gpu("node", "0", now), v.run.gauge(now - 20)} {
		md.ResourceMetrics().At(0).Resource().Attributes().PutInt("step", int64(i))
		require.NoError(t, p.metrics.ConsumeMetrics(ctx, md))
	}
	v.slowest = max(v.slowest, time.Since(begin))
	time.Sleep(500 * time.Millisecond)
	var events []object
	if i == 0 {
		events = append(events, with(v.run.event("start", now-0.2), v.place), with(v.main.enter(now-0.1, "train"), v.place))
	}
	if i%2 == 0 {
		events = append(events, with(v.main.enter(now-0.05, fmt.Sprint("step", i%6)), v.place))
	} else {
		events = append(events, with(v.main.exit(now-0.05), v.place))
	}
	begin = time.Now()
	require.NoError(t, p.logs.ConsumeLogs(ctx, records(t, append(events, with(v.run.event("sample", now+0.1), v.place))...)))
	v.slowest = max(v.slowest, time.Since(begin))
	time.Sleep(500 * time.Millisecond)
}

// A tenant that does all the harm it can changes no answer of another one, nor does it delay
// one: they are those of a Collector that has only the other one.
func TestAHostileTenantChangesNoAnswerOfAnother(t *testing.T) {
	attackATenant(t, fewHostile, 200*time.Millisecond, func(cfg *Config) {
		cfg.Grace.Period, cfg.Grace.MaxBytes, cfg.Grace.MaxBatches = 2*time.Second, 1<<20, 100
		cfg.Limits.MaxRanks, cfg.Limits.MaxPaths = 100, 20
		cfg.Limits.MaxBoundariesPerRank, cfg.Limits.MaxBoundaries = 1000, 2000
	})
}

// attackATenant compares the answers of a tenant that is alone with those that it has while
// another one strikes once an interval, twice at a time.
func attackATenant(t *testing.T, sizes hostileSizes, interval time.Duration, limit func(*Config)) {
	t.Helper()
	const steps = 60
	answers := map[bool][]string{}
	for _, attacked := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			p := startPipelines(t, func(cfg *Config) {
				cfg.MetadataKeys = []string{orgHeader}
				cfg.Attributes = append(cfg.Attributes, "phase_reason")
				cfg.Split.Enabled = true
			}, limit)
			ctx, cancel := context.WithCancel(t.Context())
			place := on("node", 10, 0)
			var attackers sync.WaitGroup
			if attacked {
				for i := range 2 {
					h := &hostile{t: t, session: "run", place: place, sizes: sizes, round: 1000 * i}
					attackers.Go(func() {
						for ctx.Err() == nil {
							h.strike(withOrg(ctx, "hostile"), p)
							time.Sleep(interval)
						}
					})
				}
			}
			time.Sleep(5 * time.Second)
			v := &victim{run: &program{session: "run"}, place: place}
			v.main = v.run.worker(1)
			for i := range steps {
				v.step(t, from(t, "victim"), p, i)
			}
			time.Sleep(5 * time.Second)
			cancel()
			attackers.Wait()
			answers[attacked] = answersOf(p, "victim")
			t.Logf("attacked: %t; %d answers; the slowest call took %s", attacked, len(answers[attacked]), v.slowest)
			assert.Zero(t, v.slowest, "no call waits")
		})
	}
	require.Len(t, answers[false], 3*steps)
	assert.Equal(t, answers[false], answers[true])
}
