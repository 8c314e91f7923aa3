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
	spans                 []replay.ScopeInterval
	account               account

	// fields are those of the record at hand, origin its hints, inherited those of its
	// scope and resource, from and to its interval. overwrites is true when it has
	// attributes that answers are written to.
	fields     boundary.Fields
	origin     boundary.Origin
	inherited  boundary.Origin
	from, to   int64
	overwrites bool
	// written are the attributes that answers are written to.
	written boundary.KeyMask
	// recent is the latest reply about the record at hand, if any.
	recent *reply
	// finder finds the groups of the record.
	finder association.Finder
	memo   memo

	// patient is true when a resource may be held until its groups' events have come
	// as far as its records. early is set when one of its records came before them.
	patient, early bool
	waits          map[boundary.RankKey]int64

	// parts are those of the interval that divided is about.
	parts   []part
	divided *reply
	// excess is true when there are more of them than one point may have.
	excess bool
}

func newAsker(s *state) (*asker, error) {
	options := policy.Options{Threads: policy.Threads{Prefer: s.config.Threads.Prefer, Ignore: s.config.Threads.Ignore}}
	whole, err := policy.New(policy.DeepestPerThread, options)
	if err != nil {
		return nil, err
	}
	options.Depth = s.config.MaxPathDepth
	stored, err := policy.New(policy.DeepestPerThread, options)
	a := &asker{state: s, whole: whole, stored: stored, waits: map[boundary.RankKey]int64{}}
	for _, attribute := range s.config.Attributes {
		a.written |= s.association.Keys.Add(string(attribute)).Mask()
	}
	a.finder = association.Finder{
		Association: s.association,
		Named:       s.reader.Named,
		Live:        func(group boundary.RankKey) bool { return a.recall(&group).live },
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
	done := a.account
	// The next batch starts afresh, and this one's texts are not held on to.
	a.memo.clear()
	clear(a.spans[:cap(a.spans)])
	clear(a.waits)
	clear(a.parts[:cap(a.parts)])
	a.enter(pcommon.Map{}, pcommon.Map{})
	a.account, a.origin, a.recent, a.divided = account{}, boundary.Origin{}, nil, nil
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

// enter says in which scope and resource the records that follow are.
func (a *asker) enter(scope, resource pcommon.Map) {
	names := a.association.Keys
	a.fields.SetRecord(boundary.KeyedMap{}, boundary.KeyedMap{})
	a.fields.SetScope(names.Scan(scope), names.Scan(resource))
	a.inherited = a.reader.Origin(&a.fields)
	a.finder.SetScope(&a.fields)
}

// read says which attributes and map body the record at hand has.
func (a *asker) read(attrs, body pcommon.Map) {
	names := a.association.Keys
	own := names.Scan(attrs)
	a.overwrites = own.Present().Any(a.written)
	a.fields.SetRecord(own, names.Scan(body))
}

// about says which interval of the record that was read is asked about.
func (a *asker) about(from, to int64) {
	a.from, a.to, a.recent = from, to, nil
	a.origin = a.inherited
	if a.fields.HasOwnOrigin() {
		a.origin = a.reader.Origin(&a.fields)
	}
}

// find finds the groups of the record that was read, as association.Finder does.
func (a *asker) find(from, to int64) (groups []boundary.RankKey, representative bool) {
	a.about(from, to)
	return a.finder.Find(&a.fields)
}

// during writes to attrs, which were read, what was active from one moment to another.
// A record that belongs to no group stays as it is.
func (a *asker) during(attrs pcommon.Map, from, to int64) {
	a.about(min(from, to), to)
	// Most records are of the group that their resource names.
	if group, ok := a.finder.Inherited(&a.fields); ok {
		if r := a.recall(group); r.live {
			a.finder.Tried(0, association.Matched)
			a.reply(r)
			a.give(attrs, r, false)
			return
		}
	}
	groups, representative := a.finder.Find(&a.fields)
	switch len(groups) {
	case 0:
	case 1:
		r := a.recall(&groups[0])
		a.reply(r)
		a.give(attrs, r, representative)
	default:
		a.duringSeveral(attrs, groups)
	}
}

// give writes to attrs what was replied, unless it is too early.
func (a *asker) give(attrs pcommon.Map, r *reply, representative bool) {
	if a.early {
		return
	}
	a.count(r, r.found, &r.answer)
	if !r.found {
		return
	}
	answer := &r.answer
	if representative {
		answer = answer.Clone()
		represent(answer)
	}
	a.write(attrs, answer)
}

// duringSeveral writes to attrs what was active in any of some groups.
func (a *asker) duringSeveral(attrs pcommon.Map, groups []boundary.RankKey) {
	var merged *policy.Attribution
	var last *reply
	for i := range groups {
		last = a.recall(&groups[i])
		a.reply(last)
		if last.found {
			merged = policy.Merge(merged, last.answer.Clone())
		}
	}
	if a.early {
		return
	}
	a.count(last, merged != nil, merged)
	if merged != nil {
		a.write(attrs, merged)
	}
}

// represent makes of a group's answer one for the groups that it stands for.
func represent(answer *policy.Attribution) {
	answer.Rank = policy.Rank{}
	if answer.Source != "" {
		answer.Source = policy.SourceRepresentative
	}
}

// reply answers a question, if that has not been done.
func (a *asker) reply(r *reply) {
	if !r.asked {
		a.look(r)
	}
	if r.status == replay.Behind && a.patient {
		a.early = true
		a.waits[r.group] = max(a.waits[r.group], r.to)
	}
}

// look looks up what was active.
func (a *asker) look(r *reply) {
	r.asked = true
	a.lookUp(r)
	r.other = r.found && a.bind(&r.answer)
}

// bind makes of what was looked up what may be stored. It returns true when a path was
// one too many.
func (a *asker) bind(answer *policy.Attribution) (other bool) {
	return a.policy == a.stored && a.paths.bind(answer)
}

func (a *asker) lookUp(r *reply) {
	if r.from == r.to {
		a.point(r, r.to)
		return
	}
	a.spans, r.status = r.handle.Throughout(a.spans[:0], r.from, r.to, r.origin.ScopeID != "")
	a.decide(r)
	if r.found {
		return
	}
	// No scope spans the interval: what was active at its two ends.
	a.point(r, r.from)
	if r.status == replay.BeforeWindow {
		return
	}
	var ends [2]*policy.Attribution
	if r.found {
		ends[0] = r.answer.Clone()
	}
	a.point(r, r.to)
	if r.found {
		ends[1] = &r.answer
	}
	if merged := policy.Merge(ends[0], ends[1]); merged != nil {
		r.answer, r.found = *merged, true
	}
}

// point answers a question for one moment.
func (a *asker) point(r *reply, at int64) {
	a.spans, r.status = r.handle.Active(a.spans[:0], at, r.origin.ScopeID != "")
	a.decide(r)
}

// decide makes an answer of the spans, if there is one.
func (a *asker) decide(r *reply) { r.found = a.policy.Attribute(&r.answer, a.spans, r.origin) }

// count counts a record that was answered from a reply.
func (a *asker) count(r *reply, found bool, answer *policy.Attribution) {
	switch {
	case found && answer.Resolution == policy.Unique:
		a.account.answers[unique]++
	case found:
		a.account.answers[ambiguous]++
	case r.status == replay.BeforeWindow:
		a.account.answers[beforeWindow]++
		return
	default:
		a.account.answers[none]++
	}
	if r.status != replay.Unknown {
		r.records++
	}
	if r.other {
		a.account.others++
	}
}

// write puts the answer on a record, and takes off what an earlier answer said
// beyond it.
func (a *asker) write(attrs pcommon.Map, answer *policy.Attribution) {
	if !a.overwrites {
		attrs.EnsureCapacity(attrs.Len() + len(a.config.Attributes) + len(answer.Attributes))
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
		case AttributeRank:
			if answer.Rank.Known {
				attrs.PutInt(key, answer.Rank.Number)
			} else {
				attrs.Remove(key)
			}
		}
	}
	for _, attribute := range answer.Attributes {
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
