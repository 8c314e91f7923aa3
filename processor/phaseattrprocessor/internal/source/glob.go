// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package source

import (
	"slices"
	"strings"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/policy"
)

// globs are patterns, prepared for the usual forms: a text, and the beginning of one.
type globs []glob

type glob struct {
	text string
	kind globKind
}

type globKind uint8

const (
	whole globKind = iota
	beginning
	pattern
)

func newGlobs(patterns []string) globs {
	all := make(globs, len(patterns))
	for i, text := range patterns {
		head, star := strings.CutSuffix(text, "*")
		switch {
		case strings.ContainsAny(head, `*?[\`):
			all[i] = glob{text, pattern}
		case star:
			all[i] = glob{head, beginning}
		default:
			all[i] = glob{text, whole}
		}
	}
	return all
}

// match reports whether any of the patterns matches a name.
func (g globs) match(name string) bool {
	return slices.ContainsFunc(g, func(g glob) bool {
		switch g.kind {
		case whole:
			return name == g.text
		case beginning:
			return strings.HasPrefix(name, g.text)
		case pattern:
		}
		return policy.Matches(g.text, name)
	})
}
