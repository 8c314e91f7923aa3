// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"cmp"
	"math"
	"strings"

	"github.com/phaseattr/phaseattr/internal/boundary"
)

// span is a scope that came whole, or so far only its start. A missing one is only known as
// the parent of others.
type span struct {
	// What a walk through the tree reads comes first, and fills a cache line.

	// start and end are when the scope is active, end not included. That of an open one is
	// forever. The start of a missing one is that of its first child.
	start, end int64
	// left and right are the nodes below this one in its tree, earliestEnd and latestEnd are
	// of all that are below it, and its own; priority is that in its tree.
	left, right            *span
	earliestEnd, latestEnd int64
	priority               uint32
	// children is how many there are.
	children int32
	// marks is of how many boundaries a paired one was made.
	marks uint8
	flags

	lane   *lane
	parent *span
	// path is empty while it is not whole.
	path boundary.Path
	// name is the last part of a path that comes from the parents.
	name boundary.Path
	// scopeID is the ID, idHash its hash.
	scopeID string
	idHash  uint64
	// number is that of the span in its process, seq that of the enter of a paired one.
	number, seq int64

	attributes []boundary.Attribute
	// waiting is the first of the children whose paths wait for this one's; next and previous
	// are those around this one in its parent's list.
	waiting, next, previous *span
	// newestChild is the latest start of a child.
	newestChild int64
	// successor is when the next one of its name and its parent started in its lane, if it is open.
	successor int64
}

// forever is the end of a span that has none yet.
const forever = math.MaxInt64

const (
	// isOpen: only the start has come.
	isOpen flags = 1 << iota
	// isMissing: it has not come.
	isMissing
	// isWhole: all of its path is known.
	isWhole
	// isTruncated: the scope was cut off.
	isTruncated
	// isLink: it is no phase, and only connects others.
	isLink
	// wasAnnounced: its start came before its end, or after it.
	wasAnnounced
	// isOutermost: it says that it has no parent.
	isOutermost
	// isPaired: it is a pair of boundaries without a path, or so far the first of them.
	isPaired
)

// before orders the spans of a sp.
func (sp *span) before(other *span) bool {
	if sp.start != other.start {
		return sp.start < other.start
	}
	return cmp.Or(strings.Compare(sp.scopeID, other.scopeID), cmp.Compare(sp.number, other.number)) < 0
}

// update brings what a node knows of the nodes below it up to date.
func (sp *span) update() {
	sp.earliestEnd, sp.latestEnd = sp.end, sp.end
	for _, below := range [...]*span{sp.left, sp.right} {
		if below != nil {
			sp.earliestEnd, sp.latestEnd = min(sp.earliestEnd, below.earliestEnd), max(sp.latestEnd, below.latestEnd)
		}
	}
}
