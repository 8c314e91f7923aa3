// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/phaseattr/phaseattr/internal/boundary"
)

// passes are the spans of a run: of each pass an iteration of a forward and backward part and
// an optimizer step, a report, and now and then a checkpoint that takes four steps. They are
// in the order of their ends, as they are exported.
func passes(step time.Duration, number int, r *rand.Rand) (all []boundary.Interval) {
	start := int64(time.Hour)
	for n := range number {
		at := func(share float64) int64 { return start + int64(share*float64(step)*(0.98+0.04*r.Float64())) }
		id := func(name string) string { return fmt.Sprint(n, name) }
		iteration := boundary.Interval{Start: at(0.005), End: at(0.96), ScopeID: id("iteration"), ParentScopeID: id("pass"), Name: "iteration"}
		forward := boundary.Interval{Start: iteration.Start, End: at(0.80), ScopeID: id("forward"), ParentScopeID: iteration.ScopeID, Name: "forward_backward"}
		optimizer := boundary.Interval{Start: forward.End, End: at(0.94), ScopeID: id("optimizer"), ParentScopeID: iteration.ScopeID, Name: "optimizer"}
		iteration.End = max(iteration.End, optimizer.End)
		report := boundary.Interval{Start: iteration.End, ScopeID: id("report"), ParentScopeID: id("pass"), Name: "report"}
		report.End = report.Start + int64(step)/50
		pass := boundary.Interval{Start: start, End: report.End, ScopeID: id("pass"), Name: "pass"}
		all = append(all, forward, optimizer, iteration, report)
		if n%25 == 24 {
			save := boundary.Interval{Start: report.End, End: report.End + 4*int64(step), ScopeID: id("save"), ParentScopeID: id("pass"), Name: "checkpoint"}
			pass.End = save.End
			all = append(all, save)
		}
		all = append(all, pass)
		start = pass.End
	}
	return all
}

// release is what becomes of the points of a GPU in a simulated run.
type release struct {
	points, right, prefix, none, wrong int
	waited                             []time.Duration
}

func (r *release) share(n int) float64 { return 100 * float64(n) / float64(r.points) }

// simulate lets the spans of a run come in batches, and points a second after their time that
// wait until the index knows what was active then, or for a grace period.
func simulate(step, delay time.Duration, feed *Feed, fromParents bool, seed uint64) (result release) {
	r := rand.New(rand.NewPCG(seed, 1))
	from := spanSender
	from.Feed = feed
	spans := passes(step, int(5*time.Minute/step), r)
	whole := oracle{}
	for _, iv := range spans {
		whole[iv.ScopeID] = iv
	}
	x := New(Options{Repair: true, Window: 10 * time.Minute, SessionTimeout: time.Hour, MaxDepth: 16, Grace: 3 * time.Second})
	type waiting struct {
		at, arrival int64
	}
	var held []waiting
	in := x.Ingest()
	answer := func(w waiting, now int64) {
		result.points++
		result.waited = append(result.waited, time.Duration(now-w.arrival))
		scopes, _ := x.Handle(from.Rank).Active(nil, w.at, false)
		want := strings.Join(whole.at(w.at), " | ")
		got := ""
		if len(scopes) > 0 {
			got = scopes[0].Path.Label()
		}
		if !fromParents { // the pass is not among the spans
			want = strings.TrimPrefix(strings.TrimPrefix(want, "pass"), " / ")
		}
		switch {
		case got == want:
			result.right++
		case got == "":
			result.none++
		case strings.HasSuffix(want, " / "+got):
			result.prefix++
		default:
			result.wrong++
		}
	}
	begin := spans[0].Start
	next, exported := 0, begin
	for now := begin; next < len(spans); now += int64(50 * time.Millisecond) {
		if now >= exported+int64(delay) {
			for ; next < len(spans) && spans[next].End <= now; next++ {
				iv := spans[next]
				if !fromParents {
					if iv.Name == "pass" {
						continue
					}
					iv.Path = boundary.NewPath(iv.Name)
					if parent := whole[iv.ParentScopeID]; parent.Name != "pass" {
						iv.Path = boundary.NewPath(parent.Name, iv.Name)
					}
				}
				in.AddInterval(&from, &iv)
			}
			exported = now
		}
		if r.IntN(4) == 0 {
			at := now - int64(time.Second) - r.Int64N(int64(50*time.Millisecond))
			if at > begin+int64(40*time.Second) { // of a run that has gone on for a while
				held = append(held, waiting{at, now})
			}
		}
		held = slices.DeleteFunc(held, func(w waiting) bool {
			over := now-w.arrival >= int64(feed.Grace)
			if !over && x.Handle(from.Rank).At(w.at, w.at).Behind {
				return false
			}
			answer(w, now)
			return true
		})
	}
	return result
}

// TestSpansAnswerWhatWaitsForThem shows what the rules of release cost and give, for spans that
// are exported in batches.
func TestSpansAnswerWhatWaitsForThem(t *testing.T) {
	t.Logf("%-8s %6s %6s %6s | %6s %6s %6s %6s | %8s %8s", "path", "delay", "step", "grace", "right", "prefix", "none", "wrong", "hold", "p99")
	for _, fromParents := range []bool{false, true} {
		for _, step := range []time.Duration{800 * time.Millisecond, 6 * time.Second} {
			for _, delay := range []time.Duration{500 * time.Millisecond, time.Second, 5 * time.Second} {
				feed := &Feed{Grace: 15 * time.Second}
				var total release
				for seed := range uint64(1) {
					one := simulate(step, delay, feed, fromParents, seed)
					total.points += one.points
					total.right += one.right
					total.prefix += one.prefix
					total.none += one.none
					total.wrong += one.wrong
					total.waited = append(total.waited, one.waited...)
				}
				slices.Sort(total.waited)
				var sum time.Duration
				for _, w := range total.waited {
					sum += w
				}
				t.Logf("%-8s %6s %6s %6s | %5.1f%% %5.1f%% %5.1f%% %5.1f%% | %8s %8s", map[bool]string{true: "parents", false: "name"}[fromParents], delay, step, feed.Grace,
					total.share(total.right), total.share(total.prefix), total.share(total.none), total.share(total.wrong),
					(sum / time.Duration(len(total.waited))).Round(100*time.Millisecond), total.waited[len(total.waited)*99/100].Round(100*time.Millisecond))
				require.LessOrEqual(t, total.share(total.wrong), 0.5)
				if step < time.Second { // a checkpoint is over within the grace period
					require.GreaterOrEqual(t, total.share(total.right), 97.0)
				}
			}
		}
	}
}
