// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/phaseattr/phaseattr/internal/boundary"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/replay"
)

const spanGrace = 15 * time.Second

// spanFeed is the rules of a source of spans whose paths come from their parents.
func spanFeed() *replay.Feed { return &replay.Feed{Grace: spanGrace} }

// intervals has a process of session s in intervals.
func (p *pipelines) intervals(t *testing.T, feed *replay.Feed, pid int64, all ...boundary.Interval) {
	t.Helper()
	e := p.logs.(*logsProcessor).pipeline.engine
	from := replay.Sender{Rank: boundary.RankKey{Session: "s"}, Process: boundary.Process{Host: "node", PID: pid}, Feed: feed}
	in, entry := e.index.Ingest(), e.store.Entry()
	for i := range all {
		require.Equal(t, replay.Accepted, in.AddInterval(&from, &all[i]).Outcome)
		entry.Interval(stored(&from), &all[i])
	}
	in.Flush()
	e.store.Write(t.Context(), entry)
	e.buffer.Advance([]boundary.RankKey{from.Rank}, nil)
}

// inside is an interval of a name inside another one, in seconds.
func inside(parent, name string, start, end float64) boundary.Interval {
	return boundary.Interval{Start: moment(start), End: moment(end), ScopeID: name, ParentScopeID: parent, Name: name}
}

func (p *pipelines) gaugesAt(t *testing.T, at ...float64) {
	t.Helper()
	md := pmetric.NewMetrics()
	for _, seconds := range at {
		gauge(md, "s", moment(seconds))
	}
	for _, resource := range md.ResourceMetrics().All() {
		resource.Resource().Attributes().PutInt("rank", 0)
	}
	require.NoError(t, p.metrics.ConsumeMetrics(t.Context(), md))
}

func TestPointsWaitUntilTheOutermostIntervalHasCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := startPipelines(t, withGrace)
		p.intervals(t, spanFeed(), 7, inside("step", "forward", 1, 4))
		p.gaugesAt(t, 2)
		time.Sleep(2 * gracePeriod)
		synctest.Wait()
		assert.Empty(t, p.phases()["s"], "the source's grace period counts")
		p.intervals(t, spanFeed(), 7, inside("step", "optimizer", 4, 5))
		synctest.Wait()
		assert.Empty(t, p.phases()["s"])
		p.intervals(t, spanFeed(), 7, inside("", "step", 1, 6))
		synctest.Wait()
		assert.Equal(t, []any{"step / forward"}, p.phases()["s"])
		p.shutdown(t)
	})
}

func TestAfterTheGracePeriodTheKnownPartOfAPathAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := startPipelines(t, withGrace, func(cfg *Config) { cfg.Attributes = append(cfg.Attributes, "phase_reason") })
		p.intervals(t, spanFeed(), 7, inside("forward", "layer", 2, 3), inside("step", "forward", 1, 4), inside("step", "optimizer", 4, 5))
		p.gaugesAt(t, 2, 1.5, 4.5, 5.5)
		time.Sleep(spanGrace)
		synctest.Wait()
		assert.Equal(t, []any{"forward / layer", nil, nil, nil}, p.phases()["s"])
		reasons := []any{}
		for _, resource := range p.metricsSink.AllMetrics()[0].ResourceMetrics().All() {
			dp := resource.ScopeMetrics().At(0).Metrics().At(0).Gauge().DataPoints().At(0)
			reasons = append(reasons, dp.Attributes().AsRaw()["phase_reason"])
		}
		assert.Equal(t, []any{"incomplete_path", "incomplete_path", "incomplete_path", "behind"}, reasons)
		p.shutdown(t)
		assertCounts(t, p.telemetry, "answers", answers("metrics", "unique", 1, "incomplete_path"),
			answers("metrics", "none", 2, "incomplete_path"), answers("metrics", "none", 1, "behind"))
	})
}

func TestPeersAnswerUnlessSeveralAreInAPhase(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := startPipelines(t, withGrace)
		feed := &replay.Feed{Grace: spanGrace, Peers: true}
		p.intervals(t, feed, 7, inside("", "setup", 1, 2), inside("", "policy_training", 2, 4), inside("", "logprobs", 6, 8))
		p.intervals(t, feed, 8, inside("", "start", 0, 1), inside("", "generation", 3, 5), inside("", "refit", 7.5, 8))
		p.gaugesAt(t, 2.5, 3.5, 4.5, 5.5)
		synctest.Wait()
		assert.Equal(t, []any{"policy_training", nil, "generation", nil}, p.phases()["s"])
		p.shutdown(t)
		assertCounts(t, p.telemetry, "answers", answers("metrics", "unique", 2), answers("metrics", "ambiguous", 1, "processes"),
			answers("metrics", "none", 1, "between_phases"))
	})
}

func TestAKilledCollectorKnowsIntervals(t *testing.T) {
	directory := t.TempDir()
	p := startOn(t, directory)
	p.intervals(t, spanFeed(), 7, inside("forward", "layer", 2, 3), inside("step", "forward", 1, 4), inside("", "step", 1, 6))
	p = startOn(t, killed(t, directory))
	p.gaugesAt(t, 2.5, 5)
	assert.Equal(t, []any{"step / forward / layer", "step"}, p.phases()["s"])
}

func TestAKilledCollectorKnowsBoundariesWithoutAPath(t *testing.T) {
	directory := t.TempDir()
	p := startOn(t, directory)
	e := p.logs.(*logsProcessor).pipeline.engine
	from := replay.Sender{Rank: boundary.RankKey{Session: "s"}}
	in, entry := e.index.Ingest(), e.store.Entry()
	for i, b := range []boundary.Boundary{
		{Time: moment(1), Name: "step"},
		{Time: moment(2), Name: "fwd_bwd"},
		{Time: moment(3), Name: "fwd_bwd", Action: boundary.Exit, Began: moment(2)},
		{Time: moment(4), Name: "optim"},
	} {
		b.Sequence, b.Lane = int64(i), "training"
		require.Equal(t, replay.Accepted, in.Add(&from, &b).Outcome)
		entry.Boundary(stored(&from), &b)
	}
	in.Flush()
	e.store.Write(t.Context(), entry)
	p = startOn(t, killed(t, directory))
	p.gaugesAt(t, 2.5, 3.5, 5)
	assert.Equal(t, []any{"step / fwd_bwd", "step", "step / optim"}, p.phases()["s"])
}
