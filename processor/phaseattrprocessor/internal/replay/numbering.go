// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

// numbering follows the sequence numbers of one incarnation of a process, which numbers
// its boundaries consecutively.
type numbering struct {
	first, last, count int64
	// missing is how many numbers between the first and the last have not come.
	missing int64
}

// maxGap is the largest gap that counts as lost boundaries: past it the numbers begin
// anew.
const maxGap = 1 << 20

// note adds the number of a boundary that has not come before. It returns the change of
// missing.
func (n *numbering) note(sequence int64) int64 {
	if n.count == 0 || !within(sequence, n.last, maxGap) || !within(sequence, n.first, maxGap) && sequence < n.first {
		*n = numbering{first: sequence, last: sequence, count: 1}
		return 0
	}
	before := n.missing
	n.first, n.last = min(n.first, sequence), max(n.last, sequence)
	n.count++
	n.missing = max(n.last-n.first+1-n.count, 0)
	return n.missing - before
}
