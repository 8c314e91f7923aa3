// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/phaseattr/phaseattr/internal/boundary"
)

func TestCredenceDependsOnArrival(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := New(Options{Repair: true, MaxFuture: 10 * time.Minute})
		sender := from(rank0)
		now := time.Now().UnixNano()
		for name, tc := range map[string]struct {
			at   int64
			want Credence
		}{
			"now":                 {now, Believed},
			"a second ahead":      {now + int64(time.Second), Believed},
			"more":                {now + int64(time.Second) + 1, Doubted},
			"the most":            {now + int64(10*time.Minute), Doubted},
			"too far":             {now + int64(10*time.Minute) + 1, TooFarAhead},
			"the last":            {math.MaxInt64, TooFarAhead},
			"a year ago":          {now - int64(365*24*time.Hour), Believed},
			"zero":                {0, Believed},
			"negative":            {-1, Believed},
			"the first":           {math.MinInt64, Believed},
			"the end of the year": {now + int64(300*24*time.Hour), TooFarAhead},
		} {
			got, _ := x.Ingest().Credence(sender, tc.at)
			assert.Equal(t, tc.want, got, name)
			got, _ = x.Reingest().Credence(sender, tc.at)
			assert.Equal(t, Believed, got, "%s: it was believed when it arrived", name)
		}
		assert.False(t, x.Has(rank0), "asking adds nothing")
		got, _ := New(Options{}).Ingest().Credence(sender, math.MaxInt64)
		assert.Equal(t, Doubted, got, "without a bound")
	})
}

// TestTrustIsThatOfOneProcess trusts a clock that is a minute ahead until its events are not.
func TestTrustIsThatOfOneProcess(t *testing.T) {
	for name, repair := range map[string]bool{"repair": true, "strict": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x := New(Options{Repair: repair})
				minute := int64(time.Minute)
				observe := func(ahead int64) {
					x.Ingest().Observe(from(rank0), &Event{Time: time.Now().UnixNano() + ahead})
					time.Sleep(time.Second)
				}
				credence := func(ahead int64) Credence {
					got, _ := x.Ingest().Credence(from(rank0), time.Now().UnixNano()+ahead)
					return got
				}
				x.Ingest().Trust(from(rank0), time.Minute)
				assert.Equal(t, Doubted, credence(minute), "the rank is not known")
				observe(minute)
				assert.Equal(t, Doubted, credence(minute))
				x.Ingest().Trust(from(rank0), time.Minute)
				assert.Equal(t, Believed, credence(minute+maxAhead))
				assert.Equal(t, Doubted, credence(minute+maxAhead+1))
				other, _ := x.Ingest().Credence(from(rank1), time.Now().UnixNano()+minute)
				assert.Equal(t, Doubted, other)

				time.Sleep(24 * time.Hour)
				assert.Equal(t, Believed, credence(minute), "silence changes nothing")
				for range skewsKept - 1 {
					observe(10 * int64(time.Second))
				}
				assert.Equal(t, Believed, credence(minute), "they may have been late")
				observe(minute)
				for range skewsKept {
					observe(10 * int64(time.Second))
				}
				assert.Equal(t, Doubted, credence(minute))
				assert.Equal(t, Believed, credence(10*int64(time.Second)))
				for range skewsKept {
					observe(0)
				}
				assert.Equal(t, Doubted, credence(10*int64(time.Second)))
			})
		})
	}
}

// TestTrustFollowsWhatIsBelieved has events that were on their way for shorter and shorter times.
func TestTrustFollowsWhatIsBelieved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := New(Options{Repair: true})
		now := time.Now().UnixNano()
		for _, tc := range []struct{ at, trusted time.Duration }{
			{-time.Second, 0},
			{0, 0},
			{700 * time.Millisecond, 700 * time.Millisecond},
			{600 * time.Millisecond, 0},
			{1700 * time.Millisecond, 1700 * time.Millisecond},
			{2700*time.Millisecond + 1, 0}, // which is doubted
			{2700 * time.Millisecond, 2700 * time.Millisecond},
		} {
			credence, _ := x.Ingest().Credence(from(rank0), now+int64(tc.at))
			assert.Equal(t, tc.at != 2700*time.Millisecond+1, credence == Believed, tc.at)
			added := x.Ingest().Observe(from(rank0), &Event{Time: now + int64(tc.at)})
			assert.Equal(t, tc.trusted, added.Trusted, tc.at)
		}
		assert.Zero(t, x.Reingest().Observe(from(rank0), &Event{Time: now + int64(time.Hour)}).Trusted, "what is restored shows no clock")
	})
}

// A clock is its host's: a worker that has just been forked is believed as its trainer is.
func TestTrustIsThatOfTheHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := New(Options{Repair: true})
		ahead := time.Now().UnixNano() + int64(time.Minute)
		x.Ingest().Observe(of(rank0, trainer), &Event{Time: ahead})
		x.Ingest().Trust(of(rank0, trainer), time.Minute)
		elsewhere := boundary.Process{Host: "node-b", PID: worker.PID}
		for _, known := range []bool{false, true} {
			for process, want := range map[boundary.Process]Credence{worker: Believed, elsewhere: Doubted, {PID: 7}: Doubted} {
				got, _ := x.Ingest().Credence(of(rank0, process), ahead)
				assert.Equal(t, want, got, "%v, known: %t", process, known)
				x.Ingest().Observe(of(rank0, process), &Event{Time: time.Now().UnixNano()})
			}
		}
	})
}

func TestTrustSurvivesARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := New(Options{Repair: true})
		at := time.Now().UnixNano() + int64(time.Minute)
		x.Ingest().Observe(from(rank0), &Event{Time: at})
		time.Sleep(time.Hour)
		y := restored(t, x)
		got, _ := y.Ingest().Credence(from(rank0), time.Now().UnixNano()+int64(time.Minute))
		assert.Equal(t, Believed, got)
		got, _ = y.Ingest().Credence(from(rank0), time.Now().UnixNano()+int64(time.Minute)+maxAhead+1)
		assert.Equal(t, Doubted, got)
	})
}

func TestStrayNumberBeginsNoNumbering(t *testing.T) {
	var n Numbering
	for i := range int64(10) {
		n.note(i)
	}
	before := n
	n.note(math.MaxInt64 - 1)
	assert.Equal(t, before.Last, n.Last)
	assert.True(t, n.isConsecutive())
	n.note(10)
	n.note(math.MaxInt64 - 7)
	assert.Equal(t, int64(10), n.Last, "two far numbers that are not in a row")
	n.note(math.MaxInt64 - 6)
	assert.Equal(t, Numbering{First: math.MaxInt64 - 7, Last: math.MaxInt64 - 6, Count: 2}, n)
}

func TestTransitionsAreReported(t *testing.T) {
	x := New(Options{Repair: true, Window: 10 * time.Minute})
	second := int64(time.Second)
	observe := func(at int64, kind Kind) (all []string) {
		for transition := range x.Ingest().Observe(from(rank0), &Event{Time: at * second, Kind: kind}).Transitions.Each {
			all = append(all, transition.String())
		}
		return all
	}
	assert.Empty(t, observe(1, Start))
	assert.Equal(t, []string{"stopped"}, observe(10, Stop))
	assert.Empty(t, observe(10, Stop), "again")
	assert.Empty(t, observe(9, Sample), "a late one")
	assert.Empty(t, observe(11, Sample), "of another thread")
	assert.Equal(t, []string{"resumed"}, observe(12, Sample))
	assert.Equal(t, []string{"stopped"}, observe(13, Stop))
	assert.Equal(t, []string{"resumed"}, observe(20, Start))
}

// TestOneSampleDoesNotChangeThePulse has a process that samples once a second, of which one event
// says that it does so ten thousand times.
func TestOneSampleDoesNotChangeThePulse(t *testing.T) {
	for name, said := range map[string]time.Duration{"said": 30 * time.Second, "seen": 0} {
		t.Run(name, func(t *testing.T) {
			x := New(Options{Repair: true, Window: time.Hour})
			step := int64(30 * time.Second)
			for i := range int64(20) {
				x.Ingest().Observe(from(rank0), &Event{Time: i * step, Kind: Sample, Interval: said})
			}
			x.Ingest().Observe(from(rank0), &Event{Time: 19*step + 1, Kind: Sample, Interval: 100 * time.Microsecond})
			assert.Equal(t, Lagging, statusAt(x, 21*step))
			x.Ingest().Observe(from(rank0), &Event{Time: 19*step + 2, Kind: Sample, Interval: 100 * time.Microsecond})
			assert.Equal(t, Gone, statusAt(x, 21*step), "two agree")
		})
	}
}

func TestNewestWorldSizeCounts(t *testing.T) {
	x := New(Options{Repair: true})
	say := func(at, size int64) bool {
		x.Ingest().Observe(from(rank0), &Event{Time: at, WorldSize: size})
		_, complete := x.Session(rank0.Tenant, rank0.Session)
		return complete
	}
	assert.True(t, say(10, 1))
	assert.True(t, say(5, 8), "an older event")
	assert.False(t, say(20, 8))
	assert.False(t, say(30, 0))
	assert.True(t, say(40, 1))
}
