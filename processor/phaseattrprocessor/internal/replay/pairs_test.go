// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/phaseattr/phaseattr/internal/boundary"
)

func enterNamed(seq, time int64, name string) boundary.Boundary {
	return boundary.Boundary{Time: time, Sequence: seq, Name: name, Lane: "main"}
}

func exitNamed(seq, time int64, name string) boundary.Boundary {
	b := enterNamed(seq, time, name)
	b.Action = boundary.Exit
	return b
}

// took is an exit that says how long its scope took.
func took(seq, time int64, name string, duration int64) boundary.Boundary {
	b := exitNamed(seq, time, name)
	b.Began = time - duration
	return b
}

func (x spanIndex) named(all ...boundary.Boundary) {
	x.t.Helper()
	in := x.Ingest()
	for i := range all {
		b := all[i]
		require.Equal(x.t, Accepted, in.Add(&spanSender, &b).Outcome, "%+v", b)
	}
	in.Flush()
}

// namedSteps are the boundaries of steps of a forward part and an optimizer step.
func namedSteps(n int) (all []boundary.Boundary) {
	seq := int64(0)
	add := func(b boundary.Boundary) {
		b.Sequence = seq
		seq++
		all = append(all, b)
	}
	for i := range int64(n) {
		at := 100 * i
		add(enterNamed(0, at, "step"))
		add(enterNamed(0, at+5, "fwd_bwd"))
		add(took(0, at+60, "fwd_bwd", 55))
		add(enterNamed(0, at+60, "optim"))
		add(took(0, at+90, "optim", 30))
		add(took(0, at+95, "step", 95))
	}
	return all
}

// stepAt is the path that steps are in at a time.
func stepAt(at int64) string {
	switch at %= 100; {
	case at < 5:
		return "main: step"
	case at < 60:
		return "main: step / fwd_bwd"
	case at < 90:
		return "main: step / optim"
	case at < 95:
		return "main: step"
	}
	return ""
}

func TestNamesAreStackedByTheirOrder(t *testing.T) {
	x := newSpanIndex(t, Options{})
	x.named(namedSteps(4)...)
	for at := range int64(395) {
		got, status := x.at(at)
		want := []string{}
		if path := stepAt(at); path != "" {
			want = append(want, path)
		}
		require.Equal(t, want, got, at)
		require.Equal(t, Known, status, at)
	}
	require.Equal(t, int64(4*6), x.Stats().Boundaries)
}

func TestAnEnterAloneIsOpen(t *testing.T) {
	x := newSpanIndex(t, Options{})
	x.named(enterNamed(0, 10, "step"), enterNamed(1, 20, "fwd_bwd"))
	got, status := x.at(30)
	require.Equal(t, []string{"main: step / fwd_bwd"}, got)
	require.Equal(t, Behind, status)
	require.Equal(t, int64(2), x.Stats().OpenScopes)
	x.named(exitNamed(2, 40, "fwd_bwd"))
	got, _ = x.at(45)
	require.Equal(t, []string{"main: step"}, got)
}

func TestNamesInAnyOrderAndTwiceGiveTheSameAnswers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := namedSteps(5)
		order := rapid.Permutation(append(slices.Clone(all), all[:len(all)/2]...)).Draw(t, "order")
		x := New(Options{Repair: true, MaxDepth: 64, MaxThreads: 64})
		for len(order) > 0 {
			in := x.Ingest()
			for range rapid.IntRange(1, 9).Draw(t, "batch") {
				if len(order) > 0 {
					in.Add(&spanSender, pointer(order[0]))
					order = order[1:]
				}
			}
			in.Flush()
			if rapid.IntRange(0, 9).Draw(t, "restart") == 0 {
				snapshot, _ := x.Snapshot(spanSender.Rank)
				x = New(x.options)
				require.True(t, x.Restore(&snapshot))
			}
		}
		require.Equal(t, int64(len(all)), x.Stats().Boundaries)
		require.Zero(t, x.Stats().OpenScopes)
		for at := range int64(495) {
			scopes, _ := x.Handle(spanSender.Rank).Active(nil, at, false)
			got := []string{}
			for i := range scopes {
				got = append(got, scopes[i].ThreadName+": "+scopes[i].Path.Label())
			}
			require.Equal(t, stepAt(at), strings.Join(got, " | "), at)
		}
	})
}

// TestALostBoundaryWithoutAPathIsNoWrongAnswer loses each boundary in turn: no answer may be
// unique and wrong, at once or after all has come.
func TestALostBoundaryWithoutAPathIsNoWrongAnswer(t *testing.T) {
	all := namedSteps(8)
	for lost := 12; lost < 36; lost++ {
		x := newSpanIndex(t, Options{})
		unsure, wrong := 0, ""
		ask := func(at int64, when string) {
			got, status := x.at(at)
			label := ""
			if len(got) > 0 {
				label = got[0]
			}
			switch {
			case status == Doubtful:
				unsure++
			case label != stepAt(at) && label != "":
				wrong += fmt.Sprintf("%s at %d: %s instead of %s; ", when, at, label, stepAt(at))
			}
		}
		next := int64(0)
		for i := range all {
			if i == lost {
				continue
			}
			x.named(all[i])
			for ; next < all[i].Time; next++ { // released by a boundary that is as new
				ask(next, "live")
			}
		}
		live := unsure
		unsure = 0
		for at := range next {
			ask(at, "later")
		}
		t.Logf("without %+v: %d of %d live and %d later ambiguous", all[lost], live, next, unsure)
		require.Empty(t, wrong, "without %+v", all[lost])
		require.LessOrEqual(t, unsure, 100, "later, only what is beside the lost one")
	}
}

func TestInstantsWithNumbersAreNoGaps(t *testing.T) {
	x := newSpanIndex(t, Options{})
	all := namedSteps(4)
	in := x.Ingest()
	for i := range all {
		b := all[i]
		b.Sequence *= 2
		in.Add(&spanSender, &b)
		in.Observe(&spanSender, &Event{Time: b.Time, Sequence: b.Sequence + 1, Numbered: true})
	}
	in.Flush()
	for at := range int64(390) {
		_, status := x.at(at)
		require.Equal(t, Known, status, at)
	}
	require.Empty(t, x.stream(spanSender.Rank).processes[0].spans.numbers.gaps)
}

func TestNamesOfARestartAreNotStackedOnThoseBefore(t *testing.T) {
	x := newSpanIndex(t, Options{})
	x.named(enterNamed(0, 10, "step"), enterNamed(1, 20, "fwd_bwd"))
	x.named(enterNamed(0, 100, "step"), enterNamed(1, 110, "optim"), exitNamed(2, 120, "optim"))
	got, _ := x.at(115)
	require.Equal(t, []string{"main: step / optim"}, got)
	got, _ = x.at(50)
	require.Equal(t, []string{"main: step / fwd_bwd"}, got)
}

func TestNamesAreBounded(t *testing.T) {
	x := newSpanIndex(t, Options{MaxBoundaries: 60, MaxTotal: 1000, MaxThreads: 2, MaxOpen: 5, Window: 2000})
	in := x.Ingest()
	for _, b := range namedSteps(100) {
		in.Add(&spanSender, &b)
		require.LessOrEqual(t, x.Stats().Boundaries, int64(60))
	}
	for i := range int64(1000) {
		in.Add(&spanSender, pointer(exitNamed(600+i, 10_000+i, "never entered")))
		in.Add(&spanSender, pointer(enterNamed(0, 10_000, "nothing")))
		in.Add(&spanSender, pointer(exitNamed(0, 10_000, "nothing")))
		require.LessOrEqual(t, x.Stats().Boundaries, int64(60))
	}
	in.Flush()
	p := x.stream(spanSender.Rank).processes[0].spans
	require.LessOrEqual(t, len(p.pairings[0].marks), 120)
	in.Observe(&spanSender, &Event{Time: 12_000})
	in.Observe(&spanSender, &Event{Time: 12_900})
	in.Add(&spanSender, pointer(enterNamed(5000, 12_990, "step")))
	require.Equal(t, Accepted, in.Add(&spanSender, pointer(enterNamed(5001, 13_000, "step"))).Outcome, "there is room again")
}

// The boundaries of a span that has been evicted go with it, whatever their times: they neither
// count again nor make the span anew.
func TestBoundariesOfEvictedSpansGo(t *testing.T) {
	x := newSpanIndex(t, Options{})
	x.named(enterNamed(1, 10, "a"), exitNamed(2, 20, "a"), enterNamed(3, 30, "b"), exitNamed(4, 40, "b"))
	in := x.stream(spanSender.Rank).processes[0].spans
	in.tree.each(func(sp *span) {
		if sp.name.Label() == "b" {
			in.evict(sp)
		}
	})
	require.Equal(t, 2, in.size())
	in.pairings[0].forget(0)
	require.Equal(t, 2, in.size())
	in.pairAll(in.pairings[0])
	require.Equal(t, 2, in.size())
	require.Equal(t, 1, in.count)
}

// Of a lane whose boundaries have all gone, nothing more is known, which lookups survive.
func TestALaneWithoutBoundariesAnswersNothing(t *testing.T) {
	x := newSpanIndex(t, Options{})
	x.named(enterNamed(1, 10, "a"), enterNamed(4, 40, "b"))
	s := x.stream(spanSender.Rank)
	empty := func(lane *pairing) {
		for _, sp := range slices.Clone(lane.open) {
			s.processes[0].spans.evict(sp)
		}
		lane.forget(0)
	}
	empty(s.processes[0].spans.pairings[0])
	scopes, _ := x.Handle(spanSender.Rank).Active(nil, 50, false)
	require.Empty(t, scopes)

	snapshot, ok := x.Snapshot(spanSender.Rank) // with the numbers of what has gone
	require.True(t, ok)
	y := New(x.options)
	require.True(t, y.Restore(&snapshot))
	var c Coverage
	scopes, _ = y.Handle(spanSender.Rank).Over(nil, &c, 10, 50)
	require.Empty(t, scopes)
}

// A boundary that comes late pairs its lane anew, but takes nothing from the answers that came
// there whole.
func TestALateBoundaryKeepsTheIntervalsOfItsLane(t *testing.T) {
	x := newSpanIndex(t, Options{})
	x.named(enterNamed(0, 10, "step"), enterNamed(2, 40, "optim"))
	whole := named("saved", "", "save", 20, 30)
	whole.Lane = "main"
	x.add(Accepted, &spanSender, whole)
	x.named(exitNamed(1, 35, "step")) // late
	s := x.stream(spanSender.Rank).processes[0].spans
	s.check(t)
	require.Equal(t, 3, s.count)
	require.NotNil(t, s.byID.get("saved"))
}

// drawNamedRun draws steps of phases inside each other, none inside one of its own name, and the
// path at each second.
func drawNamedRun(t *rapid.T) (all []boundary.Boundary, truth []string) {
	names := []string{"fetch", "forward", "optim", "eval", "save"}
	now, seq, stack := int64(1), int64(0), []string{}
	truth = []string{""}
	tick := func() {
		for range rapid.Int64Range(1, 9).Draw(t, "time") {
			truth = append(truth, strings.Join(stack, " / "))
			now++
		}
	}
	var run func(name string)
	run = func(name string) {
		from := now
		all = append(all, enterNamed(seq, now*1e9, name))
		seq++
		stack = append(stack, name)
		for range rapid.IntRange(0, 3).Draw(t, "children") {
			tick()
			if inner := rapid.SampledFrom(names).Draw(t, "name"); len(stack) < 4 && !slices.Contains(stack, inner) {
				run(inner)
			}
		}
		tick()
		stack = stack[:len(stack)-1]
		all = append(all, took(seq, now*1e9, name, (now-from)*1e9))
		seq++
	}
	for range 6 {
		run("step")
		tick()
	}
	return all, truth
}

func TestLostBoundariesWithoutPathsAreNoWrongAnswersLater(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all, truth := drawNamedRun(t)
		lost := rapid.SliceOfNDistinct(rapid.IntRange(1, len(all)-2), 1, max(1, len(all)/20), rapid.ID).Draw(t, "lost")
		lost = slices.DeleteFunc(lost, func(i int) bool { return all[i].Name == "step" && all[i].Action == boundary.Exit })
		x := New(Options{Repair: true, MaxDepth: 64, MaxThreads: 64})
		in := x.Ingest()
		for i := range all {
			if !slices.Contains(lost, i) {
				require.Equal(t, Accepted, in.Add(&spanSender, pointer(all[i])).Outcome)
			}
		}
		in.Flush()
		for at, want := range truth {
			scopes, status := x.Handle(spanSender.Rank).Active(nil, int64(at)*1e9, false)
			if status == Known && len(scopes) == 1 {
				require.Equal(t, want, scopes[0].Path.Label(), "at %d, without %v of %+v", at, lost, all)
			}
		}
	})
}

// The first records of a start may be lost. An exit says that its scope is not one of before.
func TestNamesOfARestartWhoseFirstRecordsAreLostAreNotStackedOnThoseBefore(t *testing.T) {
	const second = int64(time.Second)
	for lost := range int64(3) {
		x := newSpanIndex(t, Options{})
		for i := range int64(10) {
			x.named(enterNamed(2*i, 10*i*second, "step"), exitNamed(2*i+1, (10*i+5)*second, "step"))
		}
		x.named(enterNamed(20, 100*second, "step"), enterNamed(21, 101*second, "fwd_bwd"))
		restart := []boundary.Boundary{
			enterNamed(0, 200*second, "init"), took(1, 205*second, "init", 5*second), enterNamed(2, 210*second, "step"),
			enterNamed(3, 211*second, "optim"), took(4, 219*second, "optim", 8*second),
		}
		x.named(restart[lost:]...)
		got, _ := x.at(150 * second)
		require.Equal(t, []string{"main: step / fwd_bwd"}, got)
		got, _ = x.at(215 * second)
		require.Equal(t, []string{"main: step / optim"}, got, lost)
		if lost < 2 {
			got, _ = x.at(203 * second)
			require.Equal(t, []string{"main: init"}, got, lost)
		}
	}
}

// Each start of a program numbers its records from 0, and the records of one start may be read
// before those of another one, or between them.
func TestNamesOfRestartsInAnyOrderGiveTheSameAnswers(t *testing.T) {
	const second = int64(time.Second)
	rapid.Check(t, func(t *rapid.T) {
		var files [][]boundary.Boundary
		truth := map[int64]string{} // by second
		begin := int64(10)
		for range rapid.IntRange(1, 3).Draw(t, "starts") {
			file := namedSteps(4)
			file = file[:rapid.IntRange(3, len(file)).Draw(t, "until killed")]
			var open []string
			next := int64(0)
			for i := range file {
				b := &file[i]
				for ; next < b.Time; next++ {
					truth[begin+next] = strings.Join(open, " / ")
				}
				if b.Action == boundary.Enter {
					open = append(open, b.Name)
				} else {
					open = open[:max(len(open)-1, 0)]
				}
				b.Time = (begin + b.Time) * second
				if b.Began != 0 {
					b.Began = (begin + b.Began) * second
				}
			}
			files = append(files, file)
			begin += 600
		}
		x := New(Options{Repair: true, MaxDepth: 64, MaxThreads: 64})
		in := x.Ingest()
		for len(files) > 0 {
			i := rapid.IntRange(0, len(files)-1).Draw(t, "file")
			n := rapid.IntRange(1, len(files[i])).Draw(t, "records")
			for j := range files[i][:n] {
				in.Add(&spanSender, pointer(files[i][j]))
				if rapid.IntRange(0, 5).Draw(t, "again") == 0 {
					in.Add(&spanSender, pointer(files[i][j]))
				}
			}
			if files[i] = files[i][n:]; len(files[i]) == 0 {
				files = slices.Delete(files, i, i+1)
			}
			in.Flush()
			if rapid.IntRange(0, 3).Draw(t, "restart") == 0 {
				snapshot, _ := x.Snapshot(spanSender.Rank)
				x = New(x.options)
				require.True(t, x.Restore(&snapshot))
				in = x.Ingest()
			}
		}
		for at, want := range truth {
			scopes, status := x.Handle(spanSender.Rank).Active(nil, at*second, false)
			got := []string{}
			for i := range scopes {
				got = append(got, scopes[i].Path.Label())
			}
			if status != Doubtful {
				require.Equal(t, want, strings.Join(got, " | "), "at %d", at)
			}
		}
	})
}

// unnumbered are boundaries of sources that do not number them, without the durations of the exits.
func unnumbered(all []boundary.Boundary) []boundary.Boundary {
	for i := range all {
		all[i].Sequence, all[i].Began = boundary.Unnumbered, 0
	}
	return all
}

// What shows that a boundary without a number has been lost puts in doubt what may have changed until
// then, and nothing else.
func TestALostBoundaryWithoutANumberLeavesOnlyWhatIsAroundItInDoubt(t *testing.T) {
	const step, forward, forwardLeft, stepLeft = 12, 13, 14, 17 // of the third step
	for name, tc := range map[string]struct {
		lost     []int
		from, to int64
	}{
		"nothing":                          {nil, 0, 0},
		"an end, and the parent ends":      {[]int{forwardLeft}, 205, 295},
		"an end, and the name comes again": {[]int{stepLeft}, 200, 300},
		"a start":                          {[]int{forward}, 200, 260},
		"an outermost start":               {[]int{step}, 195, 295},
		"a start and another one's end":    {[]int{forward, stepLeft}, 200, 300},
	} {
		t.Run(name, func(t *testing.T) {
			x := newSpanIndex(t, Options{})
			for i, b := range unnumbered(namedSteps(6)) {
				if !slices.Contains(tc.lost, i) {
					x.named(b)
				}
			}
			check := func(x spanIndex) {
				for at := range int64(595) {
					got, status := x.at(at)
					doubtful := tc.from <= at && at < tc.to
					require.Equal(t, doubtful, status == Doubtful, at)
					if !doubtful {
						require.Equal(t, stepAt(at), strings.Join(got, " | "), at)
					}
				}
			}
			check(x)
			snapshot, _ := x.Snapshot(spanSender.Rank)
			restored := newSpanIndex(t, Options{})
			require.True(t, restored.Restore(&snapshot))
			check(restored)
		})
	}
}

// An interval is in doubt with its ends, or with half of it; what lists the moments of one knows
// where doubts begin and end.
func TestTimesWithADoubtfulBoundaryWithoutANumber(t *testing.T) {
	x := newSpanIndex(t, Options{})
	for i, b := range unnumbered(namedSteps(6)) {
		if i != 13 { // the start of a forward part: 200 to 260 is in doubt
			x.named(b)
		}
	}
	for interval, want := range map[[2]int64]Status{
		{100, 190}: Known, {100, 210}: Doubtful, {250, 290}: Doubtful, {190, 270}: Doubtful, {100, 290}: Known, {265, 285}: Known,
	} {
		var c Coverage
		_, status := x.Handle(spanSender.Rank).Over(nil, &c, interval[0], interval[1])
		require.Equal(t, want, status, interval)
	}
	doubtful := map[[2]int64]bool{}
	_, listed := x.Handle(spanSender.Rank).Segments(150, 280, false, 100, func(s Segment) bool {
		doubtful[[2]int64{s.From, s.To}] = s.Doubtful
		return true
	})
	require.True(t, listed)
	require.Equal(t, map[[2]int64]bool{
		{150, 160}: false, {160, 190}: false, {190, 195}: false, {195, 200}: false, {200, 260}: true, {260, 280}: false,
	}, doubtful)
}

// A phase inside one of its own name is taken for the next one until both have been left. Nobody
// can say then which of the two was the case.
func TestAPhaseWithoutANumberInsideOneOfItsNameIsInDoubt(t *testing.T) {
	x := newSpanIndex(t, Options{})
	x.named(unnumbered([]boundary.Boundary{
		enterNamed(0, 10, "run"), enterNamed(0, 20, "layer"), enterNamed(0, 30, "layer"), exitNamed(0, 40, "layer"),
		exitNamed(0, 50, "layer"), enterNamed(0, 60, "layer"), exitNamed(0, 70, "layer"),
	})...)
	for at, want := range map[int64]bool{15: false, 20: true, 35: true, 45: true, 50: false, 65: false} {
		_, status := x.at(at)
		require.Equal(t, want, status == Doubtful, at)
	}
}

func TestALostBoundaryWithoutANumberIsNoWrongAnswerLater(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all, truth := drawNamedRun(t)
		withDurations := rapid.Bool().Draw(t, "durations")
		for i := range all {
			all[i].Sequence = boundary.Unnumbered
			if !withDurations {
				all[i].Began = 0
			}
		}
		lost := rapid.IntRange(0, len(all)-2).Draw(t, "lost")
		known := slices.Delete(slices.Clone(all), lost, lost+1)
		x := New(Options{Repair: true, MaxDepth: 64, MaxThreads: 64})
		in := x.Ingest()
		for _, i := range rapid.Permutation(indices(len(known))).Draw(t, "order") {
			require.Equal(t, Accepted, in.Add(&spanSender, pointer(known[i])).Outcome)
		}
		in.Flush()
		unsure := 0
		for at, want := range truth {
			scopes, status := x.Handle(spanSender.Rank).Active(nil, int64(at)*1e9, false)
			if status == Doubtful {
				unsure++
			} else if len(scopes) > 0 {
				require.Equal(t, want, scopes[0].Path.Label(), "at %d, without %+v of %+v", at, all[lost], all)
			}
		}
		require.Less(t, unsure, len(truth), "what is known goes on being known")
	})
}

func indices(n int) (all []int) {
	for i := range n {
		all = append(all, i)
	}
	return all
}
