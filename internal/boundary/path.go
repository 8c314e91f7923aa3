// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package boundary

import (
	"encoding/binary"
	"strings"
	"unique"
)

const labelSeparator = " / "

// stackDepth and stackLabelBytes are the sizes up to which paths are built on the stack.
const stackDepth, stackLabelBytes = 16, 256

// Path is an interned list of phase names, from the outermost to the innermost. The
// records of a run repeat the same few paths, so a Path is one pointer wide, compares
// with == and is freed with its last reference. The zero value is the empty path.
type Path struct {
	handle unique.Handle[pathText]
}

// pathText is the comparable form of a path. A part may contain the separator, so the
// label alone does not determine the parts.
type pathText struct {
	label string
	ends  string // the end offsets of the parts in label, 4 bytes each
}

// NewPath returns the path with the given parts, without the empty ones.
func NewPath(parts ...string) Path {
	var labelBuffer [stackLabelBytes]byte
	var endsBuffer [4 * stackDepth]byte
	label, ends := labelBuffer[:0], endsBuffer[:0]
	for _, part := range parts {
		if part == "" {
			continue
		}
		if len(label) > 0 {
			label = append(label, labelSeparator...)
		}
		label = append(label, part...)
		ends = binary.LittleEndian.AppendUint32(ends, uint32(len(label))) //nolint:gosec // labels are bounded far below 4 GiB
	}
	if len(ends) == 0 {
		return Path{}
	}
	return Path{handle: unique.Make(pathText{label: string(label), ends: string(ends)})}
}

// Label returns the parts joined with " / ".
func (p Path) Label() string { return p.text().label }

// Bytes returns about what the path takes on the heap, where it is kept once.
func (p Path) Bytes() int {
	if p == (Path{}) {
		return 0
	}
	const kept = 176 // by the unique package, for one value
	return kept + len(p.text().label) + len(p.text().ends)
}

// Depth returns the number of parts.
func (p Path) Depth() int { return len(p.text().ends) / 4 }

// Parts returns the phase names, outermost first.
func (p Path) Parts() []string {
	text := p.text()
	parts := make([]string, 0, len(text.ends)/4)
	start := 0
	for i := range len(text.ends) / 4 {
		end := text.end(i)
		parts = append(parts, text.label[start:end])
		start = end + len(labelSeparator)
	}
	return parts
}

// Parent returns the path without its last part, the empty path if it has only one.
func (p Path) Parent() Path {
	if p.Depth() < 2 {
		return Path{}
	}
	return p.Cut(p.Depth() - 1)
}

// Append returns the path with one more part; a blank part adds nothing.
func (p Path) Append(part string) Path {
	switch {
	case part == "":
		return p
	case p == (Path{}):
		return NewPath(part)
	}
	var labelBuffer [stackLabelBytes]byte
	var endsBuffer [4 * stackDepth]byte
	text := p.text()
	label := append(append(append(labelBuffer[:0], text.label...), labelSeparator...), part...)
	ends := append(endsBuffer[:0], text.ends...)
	ends = binary.LittleEndian.AppendUint32(ends, uint32(len(label))) //nolint:gosec // labels are bounded far below 4 GiB
	return Path{handle: unique.Make(pathText{label: string(label), ends: string(ends)})}
}

// Last returns the last part, which is empty for the empty path.
func (p Path) Last() string {
	text := p.text()
	parts := len(text.ends) / 4
	if parts < 2 {
		return text.label
	}
	return text.label[text.end(parts-2)+len(labelSeparator):]
}

// Cut returns the path truncated to at most depth parts, or unchanged if depth is 0.
func (p Path) Cut(depth int) Path {
	text := p.text()
	if depth <= 0 || depth >= len(text.ends)/4 {
		return p
	}
	return Path{handle: unique.Make(pathText{label: text.label[:text.end(depth-1)], ends: text.ends[:4*depth]})}
}

// Contains reports whether p is a proper prefix of other, so that a scope at other can lie
// inside a scope at p.
func (p Path) Contains(other Path) bool {
	outer, inner := p.text(), other.text()
	return len(outer.ends) < len(inner.ends) &&
		strings.HasPrefix(inner.ends, outer.ends) && strings.HasPrefix(inner.label, outer.label)
}

func (p Path) text() pathText {
	if p == (Path{}) {
		return pathText{}
	}
	return p.handle.Value()
}

// end returns the end offset of part i.
func (t pathText) end(i int) int {
	return int(binary.LittleEndian.Uint32([]byte(t.ends[4*i : 4*i+4])))
}
