// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"slices"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/boundary"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/replay"
)

// DeepestPerThread is the strategy that takes each thread's deepest active span.
const DeepestPerThread = "deepest_per_thread"

// Policy decides attributions. It keeps room to do so without allocating, so that
// each goroutine needs its own.
type Policy struct {
	options Options
	chosen  []replay.ScopeInterval
	matches []match
	// byThread says where in matches a thread is, ofSpan where that of each span is.
	byThread map[int64]int
	ofSpan   []int
}

// match is what the active spans of one thread come to.
type match struct {
	// best is the latest of the deepest spans.
	best *replay.ScopeInterval
	// ambiguous is true when the deepest spans have different labels.
	ambiguous bool
}

// Options are what a policy does beyond its strategy.
type Options struct {
	// Threads are the threads that answer; with none named, all do.
	Threads Threads
	// Depth cuts the paths of the answers to so many parts. 0 leaves them whole.
	Depth int
}

// New returns a policy.
func New(options Options) *Policy {
	return &Policy{options: options, byThread: map[int64]int{}}
}

// Attribute decides what the active spans of a group say, and sets a to it, whose Paths
// it uses the room of. It returns false when there are no spans, or none of a thread
// that answers; a is then left as it is. A record that names its scope or thread has
// its answer, whatever thread that is.
func (p *Policy) Attribute(a *Attribution, spans []replay.ScopeInterval, origin boundary.Origin) bool {
	if len(spans) == 0 {
		return false
	}
	if span := named(spans, origin.ScopeID); span != nil {
		p.unique(a, span, SourceExact)
		return true
	}
	if span := latestOf(spans, origin); span != nil {
		p.unique(a, span, SourceThreadLocal)
		return true
	}
	source := SourceHeuristic
	if threads := &p.options.Threads; len(threads.Prefer)+len(threads.Ignore) > 0 {
		var preferred bool
		if p.chosen, preferred = threads.choose(p.chosen, spans); len(p.chosen) == 0 {
			return false
		}
		if spans = p.chosen; preferred {
			source = SourceThreadLocal
		}
	}
	if len(spans) == 1 { // one thread, mostly
		p.unique(a, &spans[0], source)
		return true
	}
	p.match(spans)
	if len(p.matches) == 1 && !p.matches[0].ambiguous {
		p.unique(a, p.matches[0].best, source)
		return true
	}
	p.ambiguous(a, spans)
	return true
}

// named returns the only span of a scope, or nil.
func named(spans []replay.ScopeInterval, scopeID string) *replay.ScopeInterval {
	if scopeID == "" {
		return nil
	}
	var found *replay.ScopeInterval
	for i := range spans {
		if spans[i].ScopeID == scopeID {
			if found != nil {
				return nil
			}
			found = &spans[i]
		}
	}
	return found
}

// latestOf returns the latest span of the origin's thread, or nil.
func latestOf(spans []replay.ScopeInterval, origin boundary.Origin) *replay.ScopeInterval {
	if !origin.HasThread {
		return nil
	}
	var latest *replay.ScopeInterval
	for i := range spans {
		if spans[i].ThreadID == origin.ThreadID && (latest == nil || spans[i].Later(latest)) {
			latest = &spans[i]
		}
	}
	return latest
}

// match finds each thread's deepest spans.
func (p *Policy) match(spans []replay.ScopeInterval) {
	p.matches, p.ofSpan = p.matches[:0], p.ofSpan[:0]
	clear(p.byThread)
	for i := range spans {
		span := &spans[i]
		at, known := p.find(spans, i)
		p.ofSpan = append(p.ofSpan, at)
		if !known {
			p.matches = append(p.matches, match{best: span})
			continue
		}
		m := &p.matches[at]
		switch depth, deepest := span.Path.Depth(), m.best.Path.Depth(); {
		case depth > deepest:
			m.best, m.ambiguous = span, false
		case depth == deepest:
			m.ambiguous = m.ambiguous || span.Path != m.best.Path && p.label(span) != p.label(m.best)
			if span.Later(m.best) {
				m.best = span
			}
		}
	}
}

// find returns where in matches the thread of span i is, or is to be. The spans of a
// thread mostly stand together.
func (p *Policy) find(spans []replay.ScopeInterval, i int) (at int, known bool) {
	if i > 0 && spans[i].ThreadID == spans[i-1].ThreadID {
		return p.ofSpan[i-1], true
	}
	if at, known = p.byThread[spans[i].ThreadID]; !known {
		at = len(p.matches)
		p.byThread[spans[i].ThreadID] = at
	}
	return at, known
}

// label is what the answers call the phase of a span.
func (p *Policy) label(span *replay.ScopeInterval) string {
	return span.Path.Cut(p.options.Depth).Label()
}

func (p *Policy) unique(a *Attribution, span *replay.ScopeInterval, source string) {
	label := p.label(span)
	*a = Attribution{
		Resolution: Unique, Source: source, Path: label, HasPath: true, Paths: append(a.Paths[:0], label),
		ScopeID: span.ScopeID, ThreadID: span.ThreadID, ThreadName: span.ThreadName, HasScope: true,
		Rank: rankOf(span), Attributes: span.Attributes,
	}
}

func rankOf(span *replay.ScopeInterval) Rank { return Rank{Number: span.Rank.Rank, Known: true} }

func (p *Policy) ambiguous(a *Attribution, spans []replay.ScopeInterval) {
	paths := a.Paths[:0]
	latest := &spans[0]
	for i := range spans {
		span := &spans[i]
		if span.Later(latest) {
			latest = span
		}
		if span.Path.Depth() == p.matches[p.ofSpan[i]].best.Path.Depth() {
			paths = append(paths, p.label(span))
		}
	}
	slices.Sort(paths)
	paths = slices.Compact(paths)
	*a = Attribution{Resolution: Ambiguous, Paths: paths, Rank: rankOf(latest)}
	if len(paths) > 1 {
		a.Summary = Summary{Path: p.label(latest), Source: SourceHeuristic}
	}
}
