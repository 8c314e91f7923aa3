// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phasespansconnector

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/metric/metricdata/metricdatatest"

	"github.com/phaseattr/phaseattr/connector/phasespansconnector/internal/metadatatest"
)

// attributes returns the attributes of a series.
func (r *rig) attributes(more ...attribute.KeyValue) attribute.Set {
	return attribute.NewSet(append(more, attribute.Stringer("connector", r.id))...)
}

// boundaries asserts how many boundaries had each outcome; the key of a skipped one is its
// reason.
func (r *rig) boundaries(t *testing.T, want map[string]int64) {
	t.Helper()
	var points []metricdata.DataPoint[int64]
	for key, n := range want {
		attributes := r.attributes(attribute.String("outcome", key))
		if key != "entered" && key != "span" {
			attributes = r.attributes(attribute.String("outcome", "skipped"), attribute.String("reason", key))
		}
		points = append(points, metricdata.DataPoint[int64]{Attributes: attributes, Value: n})
	}
	metadatatest.AssertEqualConnectorPhaseSpansBoundaries(t, r.telemetry, points, metricdatatest.IgnoreTimestamp())
}

// dropped asserts how many open scopes were dropped for a reason.
func (r *rig) dropped(t *testing.T, reason string, n int64) {
	t.Helper()
	metadatatest.AssertEqualConnectorPhaseSpansDroppedScopes(t, r.telemetry, []metricdata.DataPoint[int64]{
		{Attributes: r.attributes(attribute.String("reason", reason)), Value: n},
	}, metricdatatest.IgnoreTimestamp())
}

// made asserts how many spans were made, by end and unit.
func (r *rig) made(t *testing.T, want map[[2]string]int64) {
	t.Helper()
	var points []metricdata.DataPoint[int64]
	for key, n := range want {
		points = append(points, metricdata.DataPoint[int64]{
			Attributes: r.attributes(attribute.String("end", key[0]), attribute.String("unit", key[1])), Value: n,
		})
	}
	metadatatest.AssertEqualConnectorPhaseSpansSpans(t, r.telemetry, points, metricdatatest.IgnoreTimestamp())
}

// kept asserts what is kept.
func (r *rig) kept(t *testing.T, open, processes int64) {
	t.Helper()
	metadatatest.AssertEqualConnectorPhaseSpansOpenScopes(t, r.telemetry,
		[]metricdata.DataPoint[int64]{{Attributes: r.attributes(), Value: open}}, metricdatatest.IgnoreTimestamp())
	metadatatest.AssertEqualConnectorPhaseSpansProcesses(t, r.telemetry,
		[]metricdata.DataPoint[int64]{{Attributes: r.attributes(), Value: processes}}, metricdatatest.IgnoreTimestamp())
}

// assertEnded asserts that spans are those of open scopes that ended at a time.
func assertEnded(t *testing.T, spans []ptrace.Span, at float64, names ...string) {
	t.Helper()
	require.Len(t, spans, len(names))
	for i, span := range spans {
		assert.Equal(t, names[i], span.Name())
		assert.Equal(t, moment(at), int64(span.EndTimestamp()))
		synthetic, _ := span.Attributes().Get("synthetic_end")
		assert.True(t, synthetic.Bool())
		assert.Equal(t, ptrace.StatusCodeUnset, span.Status().Code())
	}
}

func TestAStopEndsWhatIsOpen(t *testing.T) {
	r := start(t)
	p := newProgram("run")
	loader := p.in(2)
	require.Empty(t, r.pass(t, p.enter(1, "train"), p.enter(2, "step"), loader.enter(3, "prefetch")))
	r.kept(t, 3, 1)
	spans := r.pass(t, p.event("stop", 5))
	assertEnded(t, spans, 5, "train", "step", "prefetch")
	assert.Equal(t, moment(2), int64(spans[1].StartTimestamp()))
	assert.Equal(t, "c1", r.sink.AllTraces()[0].ResourceSpans().At(0).Resource().Attributes().AsRaw()["cluster"])
	assert.Empty(t, r.pass(t, p.event("stop", 6)), "only once")
	r.kept(t, 0, 1)
	r.made(t, map[[2]string]int64{{"synthetic", "known"}: 3})
}

func TestAStartEndsWhatAnEarlierIncarnationLeftOpen(t *testing.T) {
	r := start(t)
	p := newProgram("run")
	r.pass(t, p.enter(1, "train"), p.enter(2, "step"), p.event("sample", 4))
	again := newProgram("run")
	assertEnded(t, r.pass(t, again.event("start", 100), again.enter(101, "train")), 4, "train", "step")
	r.kept(t, 1, 1)
	assert.Empty(t, r.pass(t, again.event("start", 100)), "sent again, it ends nothing that came after it")
}

func TestASilentProcessHasEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, func(cfg *Config) { cfg.ProcessTimeout = time.Minute })
		p, alive := newProgram("dead"), newProgram("alive")
		r.pass(t, p.enter(1, "train"), p.enter(2, "checkpoint"), p.event("sample", 3), alive.enter(1, "train"))
		for range 4 {
			time.Sleep(20 * time.Second)
			require.NoError(t, r.ConsumeLogs(t.Context(), logs(t, alive.event("sample", 4))))
		}
		synctest.Wait()
		assertEnded(t, r.spans(), 3, "train", "checkpoint")
		r.kept(t, 1, 1)
		require.NoError(t, r.Shutdown(t.Context()))
	})
}

func TestAScopeWhoseExitIsLostHasNoSpan(t *testing.T) {
	r := start(t)
	p := newProgram("run")
	r.pass(t, p.enter(1, "train"), p.enter(2, "step"), p.enter(3, "forward"))
	p.stack = p.stack[:1] // the exits of forward and step are lost
	spans := r.pass(t, p.enter(5, "step"), p.enter(6, "forward"))
	assert.Empty(t, spans, "when they ended is not known")
	r.dropped(t, "lost_exit", 2)
	r.kept(t, 3, 1)
	p.stack = p.stack[:1] // again
	train := r.pass(t, p.exit(9))
	require.Len(t, train, 1)
	assert.Equal(t, "train", train[0].Name())
	r.dropped(t, "lost_exit", 4)
	r.kept(t, 0, 1)
}

func TestAScopeWhoseEnterIsNotKnown(t *testing.T) {
	r := start(t)
	p := newProgram("run")
	p.enter(1, "train")
	p.enter(2, "step")
	p.enter(3, "backward")
	p.enter(4, "all_reduce") // before the connector was started
	deep, backward, step := p.exit(5), p.exit(6), p.exit(7)
	spans := byName(t, r.pass(t, deep, backward, step))
	assert.Equal(t, spans["step"].TraceID(), spans["backward"].TraceID(), "its record names the step")
	assert.Equal(t, spans["step"].SpanID(), spans["backward"].ParentSpanID())
	assert.Equal(t, spans["backward"].SpanID(), spans["all_reduce"].ParentSpanID())
	assert.NotEqual(t, spans["step"].TraceID(), spans["all_reduce"].TraceID(), "its record does not")
	r.made(t, map[[2]string]int64{{"exit", "known"}: 2, {"exit", "unknown"}: 1})
}

func TestBoundariesThatAreOfNoUse(t *testing.T) {
	r := start(t)
	p := newProgram("run")
	train, step := p.enter(1, "train"), p.enter(2, "step")
	noStart, wrongStart, wrongDuration := p.exit(3), p.exit(4), object(nil)
	delete(noStart, "phase_start")
	wrongStart["phase_start"] = "yesterday"
	assert.Empty(t, r.pass(t, train, step, noStart, wrongStart))
	r.boundaries(t, map[string]int64{"entered": 2, "no_start": 2})

	for i, duration := range []any{-1.0, "1", 1e300} {
		enter := p.enter(float64(10+2*i), "evaluate")
		wrongDuration = p.exit(float64(11 + 2*i))
		wrongDuration["phase_duration"] = duration
		assert.Empty(t, r.pass(t, enter, wrongDuration))
	}
	r.boundaries(t, map[string]int64{"entered": 5, "no_start": 5})

	evaluate := p.enter(20, "evaluate")
	assert.Empty(t, r.pass(t, evaluate, evaluate, train))
	r.boundaries(t, map[string]int64{"entered": 7, "no_start": 5, "duplicate": 1})
	r.kept(t, 1, 1)
	assert.Empty(t, r.pass(t, step), "it is later than what is open")
	r.boundaries(t, map[string]int64{"entered": 7, "no_start": 5, "duplicate": 1, "late": 1})

	noSession, noScope, before1970 := p.exit(21), p.event("phase_exit", 22), p.event("phase_enter", 0)
	delete(noSession, "session_id")
	before1970["timestamp_ns"] = -1
	assert.Empty(t, r.pass(t, noSession, noScope, before1970, p.event("other", 23), object{"event_type": "sample"}, object{}))
	r.boundaries(t, map[string]int64{
		"entered": 7, "no_start": 5, "duplicate": 1, "late": 1, "session_id": 1, "phase_scope": 1, "timestamp": 1,
	})
}

func TestOpenScopesAreBounded(t *testing.T) {
	r := start(t, func(cfg *Config) { cfg.Limits.MaxOpenScopes = 2 })
	p, q := newProgram("run"), newProgram("other")
	r.pass(t, p.enter(1, "train"), p.enter(2, "step"), p.enter(3, "forward"), q.enter(3, "train"))
	r.kept(t, 2, 2)
	r.boundaries(t, map[string]int64{"entered": 2, "max_open_scopes": 2})
	spans := byName(t, r.pass(t, p.exit(4), p.exit(5), p.exit(6)))
	assert.Len(t, spans, 3, "each is a span all the same")
	assert.Equal(t, spans["step"].TraceID(), spans["forward"].TraceID())
	r.kept(t, 0, 2)
}

func TestProcessesAreBounded(t *testing.T) {
	r := start(t, func(cfg *Config) { cfg.Limits.MaxProcesses = 2 })
	first, second, third := newProgram("1"), newProgram("2"), newProgram("3")
	r.pass(t, first.enter(1, "train"), first.enter(2, "step"))
	r.pass(t, second.enter(3, "train"))
	r.pass(t, first.event("sample", 4))
	r.pass(t, third.enter(5, "train"))
	r.dropped(t, "evicted", 1)
	r.kept(t, 3, 2)
	assertEnded(t, r.pass(t, first.event("stop", 9)), 9, "train", "step")
	assert.Empty(t, r.pass(t, second.event("stop", 9)), "it was silent for longest")
	for i := range 20 {
		r.pass(t, first.enter(float64(10+i), "step"), first.in(i).enter(float64(10+i), "x"))
	}
}

func TestProcessesAreIndependentOfEachOther(t *testing.T) {
	const processes, steps = 8, 50
	r := start(t)
	var sending sync.WaitGroup
	for i := range processes {
		p := newProgram(fmt.Sprint("run-", i))
		batches := [][]object{{p.event("start", 0), p.enter(1, "train")}}
		for n := range steps {
			batches = append(batches, step(p, float64(10*(n+1))))
		}
		batches = append(batches, []object{p.exit(1000), p.event("stop", 1001)})
		sending.Go(func() {
			for _, events := range batches {
				assert.NoError(t, r.ConsumeLogs(t.Context(), logs(t, events...)))
			}
		})
	}
	sending.Wait()
	assert.Len(t, r.spans(), processes*(1+4*steps))
	r.made(t, map[[2]string]int64{{"exit", "known"}: processes * (1 + 4*steps)})
	r.kept(t, 0, processes)
}
