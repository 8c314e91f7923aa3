// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/extension/xextension/storage"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/boundary"
)

// enter is an event by which a group enters a phase that it does not leave.
func enter(group boundary.RankKey, at int64, name string) event {
	return event{group: group, at: at, boundary: &boundary.Boundary{
		Time: at, Sequence: at, ThreadID: 1, ThreadName: "main", ScopeID: fmt.Sprint(group.Session, ":", at), Path: boundary.NewPath(name),
	}}
}

// paths are those that a group is in at a moment.
func (c *collector) paths(group boundary.RankKey, at int64) []string {
	var paths []string
	spans, _ := c.index.Handle(group).Active(nil, at, true)
	for _, span := range spans {
		paths = append(paths, span.Path.Label())
	}
	return paths
}

// started returns a collector on a disk, which is closed when the test ends.
func started(t *testing.T, d *disk) *collector {
	t.Helper()
	c := newCollector(d, options())
	require.NoError(t, c.store.Start(t.Context()))
	t.Cleanup(func() { c.store.Close(context.WithoutCancel(t.Context())) })
	return c
}

// records are the entries of the generation in use under a prefix.
func (d *disk) records(prefix string) map[string][]byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	found := map[string][]byte{}
	for name, file := range d.files {
		for key, value := range file {
			if name != ledgerName && strings.HasPrefix(key, prefix) {
				found[key] = value
			}
		}
	}
	return found
}

func TestEveryDamageToARecordIsNoticed(t *testing.T) {
	record := seal("journal/1", append(unsealed(), "what it holds"...))
	payload, err := unseal("journal/1", record)
	require.NoError(t, err)
	assert.Equal(t, "what it holds", string(payload))

	_, err = unseal("journal/2", record)
	require.ErrorIs(t, err, errChecksum, "it is under the key of another")
	for bit := range 8 * len(record) {
		damaged := bytes.Clone(record)
		damaged[bit/8] ^= 1 << (bit % 8)
		_, err = unseal("journal/1", damaged)
		require.Error(t, err, "bit %d", bit)
	}
	for n := range record {
		_, err = unseal("journal/1", record[:n])
		require.Error(t, err, "%d bytes", n)
	}
	record[0] = version + 1
	_, err = unseal("journal/1", record)
	require.ErrorIs(t, err, errVersion)
}

func TestWhatCannotBeReadIsSetAsideAndTheRestIsUsed(t *testing.T) {
	a, b := boundary.RankKey{Session: "a"}, boundary.RankKey{Session: "b", Rank: 1}
	for name, damage := range map[string]func([]byte) []byte{
		"a flipped bit":     func(record []byte) []byte { record[len(record)-1] ^= 1; return record },
		"cut short":         func(record []byte) []byte { return record[:len(record)/2] },
		"emptied":           func([]byte) []byte { return nil },
		"of another format": func(record []byte) []byte { record[0] = 200; return record },
	} {
		for _, prefix := range []string{journalPrefix, snapshotPrefix} {
			t.Run(name+" in "+prefix, func(t *testing.T) {
				d := newDisk()
				c := started(t, d)
				c.take(t.Context(), enter(a, 1, "train"))
				if prefix == snapshotPrefix {
					c.store.compact(t.Context())
				}
				hurt := d.records(prefix)
				require.Len(t, hurt, 1)
				c.take(t.Context(), enter(b, 1, "serve"))

				left := d.left()
				for key, record := range hurt {
					left.files["generation_0"][key] = damage(bytes.Clone(record))
				}
				next := started(t, left)
				assert.Equal(t, 1, next.failures(Read))
				assert.Empty(t, next.paths(a, 2))
				assert.Equal(t, []string{"serve"}, next.paths(b, 2))
				for key, record := range hurt {
					assert.NotContains(t, left.records(prefix), key)
					if damaged := damage(bytes.Clone(record)); damaged != nil {
						assert.Equal(t, damaged, left.records(unreadablePrefix)[unreadablePrefix+key])
					}
				}
				// What comes next does not get lost among what is left.
				next.take(t.Context(), enter(a, 5, "again"))
				last := started(t, left.left())
				assert.Zero(t, last.failures(Read))
				assert.Equal(t, []string{"again"}, last.paths(a, 6))
				assert.Equal(t, []string{"serve"}, last.paths(b, 2))
			})
		}
	}
}

func TestOnlySoMuchIsKeptAside(t *testing.T) {
	d := newDisk()
	c := started(t, d)
	for i := range int64(maxUnreadable + 5) {
		c.take(t.Context(), enter(boundary.RankKey{Session: "a", Rank: i}, 1, "train"))
	}
	left := d.left()
	for _, record := range left.records(journalPrefix) {
		record[5] ^= 1
	}
	next := started(t, left)
	assert.Equal(t, maxUnreadable+5, next.failures(Read))
	assert.Len(t, left.records(unreadablePrefix), maxUnreadable)
}

func TestAGenerationThatPanicsIsGivenUp(t *testing.T) {
	a, b := boundary.RankKey{Session: "a"}, boundary.RankKey{Session: "b", Rank: 1}
	d := newDisk()
	c := started(t, d)
	c.take(t.Context(), enter(a, 1, "train"))
	d.set(false, true)
	c.take(t.Context(), enter(b, 1, "serve"))
	assert.Equal(t, 1, c.failures(Write))
	d.set(false, false)
	require.NoError(t, c.store.heal(t.Context()))
	assert.Contains(t, d.left().files, "generation_1")
	next := started(t, d.left())
	assert.Equal(t, []string{"train"}, next.paths(a, 2), "all is written to the new one")
	assert.Equal(t, []string{"serve"}, next.paths(b, 2))
}

// deadly is a disk on which a generation ends the process when it is opened.
type deadly struct {
	*disk
	generation string
	deaths     int
}

type death struct{}

func (d *deadly) open(ctx context.Context, name string) (storage.Client, error) {
	if name == d.generation {
		d.deaths++
		// A process that dies writes nothing more; guard does not live to see it.
		d.fails = true
		panic(death{})
	}
	d.fails = false
	return d.disk.open(ctx, name)
}

func TestAGenerationThatCannotBeOpenedIsGivenUp(t *testing.T) {
	d := newDisk()
	started(t, d).take(t.Context(), enter(boundary.RankKey{Session: "a"}, 1, "train"))
	c := newCollector(d, options())
	c.store.options.Open = func(ctx context.Context, name string) (storage.Client, error) {
		if name == "generation_0" {
			return nil, errDisk
		}
		return d.open(ctx, name)
	}
	for range maxAttempts {
		require.ErrorIs(t, c.store.heal(t.Context()), errDisk)
	}
	require.ErrorIs(t, c.store.heal(t.Context()), errSpoiled)
	require.NoError(t, c.store.heal(t.Context()))
	assert.Contains(t, d.files, "generation_1")
}

func TestAGenerationThatKillsItsProcessIsGivenUp(t *testing.T) {
	d := &deadly{newDisk(), "generation_0", 0}
	for range maxAttempts {
		l, err := openLedger(t.Context(), d.open)
		require.NoError(t, err)
		_, err = l.open(t.Context(), d.open)
		require.ErrorIs(t, err, errSpoiled)
	}
	c := newCollector(d.disk, options())
	c.store.options.Open = d.open
	require.NoError(t, c.store.Start(t.Context()))
	defer c.store.Close(t.Context())
	assert.Equal(t, maxAttempts, d.deaths)
	assert.Equal(t, 1, c.failures(Open))
	c.take(t.Context(), enter(boundary.RankKey{Session: "a"}, 1, "train"))
	assert.Contains(t, d.files, "generation_1")
	assert.Len(t, d.records(journalPrefix), 1)
}

// blind is a client that cannot list what it holds.
type blind struct{ storage.Client }

func TestAStorageThatCannotListIsNoUse(t *testing.T) {
	d := newDisk()
	c := newCollector(d, options())
	c.store.options.Open = func(ctx context.Context, name string) (storage.Client, error) {
		client, err := d.open(ctx, name)
		return blind{client}, err
	}
	require.ErrorIs(t, c.store.Start(t.Context()), errNoWalk)
}

func TestCallersAreWrittenTogether(t *testing.T) {
	d := newDisk()
	c := started(t, d)
	const callers, calls = 8, 50
	var running sync.WaitGroup
	for i := range int64(callers) {
		running.Go(func() {
			group := boundary.RankKey{Session: "a", Rank: i}
			for at := range int64(calls) {
				entry := c.store.Entry()
				e := enter(group, at, "train")
				c.index.Ingest().Add(group, e.boundary)
				entry.Added(group, e.boundary)
				c.store.Write(t.Context(), entry)
			}
		})
	}
	running.Wait()
	assert.LessOrEqual(t, len(d.records(journalPrefix)), callers*calls)
	next := started(t, d.left())
	want := c.index.Stats()
	want.Repairs = 0 // that has been counted
	assert.Equal(t, want, next.index.Stats())
}

func TestTheJournalIsCutOnceItIsLongerThanTheSnapshots(t *testing.T) {
	d := newDisk()
	c := newCollector(d, options())
	c.store.minJournal = 2000
	require.NoError(t, c.store.Start(t.Context()))
	group := boundary.RankKey{Session: "a"}
	for at := range int64(5000) {
		c.take(t.Context(), enter(group, at, "train"), event{group: group, at: at, boundary: func() *boundary.Boundary {
			exit := *enter(group, at, "train").boundary
			exit.Action, exit.Sequence = boundary.Exit, at+1
			return &exit
		}()})
	}
	require.Eventually(t, func() bool { return c.store.Bytes() < 2*c.store.minJournal }, 10*time.Second, time.Millisecond,
		"of 5,000 calls of 60 bytes little is left")
	c.store.Close(t.Context())
	assert.Len(t, d.records(snapshotPrefix), 1)
	next := started(t, d.left())
	assert.Equal(t, c.knows([]boundary.RankKey{group}, 5000), next.knows([]boundary.RankKey{group}, 5000))
}

func TestAShortJournalIsLeftAlone(t *testing.T) {
	d := newDisk()
	c := newCollector(d, options())
	require.NoError(t, c.store.heal(t.Context()))
	c.take(t.Context(), enter(boundary.RankKey{Session: "a"}, 1, "train"))
	c.store.tidy(t.Context())
	assert.Empty(t, d.records(snapshotPrefix))
	c.store.minJournal = 1
	c.store.tidy(t.Context())
	assert.Len(t, d.records(snapshotPrefix), 1)
	assert.Empty(t, d.records(journalPrefix))
	c.store.Close(t.Context())
}

func TestGroupsThatAreForgottenLeaveTheStorage(t *testing.T) {
	d := newDisk()
	c := started(t, d)
	var groups []boundary.RankKey
	for i := range int64(20) {
		group := boundary.RankKey{Session: "a", Rank: i}
		groups = append(groups, group)
		c.take(t.Context(), enter(group, 1, "train"))
	}
	c.store.compact(t.Context())
	require.Len(t, d.records(snapshotPrefix), len(groups))
	for _, group := range groups[1:] {
		c.index.Forget(group)
	}
	c.store.Forget(t.Context(), groups) // the first one is back
	assert.Len(t, d.records(snapshotPrefix), 1)
	c.take(t.Context(), enter(groups[7], 9, "again"))
	next := started(t, d.left())
	assert.Equal(t, 2, next.index.Stats().Ranks)
	assert.Equal(t, []string{"again"}, next.paths(groups[7], 10))
}

func FuzzRecord(f *testing.F) {
	w := newWriter()
	c := newCollector(newDisk(), options())
	group := boundary.RankKey{Session: "a", Rank: 3}
	for _, e := range []event{enter(group, 1, "train"), enter(group, 2, "step"), enter(group, 300, "late")} {
		c.index.Ingest().Add(group, e.boundary)
	}
	snapshot, _ := c.index.Snapshot(group)
	w.snapshot(7, &Registration{Claim: "seat"}, &snapshot)
	f.Add(slices.Clone(w.data), true)
	e := c.store.Entry()
	e.Registered(group, &Registration{Claim: "seat"})
	e.Added(group, enter(group, 1, "train").boundary)
	e.Observed(group, 5, true)
	e.forgot(group, 1)
	f.Add(e.appendTo(nil), false)

	f.Fuzz(func(t *testing.T, payload []byte, snapshot bool) {
		c := newCollector(newDisk(), options())
		r := newRestoration(c.store, nil)
		take := r.record
		if snapshot {
			take = r.snapshot
		}
		if err := take("key", 1, payload); err != nil {
			require.ErrorIs(t, err, errMalformed)
		}
		assert.LessOrEqual(t, c.index.Stats().Boundaries, int64(len(payload)))
	})
}

func TestAStorageThatIsFullIsReadAllTheSame(t *testing.T) {
	a := boundary.RankKey{Session: "a"}
	d := newDisk()
	started(t, d).take(t.Context(), enter(a, 1, "train"))
	left := d.left()
	left.full = true
	c := started(t, left)
	assert.Equal(t, []string{"train"}, c.paths(a, 2))
	assert.Positive(t, c.failures(Write))
	c.take(t.Context(), enter(a, 5, "late"))

	left.set(false, false)
	require.NoError(t, c.store.heal(t.Context()))
	next := started(t, left.left())
	assert.Equal(t, []string{"train"}, next.paths(a, 2))
	assert.Equal(t, []string{"late"}, next.paths(a, 6))
}
