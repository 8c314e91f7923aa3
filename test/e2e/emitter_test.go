// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

const (
	millisecond = int64(1_000_000)

	// stepsPerSession is how many training steps a session has.
	stepsPerSession = 40
	// samplingPeriod is the mean time between memory samples, in the log and of a gauge.
	samplingPeriod = 10 * millisecond

	lostShare      = 0.001 // of the boundaries
	duplicateShare = 0.001 // of all records
	originShare    = 0.2   // of the samples name a thread

	// On a bad network, these shares of the log records and batches of a session are
	// delayed by up to this many positions.
	lateRecords, lateRecordsBy = 0.005, 40
	lateBatches, lateBatchesBy = 0.02, 4
	// These shares of the batches of metrics are early or late by up to this many requests.
	earlyMetrics, earlyMetricsBy = 0.3, 3
	lateMetrics, lateMetricsBy   = 0.1, 10

	maxRecordsPerRequest = 8

	// spanShare is the share of the moments of a program at which two spans end, if it has
	// spans: one starts at the previous moment, one at one of the last spanReach moments.
	spanShare, spanReach = 0.05, 100
)

// The signals.
const (
	logs    = "logs"
	metrics = "metrics"
	traces  = "traces"
)

// emitter simulates a training program that runs session after session in the same process
// with the same rank. It has a main thread and helpers that prefetch.
type emitter struct {
	id      int
	helpers int
	// steps is the number of training steps per session.
	steps int
	// sampling is the mean event time between samples.
	sampling int64
	// lost is the share of boundaries that are not sent, early the share of batches of
	// metrics that are sent before their boundaries.
	lost, early float64
	spans       bool
	// perRequest is the maximum number of records per request.
	perRequest int
	// pace multiplies all durations.
	pace int64
	// noteBytes is the length of an extra attribute of each boundary.
	noteBytes int
	// uniquePaths gives every scope its own path.
	uniquePaths bool

	random   *rand.Rand
	now      int64 // event time
	records  int64 // number of records so far
	sessions []*session
	requests []*request
	known    map[string]annotation // distinct annotations, so that each is stored once
}

func newEmitter(id int) *emitter {
	return &emitter{
		id: id, helpers: id % 3, steps: stepsPerSession, sampling: samplingPeriod, pace: 1,
		lost: lostShare, early: earlyMetrics, perRequest: maxRecordsPerRequest,
		now:    1_800_000_000_000 * millisecond,
		random: rand.New(rand.NewPCG(uint64(id), 1)), known: map[string]annotation{},
	}
}

// session is one run of an emitter.
type session struct {
	of *emitter
	id string
	// events, points and spans are its log records, data points and spans in time order.
	events, points, spans []*item
	// lost is the number of boundaries that are not sent, duplicated the number of records
	// that are sent twice, by signal.
	lost       int
	duplicated map[string]int
	// cut reports whether a reload or damage to the storage interrupted it.
	cut bool
}

// item is a log record, a data point or a span.
type item struct {
	id     int64
	from   int64 // of a span
	at     int64
	event  string // the event type of a log record
	phase  *phase // of a boundary
	origin int64  // the thread that it names, or 0
	lost   bool
	// want is the correct annotation according to the program; nil if it is not known.
	want annotation
}

// phase is one entered phase.
type phase struct {
	name     string
	id       string
	parent   *phase
	path     []string
	thread   *script
	sequence int64 // of its latest boundary
}

// request is a batch of log records, data points or spans of one session.
type request struct {
	of     *session
	number int64 // unique within the emitter
	signal string
	items  []*item
	// early reports whether some of its records are sent before an event as new as they are.
	early bool
	// settled reports whether all boundaries up to the newest event, except lost ones, have
	// arrived when the items are annotated.
	settled bool

	tries    int
	acked    bool
	received []int // copies received of each item
}

// script has the actions of a thread in time order.
type script struct {
	thread  int64
	name    string
	now     int64
	actions []action
}

type action struct {
	at    int64
	enter string // empty for an exit
}

func (s *script) pass(random *rand.Rand, from, to int64) { s.now += from + random.Int64N(to-from) }

func (s *script) in(name string, do func()) {
	s.actions = append(s.actions, action{s.now, name})
	do()
	s.actions = append(s.actions, action{at: s.now})
}

// scripts returns the actions of the threads of the program in a session.
func (e *emitter) scripts() []*script {
	pass := func(s *script, from, to int64) { s.pass(e.random, e.pace*from, e.pace*to) }
	thread := func(n int) int64 { return int64(1000*(e.id+1) + n) }
	train := &script{thread: thread(0), name: "MainThread", now: e.now}
	pass(train, millisecond, 30*millisecond)
	train.in("train", func() {
		for range e.steps {
			pass(train, 1000, millisecond)
			train.in("step", func() {
				for _, name := range []string{"load_batch", "forward", "backward", "optimizer_step"} {
					pass(train, 1000, millisecond)
					train.in(name, func() { pass(train, 2*millisecond, 25*millisecond) })
				}
				pass(train, 1000, millisecond)
			})
		}
	})
	pass(train, millisecond, 30*millisecond)

	scripts := []*script{train}
	for n := range e.helpers {
		helper := &script{thread: thread(n + 1), name: fmt.Sprintf("prefetch-%d", n), now: e.now}
		pass(helper, millisecond, 100*millisecond)
		for helper.now < train.now-100*millisecond {
			helper.in("prefetch", func() {
				pass(helper, 1000, 5*millisecond)
				helper.in("decode", func() { pass(helper, millisecond, 15*millisecond) })
			})
			pass(helper, 10*millisecond, 100*millisecond)
		}
		scripts = append(scripts, helper)
	}
	return scripts
}

// run generates a session: its records with the correct annotations, and the requests to
// send.
func (e *emitter) run() (*session, []*request) {
	s := &session{of: e, id: fmt.Sprintf("job-%d-run-%d", e.id/2, len(e.sessions)), duplicated: map[string]int{}} // of two ranks
	scripts := e.scripts()
	end := scripts[0].now

	type moment struct {
		item
		thread *script
		action action
	}
	moments := []moment{{item: item{at: e.now, event: "start"}}, {item: item{at: end, event: "stop"}}}
	for _, thread := range scripts {
		for _, action := range thread.actions {
			event := "phase_exit"
			if action.enter != "" {
				event = "phase_enter"
			}
			moments = append(moments, moment{item{at: action.at, event: event}, thread, action})
		}
	}
	for _, event := range []string{"sample", ""} {
		for at := e.now + e.random.Int64N(e.sampling); at < end; at += e.sampling/2 + e.random.Int64N(e.sampling) {
			sample := item{at: at, event: event}
			if e.random.Float64() < originShare {
				sample.origin = scripts[e.random.IntN(len(scripts))].thread
			}
			moments = append(moments, moment{item: sample})
		}
	}
	slices.SortStableFunc(moments, func(a, b moment) int { return cmp.Compare(a.at, b.at) })

	stacks := map[int64]*phase{} // the innermost phase of each thread
	last, sequence := int64(0), int64(0)
	var past []int64 // the moments so far
	for _, m := range moments {
		it := m.item
		it.id = e.records
		e.records++
		it.at = max(it.at, last+1) // times are unique
		if e.spans && len(stacks) > 0 && e.random.Float64() < spanShare {
			// Between two moments, the phases are those after the first.
			s.spans = append(s.spans,
				&item{id: e.records, from: last, at: it.at, want: e.expectedAnnotation(stacks, 0)},
				&item{id: e.records + 1, from: past[max(0, len(past)-1-e.random.IntN(spanReach))], at: it.at})
			e.records += 2
		}
		last = it.at
		past = append(past, last)
		left := (*phase)(nil)
		if m.thread != nil {
			sequence++
			if m.action.enter != "" {
				name := m.action.enter
				if e.uniquePaths {
					name = fmt.Sprintf("%s %d of %s of emitter %d", name, sequence, s.id, e.id)
				}
				entered := phase{name: name, id: fmt.Sprintf("%s:%d", s.id, sequence), thread: m.thread, parent: stacks[m.thread.thread]}
				if entered.parent != nil {
					entered.path = slices.Clone(entered.parent.path)
				}
				entered.path = append(entered.path, entered.name)
				stacks[m.thread.thread] = &entered
			} else {
				left = stacks[m.thread.thread]
			}
			boundary := *stacks[m.thread.thread]
			boundary.sequence = sequence
			it.phase = &boundary
			if it.lost = e.random.Float64() < e.lost; it.lost {
				s.lost++
			}
		}
		it.want = e.expectedAnnotation(stacks, it.origin)
		if left != nil { // a phase is still active at the time of its exit
			stacks[m.thread.thread] = left.parent
			if left.parent == nil {
				delete(stacks, m.thread.thread)
			}
		}
		if it.event == "" {
			s.points = append(s.points, &it)
		} else {
			s.events = append(s.events, &it)
		}
	}
	e.now = last + 1000*millisecond
	e.sessions = append(e.sessions, s)
	return s, e.schedule(s)
}

// expectedAnnotation returns the annotation for the phases that the threads are in.
func (e *emitter) expectedAnnotation(stacks map[int64]*phase, origin int64) annotation {
	if named := stacks[origin]; named != nil {
		stacks = map[int64]*phase{origin: named}
	}
	var labels []string
	for _, innermost := range stacks {
		labels = append(labels, strings.Join(innermost.path, " / "))
	}
	threads := len(labels)
	slices.Sort(labels)
	paths, _ := json.Marshal(slices.Compact(labels)) // cannot fail for strings
	text := fmt.Sprint(threads, string(paths))
	if known, ok := e.known[text]; ok {
		return known
	}
	want := annotation{}
	if threads > 0 {
		want["phase_resolution"], want["phase_paths"] = "ambiguous", string(paths)
	}
	if threads == 1 {
		want["phase_resolution"], want["phase_path"] = "unique", labels[0]
	}
	e.known[text] = want
	return want
}

// delay moves a share of the elements to later positions, each by a limited distance.
func delay[T any](random *rand.Rand, inOrder []T, share float64, by int) []T {
	type positioned struct {
		position float64
		element  T
	}
	moved := make([]positioned, len(inOrder))
	for i, element := range inOrder {
		moved[i] = positioned{float64(i), element}
		if random.Float64() < share {
			moved[i].position += 1.5 + float64(random.IntN(by))
		}
	}
	slices.SortStableFunc(moved, func(a, b positioned) int { return cmp.Compare(a.position, b.position) })
	for i := range moved {
		inOrder[i] = moved[i].element
	}
	return inOrder
}

// divide divides items into batches of random size. Some items are in two batches.
func (e *emitter) divide(s *session, items []*item, signal string) []*request {
	var requests []*request
	var again []*item
	for len(items) > 0 {
		n := min(1+e.random.IntN(e.perRequest), len(items))
		r := &request{of: s, signal: signal, items: slices.Concat(again, items[:n])}
		again = nil
		for _, it := range items[:n] {
			if e.random.Float64() < duplicateShare {
				again = append(again, it)
				s.duplicated[signal]++
			}
		}
		requests = append(requests, r)
		items = items[n:]
	}
	if len(again) > 0 {
		requests = append(requests, &request{of: s, signal: signal, items: again})
	}
	return requests
}

// schedule returns the requests of a session in sending order.
func (e *emitter) schedule(s *session) []*request {
	sent := slices.DeleteFunc(slices.Clone(s.events), func(it *item) bool { return it.lost })
	badNetwork := len(e.sessions)%3 != 0
	if badNetwork {
		sent = delay(e.random, sent, lateRecords, lateRecordsBy)
	}
	batches := e.divide(s, sent, logs)
	if badNetwork {
		batches = delay(e.random, batches, lateBatches, lateBatchesBy)
	}

	type positioned struct {
		position float64
		*request
	}
	var scheduled []positioned
	reached := make([]int64, len(batches)) // the newest event after each batch
	newest := int64(0)
	for i, r := range batches {
		newest = max(newest, r.newest())
		reached[i] = newest
		scheduled = append(scheduled, positioned{float64(i), r})
	}
	for _, r := range slices.Concat(e.divide(s, s.points, metrics), e.divide(s, s.spans, traces)) {
		at, _ := slices.BinarySearch(reached, r.newest())
		position := float64(at) + 0.5
		switch chance := e.random.Float64(); {
		case chance < e.early:
			position -= float64(1 + e.random.IntN(earlyMetricsBy))
		case chance < e.early+lateMetrics:
			position += float64(1 + e.random.IntN(lateMetricsBy))
		}
		scheduled = append(scheduled, positioned{max(position, 0.5), r}) // after the first event of the session
	}
	slices.SortStableFunc(scheduled, func(a, b positioned) int { return cmp.Compare(a.position, b.position) })
	requests := make([]*request, len(scheduled))
	for i, p := range scheduled {
		requests[i] = p.request
		p.number = int64(len(e.requests) + i)
		p.received = make([]int, len(p.items))
	}
	s.settle(requests)
	e.requests = append(e.requests, requests...)
	return requests
}

func (r *request) newest() int64 {
	newest := int64(0)
	for _, it := range r.items {
		newest = max(newest, it.at)
	}
	return newest
}

// settle determines what has arrived when each request is annotated.
func (s *session) settle(requests []*request) {
	arrival := map[*item]int{}
	for i, r := range requests {
		for _, it := range r.items {
			if _, known := arrival[it]; !known {
				arrival[it] = i
			}
		}
	}
	reached := make([]int64, len(requests)) // the newest event after each request
	whole := make([]bool, len(requests))    // whether no boundary before that event is in transit
	newest, lastArrival, next := int64(0), 0, 0
	for i, r := range requests {
		if r.signal == logs {
			newest = max(newest, r.newest())
		}
		for ; next < len(s.events) && s.events[next].at <= newest; next++ {
			if it := s.events[next]; it.phase != nil && !it.lost {
				lastArrival = max(lastArrival, arrival[it])
			}
		}
		reached[i], whole[i] = newest, lastArrival <= i
	}
	for i, r := range requests {
		if r.early = r.newest() > reached[i]; !r.early {
			r.settled = whole[i]
			continue
		}
		// It may be annotated at any time after an event as new has arrived.
		first, _ := slices.BinarySearch(reached, r.newest())
		r.settled = !slices.Contains(whole[first:], false)
	}
}

// batch returns the content of the request.
func (r *request) batch() any {
	switch r.signal {
	case metrics:
		md := pmetric.NewMetrics()
		resource := md.ResourceMetrics().AppendEmpty()
		r.describe(resource.Resource())
		metric := resource.ScopeMetrics().AppendEmpty().Metrics().AppendEmpty()
		metric.SetName("memory")
		points := metric.SetEmptyGauge().DataPoints()
		for _, it := range r.items {
			dp := points.AppendEmpty()
			dp.SetTimestamp(pcommon.Timestamp(it.at))
			it.describe(dp.Attributes())
		}
		return md
	case traces:
		td := ptrace.NewTraces()
		resource := td.ResourceSpans().AppendEmpty()
		r.describe(resource.Resource())
		spans := resource.ScopeSpans().AppendEmpty().Spans()
		for _, it := range r.items {
			span := spans.AppendEmpty()
			span.SetStartTimestamp(pcommon.Timestamp(it.from))
			span.SetEndTimestamp(pcommon.Timestamp(it.at))
			it.describe(span.Attributes())
		}
		return td
	}
	ld := plog.NewLogs()
	resource := ld.ResourceLogs().AppendEmpty()
	r.describe(resource.Resource())
	records := resource.ScopeLogs().AppendEmpty().LogRecords()
	for _, it := range r.items {
		record := records.AppendEmpty()
		record.SetTimestamp(pcommon.Timestamp(it.at))
		record.SetEventName(it.event)
		it.describe(record.Attributes())
		if it.phase != nil {
			scope := it.phase.describe(strings.TrimPrefix(it.event, "phase_"), record.Attributes())
			if note := r.of.of.noteBytes; note > 0 {
				scope.PutEmptyMap("attributes").PutStr("note", fmt.Sprintf("%0*d", note, it.phase.sequence))
			}
		}
	}
	return ld
}

func (r *request) describe(resource pcommon.Resource) {
	e := r.of.of
	resource.Attributes().PutStr("session_id", r.of.id)
	resource.Attributes().PutInt("rank", int64(e.id%2))
	resource.Attributes().PutStr("host.name", "node")
	resource.Attributes().PutInt("process.pid", int64(100+e.id))
	resource.Attributes().PutInt("emitter", int64(e.id))
	resource.Attributes().PutInt("request", r.number)
}

func (it *item) describe(attributes pcommon.Map) {
	attributes.PutInt("record", it.id)
	if it.origin != 0 {
		attributes.PutInt("origin_thread_id", it.origin)
	}
}

func (p *phase) describe(action string, attributes pcommon.Map) (scope pcommon.Map) {
	scope = attributes.PutEmptyMap("metadata").PutEmptyMap("phase_scope")
	scope.PutStr("action", action)
	scope.PutStr("name", p.name)
	scope.PutStr("scope_id", p.id)
	scope.PutInt("sequence", p.sequence)
	scope.PutInt("thread_id", p.thread.thread)
	scope.PutStr("thread_name", p.thread.name)
	if p.parent != nil {
		scope.PutStr("parent_scope_id", p.parent.id)
	}
	path := scope.PutEmptySlice("path")
	for _, name := range p.path {
		path.AppendEmpty().SetStr(name)
	}
	return scope
}
