// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

// delivery is a batch and when it arrives, in seconds.
type delivery struct {
	at    float64
	batch any
}

// scenario is a run of several ranks, and telemetry of them.
type scenario struct {
	random  *rand.Rand
	ranks   []*program
	places  []object
	events  []delivery
	batches []delivery
	ids     int
	newest  float64
	end     float64
}

func (s *scenario) id() string { s.ids++; return fmt.Sprint("item-", s.ids) }

func newScenario(t *testing.T, seed uint64) *scenario {
	s := &scenario{random: rand.New(rand.NewPCG(seed, 7)), end: 12}
	for i := range 4 {
		run := &program{session: fmt.Sprint("run-", i/2), rank: int64(i % 2)}
		s.ranks, s.places = append(s.ranks, run), append(s.places, on(fmt.Sprint("node-", i/2), int64(100+i), int64(i%2)))
		s.feed(t, run, s.places[i])
	}
	for range 60 {
		s.metrics()
	}
	for range 30 {
		s.lines()
		s.spans()
	}
	return s
}

// feed has the events of a rank delivered in order, each up to 3 s late.
func (s *scenario) feed(t *testing.T, run *program, place object) {
	workers := []*worker{run.worker(1), run.worker(2)}
	arrival := 0.0
	var pending []object
	flush := func(at float64) {
		arrival = max(arrival, at+1.5*s.random.Float64())
		s.events = append(s.events, delivery{arrival, records(t, pending...)})
		pending = nil
	}
	for at := 0.25; at < s.end; at += 0.1 + s.random.Float64()*0.8 {
		w := workers[0]
		if s.random.IntN(4) == 0 {
			w = workers[1]
		}
		var e object
		switch {
		case s.random.IntN(5) == 0:
			e = run.event("sample", at)
		case len(w.open) > 0 && s.random.IntN(2) == 0:
			e = w.exit(at)
		case len(w.open) < 3:
			e = w.enter(at, []string{"train", "eval", "load", "step"}[s.random.IntN(4)])
		default:
			e = run.event("sample", at)
		}
		pending = append(pending, with(e, place))
		if at == 0.25 || len(pending) > 2 || s.random.IntN(3) > 0 {
			flush(at)
		}
	}
	pending = append(pending, with(run.event("sample", s.end+5), place))
	flush(s.end + 1)
}

// name has an item name a rank in one way or another.
func (s *scenario) name(attributes pcommon.Map, i int) {
	run, place := s.ranks[i], s.places[i]
	switch s.random.IntN(5) {
	case 4:
		if s.newest > 4.5 {
			attributes.PutStr("job", "job")
		}
	case 0:
		attributes.PutStr("session_id", run.session)
		attributes.PutInt("rank", run.rank)
	case 1:
		attributes.PutStr("host.name", place["host"].(string))
		attributes.PutInt("process.pid", place["pid"].(int64))
	case 2:
		attributes.PutStr("Hostname", place["host"].(string))
		attributes.PutStr("gpu", fmt.Sprint(place["device_id"]))
	case 3: // nobody
		attributes.PutStr("Hostname", fmt.Sprint("other-", i))
		attributes.PutStr("gpu", "0")
	}
}

func (s *scenario) moment(at float64) pcommon.Timestamp {
	if s.random.IntN(20) == 0 {
		return 0
	}
	return timestamp(at)
}

func (s *scenario) metrics() {
	md := pmetric.NewMetrics()
	newest := s.random.Float64() * s.end
	s.newest = newest
	for range s.random.IntN(4) {
		resource := md.ResourceMetrics().AppendEmpty()
		resource.SetSchemaUrl(fmt.Sprint("resource schema ", s.id()))
		onResource := s.random.IntN(2) == 0
		if onResource {
			s.name(resource.Resource().Attributes(), s.random.IntN(4))
		}
		for range s.random.IntN(3) {
			scope := resource.ScopeMetrics().AppendEmpty()
			scope.SetSchemaUrl(fmt.Sprint("scope schema ", s.id()))
			scope.Scope().SetName(s.id())
			for range s.random.IntN(4) {
				s.metric(scope.Metrics().AppendEmpty(), newest, onResource)
			}
		}
	}
	s.batches = append(s.batches, delivery{newest + s.random.Float64(), md})
}

func (s *scenario) metric(metric pmetric.Metric, newest float64, named bool) {
	metric.SetName(s.id())
	metric.SetUnit(s.id())
	metric.SetDescription(s.id())
	metric.Metadata().PutStr("metadata", s.id())
	temporality := pmetric.AggregationTemporality(s.random.IntN(3))
	n := s.random.IntN(4)
	prepare := func(dp interface {
		Attributes() pcommon.Map
		SetTimestamp(pcommon.Timestamp)
		SetStartTimestamp(pcommon.Timestamp)
		SetFlags(pmetric.DataPointFlags)
	},
	) {
		dp.Attributes().PutStr("id", s.id())
		if !named {
			s.name(dp.Attributes(), s.random.IntN(4))
		}
		at := max(0, newest-2*s.random.Float64())
		dp.SetTimestamp(s.moment(at))
		dp.SetStartTimestamp(s.moment(max(0, at-2*s.random.Float64())))
		dp.SetFlags(pmetric.DefaultDataPointFlags.WithNoRecordedValue(s.random.IntN(8) == 0))
	}
	switch s.random.IntN(6) {
	case 0:
		for range n {
			dp := metric.SetEmptyGauge().DataPoints().AppendEmpty()
			dp.SetDoubleValue(1)
			prepare(dp)
			dp.Exemplars().AppendEmpty().FilteredAttributes().PutStr("exemplar", s.id())
		}
	case 1:
		sum := metric.SetEmptySum()
		sum.SetAggregationTemporality(temporality)
		sum.SetIsMonotonic(s.random.IntN(2) == 0)
		for range n {
			dp := sum.DataPoints().AppendEmpty()
			dp.SetIntValue(1000)
			prepare(dp)
			dp.Exemplars().AppendEmpty().FilteredAttributes().PutStr("exemplar", s.id())
		}
	case 2:
		histogram := metric.SetEmptyHistogram()
		histogram.SetAggregationTemporality(temporality)
		for range n {
			dp := histogram.DataPoints().AppendEmpty()
			dp.SetCount(100)
			dp.BucketCounts().FromRaw([]uint64{40, 60})
			dp.ExplicitBounds().FromRaw([]float64{1})
			prepare(dp)
		}
	case 3:
		histogram := metric.SetEmptyExponentialHistogram()
		histogram.SetAggregationTemporality(temporality)
		for range n {
			dp := histogram.DataPoints().AppendEmpty()
			dp.SetCount(100)
			dp.Positive().BucketCounts().FromRaw([]uint64{40, 60})
			prepare(dp)
		}
	case 4:
		for range n {
			prepare(metric.SetEmptySummary().DataPoints().AppendEmpty())
		}
	}
}

func (s *scenario) lines() {
	ld := plog.NewLogs()
	newest := 1 + s.random.Float64()*(s.end-1)
	s.newest = 5
	for range s.random.IntN(3) {
		resource := ld.ResourceLogs().AppendEmpty()
		resource.SetSchemaUrl(s.id())
		scope := resource.ScopeLogs().AppendEmpty()
		scope.Scope().SetName(s.id())
		for range s.random.IntN(4) {
			record := scope.LogRecords().AppendEmpty()
			record.SetTimestamp(s.moment(max(0, newest-2*s.random.Float64())))
			record.Attributes().PutStr("id", s.id())
			s.name(record.Attributes(), s.random.IntN(4))
		}
	}
	s.batches = append(s.batches, delivery{max(newest+s.random.Float64(), 4.5), ld})
}

func (s *scenario) spans() {
	td := ptrace.NewTraces()
	newest := 1 + s.random.Float64()*(s.end-1)
	s.newest = 5
	for range s.random.IntN(3) {
		resource := td.ResourceSpans().AppendEmpty()
		resource.SetSchemaUrl(s.id())
		scope := resource.ScopeSpans().AppendEmpty()
		scope.Scope().SetName(s.id())
		for range s.random.IntN(4) {
			span := scope.Spans().AppendEmpty()
			at := max(0, newest-2*s.random.Float64())
			span.SetEndTimestamp(s.moment(at))
			span.SetStartTimestamp(s.moment(max(0, at-2*s.random.Float64())))
			span.Attributes().PutStr("id", s.id())
			s.name(span.Attributes(), s.random.IntN(4))
		}
	}
	s.batches = append(s.batches, delivery{max(newest+s.random.Float64(), 4.5), td})
}

func copyOf(batch any) any {
	switch b := batch.(type) {
	case plog.Logs:
		c := plog.NewLogs()
		b.CopyTo(c)
		return c
	case pmetric.Metrics:
		c := pmetric.NewMetrics()
		b.CopyTo(c)
		return c
	case ptrace.Traces:
		c := ptrace.NewTraces()
		b.CopyTo(c)
		return c
	}
	return nil
}

func (p *pipelines) deliver(t *testing.T, batch any) {
	t.Helper()
	switch b := copyOf(batch).(type) {
	case plog.Logs:
		require.NoError(t, p.logs.ConsumeLogs(t.Context(), b))
	case pmetric.Metrics:
		require.NoError(t, p.metrics.ConsumeMetrics(t.Context(), b))
	case ptrace.Traces:
		require.NoError(t, p.traces.ConsumeTraces(t.Context(), b))
	}
}

// described lists everything that came out, one line for each item with all that is around
// it, sorted; events are counted.
func (p *pipelines) described() (items []string, events int) {
	add := func(attributes pcommon.Map, around ...any) {
		if _, ok := attributes.Get("id"); !ok {
			events++
			return
		}
		items = append(items, fmt.Sprint(append([]any{attributes.AsRaw()}, around...)...))
	}
	for _, md := range p.metricsSink.AllMetrics() {
		for _, rm := range md.ResourceMetrics().All() {
			for _, sm := range rm.ScopeMetrics().All() {
				for _, m := range sm.Metrics().All() {
					around := []any{
						rm.SchemaUrl(), rm.Resource().Attributes().AsRaw(), sm.SchemaUrl(), sm.Scope().Name(),
						m.Name(), m.Unit(), m.Description(), m.Metadata().AsRaw(), m.Type(),
					}
					number := func(dps pmetric.NumberDataPointSlice, around ...any) {
						for _, dp := range dps.All() {
							var exemplars []any
							for _, e := range dp.Exemplars().All() {
								exemplars = append(exemplars, e.FilteredAttributes().AsRaw())
							}
							add(dp.Attributes(), append(around, dp.StartTimestamp(), dp.Timestamp(), dp.IntValue(), dp.DoubleValue(), dp.Flags(), exemplars)...)
						}
					}
					switch m.Type() {
					case pmetric.MetricTypeGauge:
						number(m.Gauge().DataPoints(), around...)
					case pmetric.MetricTypeSum:
						number(m.Sum().DataPoints(), append(around, m.Sum().AggregationTemporality(), m.Sum().IsMonotonic())...)
					case pmetric.MetricTypeHistogram:
						for _, dp := range m.Histogram().DataPoints().All() {
							add(dp.Attributes(), append(around, m.Histogram().AggregationTemporality(), dp.StartTimestamp(), dp.Timestamp(), dp.Count(), dp.BucketCounts().AsRaw(), dp.Flags())...)
						}
					case pmetric.MetricTypeExponentialHistogram:
						for _, dp := range m.ExponentialHistogram().DataPoints().All() {
							add(dp.Attributes(), append(around, m.ExponentialHistogram().AggregationTemporality(), dp.StartTimestamp(), dp.Timestamp(), dp.Count(), dp.Flags())...)
						}
					case pmetric.MetricTypeSummary:
						for _, dp := range m.Summary().DataPoints().All() {
							add(dp.Attributes(), append(around, dp.Timestamp(), dp.Flags())...)
						}
					}
				}
			}
		}
	}
	for _, ld := range p.logsSink.AllLogs() {
		for _, rl := range ld.ResourceLogs().All() {
			for _, sl := range rl.ScopeLogs().All() {
				for _, r := range sl.LogRecords().All() {
					add(r.Attributes(), rl.SchemaUrl(), sl.Scope().Name(), r.Timestamp())
				}
			}
		}
	}
	for _, td := range p.tracesSink.AllTraces() {
		for _, rs := range td.ResourceSpans().All() {
			for _, ss := range rs.ScopeSpans().All() {
				for _, span := range ss.Spans().All() {
					add(span.Attributes(), rs.SchemaUrl(), ss.Scope().Name(), span.StartTimestamp(), span.EndTimestamp())
				}
			}
		}
	}
	slices.Sort(items)
	return items, events
}

// withJobs adds a rule by which telemetry of a job belongs to all its ranks.
func withJobs(cfg *Config) {
	for _, rule := range defaultRules(cfg) {
		var r AssociationRule
		for _, key := range rule.Keys {
			r.Keys = append(r.Keys, AssociationKey{Field: key.Field, Names: key.Names})
		}
		cfg.Association = append(cfg.Association, r)
	}
	cfg.Association = append(cfg.Association, AssociationRule{Keys: []AssociationKey{{Field: "job_id", Names: []string{"job"}}}})
}

// Telemetry that waited gets what it would have got had it come after all events, and comes
// out with all that was around it.
func TestWaitingMakesNoDifferenceToTheAnswers(t *testing.T) {
	for name, edits := range map[string][]func(*Config){
		"kept":            nil,
		"dropped, split":  {split, func(cfg *Config) { cfg.Boundaries = BoundariesDrop }},
		"cumulative too":  {func(cfg *Config) { cfg.Cumulative = CumulativeAnnotate }},
		"every attribute": {everyAttribute},
		"jobs":            {everyAttribute, withJobs},
		"jobs, split":     {everyAttribute, withJobs, split},
		"representative":  {everyAttribute, withJobs, func(cfg *Config) { cfg.Association[3].Representative = true }},
	} {
		for seed := range uint64(8) {
			t.Run(fmt.Sprint(name, " ", seed), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := newScenario(t, seed)
					oracle := startPipelines(t, edits...)
					slices.SortStableFunc(s.events, func(a, b delivery) int { return cmp.Compare(a.at, b.at) })
					for _, d := range s.events {
						oracle.deliver(t, d.batch)
					}
					for _, d := range s.batches {
						oracle.deliver(t, d.batch)
					}
					want, wantEvents := oracle.described()
					oracle.shutdown(t)

					p := startPipelines(t, append(slices.Clone(edits), withGrace)...)
					all := append(slices.Clone(s.events), s.batches...)
					slices.SortStableFunc(all, func(a, b delivery) int { return cmp.Compare(a.at, b.at) })
					now := 0.0
					for _, d := range all {
						time.Sleep(time.Duration((d.at - now) * 1e9))
						now = d.at
						p.deliver(t, d.batch)
					}
					time.Sleep(time.Minute)
					synctest.Wait()
					got, gotEvents := p.described()
					assert.Equal(t, wantEvents, gotEvents)
					assert.Equal(t, want, got)
					p.shutdown(t)
				})
			})
		}
	}
}
