// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/boundary"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/policy"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/replay"
)

// question asks what was active in a group from one moment to another, or at one
// moment if they are the same.
type question struct {
	group    boundary.RankKey
	from, to int64
	origin   boundary.Origin
}

// reply is what is known about a question.
type reply struct {
	question
	// used is false while the reply is to no question.
	used   bool
	handle replay.Handle
	// live is true when the group can have been alive.
	live bool
	// asked is true when answer, found, status and other are set.
	asked  bool
	answer policy.Attribution
	found  bool
	status replay.Status
	// other is true when a path of the answer was one too many to be stored.
	other bool
	// divided is true when the asker's parts are those of the question, if it says so.
	divided bool
	// records is how many the reply has answered.
	records int64
}

// settle lets the index know how many records the reply has answered.
func (r *reply) settle() {
	if r.records > 0 {
		r.handle.Answered(r.to, r.records)
	}
}

const (
	// memoBits is how many bits say where in a memo a question is.
	memoBits = 7
	memoSize = 1 << memoBits
)

// memo keeps the replies to the questions of a batch. All gauges of a scrape are read
// at the same time, or at the same few times, so that its questions are few. A question
// has one place, and takes it from another.
type memo struct {
	groups  [memoSize]known
	replies [memoSize]reply
	// used are the replies that say something.
	used []*reply
}

// known is a group whose handle is known, if asked.
type known struct {
	group  boundary.RankKey
	handle replay.Handle
	asked  bool
}

// recall returns the reply to the question what a group was doing in the interval of
// the record at hand.
func (a *asker) recall(group *boundary.RankKey) *reply {
	if a.recent == nil || a.recent.group != *group {
		a.recent = a.memo.find(a, group)
	}
	return a.recent
}

// find returns the reply to a question from its place, or puts one there.
func (m *memo) find(a *asker, group *boundary.RankKey) *reply {
	r := &m.replies[placeOf(group.Rank, a.from, a.to)]
	switch {
	case !r.used:
		m.used = append(m.used, r)
	case r.to == a.to && r.from == a.from && r.group == *group && r.origin == a.origin:
		return r
	default:
		r.settle()
	}
	r.question = question{group: *group, from: a.from, to: a.to, origin: a.origin}
	r.used, r.asked, r.divided, r.records = true, false, false, 0
	r.handle = m.handle(a.index, group)
	r.live = r.handle.Live(r.from, r.to)
	return r
}

// handle returns the handle of a group.
func (m *memo) handle(index *replay.Index, group *boundary.RankKey) replay.Handle {
	k := &m.groups[uint64(group.Rank)%memoSize] //nolint:gosec // any bits will do
	if k.group != *group || !k.asked {
		*k = known{*group, index.Handle(*group), true}
	}
	return k.handle
}

// clear forgets all replies, but keeps the room that they took.
func (m *memo) clear() {
	for _, r := range m.used {
		r.settle()
		room := r.answer.Paths
		clear(room[:cap(room)])
		*r = reply{answer: policy.Attribution{Paths: room}}
	}
	m.used = m.used[:0]
	clear(m.groups[:])
}

// placeOf is where in a memo a question about a rank is.
func placeOf(rank, from, to int64) int {
	sum := (uint64(from)*31+uint64(to))*31 + uint64(rank) //nolint:gosec // any bits will do
	return int(sum * 0x9e3779b97f4a7c15 >> (64 - memoBits))
}
