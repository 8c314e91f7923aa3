// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

// Numbering follows the sequence numbers of one incarnation of a process, which numbers
// its boundaries consecutively. The zero Numbering has none.
type Numbering struct {
	First, Last int64
	// Count is how many different numbers have come.
	Count int64
	// stray is a number that is far from the others, if there is one. One may be wrong; at
	// the second the numbers have begun anew.
	stray   int64
	strayed bool
}

// maxGap is the largest gap that counts as lost boundaries: past it the numbers begin
// anew.
const maxGap = 1 << 20

// note adds the number of a boundary that has not come before. It returns how many more
// numbers are missing.
func (n *Numbering) note(sequence int64) int64 {
	switch {
	case n.Count == 0:
		*n = Numbering{First: sequence, Last: sequence, Count: 1}
		return 0
	case n.isFar(sequence) && n.strayed && n.stray != sequence && within(sequence, n.stray, maxGap):
		*n = Numbering{First: min(sequence, n.stray), Last: max(sequence, n.stray), Count: 2}
		return n.missing()
	case n.isFar(sequence):
		n.stray, n.strayed = sequence, true
		return 0
	}
	n.strayed = false
	before := n.missing()
	n.First, n.Last = min(n.First, sequence), max(n.Last, sequence)
	n.Count++
	return n.missing() - before
}

// isFar reports whether a number is not one of those that are counted.
func (n *Numbering) isFar(sequence int64) bool {
	return n.Count > 0 && !within(sequence, n.Last, maxGap) && (sequence > n.Last || !within(sequence, n.First, maxGap))
}

// missing is how many numbers between the first and the last have not come.
func (n *Numbering) missing() int64 {
	if n.Count == 0 {
		return 0
	}
	return max(n.Last-n.First+1-n.Count, 0)
}

// minNumbers is how many numbers must have come before they count as consecutive.
const minNumbers = 8

// isConsecutive reports whether nearly all numbers have come, as those of an emitter that
// numbers its boundaries one by one.
func (n *Numbering) isConsecutive() bool { return n.Count >= minNumbers && 4*n.missing() <= n.Count }
