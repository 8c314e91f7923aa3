// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/phaseattr/phaseattr/internal/boundary"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/association"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/replay"
)

// collector is an index and its store, as the processor has them.
type collector struct {
	index *replay.Index
	store *Store

	events *replay.Ingest
	// presences are the first ones of the ranks.
	presences map[boundary.RankKey]Presence

	mu     sync.Mutex
	failed map[Operation]int
	// recovered is how often the storage was reported to work again.
	recovered int
}

func options() replay.Options {
	return replay.Options{Repair: true, Window: 40, SessionTimeout: time.Hour, MaxRanks: 100}
}

func newCollector(d *disk, options replay.Options) *collector {
	c := &collector{
		index:     replay.New(options),
		presences: map[boundary.RankKey]Presence{},
		failed:    map[Operation]int{},
	}
	c.events = c.index.Reingest()
	c.store = New(Options{
		Open:     d.getClient,
		Index:    c.index,
		Restorer: func() Restorer { return c },
		Failed: func(_ context.Context, op Operation, times int, _ error) {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.failed[op] += times
		},
		Recovered: func(context.Context) {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.recovered++
		},
	})
	return c
}

// printed sets the print of a presence and returns it.
func printed(p *Presence) uint64 {
	p.Print = p.Identity.Print()
	return p.Print
}

func (c *collector) Presence(p *Presence) {
	c.events.Observe(&replay.Sender{Rank: p.Sender.Rank, Process: p.Sender.Process, Print: printed(p)}, &replay.Event{Time: p.Since})
	c.presences[p.Sender.Rank] = *p
}

// sender is that of the newest presence of a rank.
func (c *collector) sender(s *Sender) *replay.Sender {
	p := c.presences[s.Rank]
	return &replay.Sender{Rank: s.Rank, Process: s.Process, Print: p.Print}
}

func (c *collector) Event(sender *Sender, e *replay.Event) { c.events.Observe(c.sender(sender), e) }

func (c *collector) Boundary(sender *Sender, b *boundary.Boundary) { c.events.Add(c.sender(sender), b) }

func (c *collector) Interval(*Sender, *boundary.Interval) {}

func (c *collector) Flush() { c.events.Flush() }

func (c *collector) Forget(rank boundary.RankKey) {
	c.index.Forget(rank)
	delete(c.presences, rank)
}

func (c *collector) failures(op Operation) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.failed[op]
}

func (c *collector) recoveries() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.recovered
}

// event is an event of a rank: a boundary, a stop or, without either, a sample.
type event struct {
	rank     boundary.RankKey
	boundary *boundary.Boundary
	at       int64
	stop     bool
}

// add adds the events of one call to the index and writes them.
func (c *collector) add(ctx context.Context, events ...event) {
	entry, ingest := c.store.Entry(), c.index.Ingest()
	for _, e := range events {
		sender := Sender{Rank: e.rank, Process: boundary.Process{Host: "node", PID: 100 + e.rank.Rank}}
		presence := Presence{Sender: sender, Since: e.at, Identity: association.Identity{{Field: "host", Text: e.rank.Session}}}
		from := &replay.Sender{Rank: e.rank, Process: sender.Process, Print: printed(&presence)}
		observed := replay.Event{Time: e.at}
		if e.stop {
			observed.Kind = replay.Stop
		}
		var added replay.Added
		if e.boundary == nil {
			added = ingest.Observe(from, &observed)
		} else {
			presence.Since = e.boundary.Time
			added = ingest.Add(from, e.boundary)
		}
		if added.Moved {
			entry.Presence(&presence)
			c.presences[e.rank] = presence
		}
		if e.boundary == nil {
			entry.Event(&sender, &observed)
		} else {
			entry.Boundary(&sender, e.boundary)
		}
	}
	ingest.Flush()
	c.store.Write(ctx, entry)
}

// answers returns all that a collector answers about some ranks up to a time.
func (c *collector) answers(ranks []boundary.RankKey, until int64) map[string]any {
	answers := map[string]any{}
	for _, rank := range ranks {
		name := fmt.Sprintf("%s/%d", rank.Session, rank.Rank)
		p := c.presences[rank]
		p.order = 0
		answers[name+" was seen"] = p
		for at := int64(-1); at <= until; at++ {
			active, status := c.index.Handle(rank).Active(nil, at, true)
			slices.SortFunc(active, func(a, b replay.ScopeInterval) int { return cmp.Compare(a.Sequence, b.Sequence) })
			answers[fmt.Sprintf("%s at %d", name, at)] = []any{status, active, c.index.Handle(rank).At(at, at)}
		}
	}
	return answers
}

// program is the source of a rank's events.
type program struct {
	rank   boundary.RankKey
	stacks map[int64][]*boundary.Boundary
	seq    int64
	now    int64
}

func (p *program) next(t *rapid.T) event {
	p.now += rapid.Int64Range(0, 6).Draw(t, "gap")
	p.seq++
	thread := rapid.Int64Range(1, 2).Draw(t, "thread")
	stack := p.stacks[thread]
	switch draw := rapid.IntRange(0, 19).Draw(t, "event"); {
	case draw < 3:
		return event{rank: p.rank, at: p.now}
	case draw == 3:
		return event{rank: p.rank, at: p.now, stop: true}
	case draw < 12 && len(stack) < 4 || len(stack) == 0:
		b := &boundary.Boundary{
			Time: p.now, Sequence: p.seq, ThreadID: thread, ThreadName: fmt.Sprint("thread-", thread),
			ScopeID: fmt.Sprint(p.rank.Session, ":", p.seq), Path: boundary.NewPath("train"),
		}
		if len(stack) > 0 {
			b.ParentScopeID = stack[len(stack)-1].ScopeID
			b.Path = boundary.NewPath(append(stack[len(stack)-1].Path.Parts(), rapid.SampledFrom([]string{"step", "a / b"}).Draw(t, "name"))...)
		}
		b.Attributes = rapid.SampledFrom([][]boundary.Attribute{
			nil, {{Key: "epoch", Value: int64(3)}}, {{Key: "split", Value: "eval"}, {Key: "lr", Value: 0.5}, {Key: "warm", Value: true}},
		}).Draw(t, "attributes")
		p.stacks[thread] = append(stack, b)
		return event{rank: p.rank, boundary: b, at: p.now}
	default:
		b := *stack[len(stack)-1]
		b.Action, b.Time, b.Sequence = boundary.Exit, p.now, p.seq
		p.stacks[thread] = stack[:len(stack)-1]
		return event{rank: p.rank, boundary: &b, at: p.now}
	}
}

// drawEvents draws the events of a call: the next ones of some programs, each of them
// delivered at once, later, twice or never.
func drawEvents(t *rapid.T, programs map[boundary.RankKey]*program, ranks *[]boundary.RankKey, late *[]event) []event {
	var events []event
	for range rapid.IntRange(1, 6).Draw(t, "events") {
		rank := boundary.RankKey{
			Session: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "session"),
			Rank:    rapid.Int64Range(0, 1).Draw(t, "rank"),
		}
		p, ok := programs[rank]
		if !ok {
			p = &program{rank: rank, stacks: map[int64][]*boundary.Boundary{}}
			programs[rank] = p
			*ranks = append(*ranks, rank)
		}
		e := p.next(t)
		switch rapid.IntRange(0, 9).Draw(t, "way") {
		case 0: // lost
		case 1:
			*late = append(*late, e)
		case 2:
			events = append(events, e, e)
		default:
			events = append(events, e)
		}
	}
	if len(*late) > 0 && rapid.Bool().Draw(t, "late") {
		events = append(events, (*late)[0])
		*late = (*late)[1:]
	}
	return events
}

// TestARestoredIndexAnswersLikeTheOneThatWasKilled kills a collector after any call, and
// compares the answers of the next one with its own. Boundaries come late, twice or not at
// all; snapshots are written at any time; the storage fails now and then.
func TestARestoredIndexAnswersLikeTheOneThatWasKilled(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ctx := context.Background()
		d := newDisk()
		o := options()
		o.Repair = rapid.Bool().Draw(t, "repair")
		c := newCollector(d, o)
		require.NoError(t, c.store.recover(ctx))

		programs := map[boundary.RankKey]*program{}
		var ranks []boundary.RankKey
		var late []event
		until := int64(0)
		for range rapid.IntRange(1, 60).Draw(t, "calls") {
			switch rapid.IntRange(0, 11).Draw(t, "what") {
			case 0:
				require.NoError(t, c.store.compact(ctx))
			case 1: // killed
				require.NoError(t, c.store.recover(ctx))
				d = d.left()
				next := newCollector(d, o)
				require.NoError(t, next.store.recover(ctx))
				require.Zero(t, next.failures(Read))
				require.Equal(t, c.answers(ranks, until+50), next.answers(ranks, until+50))
				require.Equal(t, c.index.Stats().Boundaries, next.index.Stats().Boundaries)
				require.Equal(t, c.index.Stats().OpenScopes, next.index.Stats().OpenScopes)
				require.Zero(t, next.index.Stats().Repairs, "repairs are counted once")
				require.Equal(t, c.store.Bytes(), next.store.Bytes())
				c = next
			case 2:
				d.setFails(true)
				c.add(ctx, drawEvents(t, programs, &ranks, &late)...)
				d.setFails(false)
			case 3:
				// A rank is forgotten after its predecessors.
				if len(ranks) > 0 {
					rank := rapid.SampledFrom(ranks).Draw(t, "forgotten")
					if slices.ContainsFunc(ranks, func(g boundary.RankKey) bool { return g.Rank == rank.Rank && g.Session != rank.Session }) {
						continue
					}
					c.Forget(rank)
					c.store.Forget(ctx, []boundary.RankKey{rank})
				}
			default:
				c.add(ctx, drawEvents(t, programs, &ranks, &late)...)
			}
			for _, p := range programs {
				until = max(until, p.now)
			}
		}
	})
}

// add adds one boundary to an index.
func add(index *replay.Index, rank boundary.RankKey, b *boundary.Boundary) {
	ingest := index.Ingest()
	ingest.Add(&replay.Sender{Rank: rank}, b)
	ingest.Flush()
}
