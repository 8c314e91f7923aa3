// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/extension/xextension/storage"

	"github.com/phaseattr/phaseattr/internal/boundary"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/association"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/replay"
)

// enter is an event by which a rank enters a phase that it does not leave.
func enter(rank boundary.RankKey, at int64, name string) event {
	return event{rank: rank, at: at, boundary: &boundary.Boundary{
		Time: at, Sequence: at, ThreadID: 1, ThreadName: "main", ScopeID: fmt.Sprint(rank.Session, ":", at), Path: boundary.NewPath(name),
	}}
}

// paths returns the phases of a rank at a time.
func (c *collector) paths(rank boundary.RankKey, at int64) []string {
	var paths []string
	intervals, _ := c.index.Handle(rank).Active(nil, at, true)
	for _, interval := range intervals {
		paths = append(paths, interval.Path.Label())
	}
	return paths
}

// started returns a running collector, which is closed when the test ends.
func started(t *testing.T, d *disk) *collector {
	t.Helper()
	c := newCollector(d, options())
	require.NoError(t, c.store.Start(t.Context()))
	t.Cleanup(func() { assert.NoError(t, c.store.Close(context.WithoutCancel(t.Context()))) })
	return c
}

func TestEveryDamageToARecordIsNoticed(t *testing.T) {
	record := seal("journal/1", append(unsealed(), "payload"...))
	found, payload, err := unseal("journal/1", record)
	require.NoError(t, err)
	assert.Equal(t, "payload", string(payload))
	assert.EqualValues(t, version, found)

	_, _, err = unseal("journal/2", record)
	require.ErrorIs(t, err, errChecksum, "under the key of another record")
	for bit := range 8 * len(record) {
		damaged := bytes.Clone(record)
		damaged[bit/8] ^= 1 << (bit % 8)
		found, _, err = unseal("journal/1", damaged)
		require.True(t, err != nil || found != version && found != version2, "bit %d", bit)
	}
	for n := range record {
		_, _, err = unseal("journal/1", record[:n])
		require.Error(t, err, "%d bytes", n)
	}
}

func TestUnreadableRecordsAreQuarantinedAndTheRestIsRestored(t *testing.T) {
	a, b := boundary.RankKey{Session: "a"}, boundary.RankKey{Session: "b", Rank: 1}
	for name, damage := range map[string]func([]byte) []byte{
		"a flipped bit":      func(record []byte) []byte { record[len(record)-1] ^= 1; return record },
		"cut short":          func(record []byte) []byte { return record[:len(record)/2] },
		"emptied":            func([]byte) []byte { return nil },
		"an older format":    func(record []byte) []byte { record[0] = 1; return record },
		"a damaged version":  func(record []byte) []byte { record[0], record[9] = 200, record[9]^1; return record },
		"overwritten by FFs": func(record []byte) []byte { return bytes.Repeat([]byte{0xff}, len(record)) },
	} {
		for _, prefix := range []string{journalPrefix, snapshotPrefix} {
			t.Run(name+" in "+prefix, func(t *testing.T) {
				d := newDisk()
				c := started(t, d)
				c.add(t.Context(), enter(a, 1, "train"))
				if prefix == snapshotPrefix {
					require.NoError(t, c.store.compact(t.Context()))
				}
				hurt := d.records(prefix)
				require.Len(t, hurt, 1)
				c.add(t.Context(), enter(b, 1, "serve"))

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
						assert.Equal(t, damaged, left.records(quarantinePrefix)[quarantinePrefix+key])
					}
				}
				// Later records do not collide with the quarantined one.
				next.add(t.Context(), enter(a, 5, "again"))
				last := started(t, left.left())
				assert.Zero(t, last.failures(Read))
				assert.Equal(t, []string{"again"}, last.paths(a, 6))
				assert.Equal(t, []string{"serve"}, last.paths(b, 2))
			})
		}
	}
}

// The next record must not have the key of one that is still to be moved to the quarantine.
func TestTheNumberOfADamagedRecordIsNotReused(t *testing.T) {
	a := boundary.RankKey{Session: "a"}
	d := newDisk()
	started(t, d).add(t.Context(), enter(a, 1, "train"))
	left := d.left()
	for _, record := range left.records(journalPrefix) {
		record[5] ^= 1
	}
	next := started(t, left)
	next.add(t.Context(), enter(a, 5, "again"))
	assert.Len(t, left.records(journalPrefix), 1)
	assert.Contains(t, left.records(journalPrefix), key(journalPrefix, 2))
}

func TestTheQuarantineIsBounded(t *testing.T) {
	d := newDisk()
	c := started(t, d)
	for i := range int64(maxQuarantined + 5) {
		c.add(t.Context(), enter(boundary.RankKey{Session: "a", Rank: i}, 1, "train"))
	}
	left := d.left()
	for _, record := range left.records(journalPrefix) {
		record[5] ^= 1
	}
	next := started(t, left)
	assert.Equal(t, maxQuarantined+5, next.failures(Read))
	assert.Len(t, left.records(quarantinePrefix), maxQuarantined)
}

func TestAStorageOfANewerFormatIsLeftAlone(t *testing.T) {
	a, b := boundary.RankKey{Session: "a"}, boundary.RankKey{Session: "b", Rank: 1}
	d := newDisk()
	started(t, d).add(t.Context(), enter(a, 1, "train"))
	newer := d.left()
	for _, record := range newer.records(journalPrefix) {
		record[0] = version + 1
	}
	before := newer.left().files["generation_0"]

	c := started(t, newer)
	assert.Equal(t, 1, c.failures(Open))
	c.add(t.Context(), enter(b, 1, "serve"))
	assert.Equal(t, before, newer.left().files["generation_0"])

	next := started(t, newer.left())
	assert.Zero(t, next.failures(Open))
	assert.Empty(t, next.paths(a, 2))
	assert.Equal(t, []string{"serve"}, next.paths(b, 2))
}

func TestAGenerationThatCannotBeOpenedIsAbandoned(t *testing.T) {
	d := newDisk()
	started(t, d).add(t.Context(), enter(boundary.RankKey{Session: "a"}, 1, "train"))
	c := newCollector(d, options())
	c.store.options.Open = func(ctx context.Context, name string) (storage.Client, error) {
		if name == "generation_0" {
			return nil, errDisk
		}
		return d.getClient(ctx, name)
	}
	for range maxAttempts {
		require.ErrorIs(t, c.store.recover(t.Context()), errDisk)
	}
	require.ErrorIs(t, c.store.recover(t.Context()), errAbandoned)
	require.NoError(t, c.store.recover(t.Context()))
	assert.Contains(t, d.files, "generation_1")
	assert.Equal(t, 1, c.recoveries())
}

func TestAGenerationThatEndsTheProcessWhenItIsOpenedIsAbandoned(t *testing.T) {
	d := newDisk()
	started(t, d).add(t.Context(), enter(boundary.RankKey{Session: "a"}, 1, "train"))
	for range maxAttempts {
		var left *disk // when the process ended
		c := newCollector(d, options())
		c.store.options.Open = func(ctx context.Context, name string) (storage.Client, error) {
			if name == "generation_0" {
				left = d.left()
				return nil, errDisk
			}
			return d.getClient(ctx, name)
		}
		require.ErrorIs(t, c.store.recover(t.Context()), errDisk)
		d = left
	}
	c := started(t, d)
	assert.Equal(t, 1, c.failures(Open))
	assert.Contains(t, d.files, "generation_1")
	c.add(t.Context(), enter(boundary.RankKey{Session: "a"}, 1, "train"))
	assert.Len(t, d.left().files["generation_1"], 2, "the probe and a record")
}

// blind is a client that cannot list its keys.
type blind struct{ storage.Client }

func TestAStorageThatCannotListItsKeysIsRefused(t *testing.T) {
	d := newDisk()
	c := newCollector(d, options())
	c.store.options.Open = func(ctx context.Context, name string) (storage.Client, error) {
		client, err := d.getClient(ctx, name)
		return blind{client}, err
	}
	require.ErrorIs(t, c.store.Start(t.Context()), errNoWalk)
	assert.Zero(t, d.clients())
}

func TestAFullStorageIsReadAndCaughtUpLater(t *testing.T) {
	a := boundary.RankKey{Session: "a"}
	d := newDisk()
	started(t, d).add(t.Context(), enter(a, 1, "train"))
	left := d.left()
	left.full = true
	c := started(t, left)
	assert.Equal(t, []string{"train"}, c.paths(a, 2))
	assert.Equal(t, 1, c.failures(Write))
	c.add(t.Context(), enter(a, 5, "late"))

	left.setFails(false)
	c.store.wakeUp()
	require.Eventually(t, func() bool { return !c.store.down.Load() }, 10*time.Second, time.Millisecond)
	next := started(t, left.left())
	assert.Equal(t, []string{"train"}, next.paths(a, 2))
	assert.Equal(t, []string{"late"}, next.paths(a, 6))
}

func FuzzRecord(f *testing.F) {
	w := &codec{}
	c := newCollector(newDisk(), options())
	rank := boundary.RankKey{Session: "a", Rank: 3}
	for _, e := range []event{enter(rank, 1, "train"), enter(rank, 2, "step"), enter(rank, 300, "late")} {
		add(c.index, rank, e.boundary)
	}
	state, _ := c.index.Snapshot(rank)
	sender := Sender{Rank: rank, Process: boundary.Process{Host: "node", PID: 7}}
	presence := Presence{Sender: sender, Since: 1, Print: 2, Identity: association.Identity{{Field: "host", Text: "node"}}}
	w.snapshot(&snapshot{7, state, []Presence{presence}})
	f.Add(slices.Clone(w.data), byte(version), true)
	e := c.store.Entry()
	e.Presence(&presence)
	e.Boundary(&sender, enter(rank, 1, "train").boundary)
	e.Event(&sender, &replay.Event{Time: 5, Kind: replay.Stop})
	e.Interval(&sender, &boundary.Interval{Start: 1, End: 6, ScopeID: "1", Path: boundary.NewPath("train")})
	e.begin(&sender, kindForgotten)
	e.codec.uint(&presence.order)
	f.Add(e.appendTo(nil), byte(version), false)
	for key, record := range version2Records(f).records("") {
		if found, payload, err := unseal(key, record); err == nil {
			f.Add(payload, found, strings.HasPrefix(key, snapshotPrefix))
		}
	}

	f.Fuzz(func(t *testing.T, payload []byte, as byte, snapshot bool) {
		c := newCollector(newDisk(), options())
		r := newRestoration(c.store)
		r.number, r.version = 1, as
		read := r.record
		if snapshot {
			read = r.snapshot
		}
		reader := newReader(payload)
		read(reader)
		if reader.err != nil {
			require.ErrorIs(t, reader.err, errMalformed)
		}
		assert.LessOrEqual(t, c.index.Stats().Boundaries, int64(len(payload)))
	})
}

// version2Records is what a collector left that was killed: snapshots, a journal with an
// exit, a stop and a forgotten rank, and a session that took over from another one.
func version2Records(tb testing.TB) *disk {
	tb.Helper()
	file, err := os.ReadFile(filepath.Join("testdata", "records-v2.json"))
	require.NoError(tb, err)
	d := newDisk()
	require.NoError(tb, json.Unmarshal(file, &d.files))
	return d
}

func TestRecordsOfVersion2AreRestored(t *testing.T) {
	d := version2Records(t)
	before := d.left()

	c := started(t, d)
	assert.Zero(t, c.failures(Read))
	assert.Equal(t, before.files, d.left().files, "nothing needs to be written")
	first, second := boundary.RankKey{Session: "run-1"}, boundary.RankKey{Session: "run-1", Rank: 1}
	next, forgotten := boundary.RankKey{Session: "run-2"}, boundary.RankKey{Session: "forgotten", Rank: 2}
	for _, tc := range []struct {
		rank boundary.RankKey
		at   int64
		want []string
	}{
		{first, 10, []string{"train"}},
		{second, 6, []string{"train / a / b", "train"}},
		{second, 10, []string{"train"}},
		{second, 13, nil}, // it has stopped
		{next, 16, []string{"train"}},
		{forgotten, 5, nil},
	} {
		assert.Equal(t, tc.want, c.paths(tc.rank, tc.at), "%v at %d", tc.rank, tc.at)
	}
	intervals, _ := c.index.Handle(second).Active(nil, 10, true)
	require.Len(t, intervals, 1)
	assert.Equal(t, []boundary.Attribute{
		{Key: "epoch", Value: int64(3)}, {Key: "split", Value: "eval"}, {Key: "lr", Value: 0.5}, {Key: "warm", Value: true},
	}, intervals[0].Attributes)
	process := func(pid int64) boundary.Process { return boundary.Process{Host: "node", PID: pid} }
	for rank, p := range c.presences {
		p.Print = 0 // it is not stored
		c.presences[rank] = p
	}
	assert.Equal(t, map[boundary.RankKey]Presence{
		first:  {Sender: Sender{Rank: first, Process: process(100)}, Since: 1, Identity: association.Identity{{Field: "host", Text: "run-1"}}, order: 1},
		second: {Sender: Sender{Rank: second, Process: process(101)}, Since: 3, Identity: association.Identity{{Field: "host", Text: "run-1"}}, order: 2},
		next:   {Sender: Sender{Rank: next, Process: process(100)}, Since: 15, Identity: association.Identity{{Field: "host", Text: "run-2"}}, order: 4},
	}, c.presences)
}

func TestAStorageOfVersion2IsWrittenOn(t *testing.T) {
	for name, compacted := range map[string]bool{"beside new records": false, "replaced by a snapshot": true} {
		t.Run(name, func(t *testing.T) {
			d := version2Records(t)
			c := started(t, d)
			rank := boundary.RankKey{Session: "run-1", Rank: 1}
			c.add(t.Context(), enter(rank, 20, "eval"))
			if compacted {
				for _, stored := range c.store.ranks {
					stored.dirty = true
				}
				require.NoError(t, c.store.compact(t.Context()))
				for key, record := range d.records("") {
					assert.True(t, key == probeKey || record[0] == version, key)
				}
			}
			next := started(t, d.left())
			assert.Zero(t, next.failures(Read))
			ranks := []boundary.RankKey{rank, {Session: "run-1"}, {Session: "run-2"}}
			assert.Equal(t, c.answers(ranks, 30), next.answers(ranks, 30))
			assert.Equal(t, []string{"eval"}, next.paths(rank, 21))
		})
	}
}

func TestClaimsOfVersion2NameAProcess(t *testing.T) {
	for claim, want := range map[string]boundary.Process{
		"process\x00Node-1\x0042\x003": {Host: "node-1", PID: 42},
		"process\x00node-1\x001\x003":  {}, // that of every container
		"process\x00node-1\x00x\x003":  {},
		"process\x00node-1\x0042":      {},
		"device\x00node-1\x0042\x003":  {},
		"":                             {},
		"process\x00node-1\x0099999999999999999999\x003": {},
	} {
		assert.Equal(t, want, processOf(claim), "%q", claim)
	}
}
