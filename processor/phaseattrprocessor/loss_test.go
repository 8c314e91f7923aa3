// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/boundary"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/policy"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/replay"
)

// lossSeeds is how many times each loss is drawn.
const lossSeeds = 20

// runEvent is one event of a run, read once.
type runEvent struct {
	group    boundary.RankKey
	time     int64
	stop     bool
	boundary *boundary.Boundary
}

// BenchmarkLoss measures which share of a run's records is still answered as it is
// without loss. The records come one by one in the order of their times, and only
// what has arrived counts. The answers compared are the resolution and the path.
func BenchmarkLoss(b *testing.B) {
	for name, run := range lossRuns(b) {
		for _, loss := range []float64{0.001, 0.01, 0.05} {
			for _, repair := range []bool{true, false} {
				b.Run(fmt.Sprintf("%s/loss=%g%%/repair=%t", name, 100*loss, repair), func(b *testing.B) {
					share := 0.0
					for b.Loop() {
						share = shareAnsweredRight(run, loss, repair)
					}
					b.ReportMetric(100*share, "%right")
				})
			}
		}
	}
}

// TestLossSpoilsLittle holds the repair to what the README says of it.
func TestLossSpoilsLittle(t *testing.T) {
	for name, run := range lossRuns(t) {
		for loss, least := range map[float64]float64{0.001: 0.994, 0.01: 0.98} {
			share := shareAnsweredRight(run, loss, true)
			assert.GreaterOrEqual(t, share, least, "%s with %g%% lost", name, 100*loss)
		}
	}
}

// lossRuns are the runs that lose boundaries.
func lossRuns(tb testing.TB) map[string][]runEvent {
	tb.Helper()
	runs := map[string][]runEvent{"generated": generatedRun()}
	for _, name := range captureNames {
		runs[name] = capturedRun(tb, name)
	}
	return runs
}

// shareAnsweredRight is the mean over all seeds.
func shareAnsweredRight(run []runEvent, loss float64, repair bool) float64 {
	share := 0.0
	for seed := range uint64(lossSeeds) {
		share += answeredRight(run, loss, repair, rand.New(rand.NewPCG(seed, 0)))
	}
	return share / lossSeeds
}

// answeredRight is the share of the records that arrive, boundaries among them, that
// are answered as in the complete run when boundaries are lost.
func answeredRight(run []runEvent, loss float64, repair bool, random *rand.Rand) float64 {
	whole, lossy := replay.New(replay.Options{}), replay.New(replay.Options{Repair: repair})
	for _, e := range run {
		e.takeIn(whole)
	}
	whole.EndAll()
	asked, right := 0, 0
	for _, e := range run {
		if e.boundary != nil && random.Float64() < loss {
			continue
		}
		e.takeIn(lossy)
		asked++
		if e.answer(whole) == e.answer(lossy) {
			right++
		}
	}
	return float64(right) / float64(asked)
}

func (e *runEvent) takeIn(index *replay.Index) {
	if e.boundary != nil {
		index.Ingest().Add(e.group, e.boundary)
		return
	}
	index.Ingest().Observe(e.group, e.time, e.stop)
}

// answer is what the index says at the event's time, as text.
func (e *runEvent) answer(index *replay.Index) string {
	decide, err := policy.New(policy.Options{}), error(nil)
	if err != nil {
		return err.Error()
	}
	spans, _ := index.Handle(e.group).Active(nil, e.time, false)
	var answer policy.Attribution
	if !decide.Attribute(&answer, spans, boundary.Origin{}) {
		return ""
	}
	return answer.Resolution + " " + answer.Path
}

// capturedRun reads a recorded run. Its file is not quite in the order of time; what
// that costs is a matter of the grace period, not of loss.
func capturedRun(tb testing.TB, name string) []runEvent {
	tb.Helper()
	reader := newReader(createDefaultConfig().(*Config))
	var run []runEvent
	for _, line := range readLines(tb, name+".jsonl") {
		record := logRecord(tb, line)
		fields := boundary.NewFields(record.Attributes(), boundary.MapBody(record), pcommon.NewMap(), pcommon.NewMap())
		event := reader.Event(record, &fields)
		group, reason := reader.Identify(&fields)
		require.Equal(tb, boundary.OK, reason)
		e := runEvent{group: group, time: event.Time, stop: event.Stop()}
		if event.IsBoundary() {
			b, why := reader.Boundary(&event, &fields, new(boundary.Paths))
			require.Equal(tb, boundary.OK, why)
			e.boundary = &b
		}
		run = append(run, e)
	}
	slices.SortStableFunc(run, func(a, b runEvent) int { return cmp.Compare(a.time, b.time) })
	return run
}

// generatedRun is a training run of one thread: train, 500 steps in it, and in each
// step four phases one after the other, with a sample every 10 ms.
func generatedRun() []runEvent {
	const (
		steps  = 500
		thread = 11
		ms     = 1_000_000
	)
	group := boundary.RankKey{Session: "generated"}
	var run []runEvent
	var stack []*boundary.Boundary
	now, next, sequence := int64(0), int64(0), int64(0)
	// pass lets time go by, with its samples.
	pass := func(span int64) {
		for ; next <= now+span; next += 10 * ms {
			run = append(run, runEvent{group: group, time: next})
		}
		now += span
	}
	emit := func(b boundary.Boundary) {
		sequence++
		b.Sequence, b.Time = sequence, now
		run = append(run, runEvent{group: group, time: now, boundary: &b})
	}
	enter := func(path ...string) {
		b := boundary.Boundary{
			ThreadID: thread, ThreadName: "MainThread", ScopeID: fmt.Sprintf("generated:%d", sequence+1),
			Path: boundary.NewPath(path...),
		}
		if len(stack) > 0 {
			b.ParentScopeID = stack[len(stack)-1].ScopeID
		}
		emit(b)
		stack = append(stack, run[len(run)-1].boundary)
	}
	exit := func() {
		b := *stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		b.Action = boundary.Exit
		emit(b)
	}
	random := rand.New(rand.NewPCG(1, 1))
	enter("train")
	for range steps {
		pass(ms / 10)
		enter("train", "step")
		for _, phase := range []string{"load_batch", "forward", "backward", "optimizer_step"} {
			pass(ms / 10)
			enter("train", "step", phase)
			pass((10 + random.Int64N(40)) * ms)
			exit()
		}
		pass(ms / 10)
		exit()
	}
	pass(ms)
	exit()
	run = append(run, runEvent{group: group, time: now, stop: true})
	return run
}
