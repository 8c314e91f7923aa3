// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"iter"
	"math"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/annotate"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/association"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/boundary"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/policy"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/replay"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/resolve"
)

// annotator decides what the items of a batch belong to, and then writes their phases.
// It is for one batch at a time, and reuses its memory for the next one.
type annotator struct {
	config      *Config
	reader      *boundary.Reader
	association *association.Association
	index       *replay.Index
	finder      *association.Finder
	resolver    *resolve.Resolver
	table       *annotate.Table
	// written are the attributes that the table writes.
	written boundary.KeyMask

	// fields are those of the item at hand, origin the hints of its scope and resource,
	// from and to its interval.
	fields          boundary.Fields
	scope, resource pcommon.Map
	origin          boundary.Origin
	from, to        int64

	// decisions has one entry per item of the batch, in order.
	decisions []decision
	// several are the ranks of the items that belong to more than one, end to end.
	several []int32
	// locations are the unknown locations that the items name.
	locations map[string]int32
	unknown   []string
	// early is true when an item came before the events of a rank, or names an unknown one.
	early bool
	stats batchStats
}

// decision is what has been decided about an item.
type decision struct {
	attributes pcommon.Map
	// from and to are what the ranks are asked about: the item's interval, less the offset of
	// the rule that found them.
	from, to int64
	offset   time.Duration
	// ranks is the number of ranks that the item belongs to, and rank the first one's in
	// the resolver, or where in several they are if there are more. With no ranks, it is an
	// unknown location, or negative.
	ranks, rank int32
	origin      int32
	// part is the part of the batch that the item is held in, or stays.
	part int32
	// representative is true when the rank answers for others as well, present when the item
	// may have an attribute that is written, split when it is to be divided by phase.
	representative, present, split bool
	// ambiguous is true when the answer is never unique, unlisted when the item belongs to
	// more ranks than are listed, ranks then being 0.
	ambiguous, unlisted bool
	// reason is why it belongs to no rank, or to more than one.
	reason resolve.Reason
}

// noTarget is the rank of an item that belongs to none.
const noTarget int32 = -1

func newAnnotator(e *engine) *annotator {
	a := &annotator{
		config: e.config, reader: e.reader, association: e.association, index: e.index, finder: association.NewFinder(e.association, e.reader),
		resolver:  resolve.New(e.index, policy.Threads{Prefer: e.config.Threads.Prefer, Ignore: e.config.Threads.Ignore}, e.config.Metrics.TruncatePaths, e.paths),
		table:     e.table,
		locations: map[string]int32{},
	}
	for _, attribute := range e.config.Attributes {
		a.written |= e.association.Keys.Add(string(attribute)).Mask()
	}
	return a
}

// begin begins a batch.
func (a *annotator) begin(dataPoints bool) { a.resolver.Begin(dataPoints) }

// end forgets the batch.
func (a *annotator) end() {
	a.resolver.End()
	a.restart()
	clear(a.locations)
	clear(a.unknown)
	a.unknown = a.unknown[:0]
	a.enterScope(pcommon.Map{}, pcommon.Map{})
	a.fields.Clear()
	a.early, a.stats = false, batchStats{}
}

// restart forgets what has been decided.
func (a *annotator) restart() {
	clear(a.decisions)
	a.decisions, a.several, a.finder.Tried = a.decisions[:0], a.several[:0], [association.MaxRules][association.Outcomes]int64{}
}

// decide finds out which ranks the items of a batch belong to. Nothing is written.
func (a *annotator) decide(items iter.Seq[*item]) {
	for it := range items {
		a.decisions = append(a.decisions, decision{rank: noTarget, part: stays, reason: it.skip})
		if it.skip == resolve.NoReason {
			a.decideItem(it, &a.decisions[len(a.decisions)-1])
		}
	}
}

func (a *annotator) decideItem(it *item, d *decision) {
	if it.scope != a.scope || it.resource != a.resource {
		a.enterScope(it.scope, it.resource)
	}
	a.fields.ScanRecord(a.association.Keys, it.attributes, it.body)
	a.from, a.to = it.from, it.to
	if it.isRecord() {
		at, ok := a.reader.Time(it.record, &a.fields)
		if !ok {
			d.reason = resolve.NoTime
			return
		}
		a.from, a.to = at, at
	}
	origin := a.origin
	if a.fields.HasOwnOrigin() {
		origin = a.reader.Origin(&a.fields)
	}
	*d = decision{
		attributes: it.attributes, from: a.from, to: a.to, rank: noTarget, origin: a.resolver.Origin(origin), part: stays,
		present: a.fields.Attributes().Any(a.written), split: it.split,
	}
	a.target(d, it.gpu)
}

// enterScope reads what the scope and resource of the items that follow say.
func (a *annotator) enterScope(scope, resource pcommon.Map) {
	a.scope, a.resource = scope, resource
	a.fields.ScanScope(a.association.Keys, scope, resource)
	a.origin = a.reader.Origin(&a.fields)
	a.finder.SetScope(&a.fields)
}

// target finds the ranks of the item at hand. gpu reports whether its metric is one that
// only GPUs have.
func (a *annotator) target(d *decision, gpu bool) {
	// Most items are of the rank that their resource names.
	if target, ok := a.finder.Inherited(&a.fields); ok {
		if rank := a.resolver.Rank(&target.Rank, target.Process); a.resolver.State(rank, a.from, a.to).Live {
			a.finder.Named()
			d.ranks, d.rank = 1, rank
			a.note(d, rank)
			return
		}
	}
	match := a.finder.Find(&a.fields, gpu, a)
	d.representative, d.ambiguous, d.unlisted = match.Representative, match.Ambiguous, match.Unlisted
	d.reason, d.offset = reasonOf(match.Reason), match.Offset
	d.from, d.to = before(a.from, d.offset), before(a.to, d.offset)
	if match.Departed != nil {
		d.reason = a.resolver.Absence(match.Departed, d.from)
	}
	switch len(match.Targets) {
	case 0:
		if match.Location != nil {
			d.rank, a.early = a.location(match.Location), true
		}
	case 1:
		d.ranks, d.rank = 1, a.resolver.Rank(&match.Targets[0].Rank, match.Targets[0].Process)
		a.note(d, d.rank)
	default:
		d.ranks, d.rank = int32(len(match.Targets)), int32(len(a.several)) //nolint:gosec // far fewer
		for i := range match.Targets {
			rank := a.resolver.Rank(&match.Targets[i].Rank, match.Targets[i].Process)
			a.several = append(a.several, rank)
			a.note(d, rank)
		}
	}
}

// note notes whether an item came before the events of a rank.
func (a *annotator) note(d *decision, rank int32) {
	state := a.resolver.State(rank, d.from, d.to)
	a.early = a.early || state.Behind || !state.Known
}

var _ association.Ranks = (*annotator)(nil)

// Live implements association.Ranks for the item at hand.
func (a *annotator) Live(rank *boundary.RankKey, offset time.Duration) bool {
	return a.resolver.State(a.resolver.Rank(rank, boundary.MainProcess), before(a.from, offset), before(a.to, offset)).Live
}

// Present implements association.Ranks for the item at hand.
func (a *annotator) Present(o *boundary.Occupant, offset time.Duration) bool {
	return a.resolver.Present(o, before(a.from, offset), before(a.to, offset))
}

// before returns a time less an offset, or the nearest time that there is.
func before(at int64, offset time.Duration) int64 {
	shifted := at - int64(offset)
	switch {
	case offset > 0 && shifted > at:
		return math.MinInt64
	case offset < 0 && shifted < at:
		return math.MaxInt64
	}
	return shifted
}

// Session implements association.Ranks.
func (a *annotator) Session(id string) (ranks []int64, complete bool) { return a.index.Session(id) }

// reasonOf returns the reason of a match as answers have it.
func reasonOf(reason association.Reason) resolve.Reason {
	return [...]resolve.Reason{
		association.NoReason:     resolve.NoReason,
		association.NamesNothing: resolve.NoSession,
		association.UnknownRank:  resolve.UnknownSession,
		association.OtherDevice:  resolve.OtherDevice,
		association.SharedDevice: resolve.SharedDevice,
		association.SeveralRanks: resolve.SeveralRanks,
	}[reason]
}

// giveUp stops waiting for the processes that have not come as far as items that have
// waited for them.
func (a *annotator) giveUp() {
	giveUp := func(rank int32, d *decision) {
		if a.resolver.State(rank, d.from, d.to).Behind {
			a.resolver.GiveUp(rank, d.to)
		}
	}
	for i := range a.decisions {
		d := &a.decisions[i]
		if d.ranks == 1 {
			giveUp(d.rank, d)
			continue
		}
		for j := range d.ranks {
			giveUp(a.several[d.rank+j], d)
		}
	}
}

// location returns the batch's number of an unknown location.
func (a *annotator) location(text []byte) int32 {
	number, ok := a.locations[string(text)]
	if !ok {
		number = int32(len(a.unknown)) //nolint:gosec // a batch has fewer
		a.unknown = append(a.unknown, string(text))
		a.locations[a.unknown[number]] = number
	}
	return number
}

// annotate writes the phases of the items that have been decided and not held.
func (a *annotator) annotate() {
	for i := range a.decisions {
		a.annotateItem(&a.decisions[i])
	}
}

func (a *annotator) annotateItem(d *decision) {
	switch {
	case d.unlisted:
		answer := policy.Unlisted()
		answer.Reason = d.reason.String()
		a.count(answer.Resolution, d.reason)
		a.table.Write(d.attributes, answer, d.present)
	case d.ranks == 0:
		a.none(d, d.reason)
	case d.ranks == 1:
		result := a.resolver.Resolve(a.lookup(d, d.rank))
		switch {
		case !result.Found:
			result.Annotated++
			a.none(d, result.Reason)
		case d.ambiguous:
			a.annotateAmbiguous(d, result.Attribution.Clone(), result)
		default:
			a.noteResult(result)
			a.count(result.Attribution.Resolution, result.Reason)
			a.write(d.attributes, &result.Attribution, d)
		}
	default:
		a.annotateSeveral(d)
	}
}

func (a *annotator) lookup(d *decision, rank int32) resolve.Lookup {
	return resolve.Lookup{Rank: rank, Origin: d.origin, From: d.from, To: d.to}
}

// annotateSeveral writes what was active in any of the ranks of an item.
func (a *annotator) annotateSeveral(d *decision) {
	var merged *policy.Attribution
	var last *resolve.Result
	ranks := a.several[d.rank : d.rank+d.ranks]
	number, oneNumber := a.resolver.Key(ranks[0]).Rank, true
	for _, rank := range ranks {
		last = a.resolver.Resolve(a.lookup(d, rank))
		if last.Found {
			merged = policy.Merge(merged, last.Attribution.Clone())
		}
		oneNumber = oneNumber && a.resolver.Key(rank).Rank == number
	}
	if merged == nil {
		a.none(d, last.Reason)
		return
	}
	if !oneNumber { // also when only one of them was in a phase
		merged.Rank = policy.Rank{}
	}
	a.annotateAmbiguous(d, merged, last)
}

// annotateAmbiguous writes an answer that may not be that of the item's rank.
func (a *annotator) annotateAmbiguous(d *decision, answer *policy.Attribution, result *resolve.Result) {
	answer = answer.NotUnique()
	answer.Reason = d.reason.String()
	a.noteResult(result)
	a.count(answer.Resolution, d.reason)
	a.write(d.attributes, answer, d)
}

func (a *annotator) write(attributes pcommon.Map, answer *policy.Attribution, d *decision) {
	if d.representative {
		answer = representative(answer)
	}
	a.table.Write(attributes, answer, d.present)
}

// representative returns the answer of a rank for those that it stands for.
func representative(answer *policy.Attribution) *policy.Attribution {
	r := *answer
	r.Rank = policy.Rank{}
	if r.Source != "" {
		r.Source = policy.SourceRepresentative
	}
	return &r
}

// none leaves an item without a phase. The streams of cumulative points stay unchanged.
func (a *annotator) none(d *decision, reason resolve.Reason) {
	a.stats.answers[none][reason]++
	if reason != resolve.SkippedCumulative && reason != resolve.Excluded && d.attributes != (pcommon.Map{}) {
		a.table.WriteReason(d.attributes, reason.String())
	}
}

// count counts an answer.
func (a *annotator) count(resolution string, reason resolve.Reason) {
	r := ambiguous
	if resolution == policy.Unique {
		r = unique
	}
	a.stats.answers[r][reason]++
}

// noteResult notes that an item was annotated from a result.
func (a *annotator) noteResult(result *resolve.Result) {
	result.Annotated++
	if result.Limited {
		a.stats.otherPaths++
	}
}
