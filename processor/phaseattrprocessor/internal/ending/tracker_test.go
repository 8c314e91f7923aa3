// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package ending

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"pgregory.net/rapid"
)

func attributes(pairs ...string) pcommon.Map {
	m := pcommon.NewMap()
	for i := 0; i < len(pairs); i += 2 {
		m.PutStr(pairs[i], pairs[i+1])
	}
	return m
}

func TestHashTellsSeriesAndStreamsApart(t *testing.T) {
	h := NewHasher([]string{"phase", "epoch"})
	hash := func(pairs ...string) [2]uint64 {
		series, others := h.Hash(attributes(pairs...))
		return [2]uint64{series, others}
	}
	at := hash("gpu", "0", "phase", "a", "epoch", "1")
	assert.Equal(t, at, hash("epoch", "1", "phase", "a", "gpu", "0"), "in any order")
	other := hash("gpu", "0", "phase", "a", "epoch", "2")
	assert.NotEqual(t, at[0], other[0])
	assert.Equal(t, at[1], other[1])
	other = hash("gpu", "1", "phase", "a", "epoch", "1")
	assert.Equal(t, at[0], other[0])
	assert.NotEqual(t, at[1], other[1])
	assert.NotEqual(t, hash("phase", "a", "epoch", "b"), hash("phase", "b", "epoch", "a"))

	values := map[uint64]any{}
	for _, value := range []any{"1", int64(1), 1.0, true, false, "", nil, []any{"1"}, map[string]any{"1": "1"}} {
		m := pcommon.NewMap()
		require.NoError(t, m.FromRaw(map[string]any{"phase": value}))
		series, _ := h.Hash(m)
		assert.NotContains(t, values, series, "%v and %v", value, values[series])
		values[series] = value
	}
}

func TestASeriesHasTheAttributesThatTellItApart(t *testing.T) {
	h := NewHasher([]string{"phase", "epoch"})
	s := h.series(1, attributes("gpu", "0", "phase", "a"))
	assert.Equal(t, map[string]any{"phase": "a"}, s.Attributes.AsRaw())
	point := attributes("gpu", "1", "epoch", "3", "phase", "b")
	h.Put(point, s)
	assert.Equal(t, map[string]any{"gpu": "1", "phase": "a"}, point.AsRaw())

	all := NewHasher(nil)
	s = all.series(1, attributes("gpu", "0", "phase", "a"))
	point = attributes("host", "node")
	all.Put(point, s)
	assert.Equal(t, map[string]any{"gpu": "0", "phase": "a"}, point.AsRaw())
}

func TestSeriesThatAStreamEntersAgainAreMadeOncePerBatch(t *testing.T) {
	tracker := New(NewHasher([]string{"phase"}), 10, time.Hour)
	batch := tracker.Begin()
	for stream := range uint64(3) {
		batch.Observe(stream, 1, 7, attributes("phase", "a"))
	}
	batch.End()
	assert.Same(t, tracker.current[0].series, tracker.current[2].series)
}

// model is what Prometheus would show: the series of each stream whose last point has a
// value.
type model map[uint64]map[uint64]int64

func (m model) put(stream, series uint64, at int64) {
	if m[stream] == nil {
		m[stream] = map[uint64]int64{}
	}
	m[stream][series] = at
}

// TestAStreamIsInOneSeries observes points of some streams in the order of time, of which
// some batches are lost and sent again: each stream is in the series of its last point.
func TestAStreamIsInOneSeries(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tracker := New(NewHasher(nil), 100, time.Hour)
		shown, last := model{}, map[uint64]uint64{}
		at := int64(0)
		for range rapid.IntRange(1, 20).Draw(t, "batches") {
			n := rapid.IntRange(1, 5).Draw(t, "points")
			streams, series := make([]uint64, n), make([]uint64, n)
			for i := range n {
				streams[i], series[i] = rapid.Uint64Range(0, 2).Draw(t, "stream"), rapid.Uint64Range(0, 2).Draw(t, "series")
			}
			begin := at
			for sent := false; !sent; {
				sent = rapid.Bool().Draw(t, "sent")
				at = begin
				batch := tracker.Begin()
				for i := range n {
					at += 2 * tick
					end := batch.Observe(streams[i], at, series[i], attributes())
					if !sent {
						continue
					}
					if end.Series != nil {
						require.Greater(t, end.At, shown[streams[i]][end.Series.Hash])
						delete(shown[streams[i]], end.Series.Hash)
					}
					shown.put(streams[i], series[i], at)
					last[streams[i]] = series[i]
				}
				batch.End()
				if !sent {
					tracker.Undo(batch.Moves)
				}
			}
			for stream, series := range last {
				require.Len(t, shown[stream], 1)
				require.Contains(t, shown[stream], series)
			}
		}
	})
}

func TestUndoLeavesStreamsThatHaveMovedOn(t *testing.T) {
	tracker := New(NewHasher(nil), 10, time.Hour)
	observe := func(at int64, series uint64) (End, []Move) {
		batch := tracker.Begin()
		defer batch.End()
		return batch.Observe(1, at, series, attributes()), batch.Moves
	}
	observe(1, 1)
	_, failed := observe(2, 2)
	observe(3, 3)
	tracker.Undo(failed)
	end, _ := observe(4, 4)
	assert.Equal(t, uint64(3), end.Series.Hash)
}

func TestStop(t *testing.T) {
	tracker := New(NewHasher(nil), 10, time.Hour)
	batch := tracker.Begin()
	assert.Nil(t, batch.Stop(1, 5), "unknown")
	batch.Observe(1, 5, 1, attributes())
	assert.Nil(t, batch.Stop(1, 5), "at the time of a point")
	assert.Equal(t, uint64(1), batch.Stop(1, 6).Hash)
	assert.Nil(t, batch.Stop(1, 7), "already")
	batch.End()
	tracker.Undo(batch.Moves)
	assert.Zero(t, tracker.Len())
}

func TestStreamsAreForgottenAfterAWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tracker := New(NewHasher(nil), 2, time.Minute)
		observe := func(stream uint64) (untracked int64) {
			batch := tracker.Begin()
			defer batch.End()
			batch.Observe(stream, 1, 1, attributes())
			return batch.Untracked
		}
		assert.Zero(t, observe(1)+observe(2))
		assert.Equal(t, int64(1), observe(3))
		assert.Equal(t, 2, tracker.Len())
		time.Sleep(time.Minute)
		assert.Zero(t, observe(2))
		assert.Equal(t, int64(1), observe(3))
		time.Sleep(time.Minute)
		assert.Zero(t, observe(3), "1 has been forgotten")
		assert.Equal(t, int64(1), observe(1))
	})
}
