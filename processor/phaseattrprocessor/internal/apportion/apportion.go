// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

// Package apportion divides numbers in proportion to weights, so that the parts add up to
// the whole exactly.
package apportion

import (
	"cmp"
	"math"
	"math/bits"
	"slices"
)

// Int divides total by the largest remainder method: each part is rounded toward zero, and
// the units left over go to the parts that lost most, the earlier of equal ones first. It
// returns one part per weight. The weights must not all be zero, and their sum must fit in
// a uint64.
func Int(total int64, weights []uint64) []int64 {
	negative := total < 0
	magnitude := uint64(total) //nolint:gosec // negated next
	if negative {
		magnitude = -magnitude
	}
	parts := make([]int64, len(weights))
	for i, n := range Counts([]uint64{magnitude}, weights) {
		if negative {
			n[0] = -n[0]
		}
		parts[i] = int64(n[0]) //nolint:gosec // at most the total
	}
	return parts
}

// Double divides total, which must be finite, as Int does, in units of its last place:
// any sum of parts is then exact, in any order.
func Double(total float64, weights []uint64) []float64 {
	const lowest = -1074 // the exponent of the smallest double
	_, exponent := math.Frexp(total)
	exponent = max(exponent-53, lowest)
	parts := make([]float64, len(weights))
	for i, n := range Int(int64(math.Ldexp(total, -exponent)), weights) {
		parts[i] = math.Ldexp(float64(n), exponent)
	}
	return parts
}

// Counts divides each of several counts as Int does and returns the parts by weight, then
// by count. A part's rounding loss carries over to the next count, so that the parts of
// one weight are proportional in total as well. The weights must not all be zero, and
// their sum must fit in a uint64.
func Counts(counts, weights []uint64) [][]uint64 {
	parts := make([][]uint64, len(weights))
	row := make([]uint64, len(weights)*len(counts))
	sum := uint64(0)
	var byLoss []int // the indexes of the weights that are not zero
	for i, weight := range weights {
		parts[i], row = row[:len(counts):len(counts)], row[len(counts):]
		sum += weight
		if weight > 0 {
			byLoss = append(byLoss, i)
		}
	}
	lost := make([]float64, len(weights)) // in units of 1/sum
	for c, n := range counts {
		left := n
		for i, weight := range weights {
			high, low := bits.Mul64(n, weight)
			part, remainder := bits.Div64(high, low, sum)
			parts[i][c] = part
			left -= part
			lost[i] += float64(remainder)
		}
		if left == 0 {
			continue
		}
		slices.SortFunc(byLoss, func(i, j int) int { return cmp.Or(cmp.Compare(lost[j], lost[i]), cmp.Compare(i, j)) })
		for _, i := range byLoss[:left] {
			parts[i][c]++
			lost[i] -= float64(sum)
		}
	}
	return parts
}
