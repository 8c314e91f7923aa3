// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

// SessionRanks returns the ranks that are known of a session.
func (x *Index) SessionRanks(session string) []int64 {
	x.mu.RLock()
	defer x.mu.RUnlock()
	var ranks []int64
	for key := range x.streams {
		if key.Session == session {
			ranks = append(ranks, key.Rank)
		}
	}
	return ranks
}
