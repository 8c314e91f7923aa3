// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
)

const (
	soakEmitters = 6
	// soakSessions is the number of sessions per emitter. It determines the duration.
	soakSessions = 450
	soakReloads  = 2
	// soakFloor is the required share of correct annotations if 0.1% of the boundaries are
	// lost.
	soakFloor = 0.994
	// maxTries is how often a request is sent without an acknowledgement.
	maxTries = int(waitTimeout / pollInterval)
)

// TestSoak runs several training programs concurrently. Their batches have any size; some
// are late, some records are sent twice, some boundaries are lost, some metrics precede
// their boundaries. The collector is reloaded in between. Every record must be accounted
// for, and the annotations must be those of the complete runs in order.
func TestSoak(t *testing.T) {
	c := start(t, nil, "soak.yaml")
	var sending sync.WaitGroup
	defer sending.Wait()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var begun, ended atomic.Int64 // reloads
	finished := make(chan struct{}, soakEmitters*soakSessions)
	emitters := make([]*emitter, soakEmitters)
	for i := range emitters {
		e := newEmitter(i, 0)
		emitters[i] = e
		sending.Go(func() {
			for range soakSessions {
				s, requests := e.run()
				reloads := ended.Load()
				for _, r := range requests {
					if err := c.deliver(ctx, r); err != nil {
						t.Errorf("request %d of %s: %v", r.number, s.job.Session, err)
						cancel()
						return
					}
				}
				s.cut = begun.Load() != reloads
				finished <- struct{}{}
			}
		})
	}
	sessions := 0
	for reload := range soakReloads {
		for ; sessions < (reload+1)*soakEmitters*soakSessions/(soakReloads+1); sessions++ {
			select {
			case <-finished:
			case <-ctx.Done():
				require.FailNow(t, "an emitter gave up")
			}
		}
		begun.Add(1)
		c.signal(t, syscall.SIGHUP)
		c.waitUntilReady(t, reload+2)
		ended.Add(1)
	}
	sending.Wait()
	c.stop(t)

	a := &audit{emitters: emitters}
	stream(t, filepath.Join(c.output, "logs.jsonl"), (&plog.JSONUnmarshaler{}).UnmarshalLogs, func(ld plog.Logs) {
		eachLogRecord([]plog.Logs{ld}, func(resource pcommon.Map, record plog.LogRecord) { a.receive(t, resource, record.Attributes()) })
	})
	stream(t, filepath.Join(c.output, "metrics.jsonl"), (&pmetric.JSONUnmarshaler{}).UnmarshalMetrics, func(md pmetric.Metrics) {
		eachDataPoint([]pmetric.Metrics{md}, func(resource pcommon.Map, _ pmetric.Metric, dp pmetric.NumberDataPoint) {
			a.receive(t, resource, dp.Attributes())
		})
	})
	a.check(t)
}

// deliver sends a request until it is acknowledged.
func (c *collector) deliver(ctx context.Context, r *request) error {
	batch := r.batch()
	for {
		r.tries++
		err := c.export(ctx, batch)
		if err == nil {
			r.acked = true
			return nil
		}
		if r.tries == maxTries {
			return err
		}
		select {
		case <-c.exited:
			return fmt.Errorf("the collector exited: %w", err)
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pollInterval):
		}
	}
}

// audit tracks what happened to the records that were sent.
type audit struct {
	emitters []*emitter
	// unsent is the number of received records that were not sent.
	unsent  int
	results [classes]score
	// doubted counts the settled whole ones with the wanted phase as the only candidate:
	// a later boundary was in transit, and nobody can tell that it was a later one.
	doubted int
	shown   int
}

// mostDoubted is the largest share of them.
const mostDoubted = 0.001

// The classes of annotations in sessions without a reload.
const (
	settledWhole = iota // all earlier boundaries had arrived, and the session lost none
	settledLossy        // all earlier boundaries that were sent had arrived
	unsettled           // earlier boundaries were in transit
	classes
)

// receive counts a received record.
func (a *audit) receive(t *testing.T, resource, attributes pcommon.Map) {
	t.Helper()
	i, n, id := number(resource, "emitter"), number(resource, "request"), number(attributes, "record")
	if i >= int64(len(a.emitters)) || n >= int64(len(a.emitters[i].requests)) {
		a.unsent++
		return
	}
	r := a.emitters[i].requests[n]
	at := slices.IndexFunc(r.items, func(it *item) bool { return it.id == id })
	if at < 0 {
		a.unsent++
		return
	}
	r.received[at]++
	if r.of.cut {
		return
	}
	class := unsettled
	switch {
	case r.settled && r.of.lost == 0:
		class = settledWhole
	case r.settled:
		class = settledLossy
	}
	a.results[class].total++
	got, want := annotationOf(attributes), r.items[at].want
	switch {
	case maps.Equal(got, want):
		a.results[class].correct++
	case class == settledWhole && got["phase_resolution"] == "ambiguous" && got["phase_paths"] == want["phase_paths"]:
		a.doubted++
	case class == settledWhole && a.shown < maxShown:
		a.shown++
		t.Errorf("%s, rank of emitter %d, request %d (tries: %d, %s, early: %t), record %d at %d: want %v, got %v",
			r.of.job.Session, i, n, r.tries, r.signal, r.early, id, r.items[at].at, want, got)
	}
}

// recordCounts counts the records of a signal.
type recordCounts struct {
	generated, lost, duplicated int
	acknowledged, received      int
	retried                     int // received again after a failed request
	missing, unexpected         int
}

func (l *recordCounts) add(r *request) {
	for _, times := range r.received {
		if r.acked {
			l.acknowledged++
		}
		l.received += times
		switch {
		case times == 0 && r.acked:
			l.missing++
		case times > r.tries:
			l.unexpected += times - r.tries
		case times > 1:
			l.retried += times - 1
		}
	}
}

// check prints the results and checks them.
func (a *audit) check(t *testing.T) {
	t.Helper()
	var events, points recordCounts
	sessions, cut, requests, repeated, tries, early := 0, 0, 0, 0, 0, 0
	for _, e := range a.emitters {
		for _, s := range e.sessions {
			sessions++
			if s.cut {
				cut++
			}
			events.generated += len(s.events)
			events.lost += s.lost
			points.generated += len(s.points)
			events.duplicated += s.duplicated[logs]
			points.duplicated += s.duplicated[metrics]
		}
		for _, r := range e.requests {
			requests++
			tries += r.tries
			if r.tries > 1 {
				repeated++
			}
			if r.early {
				early++
			}
			if r.signal == metrics {
				points.add(r)
			} else {
				events.add(r)
			}
		}
	}
	all := recordCounts{}
	for _, l := range []*recordCounts{&events, &points} {
		all.generated += l.generated
		all.lost += l.lost
		all.duplicated += l.duplicated
		all.acknowledged += l.acknowledged
		all.received += l.received
		all.retried += l.retried
		all.missing += l.missing
		all.unexpected += l.unexpected
	}

	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', tabwriter.AlignRight)
	row := func(name string, of func(*recordCounts) int) {
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t\n", name, of(&events), of(&points), of(&all))
	}
	fmt.Fprintf(w, "records\tlog records\tdata points\tall\t\n")
	row("generated", func(l *recordCounts) int { return l.generated })
	row("- lost in transit", func(l *recordCounts) int { return l.lost })
	row("+ sent twice", func(l *recordCounts) int { return l.duplicated })
	row("= in: acknowledged", func(l *recordCounts) int { return l.acknowledged })
	row("+ received again after a retry", func(l *recordCounts) int { return l.retried })
	row("= out", func(l *recordCounts) int { return l.received })
	row("missing", func(l *recordCounts) int { return l.missing })
	row("unexpected", func(l *recordCounts) int { return l.unexpected })
	fmt.Fprintf(w, "\t\t\t\t\nannotations in sessions without a reload\trecords\tcorrect\tshare\t\n")
	var settled, total score
	for class, name := range [classes]string{
		settledWhole: "all earlier boundaries received, none lost",
		settledLossy: "all earlier boundaries received, some lost",
		unsettled:    "earlier boundaries in transit",
	} {
		fmt.Fprintf(w, "%s\t%s\t\n", name, a.results[class])
		total = total.plus(a.results[class])
		if class != unsettled {
			settled = settled.plus(a.results[class])
		}
	}
	fmt.Fprintf(w, "all\t%s\t\n", total)
	require.NoError(t, w.Flush())
	t.Logf("%d sessions of %d emitters, %d of them interrupted by %d reloads\n"+
		"%d requests, %d of them sent more than once, %d attempts in total; %d with records that preceded their boundaries\n\n%s",
		sessions, len(a.emitters), cut, soakReloads, requests, repeated, tries, early, text.String())

	assert.Equal(t, all.generated-all.lost+all.duplicated, all.acknowledged, "records in")
	assert.Equal(t, all.acknowledged+all.retried, all.received, "records out")
	assert.Zero(t, all.missing, "missing records")
	assert.Zero(t, all.unexpected, "records received more often than they were sent")
	assert.Zero(t, a.unsent, "records that were not sent")
	assert.NotZero(t, early, "batches that preceded their boundaries")
	whole := a.results[settledWhole]
	assert.Equal(t, whole.total, whole.correct+a.doubted, "correct annotations where nothing is missing")
	assert.LessOrEqual(t, float64(a.doubted), mostDoubted*float64(whole.total), "doubted annotations where nothing is missing")
	assert.GreaterOrEqual(t, settled.share(), soakFloor, "share of correct annotations where all earlier boundaries have arrived")
}

// score counts annotations.
type score struct{ total, correct int }

func (n score) plus(more score) score { return score{n.total + more.total, n.correct + more.correct} }

func (n score) share() float64 { return float64(n.correct) / float64(n.total) }

func (n score) String() string {
	return fmt.Sprintf("%d\t%d\t%.3f%%", n.total, n.correct, 100*n.share())
}
