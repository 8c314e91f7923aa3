// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"slices"
	"strings"

	"go.opentelemetry.io/collector/extension/xextension/storage"

	"github.com/phaseattr/phaseattr/internal/boundary"
)

// contents describes what a storage holds.
type contents struct {
	ranks map[boundary.RankKey]*storedRank
	// first and last are the numbers of the first and the last record of the journal;
	// snapshots is the largest number of a snapshot. Only the background loop uses first.
	first, last, snapshots uint64
	// journalBytes and snapshotBytes are the sizes of the records.
	journalBytes, snapshotBytes int64
	// cleanup deletes and quarantines records, with the next write.
	cleanup []*storage.Operation
}

// storedRank describes what a storage holds of a rank.
type storedRank struct {
	rank      boundary.RankKey
	presences []Presence
	// order is the largest order of the presences.
	order uint64
	// snapshot is the number of the rank's snapshot, 0 without one, bytes its size, through
	// the last record of the journal that it covers when it is restored. The snapshot may
	// not have been written yet.
	snapshot, through uint64
	bytes             int64
	// lastRecord is the number of the last record of the journal about the rank that its
	// snapshot does not cover, arrival the time of its last one when it is restored; 0 when
	// there is none.
	lastRecord uint64
	arrival    int64
	// dirty is true while the storage lacks something of the rank.
	dirty bool
}

func newContents() contents { return contents{ranks: map[boundary.RankKey]*storedRank{}} }

// describe returns the description of a rank, which it adds if necessary.
func (c *contents) describe(rank boundary.RankKey) *storedRank {
	stored, ok := c.ranks[rank]
	if !ok {
		rank.Session = strings.Clone(rank.Session) // it may be part of a larger text
		stored = &storedRank{rank: rank}
		c.ranks[rank] = stored
	}
	return stored
}

// remove removes a rank and its snapshot.
func (c *contents) remove(stored *storedRank) {
	if stored.snapshot != 0 {
		c.cleanup = append(c.cleanup, storage.DeleteOperation(key(snapshotPrefix, stored.snapshot)))
		c.snapshotBytes -= stored.bytes
	}
	delete(c.ranks, stored.rank)
}

// add adds a presence and returns it; nil when it is there already.
func (r *storedRank) add(p *Presence) *Presence {
	if slices.ContainsFunc(r.presences, func(q Presence) bool { return q.order == p.order }) {
		return nil
	}
	p.Sender.Rank = r.rank
	r.order = max(r.order, p.order)
	r.presences = append(r.presences, *p)
	return &r.presences[len(r.presences)-1]
}
