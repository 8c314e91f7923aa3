// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"context"
	"iter"
	"math"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/phaseattr/phaseattr/internal/boundary"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/annotate"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/association"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/policy"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/replay"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/resolve"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/source"
)

// annotator decides what the items of a batch belong to, and then writes their phases.
// It is for one batch at a time, and reuses its memory for the next one.
type annotator struct {
	config      *Config
	reader      *boundary.Reader
	association *association.Association
	index       *replay.Index
	tenants     *tenants
	finder      *association.Finder
	resolver    *resolve.Resolver
	table       *annotate.Table
	// sources has the sources, phases the reader of the batch, nil between batches. claims is
	// true when an item of the scope may be a phase of a source's.
	sources *source.Set
	phases  *source.Reader
	claims  bool
	// written are the attributes that the table writes; timed is true when what is known only
	// to the end of a scope is among them.
	written boundary.KeyMask
	timed   bool

	// fields are those of the item at hand, origin the hints of its scope and resource,
	// from and to its interval.
	fields          boundary.Fields
	scope, resource pcommon.Map
	origin          boundary.Origin
	from, to        int64
	// inherited is the rank that the scope and the resource name, noTarget until it has been
	// looked up.
	inherited int32

	// decisions has one entry per item of the batch, in order.
	decisions []decision
	// several are the ranks of the items that belong to more than one, end to end.
	several []int32
	// locations are the unknown locations that the items name.
	locations map[string]int32
	unknown   []string
	// tenant is that of the batch; refused is true when the batch is of one tenant too many.
	tenant  string
	refused bool
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
	// end is true when the item ends a series, and gets no other attributes.
	end bool
	// ambiguous is true when the answer is never unique, unlisted when the item belongs to
	// more ranks than are listed, ranks then being 0.
	ambiguous, unlisted bool
	// ends is true when the item ends the scope that its origin names.
	ends bool
	// reason is why it belongs to no rank, or to more than one.
	reason resolve.Reason
}

// noTarget is the rank of an item that belongs to none.
const noTarget int32 = -1

func newAnnotator(e *engine) *annotator {
	a := &annotator{
		config: e.config, reader: e.reader, association: e.association, index: e.index,
		tenants: e.tenants, finder: association.NewFinder(e.association, e.reader),
		resolver:  resolve.New(e.index, policy.Threads{Prefer: e.config.Threads.Prefer, Ignore: e.config.Threads.Ignore}, e.config.Metrics.TruncatePaths, e.paths),
		table:     e.table,
		locations: map[string]int32{}, sources: e.sources,
	}
	for _, attribute := range e.config.Attributes {
		a.written |= e.association.Keys.Add(string(attribute)).Mask()
		a.timed = a.timed || attribute == annotate.StartAttribute || attribute == annotate.DurationAttribute
	}
	return a
}

// begin begins a batch, of the tenant that its context names.
func (a *annotator) begin(ctx context.Context, dataPoints bool) {
	tenant, ok := a.tenants.of(ctx)
	a.tenant, a.refused = tenant, !ok
	a.finder.SetTenant(tenant)
	a.resolver.Begin(dataPoints)
	if !dataPoints {
		a.phases = a.sources.Reader(tenant)
	}
}

// end forgets the batch.
func (a *annotator) end() {
	a.resolver.End()
	a.restart()
	clear(a.locations)
	clear(a.unknown)
	a.unknown = a.unknown[:0]
	if a.phases != nil {
		a.sources.Done(a.phases)
		a.phases = nil
	}
	a.enterScope(&item{})
	a.fields.Clear()
	a.early, a.stats = false, batchStats{}
}

// restart forgets what has been decided.
func (a *annotator) restart() {
	clear(a.decisions)
	a.resolver.Refresh()
	a.decisions, a.several, a.finder.Tried = a.decisions[:0], a.several[:0], [association.MaxRules][association.Outcomes]int64{}
}

// decide finds out which ranks the items of a batch belong to. Nothing is written.
func (a *annotator) decide(items iter.Seq[*item]) {
	for it := range items {
		a.decisions = append(a.decisions, decision{})
		d := &a.decisions[len(a.decisions)-1]
		d.rank, d.part, d.reason = noTarget, stays, it.skip
		switch {
		case it.skip != resolve.NoReason:
		case a.refused:
			d.attributes, d.reason = it.attributes, resolve.TooManyTenants
		default:
			a.decideItem(it, d)
		}
	}
}

func (a *annotator) decideItem(it *item, d *decision) {
	if it.scope != a.scope || it.resource != a.resource {
		a.enterScope(it)
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
	if a.claims && a.decidePhase(it, d) {
		return
	}
	origin := a.origin
	if a.fields.HasOwnOrigin() {
		origin = a.reader.Origin(&a.fields)
	}
	ends := false
	if a.timed && it.isRecord() {
		var scope string
		if scope, ends = a.reader.Ends(it.record, &a.fields); ends {
			origin = boundary.Origin{ScopeID: scope}
		}
	}
	d.attributes, d.from, d.to, d.origin = it.attributes, a.from, a.to, a.resolver.Origin(origin)
	d.present, d.split, d.end, d.ends = a.fields.Attributes().Any(a.written), it.split, it.end, ends
	a.target(d, it.gpu)
}

// enterScope reads what the scope and resource of the items that follow say.
func (a *annotator) enterScope(it *item) {
	a.scope, a.resource = it.scope, it.resource
	a.fields.ScanScope(a.association.Keys, it.scope, it.resource)
	a.origin = a.reader.Origin(&a.fields)
	a.finder.SetScope(&a.fields)
	a.inherited = noTarget
	switch {
	case a.phases == nil:
		a.claims = false
	case it.isSpan():
		a.claims = a.phases.EnterSpans(it.resourceSpans, it.scopeSpans)
	case it.isRecord():
		a.claims = a.phases.EnterLogs(it.resourceLogs, it.scopeLogs)
	}
}

// decidePhase decides about an item that a source claims: a span that is a phase gets its own
// path, a log record that of its time by the clock of the source. It returns false if none
// claims it.
func (a *annotator) decidePhase(it *item, d *decision) bool {
	var phase *source.Phase
	var origin boundary.Origin
	if it.isSpan() {
		if phase = a.phases.Span(it.span); phase == nil || !phase.IsPhase() {
			return false
		}
		origin = boundary.Origin{ScopeID: phase.Interval.ScopeID, Own: true}
		if !phase.Interval.Open {
			a.to-- // at its end it is over
		}
	} else {
		if phase = a.phases.Record(it.record); phase == nil || phase.Reason != boundary.OK {
			return false
		}
		a.from, a.to = phase.Time, phase.Time
	}
	*d = decision{
		attributes: it.attributes, rank: noTarget, origin: a.resolver.Origin(origin), part: stays,
		present: a.fields.Attributes().Any(a.written),
	}
	a.aim(d, a.finder.FindRank(&a.fields, &phase.Rank, a))
	return true
}

// target finds the ranks of the item at hand. gpu reports whether its metric is one that
// only GPUs have.
func (a *annotator) target(d *decision, gpu bool) {
	// Most items are of the rank that their resource names.
	if target, ok := a.finder.Inherited(&a.fields); ok {
		if a.inherited == noTarget {
			a.inherited = a.resolver.Rank(&target.Rank, target.Process)
		}
		if state := a.resolver.State(a.inherited, a.from, a.to); state.Live {
			a.finder.Named()
			d.ranks, d.rank = 1, a.inherited
			a.note(state)
			return
		}
	}
	a.aim(d, a.finder.Find(&a.fields, gpu, a))
}

// aim sets the ranks of the item at hand to those of a match.
func (a *annotator) aim(d *decision, match *association.Match) {
	d.representative, d.ambiguous, d.unlisted = match.Representative, match.Ambiguous, match.Unlisted
	d.reason, d.offset = reasonOf(match.Reason), match.Offset
	if d.ends { // a boundary is on its rank's own clock
		d.offset = 0
	}
	d.from, d.to = a.Interval(d.offset)
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
		a.note(a.resolver.State(d.rank, d.from, d.to))
	default:
		d.ranks, d.rank = int32(len(match.Targets)), int32(len(a.several)) //nolint:gosec // far fewer
		for i := range match.Targets {
			rank := a.resolver.Rank(&match.Targets[i].Rank, match.Targets[i].Process)
			a.several = append(a.several, rank)
			a.note(a.resolver.State(rank, d.from, d.to))
		}
	}
}

// note notes whether an item came before the events of a rank with a state.
func (a *annotator) note(state replay.State) {
	a.early = a.early || state.Behind || !state.Known
}

var _ association.Ranks = (*annotator)(nil)

// Live implements association.Ranks for the item at hand.
func (a *annotator) Live(rank *boundary.RankKey, offset time.Duration) bool {
	from, to := a.Interval(offset)
	return a.resolver.State(a.resolver.Rank(rank, boundary.MainProcess), from, to).Live
}

// Present implements association.Ranks for the item at hand.
func (a *annotator) Present(o *boundary.Occupant, offset time.Duration) bool {
	from, to := a.Interval(offset)
	return a.resolver.Present(o, from, to)
}

// Interval implements association.Ranks for the item at hand.
func (a *annotator) Interval(offset time.Duration) (from, to int64) {
	return before(a.from, offset), before(a.to, offset)
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
func (a *annotator) Session(tenant, id string) (ranks []int64, complete bool) {
	return a.index.Session(tenant, id)
}

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
		a.write(d.attributes, answer, d)
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
	if d.end {
		return
	}
	if d.representative {
		answer = representative(answer)
	}
	if d.ends && answer.Source == policy.SourceExact && answer.Start != 0 {
		ended := *answer
		ended.Ended, ended.Duration = true, time.Duration(d.to-answer.Start)
		answer = &ended
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
	if reason != resolve.SkippedCumulative && reason != resolve.Excluded && !d.end && d.attributes != (pcommon.Map{}) {
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
