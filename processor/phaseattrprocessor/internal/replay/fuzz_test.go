// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"fmt"
	"math"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/phaseattr/phaseattr/internal/boundary"
)

// FuzzIndex does to an index what the bytes say, 6 per operation, and checks its
// invariants: its counters are right, every stack is the one that a replay from the start
// gives, and no bound is passed.
func FuzzIndex(f *testing.F) {
	seed := []byte{}
	for _, b := range trainingRun() {
		seed = append(seed, byte(b.Action), 1, byte(b.Time), byte(b.Sequence), byte(b.Sequence), 0)
	}
	f.Add(true, seed)
	f.Add(false, seed)
	f.Add(true, []byte{0, 1, 10, 1, 1, 0, 4, 0, 255, 0, 0, 9, 1, 1, 5, 2, 1, 0, 3, 0, 200, 0, 0, 0, 5, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, repair bool, operations []byte) {
		options := Options{
			Repair: repair, Window: 100, SessionTimeout: time.Nanosecond,
			MaxRanks: 3, MaxThreads: 3, MaxOpen: 4, MaxBoundaries: 20, MaxTotal: 40,
		}
		x := New(options)
		batch := x.Ingest()
		in, out := 0, 0
		operations = operations[:min(len(operations), 6*500)] // more take long
		for ; len(operations) >= 6; operations = operations[6:] {
			op := operations[:6]
			rank := boundary.RankKey{Session: "s", Rank: int64(op[5] % 4)}
			at := int64(op[2])
			switch op[5] / 64 { // a wild time now and then
			case 1:
				at = math.MaxInt64 - at
			case 2:
				at = math.MinInt64 + at
			}
			switch op[0] % 8 {
			case 0, 1:
				in++
				if batch.Add(from(rank), fuzzBoundary(op, at)).Outcome < outcomes {
					out++
				}
			case 2:
				batch.Observe(from(rank), &Event{Time: at})
			case 3:
				batch.Observe(from(rank), &Event{Time: at, Kind: Stop})
			case 4:
				batch.Observe(&Sender{
					Rank: rank, Process: boundary.Process{Host: "h", PID: int64(op[1]%4) + 1, Container: "c"}, Print: uint64(op[3] % 32),
				}, &Event{Time: at, Kind: Kind(op[4] % 3)})
				x.Contend(
					boundary.Occupant{Rank: rank, Process: int32(op[1] % 4)},
					boundary.Occupant{Rank: boundary.RankKey{Session: "s", Rank: int64(op[3] % 4)}, Process: int32(op[4] % 4)}, op[3] > 127,
				)
			case 5:
				x.Sweep()
			case 6:
				batch.Flush()
			case 7:
				holdsTogether(t, x) // with late boundaries that wait
			}
			h := x.Handle(rank)
			h.Active(nil, at, op[1]%2 == 0)
			h.Over(nil, &Coverage{}, at-int64(op[3]), at)
			h.NoteLookup(at, 1)
		}
		require.Equal(t, in, out)
		holdsTogether(t, x)
		batch.Flush()
		holdsTogether(t, x)
		for _, s := range x.all() {
			require.False(t, s.unflushed)
			for _, p := range s.processes {
				for i := range p.threads {
					require.Nil(t, p.threads[i].late)
				}
			}
		}
	})
}

func fuzzBoundary(op []byte, at int64) *boundary.Boundary {
	names := []string{"train", "step", "forward"}
	depth := int(op[4]/8)%3 + 1
	b := &boundary.Boundary{
		Action: boundary.Action(op[0] % 2), Time: at, Sequence: int64(op[3]), ThreadID: int64(op[1] % 4),
		ScopeID: strconv.Itoa(int(op[4] % 8)), Path: boundary.NewPath(names[:depth]...),
	}
	if op[1] > 127 {
		b.ParentScopeID = strconv.Itoa(int(op[1] % 8))
	}
	return b
}

// holdsTogether checks the invariants of the index.
func holdsTogether(t require.TestingT, x *Index) {
	boundaries, total, open := 0, 0, int64(0)
	for _, s := range x.all() {
		if x.options.MaxThreads > 0 {
			require.LessOrEqual(t, s.threads(), x.options.MaxThreads)
			require.LessOrEqual(t, len(s.processes), x.options.MaxThreads)
		}
		ofStream, bytes := 0, streamBytes+textBytes(s.key.Session)
		bytes += lookupBytes * int(s.charged)
		for _, p := range s.processes {
			for i := range p.threads {
				th := &p.threads[i]
				ofStream += th.size()
				require.Equal(t, charged(th), th.bytes)
				bytes += th.heap()
				open += int64(th.top().size())
				inOrder(t, &th.entries)
				if th.late != nil {
					require.True(t, s.unflushed)
					require.Positive(t, th.late.count)
					inOrder(t, th.late)
				}
				again := &thread{process: &process{options: p.options, begins: p.begins}, base: th.base, dropped: th.dropped}
				for _, e := range th.entries.from(position{}) {
					end := again.entries.end()
					left := again.leftBy(again.entries.last(), e.time)
					fresh, scope := *e, *e.scope
					fresh.scope, fresh.before, fresh.flags = &scope, nil, e.flags&isExit
					at := again.entries.insert(end, fresh)
					again.run(again.entries.at(at), at, left)
					if again.entries.count > 1 { // what stood before the first may have left the window
						require.Equal(t, stackOf(again.entries.last().after()), stackOf(e.after()), "at %v", at)
					}
				}
			}
		}
		require.Equal(t, s.boundaries, ofStream)
		for _, p := range s.processes {
			bytes += p.heap()
		}
		require.Equal(t, bytes, s.bytes)
		lifespansHold(t, x, s)
		total += bytes
		boundaries += ofStream
	}
	require.Equal(t, int64(boundaries), x.Stats().Boundaries)
	require.Equal(t, int64(total), x.Stats().Bytes)
	require.Equal(t, open, x.Stats().OpenScopes)
	if x.options.MaxRanks > 0 {
		require.LessOrEqual(t, x.ranks(), x.options.MaxRanks)
		require.LessOrEqual(t, x.visitors, x.options.MaxRanks/visitorsPerRank+1)
	}
	require.LessOrEqual(t, len(x.sessions), len(x.streams))
}

// charged is what a thread's entries and its base have been charged.
func charged(th *thread) int {
	bytes := 0
	for f := th.base; f != nil; f = f.below {
		bytes += f.bytes()
		if f.is(ownsPath) {
			bytes += pathBytes(f.path)
		}
	}
	for _, line := range []*timeline{&th.entries, th.late} {
		if line != nil {
			for _, e := range line.from(position{}) {
				bytes += e.charged()
			}
		}
	}
	return bytes
}

// inOrder checks the invariants of a timeline.
func inOrder(t require.TestingT, l *timeline) {
	count := 0
	for at, e := range l.from(position{}) {
		count++
		if previous := l.previous(at); previous != nil {
			require.LessOrEqual(t, previous.key().compare(e.key()), 0, "in order")
		}
	}
	require.Equal(t, l.count, count)
	for _, c := range l.chunks {
		require.NotEmpty(t, c.entries)
		require.Equal(t, c.entries[0].time, c.first)
		require.Equal(t, c.entries[len(c.entries)-1].time, c.last)
	}
}

// stackOf lists the scopes of a stack, and checks its frames' heights.
func stackOf(top *frame) []string {
	var scopes []string
	for frame := top; frame != nil; frame = frame.below {
		if frame.height != frame.below.size()+1 {
			return []string{"wrong height"}
		}
		scopes = append(scopes, fmt.Sprintf("%s %s %d", frame.scopeID, frame.path.Label(), frame.time))
	}
	return scopes
}
