// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"slices"

	"github.com/phaseattr/phaseattr/internal/boundary"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/replay"
)

// Policy decides attributions by the deepest active scope of each thread. It reuses its
// buffers, so each goroutine needs a Policy of its own.
type Policy struct {
	options Options
	chosen  []replay.ScopeInterval
	inner   []replay.ScopeInterval
	// threads are the threads of the scopes at hand, by ID.
	threads map[int64]thread
}

// thread is the result for the active scopes of one thread.
type thread struct {
	// best is the latest of the scopes that count: the deepest ones, or all partial ones.
	best *replay.ScopeInterval
	// ambiguous is true when the scopes that count have different labels, or are too many.
	ambiguous bool
}

// Options configure a Policy.
type Options struct {
	// Threads selects the threads that decide. The zero value selects all.
	Threads Threads
	// MaxPathDepth truncates the paths of attributions to at most this many elements. 0
	// does not truncate.
	MaxPathDepth int
}

// New returns a policy.
func New(options Options) *Policy {
	return &Policy{options: options, threads: map[int64]thread{}}
}

// Attribute sets a to the attribution of a record with an origin while scopes are active,
// and reuses the memory of a.Paths. It reports false, and leaves a as it is, when there is
// no scope of a selected thread. A record that names its scope or its thread is attributed
// to that one, whether it is selected or not.
func (p *Policy) Attribute(a *Attribution, scopes []replay.ScopeInterval, origin boundary.Origin) bool {
	if scope := byID(scopes, origin.ScopeID); scope != nil {
		p.setUnique(a, scope, SourceExact)
		return true
	}
	if origin.ScopeID != "" { // otherwise there are none of them
		scopes = p.withoutOuter(scopes)
	}
	if scope := latestOf(scopes, origin); scope != nil {
		if scope.Extent == replay.Decides {
			p.setUnique(a, scope, SourceThreadLocal)
		} else {
			p.set(a, p.ofThread(scopes, origin.ThreadID), SourceThreadLocal)
		}
		return true
	}
	source := SourceHeuristic
	if selected := &p.options.Threads; len(selected.Prefer)+len(selected.Ignore) > 0 {
		var preferred bool
		if p.chosen, preferred = selected.choose(p.chosen, scopes); preferred {
			source = SourceThreadLocal
		}
		scopes = p.chosen
	}
	if len(scopes) == 0 {
		return false
	}
	p.set(a, scopes, source)
	return true
}

// set sets a to the attribution of scopes, of which there is at least one.
func (p *Policy) set(a *Attribution, scopes []replay.ScopeInterval, source string) {
	if len(scopes) == 1 && scopes[0].Extent == replay.Decides { // one thread, mostly
		p.setUnique(a, &scopes[0], source)
		return
	}
	p.match(scopes)
	if t := p.threads[scopes[0].ThreadID]; len(p.threads) == 1 && !t.ambiguous {
		p.setUnique(a, t.best, source)
	} else {
		p.setAmbiguous(a, scopes)
	}
}

// withoutOuter returns the scopes that others do not lie in.
func (p *Policy) withoutOuter(scopes []replay.ScopeInterval) []replay.ScopeInterval {
	isOuter := func(scope replay.ScopeInterval) bool { return scope.Outer }
	if !slices.ContainsFunc(scopes, isOuter) {
		return scopes
	}
	p.inner = slices.DeleteFunc(append(p.inner[:0], scopes...), isOuter)
	return p.inner
}

// ofThread returns the scopes of a thread.
func (p *Policy) ofThread(scopes []replay.ScopeInterval, id int64) []replay.ScopeInterval {
	p.chosen = p.chosen[:0]
	for i := range scopes {
		if scopes[i].ThreadID == id {
			p.chosen = append(p.chosen, scopes[i])
		}
	}
	return p.chosen
}

// byID returns the only scope with an ID, or nil.
func byID(scopes []replay.ScopeInterval, id string) *replay.ScopeInterval {
	if id == "" {
		return nil
	}
	var found *replay.ScopeInterval
	for i := range scopes {
		if scopes[i].ScopeID == id {
			if found != nil {
				return nil
			}
			found = &scopes[i]
		}
	}
	return found
}

// latestOf returns the latest scope of the origin's thread, or nil.
func latestOf(scopes []replay.ScopeInterval, origin boundary.Origin) *replay.ScopeInterval {
	if !origin.HasThread {
		return nil
	}
	var latest *replay.ScopeInterval
	for i := range scopes {
		if scopes[i].ThreadID == origin.ThreadID && (latest == nil || scopes[i].Later(latest)) {
			latest = &scopes[i]
		}
	}
	return latest
}

// match finds each thread's scopes that count.
func (p *Policy) match(scopes []replay.ScopeInterval) {
	clear(p.threads)
	for i := range scopes {
		scope := &scopes[i]
		t, known := p.threads[scope.ThreadID]
		if !known {
			t = thread{best: scope, ambiguous: scope.Extent == replay.Unlisted}
		}
		switch depth, deepest := scope.Path.Depth(), t.best.Path.Depth(); {
		case depth > deepest && scope.Extent == replay.Decides:
			t.best, t.ambiguous = scope, false
		case depth == deepest || scope.Extent != replay.Decides:
			t.ambiguous = t.ambiguous || scope.Path != t.best.Path && p.label(scope) != p.label(t.best)
			if scope.Later(t.best) {
				t.best = scope
			}
		}
		p.threads[scope.ThreadID] = t
	}
}

// label is the path of a scope as attributions have it.
func (p *Policy) label(scope *replay.ScopeInterval) string {
	return scope.Path.Cut(p.options.MaxPathDepth).Label()
}

func (p *Policy) setUnique(a *Attribution, scope *replay.ScopeInterval, source string) {
	label := p.label(scope)
	a.Paths = append(a.Paths[:0], label)
	paths := a.Paths
	*a = Attribution{} // a literal of all fields would be built elsewhere and copied
	a.Resolution, a.Source, a.Path, a.HasPath, a.Paths = Unique, source, label, true, paths
	a.ScopeID, a.ThreadID, a.ThreadName, a.HasScope = scope.ScopeID, scope.ThreadID, scope.ThreadName, true
	a.Rank, a.Attributes = rankOf(scope), scope.Attributes
	if !scope.Inferred {
		a.Start = scope.Start
	}
}

func rankOf(scope *replay.ScopeInterval) Rank { return Rank{Number: scope.Rank.Rank, Known: true} }

func (p *Policy) setAmbiguous(a *Attribution, scopes []replay.ScopeInterval) {
	paths := a.Paths[:0]
	latest := &scopes[0]
	decided, unlisted := true, false
	for i := range scopes {
		scope := &scopes[i]
		if scope.Later(latest) {
			latest = scope
		}
		decided = decided && scope.Extent == replay.Decides
		unlisted = unlisted || scope.Extent == replay.Unlisted
		if scope.Extent == replay.Partial || scope.Path.Depth() == p.threads[scope.ThreadID].best.Path.Depth() {
			paths = append(paths, p.label(scope))
		}
	}
	slices.Sort(paths)
	paths = slices.Compact(paths)
	*a = Attribution{Resolution: Ambiguous, Paths: paths, Rank: rankOf(latest), OneThread: len(p.threads) == 1}
	switch {
	case unlisted, !decided && len(paths) > MaxListed:
		a.Paths, a.Unlisted = paths[:0], true
	case decided && len(paths) > 1: // of an interval, the latest is no likelier than others
		a.Summary = Summary{Path: p.label(latest), Source: SourceHeuristic}
	}
}
