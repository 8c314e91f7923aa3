// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/association"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/boundary"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/replay"
)

// collector is an index and its store, as the processor has them.
type collector struct {
	index *replay.Index
	store *Store

	mu     sync.Mutex
	begun  map[boundary.RankKey]Registration
	failed map[Operation]int
}

func options() replay.Options {
	return replay.Options{Repair: true, Window: 40, SessionTimeout: time.Hour, MaxRanks: 100}
}

func newCollector(d *disk, options replay.Options) *collector {
	c := &collector{
		index:  replay.New(options),
		begun:  map[boundary.RankKey]Registration{},
		failed: map[Operation]int{},
	}
	c.store = New(Options{
		Open:      d.open,
		Index:     c.index,
		Register: func(group boundary.RankKey, in *Registration) { c.begin(group, in) },
		Forget: func(group boundary.RankKey) {
			c.index.Forget(group)
			delete(c.begun, group)
		},
		Failed: func(_ context.Context, op Operation, times int, _ error) {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.failed[op] += times
		},
	})
	return c
}

func (c *collector) begin(group boundary.RankKey, in *Registration) bool {
	if !c.index.Register(group, []string{in.Claim}, in.At) {
		return false
	}
	c.begun[group] = *in
	return true
}

func (c *collector) failures(op Operation) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.failed[op]
}

// event is one that a program sends: a boundary, a sample or a stop.
type event struct {
	group    boundary.RankKey
	boundary *boundary.Boundary
	at       int64
	stop     bool
}

// take takes in what one call brings.
func (c *collector) take(ctx context.Context, events ...event) {
	entry := c.store.Entry()
	for _, e := range events {
		if !c.index.Ingest().Registered(e.group) {
			in := Registration{
				At:       e.at,
				Claim:     fmt.Sprintf("seat-%d", e.group.Rank),
				Identity: association.Identity{{Field: "host", Text: e.group.Session}},
			}
			if c.begin(e.group, &in) {
				entry.Registered(e.group, &in)
			}
		}
		if e.boundary == nil {
			c.index.Ingest().Observe(e.group, e.at, e.stop)
			entry.Observed(e.group, e.at, e.stop)
			continue
		}
		c.index.Ingest().Add(e.group, e.boundary)
		entry.Added(e.group, e.boundary)
	}
	c.store.Write(ctx, entry)
}

// knows is all that a collector can be asked about some groups up to a time.
func (c *collector) knows(groups []boundary.RankKey, until int64) map[string]any {
	known := map[string]any{}
	for _, group := range groups {
		name := fmt.Sprintf("%s/%d", group.Session, group.Rank)
		spans := c.index.ScopeIntervals(nil, group)
		replay.SortScopeIntervals(spans)
		known[name] = spans
		begun := c.begun[group]
		begun.order = 0
		known[name+" begun"] = begun
		for at := int64(-1); at <= until; at++ {
			active, status := c.index.Handle(group).Active(nil, at, true)
			replay.SortScopeIntervals(active)
			known[fmt.Sprintf("%s at %d", name, at)] = []any{status, active, c.index.Handle(group).Live(at, at)}
		}
	}
	return known
}

// program sends the events of one rank.
type program struct {
	group  boundary.RankKey
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
		return event{group: p.group, at: p.now}
	case draw == 3:
		return event{group: p.group, at: p.now, stop: true}
	case draw < 12 && len(stack) < 4 || len(stack) == 0:
		b := &boundary.Boundary{
			Time: p.now, Sequence: p.seq, ThreadID: thread, ThreadName: fmt.Sprint("thread-", thread),
			ScopeID: fmt.Sprint(p.group.Session, ":", p.seq), Path: boundary.NewPath("train"),
		}
		if len(stack) > 0 {
			b.ParentScopeID = stack[len(stack)-1].ScopeID
			b.Path = boundary.NewPath(append(stack[len(stack)-1].Path.Parts(), rapid.SampledFrom([]string{"step", "a / b"}).Draw(t, "name"))...)
		}
		b.Attributes = rapid.SampledFrom([][]boundary.Attribute{
			nil, {{Key: "epoch", Value: int64(3)}}, {{Key: "split", Value: "eval"}, {Key: "lr", Value: 0.5}, {Key: "warm", Value: true}},
		}).Draw(t, "attributes")
		p.stacks[thread] = append(stack, b)
		return event{group: p.group, boundary: b, at: p.now}
	default:
		b := *stack[len(stack)-1]
		b.Action, b.Time, b.Sequence = boundary.Exit, p.now, p.seq
		p.stacks[thread] = stack[:len(stack)-1]
		return event{group: p.group, boundary: &b, at: p.now}
	}
}

// drawEvents draws what a call brings: the next events of some programs, each at once or
// later, perhaps twice, perhaps never.
func drawEvents(t *rapid.T, programs map[boundary.RankKey]*program, groups *[]boundary.RankKey, late *[]event) []event {
	var events []event
	for range rapid.IntRange(1, 6).Draw(t, "events") {
		group := boundary.RankKey{
			Session: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "session"),
			Rank:    rapid.Int64Range(0, 1).Draw(t, "rank"),
		}
		p, ok := programs[group]
		if !ok {
			p = &program{group: group, stacks: map[int64][]*boundary.Boundary{}}
			programs[group] = p
			*groups = append(*groups, group)
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

// TestARestoredIndexIsTheOneThatWasKilled kills a collector after any call, and
// compares what the next one knows with what it knew. Boundaries come late, twice or not at
// all; snapshots are written at any time; the storage fails now and then.
func TestARestoredIndexIsTheOneThatWasKilled(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ctx := context.Background()
		d := newDisk()
		o := options()
		o.Repair = rapid.Bool().Draw(t, "repair")
		c := newCollector(d, o)
		require.NoError(t, c.store.heal(ctx))

		programs := map[boundary.RankKey]*program{}
		var groups []boundary.RankKey
		var late []event
		until := int64(0)
		for range rapid.IntRange(1, 60).Draw(t, "calls") {
			switch rapid.IntRange(0, 11).Draw(t, "what") {
			case 0:
				c.store.compact(ctx)
			case 1: // killed: what the next one knows is what this one knew
				require.NoError(t, c.store.heal(ctx))
				d = d.left()
				next := newCollector(d, o)
				require.NoError(t, next.store.heal(ctx))
				require.Zero(t, next.failures(Read))
				require.Equal(t, c.knows(groups, until+50), next.knows(groups, until+50))
				require.Equal(t, c.index.Stats().Boundaries, next.index.Stats().Boundaries)
				require.Equal(t, c.index.Stats().OpenScopes, next.index.Stats().OpenScopes)
				require.Zero(t, next.index.Stats().Repairs, "what was mended before is not counted again")
				require.Equal(t, c.store.Bytes(), next.store.Bytes())
				c = next
			case 2:
				d.set(true, false)
				c.take(ctx, drawEvents(t, programs, &groups, &late)...)
				d.set(false, false)
			case 3:
				// Who is forgotten has no predecessor: those go before.
				if len(groups) > 0 {
					group := rapid.SampledFrom(groups).Draw(t, "forgotten")
					if slices.ContainsFunc(groups, func(g boundary.RankKey) bool { return g.Rank == group.Rank && g.Session != group.Session }) {
						continue
					}
					c.index.Forget(group)
					delete(c.begun, group)
					c.store.Forget(ctx, []boundary.RankKey{group})
				}
			default:
				c.take(ctx, drawEvents(t, programs, &groups, &late)...)
			}
			for _, p := range programs {
				until = max(until, p.now)
			}
		}
	})
}
