// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package source

// claims are the scopes of a batch in which a source has claimed an item.
type claims[S comparable] struct {
	scopes map[S]struct{}
	// scope is the one at hand, claimed is true when it is one of them.
	scope   S
	claimed bool
	// again is true when all of them are known.
	again bool
}

// enter begins with a scope. It reports false when nothing in it is claimed.
func (c *claims[S]) enter(scope S) bool {
	c.scope, c.claimed = scope, false
	if c.again {
		_, c.claimed = c.scopes[scope]
	}
	return c.claimed || !c.again
}

// note notes that an item of the scope is claimed.
func (c *claims[S]) note() {
	if !c.claimed {
		c.claimed = true
		c.scopes[c.scope] = struct{}{}
	}
}

// forget ends the batch.
func (c *claims[S]) forget() {
	clear(c.scopes)
	*c = claims[S]{scopes: c.scopes}
}
