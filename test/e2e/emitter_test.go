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
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/phaseattr/phaseattr/cmd/phasegen/format"
	"github.com/phaseattr/phaseattr/cmd/phasegen/job"
)

const (
	// stepsPerSession is how many training steps a session has.
	stepsPerSession = 40
	stepDuration    = 60 * time.Millisecond
	// samplingPeriod is the mean time between memory samples, in the log and of a gauge.
	samplingPeriod = 10 * time.Millisecond
	// ranksPerJob is the number of emitters that run the same job.
	ranksPerJob = 2

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

// emitter is a rank of a job that runs session after session in the same process. It has a
// main thread and further ones that prefetch.
type emitter struct {
	id   int
	seed uint64
	// steps is the number of training steps per session, step their duration.
	steps int
	step  time.Duration
	// sampling is the mean event time between samples.
	sampling time.Duration
	// lost is the share of boundaries that are not sent, early the share of batches of
	// metrics that are sent before their boundaries.
	lost, early float64
	spans       bool
	// perRequest is the maximum number of records per request.
	perRequest int
	// noteBytes is the length of an extra attribute of each boundary.
	noteBytes int
	// uniquePaths gives every scope its own path.
	uniquePaths bool

	random   *rand.Rand
	start    time.Time // event time of the next session
	records  int64     // number of records so far
	sessions []*session
	requests []*request
	known    map[string]annotation // distinct annotations, so that each is stored once
}

func newEmitter(id, seed int) *emitter {
	return &emitter{
		id: id, seed: uint64(seed), steps: stepsPerSession, step: stepDuration, sampling: samplingPeriod,
		lost: lostShare, early: earlyMetrics, perRequest: maxRecordsPerRequest,
		start:  time.Unix(1_700_000_000, 0),
		random: rand.New(rand.NewPCG(uint64(seed), uint64(id)+1)), known: map[string]annotation{},
	}
}

// session is one run of an emitter.
type session struct {
	of  *emitter
	job *job.Job
	// process is the one that runs, last the time of its newest record.
	process *job.Process
	last    int64
	// threads has the innermost scope of each thread, by its ID.
	threads map[int64]*job.Scope
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
	event  *job.Event // nil for a span
	origin int64      // the thread that it names, or 0
	lost   bool
	// want is the correct annotation according to the program; nil if it is not known.
	want annotation
}

// scope returns the scope of a boundary, or nil.
func (it *item) scope() *job.Scope {
	if it.event == nil || !it.event.Kind.Boundary() {
		return nil
	}
	return it.event.Scope
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

// newJob returns the job of the next session, which is that of another emitter too.
func (e *emitter) newJob() *job.Job {
	number := e.id / ranksPerJob
	return job.New(job.Config{
		Ranks: ranksPerJob, GPUsPerNode: ranksPerJob, FirstNode: number, Threads: e.id % 3,
		Step: e.step, Start: e.start, Duration: time.Duration(e.steps)*e.step + e.step/2,
		Sample: e.sampling, Reading: e.sampling, Plan: format.Training(),
		Seed: e.seed<<32 | uint64(number)<<24 | uint64(len(e.sessions)),
	})
}

// run generates a session: its records with the correct annotations, and the requests to
// send.
func (e *emitter) run() (*session, []*request) {
	s := &session{of: e, job: e.newJob(), threads: map[int64]*job.Scope{}, duplicated: map[string]int{}}
	var past []int64 // the times of the records so far
	for event := range s.job.Events() {
		if event.Rank.Number != e.id%ranksPerJob || event.Kind == job.DeviceReading {
			continue
		}
		s.process = event.Process
		event.At = max(event.At, s.last+1) // times are unique
		if e.spans && len(s.threads) > 0 && e.random.Float64() < spanShare {
			s.addSpans(past[max(0, len(past)-1-e.random.IntN(spanReach))], event.At)
		}
		s.last = event.At
		past = append(past, s.last)
		s.add(event)
	}
	e.start = e.start.Add(s.job.Duration + time.Second)
	e.sessions = append(e.sessions, s)
	return s, e.schedule(s)
}

// addSpans adds two spans that end at a time. Between the newest record and that time, the
// phases are those after the former. The other span is of unknown phases.
func (s *session) addSpans(from, at int64) {
	e := s.of
	s.spans = append(s.spans,
		&item{id: e.records, from: s.last, at: at, want: s.expectedAnnotation(0)},
		&item{id: e.records + 1, from: from, at: at})
	e.records += 2
}

// add adds the record of an event.
func (s *session) add(event *job.Event) {
	e := s.of
	it := &item{id: e.records, at: event.At, event: event}
	e.records++
	scope := it.scope()
	switch {
	case event.Kind == job.Enter:
		if e.uniquePaths {
			s.rename(scope)
		}
		s.threads[scope.ThreadID()] = scope
	case event.Kind == job.Sample || event.Kind.Reading():
		if e.random.Float64() < originShare {
			it.origin = event.Process.ThreadID + int64(e.random.IntN(1+s.job.Threads))
		}
	}
	it.want = s.expectedAnnotation(it.origin)
	if event.Kind == job.Exit { // a phase is still active at the time of its exit
		s.threads[scope.ThreadID()] = scope.Parent
		if scope.Parent == nil {
			delete(s.threads, scope.ThreadID())
		}
	}
	if it.lost = scope != nil && e.random.Float64() < e.lost; it.lost {
		s.lost++
	}
	if event.Kind.Reading() {
		s.points = append(s.points, it)
	} else {
		s.events = append(s.events, it)
	}
}

// rename gives a scope a path of its own.
func (s *session) rename(scope *job.Scope) {
	var path []string
	if scope.Parent != nil {
		path = scope.Parent.Path
	}
	name := fmt.Sprintf("%s %d of %s of emitter %d", scope.Name(), scope.Number, s.job.Session, s.of.id)
	scope.Path = slices.Concat(path, []string{name})
}

// expectedAnnotation returns the annotation for the phases that the threads are in.
func (s *session) expectedAnnotation(origin int64) annotation {
	innermost := s.threads
	if named := innermost[origin]; named != nil {
		innermost = map[int64]*job.Scope{origin: named}
	}
	var labels []string
	for _, scope := range innermost {
		labels = append(labels, strings.Join(scope.Path, " / "))
	}
	threads := len(labels)
	slices.Sort(labels)
	paths, _ := json.Marshal(slices.Compact(labels)) // cannot fail for strings
	text := fmt.Sprint(threads, string(paths))
	if known, ok := s.of.known[text]; ok {
		return known
	}
	want := annotation{}
	if threads > 0 {
		want["phase_resolution"], want["phase_paths"] = "ambiguous", string(paths)
	}
	if threads == 1 {
		want["phase_resolution"], want["phase_path"] = "unique", labels[0]
	}
	s.of.known[text] = want
	return want
}

// positioned is an element at a position, which need not be whole.
type positioned[T any] struct {
	position float64
	element  T
}

// inOrder returns elements in the order of their positions.
func inOrder[T any](elements []positioned[T]) []T {
	slices.SortStableFunc(elements, func(a, b positioned[T]) int { return cmp.Compare(a.position, b.position) })
	ordered := make([]T, len(elements))
	for i := range elements {
		ordered[i] = elements[i].element
	}
	return ordered
}

// delay moves a share of the elements to later positions, each by a limited distance.
func delay[T any](random *rand.Rand, elements []T, share float64, by int) []T {
	moved := make([]positioned[T], len(elements))
	for i, element := range elements {
		moved[i] = positioned[T]{float64(i), element}
		if random.Float64() < share {
			moved[i].position += 1.5 + float64(random.IntN(by))
		}
	}
	return inOrder(moved)
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

	var scheduled []positioned[*request]
	reached := make([]int64, len(batches)) // the newest event after each batch
	newest := int64(0)
	for i, r := range batches {
		newest = max(newest, r.newest())
		reached[i] = newest
		scheduled = append(scheduled, positioned[*request]{float64(i), r})
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
		scheduled = append(scheduled, positioned[*request]{max(position, 0.5), r}) // after the first event of the session
	}
	requests := inOrder(scheduled)
	for i, r := range requests {
		r.number = int64(len(e.requests) + i)
		r.received = make([]int, len(r.items))
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
			if it := s.events[next]; it.scope() != nil && !it.lost {
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
	s, b := r.of, format.NewBatch()
	for _, it := range r.items {
		switch r.signal {
		case metrics:
			it.describe(b.NewPoint(s.process.Host, s.process.PID, "memory", it.at, r.describe).Attributes())
		case traces:
			span := b.NewSpan(s.process, "", r.describe)
			span.SetStartTimestamp(pcommon.Timestamp(it.from))
			span.SetEndTimestamp(pcommon.Timestamp(it.at))
			it.describe(span.Attributes())
		case logs:
			b.Append(format.Stormlog{Job: s.job, Terse: true}, it.event)
		}
	}
	switch r.signal {
	case metrics:
		return b.Metrics
	case traces:
		return b.Traces
	}
	resource := b.Logs.ResourceLogs().At(0)
	r.describe(resource.Resource().Attributes())
	for i, record := range resource.ScopeLogs().At(0).LogRecords().All() {
		attributes := record.Attributes()
		r.items[i].describe(attributes)
		record.SetEventName(text(attributes, "event_type"))
		attributes.Remove("event_type")
		if metadata, ok := attributes.Get("metadata"); ok && s.of.noteBytes > 0 {
			scope, _ := metadata.Map().Get("phase_scope")
			note := fmt.Sprintf("%0*d", s.of.noteBytes, r.items[i].event.Sequence)
			scope.Map().PutEmptyMap("attributes").PutStr("note", note)
		}
	}
	return b.Logs
}

// describe describes the rank and the request on a resource.
func (r *request) describe(resource pcommon.Map) {
	resource.PutStr("session_id", r.of.job.Session)
	resource.PutInt("rank", int64(r.of.process.Number))
	resource.PutStr("host.name", r.of.process.Host)
	resource.PutInt("process.pid", int64(r.of.process.PID))
	resource.PutInt("emitter", int64(r.of.of.id))
	resource.PutInt("request", r.number)
}

func (it *item) describe(attributes pcommon.Map) {
	attributes.PutInt("record", it.id)
	if it.origin != 0 {
		attributes.PutInt("origin_thread_id", it.origin)
	}
}
