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

	"github.com/phaseattr/phaseattr/internal/boundary"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/policy"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/replay"
)

// lossSeeds is how many times each share of lost boundaries is drawn.
const lossSeeds = 20

// runEvent is one event of a run.
type runEvent struct {
	rank     boundary.RankKey
	time     int64
	stop     bool
	boundary *boundary.Boundary
}

// BenchmarkLoss measures the share of a run's records that have the attribution that they
// have without loss. The records arrive one by one in the order of their times. Resolution
// and path are compared.
func BenchmarkLoss(b *testing.B) {
	for name, run := range lossRuns(b) {
		for _, loss := range []float64{0.001, 0.01, 0.05} {
			for _, repair := range []bool{true, false} {
				b.Run(fmt.Sprintf("%s/loss=%g%%/repair=%t", name, 100*loss, repair), func(b *testing.B) {
					share := 0.0
					for b.Loop() {
						share = meanShareRight(run, loss, repair)
					}
					b.ReportMetric(100*share, "%right")
				})
			}
		}
	}
}

// TestLossSpoilsLittle checks what the README says of repairs.
func TestLossSpoilsLittle(t *testing.T) {
	for name, run := range lossRuns(t) {
		for loss, least := range map[float64]float64{0.001: 0.994, 0.01: 0.98} {
			share := meanShareRight(run, loss, true)
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

// meanShareRight is the mean of shareRight over all seeds.
func meanShareRight(run []runEvent, loss float64, repair bool) float64 {
	whole, decide := replay.New(replay.Options{}), policy.New(policy.Options{})
	for _, e := range run {
		e.ingest(whole)
	}
	var want [][2]string
	for _, e := range run {
		want = append(want, e.attribution(decide, whole))
	}
	share := 0.0
	for seed := range uint64(lossSeeds) {
		share += shareRight(run, want, loss, repair, rand.New(rand.NewPCG(seed, 0)))
	}
	return share / lossSeeds
}

// shareRight is the share of the records that arrive, boundaries among them, that have the
// attribution of the complete run when boundaries are lost.
func shareRight(run []runEvent, want [][2]string, loss float64, repair bool, random *rand.Rand) float64 {
	lossy, decide := replay.New(replay.Options{Repair: repair}), policy.New(policy.Options{})
	records, right := 0, 0
	for i, e := range run {
		if e.boundary != nil && random.Float64() < loss {
			continue
		}
		e.ingest(lossy)
		records++
		if e.attribution(decide, lossy) == want[i] {
			right++
		}
	}
	return float64(right) / float64(records)
}

func (e *runEvent) ingest(index *replay.Index) {
	ingest := index.Ingest()
	defer ingest.Flush()
	if e.boundary != nil {
		ingest.Add(&replay.Sender{Rank: e.rank}, e.boundary)
		return
	}
	event := &replay.Event{Time: e.time}
	if e.stop {
		event.Kind = replay.Stop
	}
	ingest.Observe(&replay.Sender{Rank: e.rank}, event)
}

// attribution is the resolution and the path at the event's time.
func (e *runEvent) attribution(decide *policy.Policy, index *replay.Index) [2]string {
	scopes, status := index.Handle(e.rank).Active(nil, e.time, false)
	a := &policy.Attribution{}
	if decide.Attribute(a, scopes, boundary.Origin{}) && status == replay.Doubtful {
		a = a.NotUnique()
	}
	return [2]string{a.Resolution, a.Path}
}

// capturedRun reads a recorded run. It sorts the records, since the file is not quite in
// the order of time, which is a matter of the grace period, not of loss.
func capturedRun(tb testing.TB, name string) []runEvent {
	tb.Helper()
	reader := newReader(createDefaultConfig().(*Config))
	var run []runEvent
	for _, line := range readLines(tb, name+".jsonl") {
		record := logRecord(tb, line)
		fields := boundary.NewFields(record.Attributes(), boundary.MapBody(record), pcommon.NewMap(), pcommon.NewMap())
		event := reader.Event(record, &fields)
		rank, reason := reader.Identify(&fields)
		require.Equal(tb, boundary.OK, reason)
		e := runEvent{rank: rank, time: event.Time, stop: event.Stop()}
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
	rank := boundary.RankKey{Session: "generated"}
	var run []runEvent
	var stack []*boundary.Boundary
	now, next, sequence := int64(0), int64(0), int64(0)
	// pass advances the time and adds the samples in between.
	pass := func(duration int64) {
		for ; next <= now+duration; next += 10 * ms {
			run = append(run, runEvent{rank: rank, time: next})
		}
		now += duration
	}
	emit := func(b boundary.Boundary) {
		sequence++
		b.Sequence, b.Time = sequence, now
		run = append(run, runEvent{rank: rank, time: now, boundary: &b})
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
	run = append(run, runEvent{rank: rank, time: now, stop: true})
	return run
}
