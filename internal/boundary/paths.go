// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package boundary

import "slices"

// cachedPaths bounds the paths in a Paths.
const cachedPaths = 32

// Paths caches the paths of recent boundaries: records repeat the same few, and comparing
// a path is cheaper than interning it. The zero Paths is empty.
type Paths struct {
	paths [cachedPaths]Path
}

// of returns the path with the given parts, none of which may be empty. It reports false
// when one of them is malformed.
func (p *Paths) of(parts []string) (_ Path, ok bool) {
	cached := &p.paths[(int(hash(parts[len(parts)-1]))+len(parts))%cachedPaths]
	if !cached.is(parts) {
		if slices.ContainsFunc(parts, func(part string) bool { return !isText(part) }) {
			return Path{}, false
		}
		*cached = NewPath(parts...)
	}
	return *cached, true
}

// is reports whether the path has exactly the given parts, none of which may be empty.
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
