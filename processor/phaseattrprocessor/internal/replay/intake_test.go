// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/phaseattr/phaseattr/internal/boundary"
)

func TestAnIntervalWithoutDurationIsNone(t *testing.T) {
	x := New(Options{Repair: true})
	from := Sender{Rank: boundary.RankKey{Session: "a"}}
	for _, tc := range []struct {
		interval boundary.Interval
		want     Outcome
	}{
		{boundary.Interval{Start: 1, End: 2, ScopeID: "a", Name: "step"}, Accepted},
		{boundary.Interval{Start: 3, End: 3, ScopeID: "b", Name: "instant"}, NoDuration},
		{boundary.Interval{Start: 5, End: 4, ScopeID: "c", Name: "inverted"}, NoDuration},
		{boundary.Interval{Start: 6, Open: true, ScopeID: "d", Name: "step"}, Accepted},
	} {
		require.Equal(t, tc.want, x.Ingest().AddInterval(&from, &tc.interval).Outcome, tc.interval.Name)
	}
	require.True(t, x.Has(from.Rank))
}
