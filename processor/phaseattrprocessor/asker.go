// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/boundary"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/policy"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/replay"
)

// asker asks the index about the records of a batch, one after the other, and
// writes the answers. It keeps what one question allocates for the next.
type asker struct {
	*state
	policy *policy.Policy
	spans  []replay.Span
	counts answerCounts
}

func newAsker(s *state) *asker {
	p, err := policy.New(policy.DeepestPerThread)
	if err != nil { // the name is right
		panic(err)
	}
	return &asker{state: s, policy: p}
}

// ask lets f ask about the records of one batch, and counts the answers.
func (s *state) ask(f func(*asker)) answerCounts {
	a := s.askers.Get().(*asker)
	defer s.askers.Put(a)
	a.counts = answerCounts{}
	f(a)
	clear(a.spans) // hold on to no text of the batch's
	return a.counts
}

// at writes to attrs what was active at a moment. A record that names no group stays
// as it is.
func (a *asker) at(attrs pcommon.Map, fields *boundary.Fields, at int64) {
	group, reason := a.reader.Group(fields)
	if reason != boundary.OK {
		return
	}
	origin := a.reader.Origin(fields)
	answer, ok := a.point(group, at, origin)
	a.write(attrs, &answer, ok)
}

// during writes to attrs what was active from one moment to another.
func (a *asker) during(attrs pcommon.Map, fields *boundary.Fields, from, to int64) {
	if from >= to {
		a.at(attrs, fields, to)
		return
	}
	group, reason := a.reader.Group(fields)
	if reason != boundary.OK {
		return
	}
	origin := a.reader.Origin(fields)
	a.spans, _ = a.index.Throughout(a.spans[:0], group, from, to)
	answer, ok := a.policy.Attribute(a.spans, origin)
	if !ok {
		answer, ok = a.ends(group, from, to, origin)
	}
	a.write(attrs, &answer, ok)
}

func (a *asker) point(group boundary.Group, at int64, origin boundary.Origin) (policy.Attribution, bool) {
	whole := origin.ScopeID != "" || len(a.config.ScopeAttributes) > 0
	a.spans, _ = a.index.Active(a.spans[:0], group, at, whole)
	return a.policy.Attribute(a.spans, origin)
}

// ends merges what was active at the two ends of an interval that no scope spans.
func (a *asker) ends(group boundary.Group, from, to int64, origin boundary.Origin) (policy.Attribution, bool) {
	var ends [2]*policy.Attribution
	for i, at := range [...]int64{from, to} {
		if answer, ok := a.point(group, at, origin); ok {
			ends[i] = answer.Clone()
		}
	}
	merged := policy.Merge(ends[0], ends[1])
	if merged == nil {
		return policy.Attribution{}, false
	}
	return *merged, true
}

// write puts an answer on a record, and takes off what an earlier answer said
// beyond it. Without an answer the record stays as it is.
func (a *asker) write(attrs pcommon.Map, answer *policy.Attribution, ok bool) {
	if !ok {
		a.counts[2]++
		return
	}
	if answer.Resolution == policy.Unique {
		a.counts[0]++
	} else {
		a.counts[1]++
	}
	for _, attribute := range a.config.Attributes {
		key := string(attribute)
		switch attribute {
		case AttributeResolution:
			attrs.PutStr(key, answer.Resolution)
		case AttributePath:
			putText(attrs, key, answer.Path)
		case AttributeSource:
			putText(attrs, key, answer.Source)
		case AttributePaths:
			paths := attrs.PutEmptySlice(key)
			paths.EnsureCapacity(len(answer.Paths))
			for _, path := range answer.Paths {
				paths.AppendEmpty().SetStr(path)
			}
		case AttributeSummary:
			putText(attrs, key, answer.Summary.Path)
		case AttributeLabel:
			putText(attrs, key, answer.Label())
		case AttributeScopeID:
			putText(attrs, key, answer.ScopeID)
		case AttributeThreadID:
			if answer.HasScope {
				attrs.PutInt(key, answer.ThreadID)
			} else {
				attrs.Remove(key)
			}
		case AttributeThreadName:
			putText(attrs, key, answer.ThreadName)
		}
	}
	if answer.HasScope {
		a.writeScopeAttributes(attrs, answer)
	}
}

func putText(attrs pcommon.Map, key, text string) {
	if text == "" {
		attrs.Remove(key)
		return
	}
	attrs.PutStr(key, text)
}

// writeScopeAttributes puts the attributes of the answering scope, or of its nearest
// ancestor that has them, on a record.
func (a *asker) writeScopeAttributes(attrs pcommon.Map, answer *policy.Attribution) {
	for _, key := range a.config.ScopeAttributes {
		depth := 0
		var value any
		for i := range a.spans {
			span := &a.spans[i]
			if span.ThreadID != answer.ThreadID || span.Path.Depth() <= depth {
				continue
			}
			for _, attribute := range span.Attributes {
				if attribute.Key == key {
					depth, value = span.Path.Depth(), attribute.Value
				}
			}
		}
		if depth > 0 {
			_ = attrs.PutEmpty(key).FromRaw(value) // a string, an int64, a float64 or a bool
		}
	}
}
