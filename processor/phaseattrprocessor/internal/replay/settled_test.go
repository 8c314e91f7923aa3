// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/phaseattr/phaseattr/internal/boundary"
)

// TestSettledStateIsThatOfEachInterval draws all that a rank's processes may do.
func TestSettledStateIsThatOfEachInterval(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x := New(Options{Repair: true, Window: 40, SessionTimeout: 60})
		one := rapid.Bool().Draw(t, "one process")
		for range rapid.IntRange(1, 20).Draw(t, "events") {
			sender := Sender{Rank: rank0, Process: trainer, Print: 1}
			if !one {
				sender.Process = rapid.SampledFrom([]boundary.Process{trainer, worker, {}}).Draw(t, "process")
				sender.Aside = rapid.IntRange(0, 5).Draw(t, "aside") == 0
			}
			sender.Feed = rapid.SampledFrom([]*Feed{nil, nil, {Grace: 7}, {Peers: true}}).Draw(t, "feed")
			kind := rapid.SampledFrom([]Kind{Start, Stop, Sample, Other, Other, Other}).Draw(t, "kind")
			x.Ingest().Observe(&sender, &Event{Time: rapid.Int64Range(0, 100).Draw(t, "time"), Kind: kind})
		}
		handle := x.Handle(rank0)
		if rapid.Bool().Draw(t, "named") {
			handle = x.ProcessHandle(rank0, rapid.Int32Range(0, 2).Draw(t, "number"))
		}
		settled := handle.Settled()
		for to := int64(-5); to < 200; to++ {
			if settled.Has(to) {
				require.Equal(t, handle.At(to, to), settled.State, "at %d", to)
				require.Equal(t, handle.At(to-30, to), settled.State, "up to %d", to)
			}
		}
	})
}

func TestStateOfOneProcessIsSettledUntilItsNewestEvent(t *testing.T) {
	x := New(sessions)
	assert.Zero(t, x.Handle(rank0).Settled(), "nothing is known")
	from := of(rank0, trainer)
	from.Feed = &Feed{Grace: 3 * time.Second}
	x.Ingest().Observe(from, &Event{Time: 10 * second})
	x.Ingest().Observe(from, &Event{Time: 20 * second})
	settled := x.Handle(rank0).Settled()
	assert.Equal(t, Settled{State{Known: true, Live: true, Grace: 3 * time.Second}, 10 * second, 20 * second}, settled)
	for at, want := range map[int64]bool{10*second - 1: false, 10 * second: true, 20 * second: true, 20*second + 1: false} {
		assert.Equal(t, want, settled.Has(at), "%d", at)
	}
	observe(x, rank0, worker, 15*second, Other)
	assert.Zero(t, x.Handle(rank0).Settled(), "another process may answer")
}

func TestStateOfAProcessWithSpansIsNotSettled(t *testing.T) {
	x := New(sessions)
	sent := x.Ingest().AddInterval(of(rank0, trainer), &boundary.Interval{Start: 10 * second, End: 20 * second, Name: "train", ScopeID: "1"})
	require.Equal(t, Accepted, sent.Outcome)
	assert.Zero(t, x.Handle(rank0).Settled())
}
