// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/association"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/boundary"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/grace"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/policy"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/replay"
)

// asker asks the index about the records of a batch, one after the other, and
// writes the answers. It keeps what one question allocates for the next.
type asker struct {
	*state
	// policy is the one of the batch's signal: whole for logs and traces, stored for
	// metrics, whose paths are to be few.
	policy, whole, stored *policy.Policy
	spans                 []replay.Span
	account               account

	// last is the question that was asked last, if asked, with its answer: the points
	// of one scrape share their group and time. records is how many it has answered.
	last    question
	asked   bool
	answer  policy.Attribution
	found   bool
	status  replay.Status
	records int64
	// finder finds the groups of a record; from and to are its interval.
	finder   association.Finder
	from, to int64
	// other is true when a path of the answer was one too many to be stored.
	other bool

	// patient is true when a resource may be held until its groups' events have come
	// as far as its records. early is set when one of its records came before them.
	patient, early bool
	waits          map[boundary.Group]int64

	// parts are those of the interval that last asks about, if divided.
	parts   []part
	divided bool
	// excess is true when there are more of them than one point may have.
	excess bool
}

// question asks what was active in a group from one moment to another, or at one
// moment if they are the same.
type question struct {
	group    boundary.Group
	from, to int64
	origin   boundary.Origin
	// representative is true when the group stands for others.
	representative bool
}

func newAsker(s *state) (*asker, error) {
	options := policy.Options{Threads: policy.Threads{Prefer: s.config.Threads.Prefer, Ignore: s.config.Threads.Ignore}}
	whole, err := policy.New(policy.DeepestPerThread, options)
	if err != nil {
		return nil, err
	}
	options.Depth = s.config.MaxPathDepth
	stored, err := policy.New(policy.DeepestPerThread, options)
	a := &asker{state: s, whole: whole, stored: stored, waits: map[boundary.Group]int64{}}
	a.finder = association.Finder{
		Association: s.association,
		Named:       s.reader.Named,
		Live:        func(group boundary.Group) bool { return s.index.Live(group, a.from, a.to) },
		Tried:       func(rule int, outcome association.Outcome) { a.account.tried[rule][outcome]++ },
	}
	return a, err
}

// ask lets f ask about the records of one batch. It returns how they were answered,
// and, if patient, what the resources that f held have to wait for.
func (s *state) ask(about signal, patient bool, f func(*asker)) (account, []grace.Wait) {
	a := s.askers.Get().(*asker)
	defer s.askers.Put(a)
	a.policy, a.patient = a.whole, patient
	if about == signalMetrics {
		a.policy = a.stored
	}
	f(a)
	waits := make([]grace.Wait, 0, len(a.waits))
	for group, until := range a.waits {
		waits = append(waits, grace.Wait{Group: group, Until: until})
	}
	a.settle()
	done := a.account
	// The next batch starts afresh, and this one's texts are not held on to.
	clear(a.spans[:cap(a.spans)])
	clear(a.waits)
	clear(a.parts[:cap(a.parts)])
	a.account, a.last, a.asked, a.answer = account{}, question{}, false, policy.Attribution{}
	a.divided = false
	return done, waits
}

// holds lets walk ask about the records of one resource. It returns true when the
// resource has to wait; what was counted of it is then taken back.
func (a *asker) holds(walk func()) bool {
	before := a.account
	a.early = false
	walk()
	if a.early {
		a.account = before
	}
	return a.early
}

// during writes to attrs what was active from one moment to another. A record that
// belongs to no group stays as it is.
func (a *asker) during(attrs pcommon.Map, fields *boundary.Fields, from, to int64) {
	a.from, a.to = min(from, to), to
	groups, representative := a.finder.Find(fields)
	if len(groups) == 0 {
		return
	}
	origin := a.reader.Origin(fields)
	var early bool
	var merged *policy.Attribution
	for _, group := range groups {
		a.find(question{group: group, from: a.from, to: a.to, origin: origin, representative: representative})
		if a.status == replay.Behind && a.patient {
			early = true
			a.waits[group] = max(a.waits[group], to)
		}
		if len(groups) > 1 && a.found {
			merged = policy.Merge(merged, a.answer.Clone())
		}
	}
	if early {
		a.early = true
		return
	}
	if len(groups) > 1 {
		a.settle()
		a.asked, a.found = false, merged != nil // the answer is not the last question's
		if a.found {
			a.answer = *merged
		}
	}
	a.count()
	if a.found {
		a.write(attrs)
	}
}

// find answers a question.
func (a *asker) find(q question) {
	if a.asked && q == a.last {
		return
	}
	a.settle()
	a.last, a.asked, a.divided = q, true, false
	a.look(q)
	if a.found {
		a.other = a.finish(q, &a.answer)
	}
}

// finish makes of what was looked up what is written. It returns true when a path was
// one too many to be stored.
func (a *asker) finish(q question, answer *policy.Attribution) (other bool) {
	if q.representative && answer.Source != "" {
		answer.Source = policy.SourceRepresentative
	}
	return a.policy == a.stored && a.paths.bind(answer)
}

// look looks up what was active.
func (a *asker) look(q question) {
	a.other = false
	if q.from == q.to {
		a.point(q.to)
		return
	}
	a.spans, a.status = a.index.Throughout(a.spans[:0], q.group, q.from, q.to)
	if a.decide() {
		return
	}
	// No scope spans the interval: what was active at its two ends.
	a.point(q.from)
	if a.status == replay.BeforeWindow {
		return
	}
	var ends [2]*policy.Attribution
	if a.found {
		ends[0] = a.answer.Clone()
	}
	a.point(q.to)
	if a.found {
		ends[1] = &a.answer
	}
	if merged := policy.Merge(ends[0], ends[1]); merged != nil {
		a.answer, a.found = *merged, true
	}
}

// point answers the question at hand at one moment.
func (a *asker) point(at int64) {
	a.spans, a.status = a.index.Active(a.spans[:0], a.last.group, at, a.last.origin.ScopeID != "")
	a.decide()
}

// decide makes an answer of the spans. It returns false when there is none.
func (a *asker) decide() bool {
	a.answer, a.found = a.policy.Attribute(a.spans, a.last.origin)
	return a.found
}

// settle lets the index know how many records the last question has answered.
func (a *asker) settle() {
	if a.records > 0 {
		a.index.Answered(a.last.group, a.last.to, a.records)
	}
	a.records = 0
}

func (a *asker) count() {
	switch {
	case a.found && a.answer.Resolution == policy.Unique:
		a.account.answers[unique]++
	case a.found:
		a.account.answers[ambiguous]++
	case a.status == replay.BeforeWindow:
		a.account.answers[beforeWindow]++
		return
	default:
		a.account.answers[none]++
	}
	if a.status != replay.Unknown {
		a.records++
	}
	if a.other {
		a.account.others++
	}
}

// write puts the answer on a record, and takes off what an earlier answer said
// beyond it.
func (a *asker) write(attrs pcommon.Map) {
	for _, attribute := range a.config.Attributes {
		key := string(attribute)
		switch attribute {
		case AttributeResolution:
			attrs.PutStr(key, a.answer.Resolution)
		case AttributePath:
			putText(attrs, key, a.answer.Path)
		case AttributeSource:
			putText(attrs, key, a.answer.Source)
		case AttributePaths:
			paths := attrs.PutEmptySlice(key)
			paths.EnsureCapacity(len(a.answer.Paths))
			for _, path := range a.answer.Paths {
				paths.AppendEmpty().SetStr(path)
			}
		case AttributeSummary:
			putText(attrs, key, a.answer.Summary.Path)
		case AttributeLabel:
			putText(attrs, key, a.answer.Label())
		case AttributeScopeID:
			putText(attrs, key, a.answer.ScopeID)
		case AttributeThreadID:
			if a.answer.HasScope {
				attrs.PutInt(key, a.answer.ThreadID)
			} else {
				attrs.Remove(key)
			}
		case AttributeThreadName:
			putText(attrs, key, a.answer.ThreadName)
		}
	}
	for _, attribute := range a.answer.Attributes {
		_ = attrs.PutEmpty(attribute.Key).FromRaw(attribute.Value) // a string, an int64, a float64 or a bool
	}
}

func putText(attrs pcommon.Map, key, text string) {
	if text == "" {
		attrs.Remove(key)
		return
	}
	attrs.PutStr(key, text)
}
