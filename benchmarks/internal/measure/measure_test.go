// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package measure

import (
	"errors"
	"runtime/debug"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestRoundsRunContendersInTurn(t *testing.T) {
	const rounds, runs = 2, 3
	defer debug.SetGCPercent(debug.SetGCPercent(100)) // whatever GOGC says
	order := make([]string, 0, 100)
	var garbage []byte
	contender := func(name string, allocates int) Contender {
		return Contender{
			Name:    name,
			Prepare: func() error { order = append(order, name+" prepares"); return nil },
			Run: func() error {
				order = append(order, name)
				garbage = make([]byte, allocates)
				return nil
			},
		}
	}
	costs, err := Rounds([]Contender{contender("a", 1<<20), contender("b", 1<<10)}, rounds, runs)
	require.NoError(t, err)
	assert.Len(t, garbage, 1<<20, "the last turn begins with b")

	require.Len(t, order, rounds*turnsPerRound*2*(1+runs))
	assert.Equal(t, []string{"a prepares", "a", "a", "a", "b prepares", "b", "b", "b", "b prepares", "b", "b", "b", "a prepares"}, order[:13])
	for i, least := range []float64{1 << 20, 1 << 10} {
		require.Len(t, costs[i], rounds)
		for _, cost := range costs[i] {
			assert.InDelta(t, least, cost.Bytes, 1<<9)
			assert.GreaterOrEqual(t, cost.Allocs, 1.0)
			assert.NotZero(t, cost.Time, "garbage is charged for")
		}
	}
	assert.Equal(t, 100, debug.SetGCPercent(100), "the garbage collector is on again")
}

func TestRoundsNameTheContenderThatFails(t *testing.T) {
	failed := errors.New("no more batches")
	works := func() error { return nil }
	_, err := Rounds([]Contender{{Name: "a", Run: works}, {Name: "b", Run: func() error { return failed }}}, 1, 1)
	require.ErrorIs(t, err, failed)
	require.ErrorContains(t, err, "b: ")
	_, err = Rounds([]Contender{{Name: "c", Prepare: func() error { return failed }, Run: works}}, 1, 1)
	require.ErrorIs(t, err, failed)
	require.ErrorContains(t, err, "c: ")
}
