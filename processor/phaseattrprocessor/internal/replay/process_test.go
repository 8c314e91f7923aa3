// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/phaseattr/phaseattr/internal/boundary"
)

var (
	trainer = boundary.Process{Host: "node-a", PID: 4100}
	worker  = boundary.Process{Host: "node-a", PID: 4200}
)

// second is the unit of time of these tests.
const second = int64(time.Second)

func of(rank boundary.RankKey, process boundary.Process) *Sender {
	return &Sender{Rank: rank, Process: process, Print: uint64(process.PID)}
}

// send adds what an emitter has written as that of a process, and forgets it.
func (e *emitter) send(x *Index, process boundary.Process) {
	in := x.Ingest()
	defer in.Flush()
	for _, b := range e.out {
		in.Add(of(e.rank, process), b)
	}
	e.out = nil
}

func observe(x *Index, rank boundary.RankKey, process boundary.Process, at int64, kind Kind) Added {
	return x.Ingest().Observe(of(rank, process), &Event{Time: at, Kind: kind})
}

func (e *emitter) enterAt(at int64, name string) { e.now = at; e.enter(1, name) }
func (e *emitter) exitAt(at int64)               { e.now = at; e.exit(1) }

// forked is a trainer that forks a worker in train, which inherits its stack and its
// counter.
func forked(x *Index, started bool) (parent, child *emitter) {
	parent = newEmitter(rank0)
	if started {
		observe(x, rank0, trainer, 0, Start)
	}
	parent.enterAt(1*second, "train")
	child = newEmitter(rank0)
	child.sequence = parent.sequence
	child.stacks[1] = slices.Clone(parent.stacks[1])
	child.enterAt(3*second, "decode")
	parent.enterAt(2*second, "forward")
	parent.exitAt(4 * second)
	child.exitAt(5 * second)
	parent.enterAt(6*second, "backward")
	child.enterAt(7*second, "decode")
	parent.exitAt(8 * second)
	return parent, child
}

func TestForkedWorkerDoesNotAnswerForTheTrainer(t *testing.T) {
	for name, childFirst := range map[string]bool{"trainer first": false, "worker first": true} {
		t.Run(name, func(t *testing.T) {
			x := New(sessions)
			parent, child := forked(x, true)
			if childFirst {
				child.send(x, worker)
			}
			parent.send(x, trainer)
			if !childFirst {
				child.send(x, worker)
			}
			assert.Equal(t, "train / forward", deepest(x, 3*second+1))
			assert.Equal(t, "train", deepest(x, 5*second))
			assert.Equal(t, "train / backward", deepest(x, 7*second+1))
			number := observe(x, rank0, worker, 7*second, Other).Occupant.Process
			scopes, status := x.ProcessHandle(rank0, number).Active(nil, 4*second, false)
			assert.Equal(t, Known, status)
			require.NotEmpty(t, scopes)
			assert.Equal(t, "train / decode", scopes[0].Path.Label())
		})
	}
}

func TestWithoutAStartEventTwoProcessesAreAmbiguous(t *testing.T) {
	x := New(sessions)
	parent, child := forked(x, false)
	parent.send(x, trainer)
	assert.Equal(t, "train / forward", deepest(x, 3*second+1))
	child.send(x, worker)
	_, status := x.Handle(rank0).Active(nil, 3*second+1, false)
	assert.Equal(t, Several, status)
	var labels []string
	for _, process := range x.Handle(rank0).Each(3*second + 1) {
		scopes, known := process.Active(nil, 3*second+1, false)
		assert.Equal(t, Known, known)
		labels = append(labels, scopes[0].Path.Label())
	}
	assert.ElementsMatch(t, []string{"train / forward", "train / decode"}, labels)
	assert.Equal(t, "train / forward", deepest(x, 3*second-1), "before the worker's first event")
	number := observe(x, rank0, worker, 7*second, Other).Occupant.Process
	_, status = x.ProcessHandle(rank0, number).Active(nil, 4*second, false)
	assert.Equal(t, Several, status, "a worker answers for itself only beside a main process")
}

func TestWorkerOfASilentTrainerIsNotTakenForItsRestart(t *testing.T) {
	x := New(sessions)
	parent, child := forked(x, true)
	parent.out = parent.out[:2]
	parent.send(x, trainer)
	child.out = child.out[:1]
	child.send(x, worker)
	_, status := x.Handle(rank0).Active(nil, 3*second+1, false)
	assert.Equal(t, Several, status)
}

// TestProcessMayNameItselfLate has a process whose first records lack what names it.
func TestProcessMayNameItselfLate(t *testing.T) {
	for name, nameless := range map[string]boundary.Process{"nothing": {}, "only the host": {Host: "node-a"}} {
		t.Run(name, func(t *testing.T) {
			x := New(sessions)
			e := newEmitter(rank0)
			first := func() {
				for _, at := range []int64{0, 0, second / 2} { // the start event comes twice
					x.Ingest().Observe(of(rank0, nameless), &Event{Time: at, Kind: Start})
				}
				x.Ingest().Observe(of(rank0, nameless), &Event{Time: second / 2, Kind: Sample, Interval: time.Second})
			}
			first()
			e.enterAt(1*second, "train")
			e.enterAt(2*second, "forward")
			e.send(x, trainer)
			first()
			assert.Equal(t, "train / forward", deepest(x, 3*second))
			assert.Equal(t, "train / forward", deepest(x, 100*second))

			child := newEmitter(rank0)
			child.enterAt(101*second, "decode")
			child.send(x, worker)
			e.exitAt(103 * second)
			e.send(x, trainer)
			_, status := x.Handle(rank0).Active(nil, 102*second, false)
			assert.Equal(t, Several, status, "two processes, neither of which is known to have started")
		})
	}
}

func TestRestartUnderTheSameSession(t *testing.T) {
	for name, newerFirst := range map[string]bool{"in order": false, "the newer one first": true} {
		t.Run(name, func(t *testing.T) {
			x := New(sessions)
			killed := func() {
				observe(x, rank0, trainer, 0, Start)
				e := newEmitter(rank0)
				e.enterAt(1*second, "train")
				e.enterAt(2*second, "forward")
				e.send(x, trainer)
			}
			restarted := func() {
				observe(x, rank0, worker, 20*second, Start)
				e := newEmitter(rank0)
				e.enterAt(21*second, "evaluate")
				e.exitAt(24 * second)
				e.send(x, worker)
			}
			if newerFirst {
				restarted()
				killed()
			} else {
				killed()
				restarted()
			}
			assert.Equal(t, "train / forward", deepest(x, 3*second))
			assert.Empty(t, deepest(x, 20*second+1))
			assert.Equal(t, "evaluate", deepest(x, 22*second))
			assert.Empty(t, deepest(x, 25*second))

			late := newEmitter(rank0)
			late.sequence = 2
			late.enterAt(22*second, "save")
			late.send(x, trainer)
			_, status := x.Handle(rank0).Active(nil, 22*second+1, false)
			assert.Equal(t, Several, status, "the former process goes on")
		})
	}
}

// TestRestartOnAnotherHostMaySeemEarlier restarts a killed process on a host whose clock is behind.
func TestRestartOnAnotherHostMaySeemEarlier(t *testing.T) {
	status := func(x *Index, at int64) Status {
		_, got := x.ProcessHandle(rank0, 0).Active(nil, at, false)
		return got
	}
	for name, tc := range map[string]struct {
		host string
		last int64
		want Status
	}{
		"another host":                        {host: "node-b", last: 20*second + second/2, want: Ended},
		"another host, by what clocks differ": {host: "node-b", last: 25 * second, want: Ended},
		"another host, much later":            {host: "node-b", last: 25*second + 1, want: Behind},
		"the same host":                       {host: "node-a.example", last: 20*second + second/2, want: Behind},
	} {
		t.Run(name, func(t *testing.T) {
			x := New(sessions)
			observe(x, rank0, trainer, 0, Start)
			former := newEmitter(rank0)
			former.enterAt(1*second, "train")
			former.enterAt(tc.last, "forward")
			former.send(x, trainer)
			again := boundary.Process{Host: tc.host, PID: 9}
			observe(x, rank0, again, 20*second, Start)
			latter := newEmitter(rank0)
			latter.enterAt(21*second, "restore")
			latter.enterAt(30*second, "load")
			latter.send(x, again)
			assert.Equal(t, Known, status(x, tc.last))
			assert.Equal(t, tc.want, status(x, 28*second))
			if tc.want == Ended {
				assert.Equal(t, "restore", deepest(x, 28*second))
			}
			former.enterAt(29*second, "backward")
			former.send(x, trainer)
			assert.Equal(t, Known, status(x, 28*second), "it goes on")
		})
	}
}

func TestStartEventEndsWhatItsProcessHadOpen(t *testing.T) {
	x := New(sessions)
	e := newEmitter(rank0)
	observe(x, rank0, trainer, 0, Start)
	e.enterAt(1*second, "train")
	e.send(x, trainer)
	again := newEmitter(rank0) // its scope IDs are used again
	again.enterAt(12*second, "evaluate")
	again.exitAt(14 * second)
	again.enterAt(16*second, "train")
	again.send(x, trainer)
	observe(x, rank0, trainer, 10*second, Start)
	assert.Equal(t, "train", deepest(x, 9*second))
	assert.Empty(t, deepest(x, 11*second))
	assert.Equal(t, "evaluate", deepest(x, 13*second))
	assert.Empty(t, deepest(x, 15*second))
	assert.Equal(t, "train", deepest(x, 17*second))
}

func TestSequenceThatBeginsAnewIsAnotherIncarnation(t *testing.T) {
	for name, reversed := range map[string]bool{"in order": false, "the newer one first": true} {
		t.Run(name, func(t *testing.T) {
			x := New(sessions)
			first, again := newEmitter(rank0), newEmitter(rank0)
			first.enterAt(1*second, "train")
			first.enterAt(2*second, "forward")
			again.enterAt(12*second, "evaluate")
			again.exitAt(14 * second)
			if reversed {
				again.send(x, trainer)
				first.send(x, trainer)
			} else {
				first.send(x, trainer)
				again.send(x, trainer)
			}
			assert.Equal(t, "train / forward", deepest(x, 11*second))
			assert.Equal(t, "evaluate", deepest(x, 13*second))
			assert.Empty(t, deepest(x, 15*second))
		})
	}
}

// TestIncarnationsMayBeReadInAnyOrder reads the end of a process's second incarnation first,
// then the first one, and the beginning of the second one last.
func TestIncarnationsMayBeReadInAnyOrder(t *testing.T) {
	x := New(sessions)
	first, again := newEmitter(rank0), newEmitter(rank0)
	for i := range int64(200) {
		first.enterAt(i*second, "forward")
		first.exitAt(i*second + second/2)
	}
	for i := range int64(20) {
		again.enterAt((300+i)*second, "backward")
		again.exitAt((300+i)*second + second/2)
	}
	head := &emitter{rank: rank0, out: again.out[:10]}
	again.out = again.out[10:]
	for _, e := range []*emitter{again, first, head} {
		e.send(x, trainer)
	}
	for i := range int64(200) {
		assert.Equal(t, "forward", deepest(x, i*second+second/4))
	}
	for i := range int64(20) {
		assert.Equal(t, "backward", deepest(x, (300+i)*second+second/4))
		assert.Empty(t, deepest(x, (300+i)*second+3*second/4))
	}
}

func TestBoundariesFollowTheirSequenceWhenTheClockJitters(t *testing.T) {
	run := func() []*boundary.Boundary {
		e := newEmitter(rank0)
		e.enterAt(1*second, "train")
		e.enterAt(8*second, "log")
		e.exitAt(8*second - 2_000_000)
		e.enterAt(18*second, "forward")
		return e.out
	}()
	for _, order := range [][]int{{0, 1, 2, 3}, {0, 2, 1, 3}, {3, 2, 1, 0}, {2, 3, 0, 1}, {1, 2, 0, 2, 1, 3}} {
		x := New(sessions)
		in := x.Ingest()
		for i, n := range order {
			in.Add(of(rank0, trainer), run[n])
			if i%2 == 1 {
				in.Flush()
			}
		}
		in.Flush()
		assert.Equal(t, "train", deepest(x, 10*second), "%v", order)
		assert.Equal(t, "train", deepest(x, 7*second), "%v", order)
		assert.Equal(t, "train / forward", deepest(x, 18*second), "%v", order)
		assert.Equal(t, int64(4), x.Stats().Boundaries, "%v", order)
		assert.Zero(t, x.Stats().Missing)
	}
}

func TestLaterBoundariesWinFromWhereTheClockWasSetBack(t *testing.T) {
	x := New(sessions)
	e := newEmitter(rank0)
	e.enterAt(100*second, "train")
	for at := int64(101); at < 110; at++ {
		e.enterAt(at*second, "forward")
		e.exitAt(at*second + second/2)
	}
	e.enterAt(105*second+1, "evaluate") // the clock has been set back by 5 s
	e.exitAt(107 * second)
	e.enterAt(107*second+second/4, "save")
	e.send(x, trainer)
	assert.Equal(t, "train / forward", deepest(x, 105*second))
	assert.Equal(t, "train / evaluate", deepest(x, 106*second+second/4))
	assert.Equal(t, "train / save", deepest(x, 108*second+second/4))
	assert.Equal(t, Behind, statusAt(x, 108*second))
}

func TestOneBoundaryFromThePastDoesNotSetTheClockBack(t *testing.T) {
	x := New(sessions)
	e := newEmitter(rank0)
	e.enterAt(100*second, "train")
	e.enterAt(110*second, "forward")
	e.exitAt(20 * second)
	e.enterAt(112*second, "backward")
	e.send(x, trainer)
	assert.Equal(t, "train / backward", deepest(x, 113*second))
	assert.Equal(t, "train", deepest(x, 105*second))
}

func TestProcessWithAPulseIsGoneWhenItMissesTenBeats(t *testing.T) {
	for name, say := range map[string]func(x *Index){
		"it says how often it samples": func(x *Index) {
			x.Ingest().Observe(of(rank0, trainer), &Event{Time: 10 * second, Interval: 2 * time.Second})
		},
		"it samples regularly": func(x *Index) {
			for i := range int64(8) {
				observe(x, rank0, trainer, (10-2*i)*second, Sample)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			x := New(sessions)
			e := newEmitter(rank0)
			e.enterAt(-10*second, "train")
			e.send(x, trainer)
			assert.Equal(t, Behind, statusAt(x, 0), "without a pulse silence is normal")
			say(x)
			assert.Equal(t, "train", deepest(x, 10*second))
			assert.Equal(t, Lagging, statusAt(x, 30*second))
			assert.Empty(t, deepest(x, 30*second), "what is not known is not guessed")
			assert.Equal(t, Gone, statusAt(x, 30*second+1))
			assert.True(t, x.Reached(rank0, 30*second+1))
			assert.False(t, x.Reached(rank0, 30*second))
			x.Handle(rank0).GiveUp(30 * second)
			assert.True(t, x.Reached(rank0, 30*second), "it is not waited for again")
			observe(x, rank0, trainer, 11*second, Other)
			assert.False(t, x.Reached(rank0, 30*second), "until its next event")
		})
	}
}

// A container comes back under the same process ID. What is asked of the time between its death and
// its return only after that is no phase either.
func TestProcessThatWasGoneBeforeItsRestartHadNoPhase(t *testing.T) {
	type sent struct {
		at   int64
		kind Kind
	}
	events := []sent{{20 * second, Start}}
	for i := range int64(20) {
		events = append(events, sent{i * second / 2, Sample}, sent{20*second + i*second/2, Sample})
	}
	for seed := range uint64(20) {
		x := New(sessions)
		e := newEmitter(rank0)
		e.enterAt(0, "train")
		e.send(x, trainer)
		random := rand.New(rand.NewPCG(seed, 1))
		random.Shuffle(len(events), func(i, j int) { events[i], events[j] = events[j], events[i] })
		slices.SortStableFunc(events, func(a, b sent) int { // each is at most 3 s late
			return cmp.Compare(a.at/(3*second), b.at/(3*second))
		})
		for _, sent := range events {
			observe(x, rank0, trainer, sent.at, sent.kind)
		}
		for at, want := range map[int64]string{9 * second: "train", 14 * second: "train", 15 * second: "", 19 * second: "", 21 * second: ""} {
			assert.Equal(t, want, deepest(x, at), "%d s, %d", at/second, seed)
		}
	}
}

// Between two heartbeats what is open goes on, and without anything open there are none.
func TestProcessIsGoneWhenItMissesTenHeartbeatsOfWhatIsOpen(t *testing.T) {
	for _, restored := range []bool{false, true} {
		x := newSpanIndex(t, sessions)
		evaluate := child("1", "", "evaluate", 0, 0)
		evaluate.Open = true
		x.add(Accepted, &spanSender, evaluate)
		x.Ingest().Observe(&spanSender, &Event{Time: 10 * second, Kind: Heartbeat, Interval: 2 * time.Second})
		if restored {
			snapshot, ok := x.Snapshot(spanSender.Rank)
			require.True(t, ok)
			x = newSpanIndex(t, sessions)
			require.True(t, x.Restore(&snapshot))
		}
		for at, want := range map[int64]Status{10 * second: Known, 30 * second: Behind, 30*second + 1: Gone} {
			_, status := x.at(at)
			assert.Equal(t, want, status, at)
		}
		evaluate.Open, evaluate.End = false, 20*second
		x.add(Accepted, &spanSender, evaluate)
		_, status := x.at(60 * second)
		assert.Equal(t, Behind, status, "nothing is open")
	}
}

func TestLagIsThatOfTheLiveRankThatIsFurthestBehind(t *testing.T) {
	x := New(sessions)
	lag := func(at int64) any {
		if lag, ok := x.Lag(at); ok {
			return lag
		}
		return "none"
	}
	assert.Equal(t, "none", lag(0))
	observe(x, boundary.RankKey{Session: "web"}, trainer, 1*second, Other)
	assert.Equal(t, "none", lag(0), "it has sent no boundary")
	for i, newest := range []int64{20, 10, 30} {
		e := newEmitter(boundary.RankKey{Session: "run", Rank: int64(i)})
		e.enterAt(newest*second, "train")
		e.send(x, trainer)
	}
	assert.Equal(t, 90*time.Second, lag(100*second))
	assert.Equal(t, -5*time.Second, lag(5*second), "all are ahead")

	behind := boundary.RankKey{Session: "run", Rank: 1}
	x.Ingest().Observe(of(behind, trainer), &Event{Time: 12 * second, Interval: time.Second})
	assert.Equal(t, 88*time.Second, lag(100*second), "one that misses samples counts")
	observe(x, behind, worker, 13*second, Other)
	assert.Equal(t, 87*time.Second, lag(100*second), "by its newest process")
	observe(x, behind, worker, 14*second, Stop)
	observe(x, behind, trainer, 14*second, Stop)
	assert.Equal(t, 80*time.Second, lag(100*second), "it has ended")
	assert.Equal(t, -10*time.Second, lag(10*second), "even before its end")
	assert.Equal(t, 900*time.Second, lag(920*second))
	assert.Equal(t, 891*time.Second, lag(921*second), "one has been silent for longer than the session timeout")
	assert.Equal(t, "none", lag(931*second))
}

func TestContendersForOnePlace(t *testing.T) {
	other := boundary.RankKey{Session: "other"}
	for name, tc := range map[string]struct {
		newcomer boundary.RankKey
		process  boundary.Process
		start    bool
		sameJob  bool
		again    int64 // when the former one writes again
		over     bool
	}{
		"a restart under another session":          {other, worker, true, true, 0, true},
		"without a start event":                    {other, worker, false, true, 0, true},
		"another job's process":                    {other, worker, true, false, 0, false},
		"another rank of the session":              {rank1, worker, true, true, 0, false},
		"another job's, from the same process":     {other, trainer, true, false, 0, true},
		"the same, without a start event":          {other, trainer, false, false, 0, false},
		"a restart, but the former one goes on":    {other, worker, true, true, 30, false},
		"a restart, and a late record of the past": {other, worker, true, true, 15, true},
	} {
		for order, formerFirst := range map[string]bool{"in order": true, "the newer one first": false} {
			t.Run(name+", "+order, func(t *testing.T) {
				x := New(sessions)
				e := newEmitter(rank0)
				e.enterAt(10*second, "train")
				var former, newer boundary.Occupant
				steps := []func(){
					func() {
						e.send(x, trainer)
						former = observe(x, rank0, trainer, 11*second, Other).Occupant
					},
					func() {
						kind := Other
						if tc.start {
							kind = Start
						}
						newer = observe(x, tc.newcomer, tc.process, 20*second, kind).Occupant
					},
				}
				if !formerFirst {
					slices.Reverse(steps)
				}
				for _, step := range steps {
					step()
				}
				x.Contend(former, newer, tc.sameJob)
				if tc.again > 0 {
					observe(x, rank0, trainer, tc.again*second, Other)
				}
				assert.True(t, x.Present(&former, 19*second, 19*second))
				assert.False(t, x.Present(&newer, 19*second, 19*second))
				assert.True(t, x.Present(&newer, 20*second, 20*second))
				assert.Equal(t, !tc.over, x.Present(&former, 40*second, 40*second))
				assert.Equal(t, tc.over, statusAt(x, 40*second) == Ended)
			})
		}
	}
}

// TestNewcomerThatCameEarlierIsANeighbor has records of a newcomer that arrive late and show
// that it came while the former process was there.
func TestNewcomerThatCameEarlierIsANeighbor(t *testing.T) {
	x, other := New(sessions), boundary.RankKey{Session: "other"}
	former := observe(x, rank0, trainer, 10*second, Other).Occupant
	newer := observe(x, other, worker, 30*second, Other).Occupant
	x.Contend(newer, former, true)
	observe(x, rank0, trainer, 20*second, Other)
	assert.False(t, x.Present(&former, 40*second, 40*second), "the newcomer seems to be its restart")
	late := observe(x, other, worker, 15*second, Other)
	assert.True(t, late.Earlier)
	assert.False(t, observe(x, other, worker, 15*second, Other).Earlier)
	x.Contend(newer, former, true)
	assert.True(t, x.Present(&former, 40*second, 40*second))
}

func TestProcessThatIsStartedAgainMayBeElsewhere(t *testing.T) {
	for name, tc := range map[string]struct {
		strict bool
		again  int64 // when it is seen where it was
		there  bool
	}{
		"elsewhere":              {},
		"where it was":           {again: 21, there: true},
		"before the start event": {again: 19},
		"in the strict replay":   {strict: true, there: true},
	} {
		t.Run(name, func(t *testing.T) {
			x := New(Options{Repair: !tc.strict})
			at := func(identity uint64, at int64, kind Kind) Added {
				return x.Ingest().Observe(&Sender{Rank: rank0, Print: identity}, &Event{Time: at * second, Kind: kind})
			}
			former := at(1, 0, Start).Occupant
			at(1, 10, Other)
			newer := at(2, 20, Start).Occupant
			at(2, 30, Other)
			if tc.again > 0 {
				at(1, tc.again, Other)
			}
			assert.True(t, x.Present(&former, 19*second, 19*second))
			assert.Equal(t, tc.there, x.Present(&former, 25*second, 25*second))
			assert.False(t, x.Present(&newer, 19*second, 19*second))
			assert.True(t, x.Present(&newer, 25*second, 25*second))
		})
	}
}

func TestProcessesAreToldApartByWhatRecordsName(t *testing.T) {
	x := New(sessions)
	number := func(p boundary.Process) int32 {
		added := observe(x, rank0, p, 1, Other)
		if added.Outcome != Accepted {
			return -int32(added.Outcome)
		}
		return added.Occupant.Process
	}
	assert.Equal(t, int32(0), number(trainer))
	assert.Equal(t, int32(0), number(boundary.Process{Host: "node-a"}), "the only process there")
	assert.Equal(t, int32(0), number(boundary.Process{Host: "node-a.cluster", PID: 4100}))
	assert.Equal(t, int32(1), number(worker))
	assert.Equal(t, -int32(AmbiguousProcess), number(boundary.Process{Host: "node-a"}))
	assert.Equal(t, int32(2), number(boundary.Process{}))
	assert.Equal(t, int32(2), number(boundary.Process{Host: "node-b"}), "a host is no process")
	assert.Equal(t, int32(3), number(boundary.Process{Host: "node-b", PID: 4100}))
	strict := New(Options{})
	for _, p := range []boundary.Process{trainer, worker, {}} {
		assert.Equal(t, int32(0), strict.Ingest().Observe(of(rank0, p), &Event{Time: 1}).Occupant.Process)
	}
}

func TestRanksWithoutBoundariesMakeRoom(t *testing.T) {
	x := New(Options{MaxRanks: 8})
	e := newEmitter(rank0)
	e.enterAt(1, "train")
	e.send(x, trainer)
	for i := range int64(100) {
		in := x.Ingest()
		added := in.Observe(from(boundary.RankKey{Session: "visitor", Rank: i}), &Event{Time: i})
		assert.Equal(t, Accepted, added.Outcome)
		if i >= 7 && i%2 == 1 {
			assert.NotEmpty(t, in.Vacated())
		}
	}
	assert.Equal(t, "train", deepest(x, 2))
	assert.LessOrEqual(t, x.Stats().Ranks, 8)
}

func TestEndedThreadsMakeRoom(t *testing.T) {
	x := New(Options{Repair: true, MaxThreads: 4, Window: time.Hour})
	e := newEmitter(rank0)
	e.enter(0, "serve")
	for thread := int64(1); thread < 300; thread++ {
		e.now += second
		e.enter(thread, "request")
		e.now += second
		e.exit(thread)
	}
	mustAdd(t, x, rank0, e.out...)
	scopes, status := x.Handle(rank0).Active(nil, e.now-second/2, false)
	assert.Equal(t, Known, status)
	assert.Len(t, scopes, 2)
	_, status = x.Handle(rank0).Active(nil, 2*second, false)
	assert.Equal(t, BeforeWindow, status, "what an ended thread did is no longer known")
}

// TestProcessesThatAreOverMakeRoom has processes that were killed in a phase, each followed
// by another one.
func TestProcessesThatAreOverMakeRoom(t *testing.T) {
	for name, kind := range map[string]Kind{"restarts": Start, "workers of a trainer": Other} {
		t.Run(name, func(t *testing.T) {
			x := New(Options{Repair: true, MaxThreads: 4, Window: time.Hour})
			main := newEmitter(rank0)
			observe(x, rank0, trainer, 0, Start)
			main.enterAt(1*second, "train")
			main.send(x, trainer)
			for i := range int64(20) {
				at, killed := (2+i)*second, newEmitter(rank0)
				name := boundary.Process{Host: "node-a", PID: 5000 + i}
				observe(x, rank0, name, at, kind)
				killed.enterAt(at+1, fmt.Sprint("decode ", i))
				killed.send(x, name)
			}
			if kind == Start {
				assert.Equal(t, "decode 19", deepest(x, 22*second))
				return
			}
			main.now = 30 * second
			main.enter(2, "save")
			main.send(x, trainer)
			scopes, status := x.Handle(rank0).Active(nil, 31*second, false)
			assert.Equal(t, Behind, status)
			assert.Len(t, scopes, 2, "both threads of the trainer")
		})
	}
}

func TestMissingBoundariesAreCounted(t *testing.T) {
	x := New(sessions)
	e := newEmitter(rank0)
	e.enterAt(1*second, "train")
	steps(e, 10)
	lost, rest := e.out[4:7], slices.Concat(e.out[:4], e.out[7:])
	mustAdd(t, x, rank0, rest...)
	assert.Equal(t, int64(3), x.Stats().Missing)
	mustAdd(t, x, rank0, lost...)
	assert.Zero(t, x.Stats().Missing)
}
