// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/phaseattr/phaseattr/internal/boundary"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/association"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/replay"
)

// drawBoundary draws a boundary whose fields need not make sense together.
func drawBoundary(t *rapid.T) boundary.Boundary {
	id := rapid.SampledFrom([]string{"", "s", "session:1", "session:2", "session:21", "session:210", "5f0c"})
	b := boundary.Boundary{
		Time:          rapid.Int64().Draw(t, "time"),
		Sequence:      rapid.OneOf(rapid.Int64(), rapid.Int64Range(1, 3)).Draw(t, "sequence"),
		ThreadID:      rapid.Int64Range(1, 2).Draw(t, "thread"),
		ThreadName:    rapid.SampledFrom([]string{"", "main", "loader"}).Draw(t, "thread name"),
		ScopeID:       id.Draw(t, "scope"),
		ParentScopeID: id.Draw(t, "parent"),
		Path: rapid.SampledFrom([]boundary.Path{
			boundary.NewPath("train"), boundary.NewPath("train", "step"), boundary.NewPath("a / b"), boundary.NewPath("a", "b"),
		}).Draw(t, "path"),
		Attributes: rapid.SampledFrom([][]boundary.Attribute{
			nil, {{Key: "epoch", Value: int64(-3)}}, {{Key: "epoch", Value: "main"}, {Key: "lr", Value: 0.5}, {Key: "warm", Value: true}},
		}).Draw(t, "attributes"),
		Began: rapid.SampledFrom([]int64{0, 0, -5, 7}).Draw(t, "began"),
	}
	if rapid.IntRange(0, 3).Draw(t, "named") == 0 {
		b.Path, b.Name = boundary.Path{}, rapid.SampledFrom([]string{"", "forward", "a / b"}).Draw(t, "name")
	}
	return b
}

// drawBoundaries draws boundaries, many of which follow from the ones before.
func drawBoundaries(t *rapid.T) []boundary.Boundary {
	var all, open []boundary.Boundary
	for range rapid.IntRange(1, 40).Draw(t, "boundaries") {
		b := drawBoundary(t)
		last := len(open) - 1
		switch way := rapid.IntRange(0, 5).Draw(t, "way"); {
		case way < 2 && last >= 0:
			exit := open[last]
			exit.Action, exit.Time, exit.Sequence = boundary.Exit, b.Time, all[len(all)-1].Sequence+1
			if rapid.IntRange(0, 3).Draw(t, "odd exit") == 0 {
				exit.Attributes = b.Attributes
			}
			open = open[:last]
			b = exit
		case way == 2:
			b.Action = boundary.Exit
		default:
			if way > 3 && last >= 0 {
				b.ThreadID, b.ThreadName, b.ParentScopeID = open[last].ThreadID, open[last].ThreadName, open[last].ScopeID
			}
			open = append(open, b)
		}
		all = append(all, b)
	}
	return all
}

func TestBoundariesAreReadAsWritten(t *testing.T) {
	w := &codec{} // reused, like the writers of entries
	rapid.Check(t, func(t *rapid.T) {
		w.reset()
		want := drawBoundaries(t)
		for i := range want {
			w.boundary(&want[i])
		}
		var got []boundary.Boundary
		for r := newReader(w.data); r.more(); {
			var b boundary.Boundary
			r.boundary(&b)
			require.NoError(t, r.err)
			got = append(got, b)
		}
		require.Equal(t, want, got)
	})
}

func drawSender(t *rapid.T) Sender {
	return Sender{
		Rank: boundary.RankKey{Tenant: rapid.SampledFrom([]string{"", "team"}).Draw(t, "tenant"), Session: rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "session"), Rank: rapid.Int64Range(-1, 1).Draw(t, "rank")},
		Process: boundary.Process{
			Host:      rapid.SampledFrom([]string{"", "node-1", "node-1.local"}).Draw(t, "host"),
			PID:       rapid.SampledFrom([]int64{0, 1, 100}).Draw(t, "pid"),
			Aside:     rapid.Bool().Draw(t, "aside"),
			Container: rapid.SampledFrom([]string{"", "c"}).Draw(t, "container"),
			Pod:       rapid.SampledFrom([]string{"", "p"}).Draw(t, "pod"),
		},
	}
}

func drawPresence(t *rapid.T) Presence {
	return Presence{
		Sender: drawSender(t),
		Since:  rapid.Int64().Draw(t, "since"),
		Print:  rapid.Uint64().Draw(t, "print"),
		Identity: rapid.SampledFrom([]association.Identity{
			nil, {{Field: "host", Text: "node-1"}, {Field: "pid", Text: "100"}}, {{Field: "job_id", Text: ""}},
		}).Draw(t, "identity"),
		order: rapid.Uint64().Draw(t, "order"),
	}
}

func drawInterval(t *rapid.T) boundary.Interval {
	b := drawBoundary(t)
	return boundary.Interval{
		Start: b.Time, End: rapid.Int64().Draw(t, "end"),
		Open: rapid.Bool().Draw(t, "open"), Truncated: rapid.Bool().Draw(t, "truncated"),
		ScopeID: b.ScopeID, ParentScopeID: b.ParentScopeID, Lane: b.ThreadName, Name: b.Name, Path: b.Path, Attributes: b.Attributes,
	}
}

// drawMany draws nil or a few values.
func drawMany[T any](t *rapid.T, draw func(*rapid.T) T) (many []T) {
	for range rapid.IntRange(0, 3).Draw(t, "number") {
		many = append(many, draw(t))
	}
	return many
}

func drawTime(t *rapid.T) int64 { return rapid.Int64().Draw(t, "time") }

func drawProcess(t *rapid.T) replay.Process {
	name := drawSender(t)
	return replay.Process{
		Name: name.Process,
		Clock: replay.Clock{
			FirstEvent: drawTime(t), Now: drawTime(t), Candidate: drawTime(t),
			Confirmations:          rapid.Int8Range(0, 3).Draw(t, "confirmations"),
			CandidateConfirmations: rapid.Int8Range(0, 3).Draw(t, "candidate's"),
			Evicted:                drawTime(t), FirstBoundary: drawTime(t), LastBoundary: drawTime(t),
			LastEnter: drawTime(t), LastSequence: drawTime(t), Stopped: drawTime(t),
		},
		Numbering: replay.Numbering{First: drawTime(t), Last: drawTime(t), Count: drawTime(t)},
		Starts:    drawMany(t, drawTime), Firsts: drawMany(t, drawTime), Begins: drawMany(t, drawTime), Samples: drawMany(t, drawTime),
		Interval: time.Duration(drawTime(t)),
		Presences: drawMany(t, func(t *rapid.T) replay.Presence {
			return replay.Presence{Print: rapid.Uint64().Draw(t, "print"), Since: drawTime(t), Last: drawTime(t), Taken: drawTime(t)}
		}),
		Threads: drawMany(t, func(t *rapid.T) replay.Thread {
			return replay.Thread{
				ID:      drawTime(t),
				Dropped: replay.Dropped{Any: rapid.Bool().Draw(t, "any"), Time: drawTime(t), Sequence: drawTime(t)},
				Open: drawMany(t, func(t *rapid.T) replay.OpenScope {
					return replay.OpenScope{Boundary: drawBoundary(t), Inferred: rapid.Bool().Draw(t, "inferred")}
				}),
				Boundaries: drawMany(t, drawBoundary),
				Intervals:  drawMany(t, drawInterval),
			}
		}),
	}
}

func TestSnapshotsAreReadAsWritten(t *testing.T) {
	w := &codec{}
	rapid.Check(t, func(t *rapid.T) {
		w.reset()
		want := snapshot{through: rapid.Uint64().Draw(t, "through"), rank: replay.Snapshot{
			Rank: drawSender(t).Rank, LastArrival: time.Unix(0, drawTime(t)), WorldSize: drawTime(t), Processes: drawMany(t, drawProcess),
		}}
		want.presences = drawMany(t, drawPresence)
		if len(want.rank.Processes) == 0 { // which have the tenant
			want.rank.Rank.Tenant = ""
		}
		for i := range want.presences {
			want.presences[i].Sender.Rank = want.rank.Rank
		}
		w.snapshot(&want)
		var got snapshot
		r := newReader(w.data)
		r.snapshot(&got)
		require.NoError(t, r.err)
		require.False(t, r.more())
		require.Equal(t, want, got)
	})
}

// item is an item of an entry, with the one of the other fields that is not nil.
type item struct {
	sender   Sender
	presence *Presence
	event    *replay.Event
	boundary *boundary.Boundary
	interval *boundary.Interval
}

// items is a Restorer that lists what it is to restore.
type items struct {
	*collector
	all []item
}

func (i *items) Presence(p *Presence) {
	i.all = append(i.all, item{sender: p.Sender, presence: p})
}

func (i *items) Event(sender *Sender, e *replay.Event) {
	i.all = append(i.all, item{sender: *sender, event: e})
}

func (i *items) Boundary(sender *Sender, b *boundary.Boundary) {
	kept := *b
	i.all = append(i.all, item{sender: *sender, boundary: &kept})
}

func (i *items) Interval(sender *Sender, interval *boundary.Interval) {
	i.all = append(i.all, item{sender: *sender, interval: interval})
}

func TestARestorerRepeatsWhatAnEntryHasRecorded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := newCollector(newDisk(), options())
		got := &items{collector: c}
		c.store.options.Restorer = func() Restorer { return got }
		e := c.store.Entry()
		var want []item
		for range rapid.IntRange(1, 20).Draw(t, "items") {
			next := item{sender: drawSender(t)}
			switch rapid.IntRange(0, 3).Draw(t, "kind") {
			case 0:
				p := drawPresence(t)
				next.sender, next.presence = p.Sender, &p
				e.Presence(&p)
			case 1:
				next.event = &replay.Event{
					Time: drawTime(t), Kind: replay.Kind(rapid.IntRange(int(replay.Other), int(replay.Stop)).Draw(t, "event")),
					Interval: time.Duration(drawTime(t)), WorldSize: drawTime(t),
				}
				if next.event.Numbered = rapid.Bool().Draw(t, "numbered"); next.event.Numbered {
					next.event.Sequence = rapid.Int64().Draw(t, "sequence")
				}
				e.Event(&next.sender, next.event)
			case 2:
				b := drawBoundary(t)
				next.boundary = &b
				e.Boundary(&next.sender, &b)
			case 3:
				i := drawInterval(t)
				next.interval = &i
				e.Interval(&next.sender, &i)
			}
			want = append(want, next)
		}
		r := newRestoration(c.store)
		r.number, r.version = 1, version
		reader := newReader(e.appendTo(nil))
		r.record(reader)
		require.NoError(t, reader.err)
		require.Equal(t, want, got.all)
	})
}
