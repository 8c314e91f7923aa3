// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/phaseattr/phaseattr/cmd/phasegen/format"
	"github.com/phaseattr/phaseattr/cmd/phasegen/internal/fault"
	"github.com/phaseattr/phaseattr/cmd/phasegen/internal/transport"
	"github.com/phaseattr/phaseattr/cmd/phasegen/internal/truth"
	"github.com/phaseattr/phaseattr/cmd/phasegen/job"
)

// maxRequests is how many nodes send at a time.
const maxRequests = 8

// sender sends the events of a job: those of a node and an interval in a request.
type sender struct {
	job      *job.Job
	faults   *fault.Faults
	formats  []format.Format
	pages    *format.Pages // nil if none are served
	sinks    []transport.Sink
	truth    *truth.Writer
	pace     *pacer
	interval int64

	// waiting are the events to send, by the number of the interval after which they are
	// due. Those before next have been sent.
	waiting map[int64][]*job.Event
	next    int64
	sent    struct{ records, spans, points int }
}

func (s *sender) run(ctx context.Context) (err error) {
	s.waiting = map[int64][]*job.Event{}
	start := s.job.Start.UnixNano()
	now := start
	defer func() { err = errors.Join(err, s.truth.Close(now)) }()
	for e := range s.job.Events() {
		for at := (e.At - start) / s.interval; s.next < at; {
			if err := s.sendNext(ctx); err != nil {
				return err
			}
		}
		if err := s.pace.wait(ctx, e.At); err != nil {
			return err
		}
		now = e.At
		if s.pages != nil {
			s.pages.Read(e)
		}
		s.add(e, (e.At-start)/s.interval)
	}
	for len(s.waiting) > 0 {
		if err := s.sendNext(ctx); err != nil {
			return err
		}
	}
	return nil
}

// add decides what happens to an event of an interval.
func (s *sender) add(e *job.Event, interval int64) {
	fate := s.faults.Decide(e)
	after := ""
	switch {
	case fate.Copies == 0:
		after = truth.AfterLost
	case fate.Delay > 0:
		after = truth.AfterLate
	}
	s.truth.Add(e, after)
	if fate.Delay > 0 {
		interval += 1 + int64(fate.Delay)/s.interval
	}
	for range fate.Copies {
		s.waiting[interval] = append(s.waiting[interval], e)
	}
}

// sendNext sends what is due after the next interval.
func (s *sender) sendNext(ctx context.Context) error {
	events := s.waiting[s.next]
	delete(s.waiting, s.next)
	s.next++
	if err := s.pace.wait(ctx, s.job.Start.UnixNano()+s.next*s.interval); err != nil {
		return err
	}
	byHost := map[string][]*job.Event{}
	var hosts []string
	for _, e := range events {
		if byHost[e.Rank.Host] == nil {
			hosts = append(hosts, e.Rank.Host)
		}
		byHost[e.Rank.Host] = append(byHost[e.Rank.Host], e)
	}
	slices.Sort(hosts) // for files
	sends, ctx := errgroup.WithContext(ctx)
	sends.SetLimit(maxRequests)
	for _, host := range hosts {
		s.faults.Reorder(byHost[host])
		batch := s.format(byHost[host])
		node := byHost[host][0].Rank.Number / s.job.GPUsPerNode
		sends.Go(func() error { return s.sinks[node%len(s.sinks)].Send(ctx, batch) })
	}
	return sends.Wait()
}

func (s *sender) format(events []*job.Event) *format.Batch {
	batch := format.NewBatch()
	for _, f := range s.formats {
		batch.Append(f, events...)
	}
	s.sent.records += batch.Logs.LogRecordCount()
	s.sent.spans += batch.Traces.SpanCount()
	s.sent.points += batch.Metrics.DataPointCount()
	return batch
}

// summary describes what was sent.
func (s *sender) summary() string {
	return fmt.Sprintf("%d ranks: sent %d log records, %d spans and %d data points; boundaries lost: %d, records late: %d, twice: %d, moved: %d",
		len(s.job.World), s.sent.records, s.sent.spans, s.sent.points,
		s.faults.Lost, s.faults.Delayed, s.faults.Duplicated, s.faults.Moved)
}

// pacer maps the time of events to that of the wall clock.
type pacer struct {
	start int64 // of the job
	began time.Time
	speed float64 // 0 means no waiting
}

func newPacer(start time.Time, speed float64) *pacer {
	return &pacer{start: start.UnixNano(), began: time.Now(), speed: speed}
}

// wait returns when the wall clock has reached the time of an event.
func (p *pacer) wait(ctx context.Context, at int64) error {
	if p.speed > 0 {
		left := time.Until(p.began.Add(time.Duration(float64(at-p.start) / p.speed)))
		if left > 0 {
			timer := time.NewTimer(left)
			defer timer.Stop()
			select {
			case <-ctx.Done():
			case <-timer.C:
			}
		}
	}
	return ctx.Err()
}
