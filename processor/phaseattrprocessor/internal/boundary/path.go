// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package boundary

import (
	"encoding/binary"
	"strings"
	"unique"
)

// labelSeparator stands between the parts of a label.
const labelSeparator = " / "

// usualDepth and usualLabel are the parts and the bytes that few paths exceed.
const usualDepth, usualLabel = 16, 256

// Path is an interned list of phase names, from the outermost to the innermost.
// Every record of a run repeats the same few paths, so a Path is one pointer
// wide, compares with ==, and is forgotten when nothing holds it any more. The
// zero value is the empty path.
type Path struct {
	handle unique.Handle[pathText]
}

// pathText is comparable, as interning demands: the label and where in it the
// parts end. A part may contain the separator, so the label alone does not say.
type pathText struct {
	label string
	ends  string // the parts' end offsets, 4 bytes each
}

// NewPath interns a path. Empty parts are skipped.
func NewPath(parts ...string) Path {
	var roomForLabel [usualLabel]byte
	var roomForEnds [4 * usualDepth]byte
	label, ends := roomForLabel[:0], roomForEnds[:0]
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

// Label is the parts joined with " / ".
func (p Path) Label() string { return p.text().label }

// Depth is the number of parts.
func (p Path) Depth() int { return len(p.text().ends) / 4 }

// Parts lists the names, outermost first.
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

// Parent is the path without its last part.
func (p Path) Parent() Path {
	if p.Depth() < 2 {
		return Path{}
	}
	return p.Cut(p.Depth() - 1)
}

// Cut is the path's first parts, as many as depth; all of them when depth is 0 or
// there are no more.
func (p Path) Cut(depth int) Path {
	text := p.text()
	if depth <= 0 || depth >= len(text.ends)/4 {
		return p
	}
	return Path{handle: unique.Make(pathText{label: text.label[:text.end(depth-1)], ends: text.ends[:4*depth]})}
}

// Contains tells whether p is a proper prefix of other: whether a scope at other
// can lie inside a scope at p.
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

func (t pathText) end(i int) int {
	return int(binary.LittleEndian.Uint32([]byte(t.ends[4*i : 4*i+4])))
}
