// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package apportion

import (
	"math"
	"math/big"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// drawWeights draws weights, at least one of which is not zero.
func drawWeights(t *rapid.T) []uint64 {
	weights := rapid.SliceOfN(rapid.OneOf(rapid.Uint64Range(0, 5), rapid.Uint64Range(0, math.MaxInt64>>6)), 1, 40).Draw(t, "weights")
	weights[rapid.IntRange(0, len(weights)-1).Draw(t, "nonzero")]++
	return weights
}

// proportion returns total * weights[i] / sum(weights).
func proportion(total int64, weights []uint64, i int) *big.Rat {
	sum := new(big.Int)
	for _, weight := range weights {
		sum.Add(sum, new(big.Int).SetUint64(weight))
	}
	product := new(big.Int).Mul(big.NewInt(total), new(big.Int).SetUint64(weights[i]))
	return new(big.Rat).SetFrac(product, sum)
}

func TestPartsOfAnIntAddUpAndAreOffByLessThanOne(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		total, weights := rapid.Int64().Draw(t, "total"), drawWeights(t)
		sum := int64(0)
		for i, n := range Int(total, weights) {
			sum += n
			off := new(big.Rat).Sub(new(big.Rat).SetInt64(n), proportion(total, weights, i))
			require.Negative(t, off.Abs(off).Cmp(big.NewRat(1, 1)), "part %d is %d", i, n)
		}
		require.Equal(t, total, sum)
	})
}

func TestLargestRemainderGetsTheUnitsLeftOver(t *testing.T) {
	for name, tc := range map[string]struct {
		total   int64
		weights []uint64
		want    []int64
	}{
		"no remainder":           {10, []uint64{1, 3, 1}, []int64{2, 6, 2}},
		"largest remainder":      {10, []uint64{33, 34, 33}, []int64{3, 4, 3}},
		"equal remainders":       {10, []uint64{1, 1, 1}, []int64{4, 3, 3}},
		"less than one per part": {2, []uint64{1, 2, 2}, []int64{0, 1, 1}},
		"negative":               {-10, []uint64{33, 34, 33}, []int64{-3, -4, -3}},
		"the smallest int":       {math.MinInt64, []uint64{0, 1}, []int64{0, math.MinInt64}},
		"zero":                   {0, []uint64{1, 1}, []int64{0, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, tc.want, Int(tc.total, tc.weights))
		})
	}
}

func TestPartsOfADoubleAddUpInAnyOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		total := rapid.OneOf(
			rapid.Float64Range(-math.MaxFloat64, math.MaxFloat64), rapid.Float64Range(-1000, 1000), rapid.Float64Range(-1e-310, 1e-310),
		).Draw(t, "total")
		weights := drawWeights(t)
		parts := Double(total, weights)
		for i, x := range parts {
			exact, _ := proportion(1<<62, weights, i).Float64()
			exact = math.Ldexp(exact, -62) * total
			require.InDelta(t, exact, x, math.Abs(total)*0x1p-50+math.SmallestNonzeroFloat64, "part %d", i)
		}
		sum := 0.0
		for _, x := range rapid.Permutation(parts).Draw(t, "order") {
			sum += x
		}
		require.Equal(t, total, sum) //nolint:testifylint // it is exact
	})
}

func TestPartsOfEachCountAddUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		weights := drawWeights(t)
		counts := rapid.SliceOfN(rapid.OneOf(rapid.Uint64Range(0, 3), rapid.Uint64()), 0, 20).Draw(t, "counts")
		sums := make([]uint64, len(counts))
		for i, parts := range Counts(counts, weights) {
			require.Len(t, parts, len(counts))
			for c, n := range parts {
				sums[c] += n
				require.LessOrEqual(t, n, counts[c])
				require.False(t, weights[i] == 0 && n > 0, "a part of weight zero is zero")
			}
		}
		require.Equal(t, counts, sums)
	})
}

func TestRoundingLossCarriesOverToTheNextCount(t *testing.T) {
	totals := make([]uint64, 2)
	for i, parts := range Counts([]uint64{1, 1, 1, 1, 1, 1, 1, 1, 1, 1}, []uint64{7, 3}) {
		for _, n := range parts {
			totals[i] += n
		}
	}
	assert.Equal(t, []uint64{7, 3}, totals)
}
