// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"path"
	"slices"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/replay"
)

// Threads says which threads answer for a program, by patterns of their names.
type Threads struct {
	// Prefer lists the threads that answer alone, the first one that is in a phase.
	Prefer []string
	// Ignore lists the threads that do not answer.
	Ignore []string
}

// CheckPattern returns an error for what is no pattern.
func CheckPattern(pattern string) error {
	if _, err := path.Match(pattern, ""); err != nil {
		return fmt.Errorf("%w: %q", err, pattern)
	}
	return nil
}

// choose returns the spans of the threads that answer, and whether they are of a
// preferred one. It keeps them in room, which it returns the spans in.
func (t *Threads) choose(room, spans []replay.ScopeInterval) (chosen []replay.ScopeInterval, preferred bool) {
	room = room[:0]
	for _, pattern := range t.Prefer {
		for i := range spans {
			if Matches(pattern, spans[i].ThreadName) && !t.ignores(spans[i].ThreadName) {
				room = append(room, spans[i])
			}
		}
		if len(room) > 0 {
			return room, true
		}
	}
	for i := range spans {
		if !t.ignores(spans[i].ThreadName) {
			room = append(room, spans[i])
		}
	}
	return room, false
}

func (t *Threads) ignores(name string) bool {
	return slices.ContainsFunc(t.Ignore, func(pattern string) bool { return Matches(pattern, name) })
}

// Matches tells whether a name has a pattern, as path.Match has it. What is no
// pattern matches nothing.
func Matches(pattern, name string) bool {
	matched, err := path.Match(pattern, name)
	return matched && err == nil
}
