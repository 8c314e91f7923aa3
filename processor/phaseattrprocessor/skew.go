// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"github.com/phaseattr/phaseattr/internal/boundary"
)

// skew has the time of the newest boundary of each rank of a batch.
type skew struct {
	// rank is that of the latest boundary, if there is any, and at its newest time.
	any  bool
	rank boundary.RankKey
	at   int64
	// others are the ranks before, nil while there is only one.
	others map[boundary.RankKey]int64
}

// note notes a boundary. Consecutive ones of a rank cost next to nothing.
func (s *skew) note(rank boundary.RankKey, at int64) {
	switch {
	case s.any && s.rank == rank:
		s.at = max(s.at, at)
		return
	case s.any:
		if s.others == nil {
			s.others = map[boundary.RankKey]int64{}
		}
		s.others[s.rank] = s.at
		if newest, ok := s.others[rank]; ok {
			at = max(at, newest)
		}
	}
	s.any, s.rank, s.at = true, rank, at
}

// newest yields the time of the newest boundary of each rank.
func (s *skew) newest(yield func(int64) bool) {
	if !s.any || !yield(s.at) {
		return
	}
	for rank, at := range s.others {
		if rank != s.rank && !yield(at) {
			return
		}
	}
}
