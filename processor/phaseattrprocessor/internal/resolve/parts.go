// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package resolve

import (
	"math"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/policy"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/replay"
)

// boundariesPerPart bounds the boundaries that are visited for an interval, as a multiple
// of its parts: those of ignored threads, and of a loop that repeats one phase, make no
// parts but take time.
const boundariesPerPart = 16

// Part is a part of an interval with one answer.
type Part struct {
	// From and To are in nanoseconds since the Unix epoch.
	From, To    int64
	Attribution policy.Attribution
	Found       bool
	// Reason is why the answer is not unique.
	Reason Reason
	// Limited is true when a path was replaced by OtherPath.
	Limited bool
}

// Parts divides the interval of a lookup by its answers. Neighbors that are equal are one
// part. They are valid until the next call for another lookup.
//
//   - none, false: how the interval divides is not known.
//   - none, true: there would be more than most parts.
func (r *Resolver) Parts(lookup Lookup, most int, equal func(x, y *policy.Attribution) bool) (parts []Part, tooMany bool) {
	result := r.result(lookup)
	if r.parted != result || !result.parted {
		r.parted, result.parted = result, true
		if !r.divide(result, most, equal) {
			r.parts = r.parts[:0]
			return nil, true
		}
	}
	return r.parts, false
}

// Parted returns the result that counts the items that are annotated from the parts of
// the latest lookup. It has no answer.
func (r *Resolver) Parted() *Result { return r.parted }

func (r *Resolver) divide(result *Result, most int, equal func(x, y *policy.Attribution) bool) bool {
	r.parts = r.parts[:0]
	lookup, origin := result.lookup, r.origins[result.lookup.Origin]
	boundaries := boundariesPerPart * min(most, math.MaxInt/boundariesPerPart)
	var complete bool
	result.Status, complete = result.handle.Segments(lookup.From, lookup.To, allScopes(origin), boundaries,
		func(s replay.Segment) bool {
			part := Part{From: s.From, To: s.To}
			part.Found = r.policy.Attribute(&part.Attribution, s.Active, origin)
			part.Reason = reasonOf(replay.Known, part.Found, &part.Attribution)
			if s.Doubtful {
				part.Reason = doubt(&part.Attribution, part.Found)
			} else if s.Incomplete {
				part.Reason = incomplete(part.Reason)
			}
			part.Attribution.Reason = part.Reason.String()
			part.Limited = part.Found && r.limit(lookup.Rank, &part.Attribution)
			if n := len(r.parts); n > 0 {
				last := &r.parts[n-1]
				if last.Found == part.Found && (!part.Found || equal(&last.Attribution, &part.Attribution)) {
					last.To = s.To
					return true
				}
			}
			if len(r.parts) == most {
				return false
			}
			r.parts = append(r.parts, part)
			return true
		})
	return complete
}
