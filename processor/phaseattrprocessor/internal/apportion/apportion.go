// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

// Package share divides numbers by weights so that the shares add up to the whole,
// to the last digit.
package apportion

import (
	"cmp"
	"math"
	"math/bits"
	"slices"
)

// Int divides a number by the largest remainder: each share is that in proportion,
// rounded down, and what is left goes to the shares that lost most by it, the first
// of equals before the others. The weights must not all be zero, and their sum must fit.
func Int(total int64, weights []uint64) []int64 {
	negative := total < 0
	magnitude := uint64(total) //nolint:gosec // its sign is taken off next
	if negative {
		magnitude = -magnitude
	}
	shares := make([]int64, len(weights))
	for i, n := range Counts([]uint64{magnitude}, weights) {
		if negative {
			n[0] = -n[0]
		}
		shares[i] = int64(n[0]) //nolint:gosec // not larger than the total
	}
	return shares
}

// Double divides a number that is finite like Int does, in units of its own last
// place: every sum of shares is then exact, in any order.
func Double(total float64, weights []uint64) []float64 {
	const lowest = -1074 // the exponent of the smallest double
	_, exponent := math.Frexp(total)
	exponent = max(exponent-53, lowest)
	shares := make([]float64, len(weights))
	for i, n := range Int(int64(scaled(total, -exponent)), weights) {
		shares[i] = scaled(float64(n), exponent)
	}
	return shares
}

// scaled is x times a power of two.
func scaled(x float64, exponent int) float64 { return math.Ldexp(x, exponent) }

// Counts divides the counts of several cells, so that the shares of each cell add up
// to it. It returns the shares by weight, then by cell. What rounding took from a
// weight in one cell counts for it in the next, so that its shares of all cells
// together come near to what is in proportion.
func Counts(cells, weights []uint64) [][]uint64 {
	shares := make([][]uint64, len(weights))
	row := make([]uint64, len(weights)*len(cells))
	sum := uint64(0)
	var byLoss []int // without those that weigh nothing
	for i, weight := range weights {
		shares[i], row = row[:len(cells):len(cells)], row[len(cells):]
		sum += weight
		if weight > 0 {
			byLoss = append(byLoss, i)
		}
	}
	lost := make([]float64, len(weights)) // in units of 1/sum
	for c, n := range cells {
		left := n
		for i, weight := range weights {
			high, low := bits.Mul64(n, weight)
			share, remainder := bits.Div64(high, low, sum)
			shares[i][c] = share
			left -= share
			lost[i] += float64(remainder)
		}
		if left == 0 { // nothing was lost
			continue
		}
		slices.SortFunc(byLoss, func(i, j int) int { return cmp.Or(cmp.Compare(lost[j], lost[i]), cmp.Compare(i, j)) })
		for _, i := range byLoss[:left] {
			shares[i][c]++
			lost[i] -= float64(sum)
		}
	}
	return shares
}
