// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"strings"

	"go.opentelemetry.io/collector/extension/xextension/storage"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/boundary"
)

// contents describes what a storage holds.
type contents struct {
	ranks map[boundary.RankKey]*storedRank
	// first and last are the numbers of the first and the last record of the journal;
	// snapshots is the largest number of a snapshot.
	first, last, snapshots uint64
	// journalBytes and snapshotBytes are the sizes of the records.
	journalBytes, snapshotBytes int64
	// cleanup deletes and quarantines records, with the next write.
	cleanup []*storage.Operation
}

// storedRank describes what a storage holds of a rank.
type storedRank struct {
	rank         boundary.RankKey
	registration Registration
	// snapshot is the number of the rank's snapshot, 0 without one, bytes its size. The
	// snapshot may not have been written yet.
	snapshot uint64
	bytes    int64
	// lastRecord is the number of the last record of the journal about the rank that its
	// snapshot does not cover; 0 when there is none.
	lastRecord uint64
	// dirty is true while the storage lacks something of the rank.
	dirty bool
}

func newContents() contents { return contents{ranks: map[boundary.RankKey]*storedRank{}} }

// stored returns the description of a rank, which it adds if necessary.
func (c *contents) stored(rank boundary.RankKey) *storedRank {
	stored, ok := c.ranks[rank]
	if !ok {
		rank.Session = strings.Clone(rank.Session) // it may be part of a larger text
		stored = &storedRank{rank: rank}
		c.ranks[rank] = stored
	}
	return stored
}

// markDirty marks a rank, unless it has been removed.
func (c *contents) markDirty(rank boundary.RankKey) {
	if stored, ok := c.ranks[rank]; ok {
		stored.dirty = true
	}
}

// remove removes a rank and its snapshot.
func (c *contents) remove(rank boundary.RankKey) {
	if stored, ok := c.ranks[rank]; ok && stored.snapshot != 0 {
		c.cleanup = append(c.cleanup, storage.DeleteOperation(key(snapshotPrefix, stored.snapshot)))
		c.snapshotBytes -= stored.bytes
	}
	delete(c.ranks, rank)
}
