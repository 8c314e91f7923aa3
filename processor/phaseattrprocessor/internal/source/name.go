// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package source

import (
	"strings"

	"github.com/phaseattr/phaseattr/internal/boundary"
)

// cachedNames bounds the names of spans that a reader remembers of a source.
const cachedNames = 1024

// named is what a source makes of a name.
type named struct {
	claimed bool
	// link is true for a span that only connects others, root for one that begins a path.
	link, root bool
	path       boundary.Path
	reason     boundary.Reason
}

// name returns what a source makes of the name of a span. Names repeat.
func (r *Reader) name(s *spanSource, name string) *named {
	if len(name) > r.set.limits.TextBytes {
		r.long = named{claimed: s.includes(name) && !s.exclude.match(name), reason: boundary.TooLong}
		return &r.long
	}
	names := r.names[s.number]
	known, ok := names[name]
	if !ok {
		known = s.judge(name, &r.set.limits)
		if len(names) < cachedNames {
			names[strings.Clone(name)] = known
		}
	}
	return known
}

func (s *spanSource) includes(name string) bool { return len(s.include) == 0 || s.include.match(name) }

// judge says what a name means.
func (s *spanSource) judge(name string, limits *boundary.Limits) *named {
	excluded := s.exclude.match(name)
	if !s.includes(name) || excluded && s.fromName {
		return &named{}
	}
	n := &named{claimed: true, link: excluded, root: s.roots.match(name)}
	switch {
	case strings.TrimSpace(name) == "":
		n.reason = boundary.BadName
	case !boundary.IsText(name):
		n.reason = boundary.BadText
	case s.fromName:
		if s.anchor != "" {
			name = strings.TrimSuffix(name, s.anchor)
		}
		n.path, n.reason = s.path.of(name, limits)
	}
	return n
}

// of returns the path of a name.
func (p *Path) of(name string, limits *boundary.Limits) (boundary.Path, boundary.Reason) {
	for _, head := range p.Strip {
		if rest, ok := strings.CutPrefix(name, head); ok {
			name = rest
			break
		}
	}
	parts := []string{name}
	if p.Split != "" {
		parts = strings.Split(name, p.Split)
	}
	path := boundary.NewPath(parts...)
	switch {
	case path == boundary.Path{}:
		return path, boundary.BadName
	case path.Depth() > limits.Depth:
		return boundary.Path{}, boundary.TooDeep
	case len(path.Label()) > limits.LabelBytes:
		return boundary.Path{}, boundary.TooLong
	}
	return path, boundary.OK
}
