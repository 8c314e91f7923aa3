// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"strings"
	"sync"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/policy"
)

// otherPath stands for the paths past max_paths.
const otherPath = "other"

// pathBook knows the paths that have been written on data points. Each is a series
// more to store, so their number is bounded.
type pathBook struct {
	bound int

	// mu guards known.
	mu    sync.RWMutex
	known map[string]struct{}
}

func newPathBook(bound int) *pathBook {
	return &pathBook{bound: bound, known: map[string]struct{}{}}
}

// admit returns a path that may be written, or otherPath when there are too many.
func (b *pathBook) admit(path string) string {
	if path == "" || b.knows(path) {
		return path
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, ok := b.known[path]; !ok && len(b.known) >= b.bound {
		return otherPath
	}
	b.known[strings.Clone(path)] = struct{}{}
	return path
}

func (b *pathBook) knows(path string) bool {
	b.mu.RLock()
	defer b.mu.RUnlock()
	_, ok := b.known[path]
	return ok
}

// len is how many paths have been written.
func (b *pathBook) len() int64 {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return int64(len(b.known))
}

// bind admits the paths of an answer. It returns true when one was too many.
func (b *pathBook) bind(answer *policy.Attribution) (over bool) {
	admit := func(path string) string {
		admitted := b.admit(path)
		over = over || admitted != path
		return admitted
	}
	answer.Path, answer.Summary.Path = admit(answer.Path), admit(answer.Summary.Path)
	for i, path := range answer.Paths {
		answer.Paths[i] = admit(path)
	}
	return over
}
