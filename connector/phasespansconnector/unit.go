// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phasespansconnector

import (
	"slices"

	"github.com/phaseattr/phaseattr/internal/boundary"
)

// depth returns the number of elements that the path of a path's unit has. A path that is
// not longer is no part of a unit, or is one itself.
func (cfg *RootConfig) depth(path boundary.Path) int {
	if cfg.Name != "" {
		if at := slices.Index(path.Parts(), cfg.Name); at >= 0 {
			return at + 1
		}
	}
	return cfg.Depth
}

// unitOf returns the scope that gives a scope its trace. It reports false, and the parent,
// if the scope is so deep inside a unit that only its ancestors tell, and they are not
// known.
func (cfg *RootConfig) unitOf(b *boundary.Boundary, ancestors []*openScope) (unit string, known bool) {
	depth, unitDepth := b.Path.Depth(), cfg.depth(b.Path)
	switch {
	case depth <= unitDepth || b.ParentScopeID == "":
		return b.ScopeID, true
	case depth == unitDepth+1:
		return b.ParentScopeID, true
	}
	for _, s := range ancestors {
		if s.id == b.ParentScopeID {
			return s.unit, s.unitKnown
		}
	}
	return b.ParentScopeID, false
}
