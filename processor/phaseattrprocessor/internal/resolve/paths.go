// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package resolve

import (
	"strings"
	"sync"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/policy"
)

// OtherPath replaces the paths beyond the limit of a PathLimiter.
const OtherPath = "other"

// PathLimiter limits the paths that are written to data points: each is a series more
// to store. A path that has not been written for one to two rounds makes room for
// another one.
type PathLimiter struct {
	limit int

	// mu guards current and previous: the paths that were written in this round, and those
	// that were written in the one before but not since.
	mu                sync.Mutex
	current, previous map[string]struct{}
}

// NewPathLimiter returns a limiter that admits limit different paths.
func NewPathLimiter(limit int) *PathLimiter {
	return &PathLimiter{limit: limit, current: map[string]struct{}{}, previous: map[string]struct{}{}}
}

// Rotate begins a new round: it forgets the paths that were not written in the last one.
func (l *PathLimiter) Rotate() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.previous, l.current = l.current, make(map[string]struct{}, len(l.current))
}

// Len returns the number of paths that are admitted now.
func (l *PathLimiter) Len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.current) + len(l.previous)
}

// Limit replaces the paths of an answer that are beyond the limit. It returns true when
// it replaced one.
func (l *PathLimiter) Limit(answer *policy.Attribution) (limited bool) {
	admit := func(path string) string {
		admitted := l.admit(path)
		limited = limited || admitted != path
		return admitted
	}
	answer.Path, answer.Summary.Path = admit(answer.Path), admit(answer.Summary.Path)
	for i, path := range answer.Paths {
		answer.Paths[i] = admit(path)
	}
	return limited
}

// admit returns a path that may be written, or OtherPath.
func (l *PathLimiter) admit(path string) string {
	if path == "" {
		return path
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.current[path]; ok {
		return path
	}
	if _, ok := l.previous[path]; ok {
		delete(l.previous, path)
	} else if len(l.current)+len(l.previous) >= l.limit {
		return OtherPath
	}
	l.current[strings.Clone(path)] = struct{}{}
	return path
}
