// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package boundary

// pathsKept is how many paths Paths remembers at most.
const pathsKept = 32

// Paths remembers paths that have been read. Records repeat the same few, and to
// compare one takes less than to intern it. The zero Paths remembers none.
type Paths struct {
	kept [pathsKept]Path
}

// of returns the path of some parts, of which none is empty.
func (p *Paths) of(parts []string) Path {
	kept := &p.kept[(int(hash(parts[len(parts)-1]))+len(parts))%pathsKept]
	if !kept.is(parts) {
		*kept = NewPath(parts...)
	}
	return *kept
}

// is tells whether a path has some parts, of which none is empty.
func (p Path) is(parts []string) bool {
	text := p.text()
	if len(text.ends) != 4*len(parts) {
		return false
	}
	start := 0
	for i, part := range parts {
		end := text.end(i)
		if text.label[start:end] != part {
			return false
		}
		start = end + len(labelSeparator)
	}
	return true
}
