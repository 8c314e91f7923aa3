// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"strings"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/boundary"
)

// contents is what a storage holds.
type contents struct {
	// groups is what is stored of each group.
	groups map[boundary.RankKey]*stored
	// first and last are the numbers of the journal's records; snapshots the last one's.
	first, last, snapshots uint64
	// journalBytes and snapshotBytes are how long they are.
	journalBytes, snapshotBytes int64
	// deletes are the keys of the snapshots that are of no use any more.
	deletes []string
}

// stored is what is stored of a group.
type stored struct {
	group        boundary.RankKey
	introduction Registration
	// snapshot is the number of the group's snapshot, 0 without one, bytes its length.
	snapshot uint64
	bytes    int64
	// until is the last record of the journal about the group that its snapshot is not
	// as of; 0 when there is none.
	until uint64
	// missing is true when something of the group could not be written.
	missing bool
}

func newContents() contents { return contents{groups: map[boundary.RankKey]*stored{}} }

// stored returns what is stored of a group.
func (c *contents) stored(group boundary.RankKey) *stored {
	g, ok := c.groups[group]
	if !ok {
		group.Session = strings.Clone(group.Session) // it may be part of a larger text
		g = &stored{group: group}
		c.groups[group] = g
	}
	return g
}

// remove lets go of what is stored of a group.
func (c *contents) remove(group boundary.RankKey) {
	if g, ok := c.groups[group]; ok && g.snapshot != 0 {
		c.deletes = append(c.deletes, key(snapshotPrefix, g.snapshot))
		c.snapshotBytes -= g.bytes
	}
	delete(c.groups, group)
}
