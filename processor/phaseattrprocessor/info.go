// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"slices"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/annotate"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/association"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/ending"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/metadata"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/policy"
)

// The gauge that has the phases of devices. It has no unit: Prometheus would add that of 1
// to the name.
const (
	infoName        = "phase.active"
	infoDescription = "The phase of a device: 1 while it lasts."
)

// informer leaves the data points of a batch unchanged and adds a gauge that has the phase
// of each device that they are of.
type informer struct {
	*ender
	table *annotate.Table
	// identifying has the attributes that identify devices, and what each of them is.
	identifying map[string]identity
}

// identity says what an attribute identifies, as bits: hw.id may be of several.
type identity uint8

const (
	ofUUID = iota
	ofPCI
	ofIndex
	ofInstance
	ofHost
	identities // the number of bits
)

func newInformer(config *Config, e *ender, a *association.Association) *informer {
	n := &informer{ender: e, identifying: map[string]identity{}}
	for _, field := range a.Fields() {
		for _, name := range a.NamesOf(field) {
			n.identifying[name] |= identityOf(field)
		}
	}
	attributes := slices.Clone(config.Attributes)
	for _, always := range []Attribute{annotate.ResolutionAttribute, annotate.PathAttribute, annotate.RankAttribute} {
		if !slices.Contains(attributes, always) {
			attributes = append(attributes, always)
		}
	}
	n.table = annotate.New(attributes)
	return n
}

func identityOf(field string) identity {
	switch field {
	case association.FieldUUID:
		return 1 << ofUUID
	case association.FieldPCI:
		return 1 << ofPCI
	case association.FieldDevice:
		return 1 << ofIndex
	case association.FieldInstance:
		return 1 << ofInstance
	case association.FieldHost:
		return 1 << ofHost
	}
	return 0
}

// devices are those of the data points of a resource, in the order in which they come.
type devices struct {
	byKey map[uint64]int
	list  []device
}

// device has the answers of a device, in the order of time.
type device struct {
	key     uint64
	answers []deviceAnswer
}

// deviceAnswer is what a device was doing at a time, as the data points of that time say.
type deviceAnswer struct {
	at int64
	// attributes are those of the device, phases those of its phase, identity and phase
	// hashes of both.
	attributes, phases pcommon.Map
	identity, phase    uint64
	// removed are the attributes of the device that data points contradict each other in.
	removed []string
	// found is true in a phase, contested when data points have different ones, over when
	// none has a value.
	found, contested, over bool
}

// annotate adds the phases of the devices to a batch that has been decided. It returns the
// streams that have moved to other series.
func (n *informer) annotate(a *annotator, md pmetric.Metrics) []ending.Move {
	table := a.table
	a.table = n.table
	defer func() { a.table = table }()

	c := cursor(a.decisions)
	all := make([]devices, md.ResourceMetrics().Len())
	phase := pcommon.NewMap() // of one data point after the other
	for i, resource := range md.ResourceMetrics().All() {
		for _, scope := range resource.ScopeMetrics().All() {
			walk := pointWalk{yield: func(*item) bool {
				n.observe(a, c.next(), scope.Scope().Attributes(), phase, &all[i])
				return true
			}}
			for _, metric := range scope.Metrics().All() {
				walk.metric(metric, skipped)
			}
		}
	}

	batch := n.tracker.Begin()
	defer batch.End()
	w := endWriter{ender: n.ender, batch: batch, stats: &a.stats}
	for i, resource := range md.ResourceMetrics().All() {
		if len(all[i].list) > 0 {
			n.write(&w, resource, all[i].list)
		}
	}
	a.stats.untracked += batch.Untracked
	return batch.Moves
}

// observe annotates a data point, and notes the result for its device instead of writing it.
func (n *informer) observe(a *annotator, d *decision, scope, phase pcommon.Map, to *devices) {
	point := d.attributes
	if point == (pcommon.Map{}) { // it has no time, or is excluded
		a.annotateItem(d)
		return
	}
	phase.Clear()
	d.attributes, d.present = phase, false
	a.annotateItem(d)
	answer := deviceAnswer{at: int64(timeOf(d, d.to)), phase: n.hasher.HashAll(phase), over: d.end} //nolint:gosec // a time that fits
	_, answer.found = phase.Get(annotate.ResolutionAttribute)
	var key uint64
	key, answer.identity = n.identify(point, scope)
	if last := to.add(key, &answer); last != nil {
		n.describe(last, point, scope, phase)
	}
}

// identify returns the hash of the device that a data point is of, and that of all
// attributes that identify it. A device is known by its UUID, or else by its address or
// index on its host, or else by all of these attributes.
func (n *informer) identify(point, scope pcommon.Map) (key, all uint64) {
	var values [identities]uint64
	for _, m := range [...]pcommon.Map{point, scope} {
		for name, v := range m.All() {
			is, ok := n.identifying[name]
			if !ok || isBlank(v) {
				continue
			}
			value := n.hasher.Value(v)
			all += n.hasher.Text(value, name)
			for bit := range values {
				if is&(1<<bit) != 0 && values[bit] == 0 {
					values[bit] = value
				}
			}
		}
	}
	for _, of := range [...]int{ofUUID, ofPCI, ofIndex} {
		if values[of] == 0 {
			continue
		}
		if of != ofUUID {
			values[of] = ending.With(values[of], values[ofHost])
		}
		return ending.With(ending.With(values[of], values[ofInstance]), uint64(of)), all //nolint:gosec // it is small
	}
	return all, all
}

func isBlank(v pcommon.Value) bool { return v.Type() == pcommon.ValueTypeStr && v.Str() == "" }

// add adds the answer of a data point. It returns the device's answer at that time if it
// has to be described: it is new, or another data point says otherwise.
func (ds *devices) add(key uint64, answer *deviceAnswer) *deviceAnswer {
	i, ok := ds.byKey[key]
	if !ok {
		if ds.byKey == nil {
			ds.byKey = map[uint64]int{}
		}
		i = len(ds.list)
		ds.byKey[key] = i
		ds.list = append(ds.list, device{key: key})
	}
	answers := &ds.list[i].answers
	if len(*answers) == 0 || answer.at > (*answers)[len(*answers)-1].at {
		*answers = append(*answers, *answer)
		return &(*answers)[len(*answers)-1]
	}
	last := &(*answers)[len(*answers)-1]
	switch {
	case answer.at < last.at || answer.over || !answer.found && last.found: // there is a better one
		return nil
	case last.over || answer.found && !last.found:
		*last = *answer
		return last
	case answer.phase != last.phase || answer.identity != last.identity:
		last.contested = last.contested || answer.phase != last.phase
		return last
	}
	return nil
}

// describe adds what a data point says to the answer of its device. Where data points
// contradict each other, it removes the attribute.
func (n *informer) describe(answer *deviceAnswer, point, scope, phase pcommon.Map) {
	if answer.attributes == (pcommon.Map{}) {
		answer.attributes, answer.phases = pcommon.NewMap(), pcommon.NewMap()
		phase.CopyTo(answer.phases)
	}
	if answer.contested {
		answer.phases.Clear()
		answer.phases.PutStr(annotate.ResolutionAttribute, policy.Ambiguous)
	}
	for i, m := range [...]pcommon.Map{point, scope} {
		for name, v := range m.All() {
			if _, ok := n.identifying[name]; !ok || isBlank(v) || slices.Contains(answer.removed, name) {
				continue
			}
			if own, ok := point.Get(name); i > 0 && ok && !isBlank(own) {
				continue
			}
			known, ok := answer.attributes.Get(name)
			switch {
			case !ok:
				v.CopyTo(answer.attributes.PutEmpty(name))
			case !known.Equal(v):
				answer.attributes.Remove(name)
				answer.removed = append(answer.removed, name)
			}
		}
	}
}

// write adds the gauge of the devices to the resource of their data points.
func (n *informer) write(w *endWriter, resource pmetric.ResourceMetrics, list []device) {
	metric := pmetric.NewMetric()
	metric.SetName(infoName)
	metric.SetDescription(infoDescription)
	points := metric.SetEmptyGauge().DataPoints()
	var keys []uint64
	for _, device := range list {
		for _, answer := range device.answers {
			dp := points.AppendEmpty()
			keys = append(keys, device.key)
			dp.SetTimestamp(pcommon.Timestamp(answer.at)) //nolint:gosec // that of a data point
			if answer.over || !answer.found {
				dp.SetFlags(pmetric.DefaultDataPointFlags.WithNoRecordedValue(true))
				continue
			}
			dp.SetIntValue(1)
			answer.attributes.MoveTo(dp.Attributes())
			for name, v := range answer.phases.All() {
				v.CopyTo(dp.Attributes().PutEmpty(name))
			}
		}
	}
	scope := pmetric.NewScopeMetrics()
	scope.Scope().SetName(metadata.ScopeName)
	metric.MoveTo(scope.Metrics().AppendEmpty())
	of := n.hasher.HashAll(resource.Resource().Attributes())
	w.write(scope.Metrics(), func(_ pmetric.Metric, i int, attributes pcommon.Map) (stream, series uint64) {
		series, _ = n.hasher.Hash(attributes)
		return ending.With(of, keys[i]), series
	})
	if scope.Metrics().Len() > 0 {
		scope.MoveTo(resource.ScopeMetrics().AppendEmpty())
	}
}

// retract removes what write has added to a batch that is not forwarded: the caller may
// send it again.
func (*informer) retract(md pmetric.Metrics) {
	for _, resource := range md.ResourceMetrics().All() {
		resource.ScopeMetrics().RemoveIf(func(scope pmetric.ScopeMetrics) bool {
			return scope.Scope().Name() == metadata.ScopeName && scope.Metrics().Len() > 0 && scope.Metrics().At(0).Name() == infoName
		})
	}
}
