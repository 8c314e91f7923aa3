// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/phaseattr/phaseattr/internal/boundary"
)

var spanSender = Sender{Rank: boundary.RankKey{Session: "run", Rank: 3}, Process: boundary.Process{Host: "node", PID: 7}, Print: 1}

// spanIndex is an index to which tests add intervals of one process.
type spanIndex struct {
	*Index
	t *testing.T
}

func newSpanIndex(t *testing.T, options Options) spanIndex {
	options.Repair = true
	return spanIndex{New(options), t}
}

func (x spanIndex) add(want Outcome, from *Sender, intervals ...boundary.Interval) {
	x.t.Helper()
	in := x.Ingest()
	for i := range intervals {
		require.Equal(x.t, want, in.AddInterval(from, &intervals[i]).Outcome, "%+v", intervals[i])
	}
	in.Flush()
}

// at returns the labels of the scopes that are active at a time, each with its thread's name
// when it has one, and the status.
func (x spanIndex) at(time int64) ([]string, Status) {
	scopes, status := x.Handle(spanSender.Rank).Active(nil, time, false)
	labels := []string{}
	for i := range scopes {
		label := scopes[i].Path.Label()
		if scopes[i].ThreadName != "" {
			label = scopes[i].ThreadName + ": " + label
		}
		labels = append(labels, label)
	}
	slices.Sort(labels)
	return labels, status
}

func named(id, parent, path string, start, end int64) boundary.Interval {
	return boundary.Interval{Start: start, End: end, ScopeID: id, ParentScopeID: parent, Path: boundary.NewPath(path)}
}

func child(id, parent, name string, start, end int64) boundary.Interval {
	return boundary.Interval{Start: start, End: end, ScopeID: id, ParentScopeID: parent, Name: name}
}

func TestAnIntervalIsActiveFromItsStartUntilBeforeItsEnd(t *testing.T) {
	x := newSpanIndex(t, Options{})
	x.add(Accepted, &spanSender, named("a", "", "forward", 10, 20), named("b", "", "backward", 20, 30), named("c", "", "late", 40, 50))
	for at, want := range map[int64][]string{9: {}, 10: {"forward"}, 19: {"forward"}, 20: {"backward"}, 30: {}, 39: {}, 40: {"late"}} {
		got, status := x.at(at)
		require.Equal(t, want, got, at)
		require.Equal(t, Known, status, at)
	}
}

func TestThePathComesFromTheParentsWheneverTheyCome(t *testing.T) {
	all := []boundary.Interval{
		child("train", "", "train", 0, 100), child("step", "train", "step", 10, 50), child("forward", "step", "forward", 20, 30),
	}
	for _, order := range [][]int{{0, 1, 2}, {2, 1, 0}, {1, 0, 2}, {2, 0, 1}} {
		x := newSpanIndex(t, Options{})
		for _, i := range order {
			x.add(Accepted, &spanSender, all[i])
		}
		x.add(Duplicate, &spanSender, all...)
		got, status := x.at(25)
		require.Equal(t, []string{"train / step / forward"}, got)
		require.Equal(t, Known, status)
		got, _ = x.at(60)
		require.Equal(t, []string{"train"}, got)
	}
}

func TestAPathWithAMissingParentIsTheKnownPart(t *testing.T) {
	x := newSpanIndex(t, Options{})
	feed := &Feed{Grace: 15 * time.Second}
	from := spanSender
	from.Feed = feed
	second := int64(time.Second)
	x.add(Accepted, &from, child("layer", "forward", "layer", 2*second, 3*second))
	got, status := x.at(2 * second)
	require.Empty(t, got, "only the name of what may be anywhere")
	require.Equal(t, Incomplete, status)
	require.True(t, x.Handle(spanSender.Rank).At(2*second, 2*second).Behind)
	require.Equal(t, 15*time.Second, x.Handle(spanSender.Rank).At(2*second, 2*second).Grace)

	x.add(Accepted, &from, child("forward", "step", "forward", 1*second, 4*second))
	got, status = x.at(2 * second)
	require.Equal(t, []string{"forward / layer"}, got)
	require.Equal(t, Incomplete, status)
	require.True(t, x.Handle(spanSender.Rank).At(2*second, 2*second).Behind)

	x.add(Accepted, &from, child("step", "", "step", 0, 5*second))
	got, status = x.at(2 * second)
	require.Equal(t, []string{"step / forward / layer"}, got)
	require.Equal(t, Known, status)
	require.False(t, x.Handle(spanSender.Rank).At(2*second, 2*second).Behind)
}

func TestAParentThatNeverComesIsNotWaitedFor(t *testing.T) {
	x := newSpanIndex(t, Options{})
	from := spanSender
	from.Feed = &Feed{Grace: 15 * time.Second}
	second := int64(time.Second)
	for i := range int64(40) {
		x.add(Accepted, &from, child(fmt.Sprint("step", i), "train", "step", i*second, (i+1)*second))
	}
	got, status := x.at(35 * second)
	require.Equal(t, []string{"step"}, got)
	require.Equal(t, Incomplete, status)
	require.False(t, x.Handle(spanSender.Rank).At(35*second, 35*second).Behind)
	require.True(t, x.Handle(spanSender.Rank).At(5*second, 5*second).Behind)
}

func TestAMomentInsideARunningIntervalIsNotKnown(t *testing.T) {
	x := newSpanIndex(t, Options{})
	x.add(Accepted, &spanSender, named("a", "i", "iteration / forward", 10, 20))
	for _, at := range []int64{5, 20, 25} {
		got, status := x.at(at)
		require.Empty(t, got, at)
		require.Equal(t, Running, status, at)
		require.True(t, x.Handle(spanSender.Rank).At(at, at).Behind, at)
	}
	require.False(t, x.Handle(spanSender.Rank).At(15, 15).Behind, "the innermost is in")
	x.add(Accepted, &spanSender, named("i", "", "iteration", 4, 30))
	got, status := x.at(25)
	require.Equal(t, []string{"iteration"}, got)
	require.Equal(t, Known, status)
	require.False(t, x.Handle(spanSender.Rank).At(25, 25).Behind)
	require.False(t, x.Handle(spanSender.Rank).At(3, 3).Behind)
}

func TestDepthIsThatOfParentsNotOfThePath(t *testing.T) {
	x := newSpanIndex(t, Options{})
	x.add(Accepted, &spanSender,
		boundary.Interval{Start: 20, End: 30, ScopeID: "m", ParentScopeID: "fb", Path: boundary.NewPath("microbatch", "forward")},
		boundary.Interval{Start: 10, End: 90, ScopeID: "fb", ParentScopeID: "i", Path: boundary.NewPath("iteration", "forward_backward")},
		boundary.Interval{Start: 0, End: 100, ScopeID: "i", Path: boundary.NewPath("iteration")})
	got, _ := x.at(25)
	require.Equal(t, []string{"microbatch / forward"}, got)
	scopes, _ := x.Handle(spanSender.Rank).Active(nil, 25, true)
	require.Len(t, scopes, 3)
	for i := range scopes {
		require.Equal(t, scopes[i].ScopeID != "m", scopes[i].Outer)
	}
	var c Coverage
	scopes, _ = x.Handle(spanSender.Rank).Over(nil, &c, 20, 32)
	require.Len(t, scopes, 1, "the deepest that is active throughout")
	require.Equal(t, "iteration / forward_backward", scopes[0].Path.Label())
	require.Equal(t, Decides, scopes[0].Extent)
}

func TestWithoutParentsContainmentTellsTheDepth(t *testing.T) {
	x := newSpanIndex(t, Options{})
	x.add(Accepted, &spanSender, named("", "", "read", 20, 30), named("", "", "epoch", 0, 100), named("", "", "open", 22, 24))
	got, _ := x.at(23)
	require.Equal(t, []string{"open"}, got)
	got, _ = x.at(26)
	require.Equal(t, []string{"read"}, got)
}

func TestSiblingsThatOverlapAreInLanesOfTheirOwn(t *testing.T) {
	x := newSpanIndex(t, Options{})
	x.add(Accepted, &spanSender, child("step", "", "step", 0, 100), child("a", "step", "rollout", 10, 60), child("b", "step", "reward", 20, 40))
	got, _ := x.at(30)
	require.Equal(t, []string{"step / reward", "step / rollout"}, got)
	scopes, _ := x.Handle(spanSender.Rank).Active(nil, 30, false)
	require.NotEqual(t, scopes[0].ThreadID, scopes[1].ThreadID)
	got, _ = x.at(50)
	require.Equal(t, []string{"step / rollout"}, got)
}

func TestNamedLanesAreThreads(t *testing.T) {
	x := newSpanIndex(t, Options{})
	a, b := child("a", "", "step", 0, 50), child("b", "a", "prefetch", 10, 20)
	a.Lane, b.Lane = "main", "17"
	x.add(Accepted, &spanSender, a, b)
	got, _ := x.at(15)
	require.Equal(t, []string{"17: step / prefetch", "main: step"}, got)
	scopes, _ := x.Handle(spanSender.Rank).Active(nil, 15, false)
	require.Equal(t, []int64{boundary.LaneID("main"), 17}, []int64{scopes[0].ThreadID, scopes[1].ThreadID})
}

func TestAClosedIntervalReplacesItsOpenOne(t *testing.T) {
	open := boundary.Interval{Start: 10, Open: true, ScopeID: "a", Name: "train"}
	closed := child("a", "", "train", 10, 90)
	for _, order := range [][]boundary.Interval{{open, closed}, {closed, open}} {
		x := newSpanIndex(t, Options{MaxOpen: 5})
		for _, iv := range order {
			x.Ingest().AddInterval(&spanSender, &iv)
		}
		x.add(Accepted, &spanSender, boundary.Interval{Start: 100, Open: true, ScopeID: "b", Name: "next"})
		require.Equal(t, int64(1), x.Stats().OpenScopes)
		require.Equal(t, int64(4), x.Stats().Boundaries)
		got, _ := x.at(50)
		require.Equal(t, []string{"train"}, got)
		got, status := x.at(95)
		require.Empty(t, got)
		require.Equal(t, Known, status)
		got, status = x.at(120)
		require.Equal(t, []string{"next"}, got, "as with an enter whose exit has not come")
		require.Equal(t, Behind, status)
	}
}

func TestAnOpenIntervalEndsWithItsParent(t *testing.T) {
	x := newSpanIndex(t, Options{})
	x.add(Accepted, &spanSender, boundary.Interval{Start: 0, Open: true, ScopeID: "a", Name: "step"},
		boundary.Interval{Start: 10, Open: true, ScopeID: "b", ParentScopeID: "a", Name: "forward"})
	got, _ := x.at(10)
	require.Equal(t, []string{"step / forward"}, got)
	x.add(Accepted, &spanSender, child("a", "", "step", 0, 50))
	got, _ = x.at(40)
	require.Equal(t, []string{"step / forward"}, got)
	x.add(Accepted, &spanSender, boundary.Interval{Start: 60, Open: true, ScopeID: "c", Name: "step"})
	got, _ = x.at(55)
	require.Empty(t, got)
}

// opened is an interval of which only the start has come.
func opened(id, parent, name string, start int64) boundary.Interval {
	return boundary.Interval{Start: start, Open: true, ScopeID: id, ParentScopeID: parent, Name: name}
}

// An open interval whose end has been lost is in doubt from when it was last seen to go on until
// what shows that: the end of what it is in, or the next one of its name. The next one of another
// name may be beside it.
func TestAnOpenIntervalIsDoubtfulUntilWhatShowsThatItsEndIsLost(t *testing.T) {
	for name, tc := range map[string]struct {
		after []boundary.Interval
		want  map[int64]string
	}{
		"nothing": {nil, map[int64]string{11: "step", 27: "step / forward", 45: "step / forward"}},
		"the parent ends": {
			[]boundary.Interval{child("step", "", "step", 10, 40)},
			map[int64]string{11: "step", 20: "step / forward", 24: "step / forward", 26: "?", 39: "?", 40: "", 90: ""},
		},
		"the next one of the name": {
			[]boundary.Interval{opened("again", "step", "forward", 40)},
			map[int64]string{24: "step / forward", 26: "?", 39: "?", 40: "step / forward", 90: "step / forward"},
		},
		"the next one of another name": {[]boundary.Interval{opened("other", "step", "backward", 40)}, map[int64]string{24: "step / forward", 26: "?", 90: "?"}},
		"the next one of the parent's name": {
			[]boundary.Interval{opened("step 2", "", "step", 40), child("step 2", "", "step", 40, 60)},
			map[int64]string{24: "step / forward", 26: "?", 39: "?", 40: "step", 60: ""},
		},
	} {
		intervals := append([]boundary.Interval{
			opened("step", "", "step", 10), opened("forward", "step", "forward", 20),
			opened("layer", "forward", "layer", 25), child("layer", "forward", "layer", 25, 26),
		}, tc.after...)
		for range 2 { // the start of what shows it may come first
			x := newSpanIndex(t, Options{})
			x.add(Accepted, &spanSender, intervals...)
			for at, want := range tc.want {
				got, status := x.at(at)
				if want == "?" {
					require.Equal(t, Doubtful, status, "%s, at %d", name, at)
					continue
				}
				require.Equal(t, want, strings.Join(got, " | "), "%s, at %d", name, at)
				require.NotEqual(t, Doubtful, status, "%s, at %d", name, at)
			}
			if len(tc.after) == 1 && tc.after[0].Open {
				intervals = append(tc.after, intervals[:4]...)
			}
		}
	}
}

func TestAnIntervalWithADoubtfulEndIsDoubtful(t *testing.T) {
	x := newSpanIndex(t, Options{})
	x.add(Accepted, &spanSender, opened("step", "", "step", 10), opened("forward", "step", "forward", 20), child("step", "", "step", 10, 40))
	for interval, want := range map[[2]int64]Status{{21, 35}: Doubtful, {15, 35}: Known, {11, 20}: Known} {
		var c Coverage
		_, status := x.Handle(spanSender.Rank).Over(nil, &c, interval[0], interval[1])
		require.Equal(t, want, status, interval)
	}
}

// Phases of one name that are open at once, and one of which has ended after the next one started,
// are not taken for ended any longer.
func TestOpenIntervalsOfOneNameThatOverlapAreAllActive(t *testing.T) {
	x := newSpanIndex(t, Options{})
	x.add(Accepted, &spanSender, opened("a", "", "rollout", 10), opened("b", "", "rollout", 20),
		opened("reward", "a", "reward", 12), child("reward", "a", "reward", 12, 13), child("a", "", "rollout", 10, 30))
	x.add(Accepted, &spanSender, opened("c", "", "rollout", 40))
	got, status := x.at(45)
	require.Equal(t, []string{"rollout", "rollout"}, got)
	require.Equal(t, Doubtful, status)
}

func TestAProcessAsideAnswersOnlyForItself(t *testing.T) {
	x := newSpanIndex(t, Options{})
	worker := spanSender
	worker.Process.PID, worker.Print, worker.Aside = 8, 2, true
	x.add(Accepted, &worker, named("w", "", "checkpoint", 0, 100))
	_, status := x.at(50)
	require.Equal(t, Unknown, status)
	x.add(Accepted, &spanSender, named("a", "", "forward", 0, 40), named("b", "", "backward", 50, 60))
	got, status := x.at(20)
	require.Equal(t, []string{"forward"}, got)
	require.Equal(t, Known, status)
	x.add(Accepted, &worker, named("w2", "", "checkpoint", 100, 200))
	got, status = x.at(55)
	require.Equal(t, []string{"backward"}, got)
	require.Equal(t, Known, status)
	scopes, _ := x.ProcessHandle(spanSender.Rank, 0).Active(nil, 50, false)
	require.Equal(t, "checkpoint", scopes[0].Path.Label())
}

func TestPeersAnswerTogether(t *testing.T) {
	x := newSpanIndex(t, Options{})
	feed := &Feed{Peers: true}
	driver, collector := spanSender, spanSender
	driver.Feed, collector.Feed = feed, feed
	collector.Process.PID, collector.Print = 8, 2
	x.add(Accepted, &driver, named("a", "", "policy_training", 0, 40))
	x.add(Accepted, &collector, named("b", "", "generation", 30, 60))
	_, status := x.at(10)
	require.Equal(t, Known, status, "the collector had not come")
	_, status = x.at(35)
	require.Equal(t, Peers, status)
	require.Len(t, x.Handle(spanSender.Rank).Each(35), 2)
}

func pointer[T any](v T) *T { return &v }

func TestPlacesHoldFromTheStartOfAnInterval(t *testing.T) {
	x := newSpanIndex(t, Options{})
	added := x.Ingest().AddInterval(&spanSender, pointer(named("a", "", "step", 10, 50)))
	require.True(t, added.Moved)
	for at, want := range map[int64]bool{9: false, 10: true, 49: true} {
		require.Equal(t, want, x.Present(&added.Occupant, at, at), at)
	}
	added = x.Ingest().AddInterval(&spanSender, pointer(named("b", "", "startup", 2, 8)))
	require.True(t, added.Earlier)
	require.True(t, x.Present(&added.Occupant, 2, 2))
}

func TestSpansLeaveTheWindowByTheirEnds(t *testing.T) {
	x := newSpanIndex(t, Options{Window: 100})
	x.add(Accepted, &spanSender, child("train", "", "train", 0, 1000), child("outlives", "train", "save", 990, 1160))
	for at := int64(950); at < 1200; at += 10 {
		x.add(Accepted, &spanSender, child(strconv.FormatInt(at, 10), "", "step", at, at+10))
	}
	require.Less(t, x.Stats().Boundaries, int64(40))
	_, status := x.at(1000)
	require.Equal(t, BeforeWindow, status)
	got, _ := x.at(1150)
	require.Equal(t, []string{"step", "train / save"}, got, "the path is kept")
	x.add(TooOld, &spanSender, child("train", "", "train", 0, 1000))
}

func TestSpansAreBounded(t *testing.T) {
	x := newSpanIndex(t, Options{MaxBoundaries: 10, MaxTotal: 1000, MaxThreads: 2, MaxOpen: 3})
	for i := range int64(20) {
		x.add(Accepted, &spanSender, child(strconv.FormatInt(i, 10), fmt.Sprint("missing", i), "step", i*10, i*10+10))
		require.LessOrEqual(t, x.Stats().Boundaries, int64(10))
	}
	p := x.stream(spanSender.Rank).processes[0]
	require.Equal(t, 10, p.spans.byID.count, "5 of them and their missing parents")
	_, status := x.at(140)
	require.Equal(t, BeforeWindow, status)

	lane := named("lane", "", "x", 200, 210)
	lane.Lane = "second"
	x.add(Accepted, &spanSender, lane)
	lane.Lane, lane.ScopeID = "third", "third"
	x.add(TooManyThreads, &spanSender, lane)

	for i := range int64(3) {
		x.add(Accepted, &spanSender, boundary.Interval{Start: 200 + i, Open: true, ScopeID: fmt.Sprint("open", i), Name: "open"})
	}
	x.add(TooManyOpen, &spanSender, boundary.Interval{Start: 210, Open: true, ScopeID: "open4", Name: "open"})
}

func TestHostileParentsCostBoundedTime(t *testing.T) {
	const many = 30_000
	for name, parent := range map[string]func(i int) string{
		"one parent that comes last": func(int) string { return "parent" },
		"a chain from the leaf":      func(i int) string { return strconv.Itoa(i + 1) },
		"a cycle":                    func(i int) string { return strconv.Itoa((i + 1) % many) },
		"pairs":                      func(i int) string { return strconv.Itoa(i ^ 1) },
		"its own":                    strconv.Itoa,
		"parents that never come":    func(i int) string { return fmt.Sprint("missing", i) },
	} {
		t.Run(name, func(t *testing.T) {
			x := newSpanIndex(t, Options{MaxDepth: 8})
			begin := time.Now()
			in := x.Ingest()
			for i := range many {
				in.AddInterval(&spanSender, pointer(child(strconv.Itoa(i), parent(i), "x", int64(i), int64(i)+many)))
			}
			in.AddInterval(&spanSender, pointer(child("parent", "", "x", 0, 3*many)))
			for i := range int64(1000) {
				x.at(i * many / 1000)
			}
			require.Less(t, time.Since(begin), time.Minute)
		})
	}
}

func TestSpansFarAheadOfTheClockAreNotBelieved(t *testing.T) {
	x := newSpanIndex(t, Options{Window: time.Minute})
	second := int64(time.Second)
	for i := range int64(5) {
		x.add(Accepted, &spanSender, named(strconv.FormatInt(i, 10), "", "step", i*second, (i+1)*second))
	}
	x.add(Accepted, &spanSender, named("wrong", "", "wrong", 3*second, math.MaxInt64/2))
	got, status := x.at(3 * second)
	require.Equal(t, []string{"step"}, got)
	require.Equal(t, Known, status)
	_, status = x.at(10 * second)
	require.Equal(t, Running, status)
}

// BenchmarkAddInterval measures what taking in an interval of a step costs.
func BenchmarkAddInterval(b *testing.B) {
	for _, from := range []string{"name", "parents"} {
		b.Run("path="+from, func(b *testing.B) {
			x := New(Options{Repair: true, Window: 10 * time.Minute, MaxRanks: 10, MaxThreads: 64, MaxOpen: 64, MaxBoundaries: 100_000, MaxTotal: 1 << 30})
			path := boundary.NewPath("iteration", "forward_backward")
			r := rand.New(rand.NewPCG(1, 2))
			step := int64(time.Second)
			in := x.Ingest()
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				n := int64(i / 8)
				start := n*step + int64(i%8)*step/8
				iv := boundary.Interval{Start: start, End: start + step/8, ScopeID: fmt.Sprintf("%016x", r.Uint64()), ParentScopeID: fmt.Sprintf("%016x", n)}
				switch {
				case i%8 == 7: // the step comes after what is inside it
					iv.ScopeID, iv.ParentScopeID, iv.Start = iv.ParentScopeID, "", n*step
				case from == "name":
					iv.Path = path
				}
				if iv.Path == (boundary.Path{}) {
					iv.Name = "forward_backward"
				}
				in.AddInterval(&spanSender, &iv)
			}
		})
	}
}

func TestABusyLaneThatHasNotComeAsFarLeavesOthersInDoubt(t *testing.T) {
	x := newSpanIndex(t, Options{})
	lane := func(lane string, iv boundary.Interval) boundary.Interval {
		iv.Lane = lane
		return iv
	}
	for i := range int64(30) {
		x.add(Accepted, &spanSender, lane("main", named(fmt.Sprint("step", i), "", "step", i*10, i*10+9)))
	}
	x.add(Accepted, &spanSender, lane("saver", named("save", "", "save", 200, 320)))
	got, status := x.at(305)
	require.Equal(t, []string{"saver: save"}, got)
	require.Equal(t, Doubtful, status, "the main lane is in something by now, most likely")
	require.True(t, x.Handle(spanSender.Rank).At(305, 305).Behind)

	x.add(Accepted, &spanSender, lane("main", named("step30", "", "step", 300, 309)))
	got, status = x.at(305)
	require.Equal(t, []string{"main: step", "saver: save"}, got)
	require.Equal(t, Known, status)
	require.False(t, x.Handle(spanSender.Rank).At(305, 305).Behind)

	for i := int64(31); i < 60; i++ {
		x.add(Accepted, &spanSender, lane("main", named(fmt.Sprint("step", i), "", "step", i*10, i*10+9)))
	}
	got, status = x.at(505)
	require.Equal(t, []string{"main: step"}, got)
	require.Equal(t, Known, status, "the other lane is idle most of the time")
	require.False(t, x.Handle(spanSender.Rank).At(505, 505).Behind)
}

// What an interval completes may be what makes room for it. It is new then.
func TestAnIntervalCompletesNothingThatHasMadeRoomForIt(t *testing.T) {
	counted := func(t *testing.T, x spanIndex) *spans {
		t.Helper()
		s := x.stream(spanSender.Rank).processes[0].spans
		s.check(t)
		return s
	}
	t.Run("a scope from far ahead that ends", func(t *testing.T) {
		x := newSpanIndex(t, Options{Window: 100, MaxBoundaries: 4})
		open := named("far", "", "save", 1000, 0)
		open.Open = true
		x.add(Accepted, &spanSender, named("a", "", "step", 10, 20), named("b", "", "step", 20, 30), open)
		x.add(Accepted, &spanSender, named("far", "", "save", 1000, 1010))
		require.Equal(t, 2, counted(t, x).count)
	})
	t.Run("a parent that was missing", func(t *testing.T) {
		x := newSpanIndex(t, Options{MaxBoundaries: 2})
		x.add(Accepted, &spanSender, child("step", "train", "step", 10, 20))
		x.add(Accepted, &spanSender, named("train", "", "train", 0, 100))
		s := counted(t, x)
		require.Equal(t, 1, s.count)
		require.Equal(t, s.byID.get("train").heap(), s.bytes)
	})
}
