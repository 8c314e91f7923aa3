// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"path"
	"slices"
	"strings"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/replay"
)

// Threads selects the threads whose scopes decide, by patterns of their names.
type Threads struct {
	// Prefer lists threads that decide alone. The first pattern of which a thread is in a
	// phase counts; if none is, all threads decide.
	Prefer []string
	// Ignore lists threads that never decide.
	Ignore []string
}

// ValidPattern reports whether a pattern can match.
func ValidPattern(pattern string) bool {
	_, err := path.Match(pattern, "")
	return err == nil
}

// Matches reports whether a name matches a pattern, in the syntax of path.Match, but for
// the slash, which is a character like any other. An invalid pattern matches nothing.
func Matches(pattern, name string) bool {
	matched, err := path.Match(withoutSlash(pattern), withoutSlash(name))
	return matched && err == nil
}

func withoutSlash(text string) string { return strings.ReplaceAll(text, "/", "\x00") }

// choose returns the scopes of the threads that decide, and whether these are preferred
// ones. It overwrites buffer and returns the scopes in it.
func (t *Threads) choose(buffer, scopes []replay.ScopeInterval) (chosen []replay.ScopeInterval, preferred bool) {
	chosen = buffer[:0]
	for i := range scopes {
		if !t.ignores(scopes[i].ThreadName) {
			chosen = append(chosen, scopes[i])
		}
	}
	for _, pattern := range t.Prefer {
		matches := func(scope replay.ScopeInterval) bool { return Matches(pattern, scope.ThreadName) }
		if slices.ContainsFunc(chosen, matches) {
			return slices.DeleteFunc(chosen, func(scope replay.ScopeInterval) bool { return !matches(scope) }), true
		}
	}
	return chosen, false
}

func (t *Threads) ignores(name string) bool {
	return slices.ContainsFunc(t.Ignore, func(pattern string) bool { return Matches(pattern, name) })
}
