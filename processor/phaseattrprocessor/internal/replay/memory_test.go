// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/phaseattr/phaseattr/internal/boundary"
)

const (
	liveRanks      = 40
	liveBoundaries = 600
	mebibyte       = 1 << 20
)

func live(rank int) boundary.RankKey { return boundary.RankKey{Session: "live", Rank: int64(rank)} }

// hostile returns the boundary number i of a flood.
func hostile(i, text int) *boundary.Boundary {
	return &boundary.Boundary{
		Time: int64(i) * int64(time.Millisecond), Sequence: int64(i), ThreadID: int64(i % 4), ThreadName: strings.Repeat("t", text),
		ScopeID: fmt.Sprint(strings.Repeat("s", text), i/2), ParentScopeID: fmt.Sprint(strings.Repeat("p", text), i/2),
		Path: boundary.NewPath(fmt.Sprint(strings.Repeat("x", 4*text), i/2)), Action: boundary.Action(i % 2),
	}
}

// hostileEnter returns the enter number i of a flood, inside the one before it of its rank.
func hostileEnter(i, ranks, text int) *boundary.Boundary {
	b := hostile(i, text)
	id := func(i int) string { return fmt.Sprint(strings.Repeat("s", text), i) }
	b.Action, b.ThreadID, b.ScopeID, b.ParentScopeID = boundary.Enter, 1, id(i), id(i-ranks)
	return b
}

// TestFloodCostsItsSenderOnly has a session send as much as it can, with long texts or
// short ones, from one rank or from many, beside ranks that go on.
func TestFloodCostsItsSenderOnly(t *testing.T) {
	for name, tc := range map[string]struct {
		options            Options
		text, ranks, count int
	}{
		"long texts from one rank":     {Options{MaxBytes: 4 * mebibyte, MaxRankBytes: 3 * mebibyte}, 256, 1, 9600},
		"long texts from many ranks":   {Options{MaxBytes: 4 * mebibyte, MaxRankBytes: 3 * mebibyte}, 256, 20, 9600},
		"many boundaries from a rank":  {Options{MaxTotal: 32_000}, 1, 1, 24_000},
		"many boundaries of many":      {Options{MaxTotal: 32_000}, 1, 10, 48_000},
		"open scopes from one rank":    {Options{MaxBytes: 4 * mebibyte, MaxRankBytes: 1 * mebibyte}, 256, 1, 4800},
		"open scopes from a few ranks": {Options{MaxBytes: 5 * mebibyte, MaxRankBytes: mebibyte / 2}, 256, 3, 4800},
	} {
		t.Run(name, func(t *testing.T) {
			before := heapBytes()
			options := tc.options
			options.Repair, options.Window, options.MaxThreads = true, 10*time.Minute, 256
			x := New(options)
			var runs [liveRanks][]*boundary.Boundary
			for i := range runs {
				stormlogRun("live-session", liveBoundaries, func(b *boundary.Boundary) { runs[i] = append(runs[i], b) })
			}
			sent, refused, most := 0, 0, int64(0)
			for step := range runs[0] {
				for i := range runs {
					require.Equal(t, Accepted, addOne(x, live(i), runs[i][step]), "a live rank is never refused")
				}
				for range tc.count / len(runs[0]) {
					b := hostile(sent, tc.text)
					if strings.HasPrefix(name, "open") {
						b = hostileEnter(sent, tc.ranks, tc.text)
					}
					if addOne(x, boundary.RankKey{Session: "hostile", Rank: int64(sent % tc.ranks)}, b) != Accepted {
						refused++
					}
					sent++
				}
				most = max(most, x.Stats().Bytes)
			}
			wrong, asked := 0, 0
			calm := New(Options{Repair: true, Window: 10 * time.Minute})
			for i := range runs {
				add(calm, live(i), runs[i]...)
				for at := int64(0); at < runs[i][len(runs[i])-1].Time; at += int64(70 * time.Millisecond) {
					want, wantStatus := calm.Handle(live(i)).Active(nil, at, true)
					got, status := x.Handle(live(i)).Active(nil, at, true)
					asked++
					if status != wantStatus || !assert.ObjectsAreEqual(want, got) {
						wrong++
					}
				}
				calm.Forget(live(i))
			}
			own := x.Stats().Bytes
			calm = nil
			heap := heapBytes() - before
			for i := range runs {
				runs[i] = runs[i][:0:0]
			}
			t.Logf("%s: %d hostile boundaries, %d refused; %d of %d answers of live ranks differ; account at most %d KiB, now %d KiB; heap %d KiB",
				name, sent, refused, wrong, asked, most>>10, own>>10, heap>>10)
			assert.Zero(t, wrong)
			if bound := options.MaxBytes; bound > 0 {
				assert.Less(t, most, int64(bound+bound/excess))
			}
			if bound := options.MaxTotal; bound > 0 {
				assert.LessOrEqual(t, x.Stats().Boundaries, int64(bound))
			}
			holdsTogether(t, x)
		})
	}
}

// TestRankWithLongOpenScopesIsBounded has a rank open scopes only, which cannot be evicted.
func TestRankWithLongOpenScopesIsBounded(t *testing.T) {
	x := New(Options{Repair: true, MaxRankBytes: mebibyte, MaxBytes: 100 * mebibyte})
	outcomes := map[Outcome]int{}
	for i := range 5000 {
		outcomes[addOne(x, rank0, hostileEnter(i, 1, 256))]++
	}
	assert.Less(t, x.Stats().Bytes, int64(mebibyte+10_000))
	assert.Positive(t, outcomes[TooManyRankBytes])
	holdsTogether(t, x)
}

// TestSilenceFreesWhatAFloodLeft is what happens behind a memory_limiter that refuses
// everything: no event arrives any longer.
func TestSilenceFreesWhatAFloodLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := New(Options{Repair: true, Window: 10 * time.Minute, SessionTimeout: 24 * time.Hour, MaxThreads: 256})
		x.enters(live(0), 0)
		for i := range 20_000 {
			addOne(x, run("hostile", i%10), hostile(i, 256))
		}
		for i := range 2000 {
			x.Ingest().Observe(from(run("visitor", i)), &Event{Time: 1})
		}
		flooded := x.Stats().Bytes
		var forgotten []boundary.RankKey
		for range 11 {
			time.Sleep(time.Minute)
			_, gone := x.Sweep()
			forgotten = append(forgotten, gone...)
		}
		left := x.Stats().Bytes
		t.Logf("%d KiB after the flood, %d KiB a window and a tenth later", flooded>>10, left>>10)
		assert.Less(t, left, flooded/50)
		assert.Len(t, forgotten, 2000)
		scopes, status := x.Handle(live(0)).Active(nil, int64(20*time.Minute), false)
		assert.Equal(t, Behind, status)
		require.Len(t, scopes, 1, "what is open still answers")
		assert.Equal(t, "train", scopes[0].Path.Label())
		holdsTogether(t, x)
		for i := range 100 {
			addOne(x, run("hostile", i%10), hostile(30_000+i, 4))
		}
		holdsTogether(t, x)
	})
}
