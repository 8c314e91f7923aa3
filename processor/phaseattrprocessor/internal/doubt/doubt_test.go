// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package doubt

import (
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
)

// dated is an event that is dated so many seconds ahead of an arrival.
func dated(name string, arrival, ahead float64) Event[string] {
	return Event[string]{At: int64((arrival + ahead) * 1e9), Ahead: time.Duration(ahead * 1e9), Value: name}
}

func values(events []Event[string]) (names []string) {
	for _, e := range events {
		names = append(names, e.Value)
	}
	return names
}

func TestEventsAgreeThatAreAheadByAboutAsMuch(t *testing.T) {
	for name, tc := range map[string]struct {
		events []Event[string]
		// believed are returned for the last event, which is believed itself if agreed.
		believed []string
		agreed   bool
		ahead    time.Duration
	}{
		"one":                        {events: []Event[string]{dated("a", 0, 60)}},
		"the same again":             {events: []Event[string]{dated("a", 0, 60), dated("a", 0, 60)}},
		"the same again, later":      {events: []Event[string]{dated("a", 0, 60), dated("a", 7, 53)}},
		"two of a clock":             {[]Event[string]{dated("a", 0, 60), dated("b", 1, 60)}, []string{"a"}, true, 60 * time.Second},
		"two of a batch":             {[]Event[string]{dated("a", 0, 60), dated("b", 0, 61)}, []string{"a"}, true, 61 * time.Second},
		"one that was under way":     {[]Event[string]{dated("a", 0, 40), dated("b", 1, 60)}, []string{"a"}, true, 60 * time.Second},
		"one twice as far ahead":     {events: []Event[string]{dated("a", 0, 540), dated("b", 1, 1080)}},
		"far from one, near another": {[]Event[string]{dated("a", 0, 540), dated("b", 0, 60), dated("c", 1, 60)}, []string{"b"}, true, 60 * time.Second},
		"after some under way":       {[]Event[string]{dated("a", 0, 9), dated("b", 0, 30), dated("c", 1, 30)}, []string{"a", "b"}, true, 30 * time.Second},
		"by less than the tolerance": {[]Event[string]{dated("a", 0, 1.1), dated("b", 0, 2)}, []string{"a"}, true, 2 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			d := New[string, string](time.Second)
			for i, e := range tc.events {
				believed, ahead, agreed, givenUp := d.Add("process", e)
				assert.Empty(t, givenUp)
				if i == len(tc.events)-1 {
					assert.Equal(t, tc.believed, values(believed))
					assert.Equal(t, tc.agreed, agreed)
					assert.Equal(t, tc.ahead, ahead)
				} else {
					assert.False(t, agreed)
				}
			}
		})
	}
}

func TestEventsOfOthersDoNotAgree(t *testing.T) {
	d := New[string, string](time.Second)
	_, _, agreed, _ := d.Add("one", dated("a", 0, 60))
	assert.False(t, agreed)
	_, _, agreed, _ = d.Add("other", dated("b", 1, 60))
	assert.False(t, agreed)
}

func TestKnownClockEndsDoubts(t *testing.T) {
	d := New[string, string](time.Second)
	for sender, aheads := range map[string][]float64{"one": {1.5, 3, 60}, "two": {2.5}, "other": {1.5}} {
		for i, ahead := range aheads {
			_, _, agreed, _ := d.Add(sender, dated(sender+strconv.Itoa(i), float64(i), ahead))
			assert.False(t, agreed)
		}
	}
	agree := func(ahead time.Duration) []string {
		return values(d.Agree(func(sender string) bool { return sender != "other" }, ahead))
	}
	assert.Empty(t, agree(400*time.Millisecond))
	assert.Equal(t, []string{"one0"}, agree(500*time.Millisecond))
	assert.Empty(t, agree(500*time.Millisecond), "they are doubted no longer")
	assert.ElementsMatch(t, []string{"one1", "two0"}, agree(2*time.Second))
	assert.Equal(t, []string{"one2"}, agree(time.Minute))
	assert.Len(t, d.senders, 1)
	assert.Equal(t, []string{"other0"}, values(d.Sweep(0)))
}

func TestDoubtsAreBounded(t *testing.T) {
	d := New[string, string](time.Second)
	var lost []string
	for i := range 2 * maxPerSender {
		_, _, agreed, givenUp := d.Add("noisy", dated(strconv.Itoa(i), 0, float64(uint64(1)<<(i+1))))
		assert.False(t, agreed)
		lost = append(lost, values(givenUp)...)
	}
	assert.Len(t, lost, maxPerSender)
	assert.Equal(t, "0", lost[0], "the oldest one first")
	lost = nil
	for i := range 3 * maxSenders {
		_, _, _, givenUp := d.Add(strconv.Itoa(i), dated("a", 0, 60))
		lost = append(lost, values(givenUp)...)
	}
	assert.Len(t, lost, maxPerSender+2*maxSenders)
	assert.Len(t, d.senders, maxSenders)
	assert.Equal(t, maxSenders, d.order.Len())
}

func TestDoubtsAreGivenUpInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := New[string, string](time.Second)
		d.Add("one", dated("a", 0, 60))
		time.Sleep(time.Minute)
		d.Add("other", dated("b", 60, 60))
		assert.Empty(t, d.Sweep(time.Minute+time.Nanosecond))
		assert.Equal(t, []string{"a"}, values(d.Sweep(time.Minute)))
		time.Sleep(time.Minute)
		assert.Equal(t, []string{"b"}, values(d.Sweep(time.Minute)))
		assert.Empty(t, d.Sweep(0))
		_, _, agreed, _ := d.Add("one", dated("c", 120, 60))
		assert.False(t, agreed)
	})
}
