// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package resolve

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/phaseattr/phaseattr/internal/boundary"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/annotate"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/replay"
)

func TestEveryReasonHasAText(t *testing.T) {
	texts := map[string]Reason{}
	for reason := range Reasons {
		texts[reason.String()] = reason
	}
	assert.Len(t, texts, int(Reasons))
	assert.Empty(t, NoReason.String())
}

func TestReasons(t *testing.T) {
	r := newRun(replay.Options{Window: time.Microsecond, Repair: true})
	r.now = 10
	r.enter(1, "early")
	r.now = 2000
	r.exit(1)
	for _, name := range []string{"a", "b", "c"} {
		r.now += 10
		r.enter(1, name)
		r.now += 10
		r.exit(1)
	}
	r.enter(1, "d")
	r.enter(2, "load")
	r.now = 2090
	r.exit(2)
	r.exit(1)
	r.now = 2100
	for range 3 { // to confirm the time
		r.now++
		r.index.Ingest().Observe(&replay.Sender{Rank: rankOf(0)}, &replay.Event{Time: r.now})
	}
	resolver := newResolver(r.index, 0, 10)
	for name, tc := range map[string]struct {
		from, to int64
		want     Reason
	}{
		"in a phase":                     {2015, 2015, NoReason},
		"in a phase, an interval":        {2012, 2018, NoReason},
		"before the window":              {500, 500, BeforeWindow},
		"before the window, an interval": {500, 2095, BeforeWindow},
		"between two phases":             {2025, 2025, BetweenPhases},
		"mostly between two phases":      {2018, 2032, BetweenPhases},
		"after the newest event":         {2200, 2200, Behind},
		"mostly after the newest event":  {2095, 2300, Behind},
		"in two threads":                 {2080, 2080, Threads},
		"in two threads, an interval":    {2065, 2095, Threads},
		"in several phases":              {2010, 2064, Interval},
		"where one ends, another begins": {2060, 2060, Threads},
	} {
		t.Run(name, func(t *testing.T) {
			got := r.resolve(resolver, tc.from, tc.to, boundary.Origin{})
			assert.Equal(t, tc.want.String(), got.reason.String())
		})
	}
	r.stop()
	for name, interval := range map[string][2]int64{"a moment": {2200, 2200}, "an interval": {2095, 2300}} {
		got := r.resolve(resolver, interval[0], interval[1], boundary.Origin{})
		assert.Equal(t, Ended, got.reason, name)
	}
	unknown := rankOf(9)
	resolver.Begin(false)
	defer resolver.End()
	rank := resolver.Rank(&unknown, boundary.MainProcess)
	assert.Equal(t, UnknownSession, resolver.Resolve(Lookup{Rank: rank, From: 1, To: 1}).Reason)
	assert.Equal(t, UnknownSession, resolver.Resolve(Lookup{Rank: rank, From: 1, To: 2}).Reason)
}

func TestReasonsOfParts(t *testing.T) {
	r := newRun(replay.Options{})
	r.enter(1, "train")
	r.now = 10
	r.enter(2, "load")
	r.now = 20
	r.exit(1)
	r.exit(2)
	r.now = 30
	r.enter(1, "train")
	resolver := newResolver(r.index, 0, 10)
	key := rankOf(0)
	resolver.Begin(true)
	defer resolver.End()
	parts, _ := resolver.Parts(Lookup{Rank: resolver.Rank(&key, boundary.MainProcess), From: 0, To: 30}, 10, annotate.New([]string{"phase_path"}).Equal)
	var got []Reason
	for _, part := range parts {
		got = append(got, part.Reason)
	}
	assert.Equal(t, []Reason{NoReason, Threads, BetweenPhases}, got)
}
