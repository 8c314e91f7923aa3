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
	// soakSessions is how many sessions each emitter has. It sets how long the soak takes.
	soakSessions = 600
	soakReloads  = 2
	// soakFloor is the share of right answers that is promised when 0.1% of the boundaries
	// are lost.
	soakFloor = 0.994
	// maxTries is how often a request is sent that is not acknowledged.
	maxTries = int(patience / tick)
)

// TestSoak lets several training programs send what they write, all at once: in batches
// of any size, some late, some records twice, some boundaries never, some metrics before
// their boundaries; and reloads the collector in between. Every record must be
// accounted for, and the answers must be those of the complete runs in order.
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
		e := newEmitter(i)
		emitters[i] = e
		sending.Go(func() {
			for range soakSessions {
				s, requests := e.run()
				reloads := ended.Load()
				for _, r := range requests {
					if err := c.deliver(ctx, r); err != nil {
						t.Errorf("request %d of %s: %v", r.number, s.id, err)
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
				require.FailNow(t, "a program gave up")
			}
		}
		begun.Add(1)
		c.signal(t, syscall.SIGHUP)
		c.waitUntilReady(t, reload+2)
		ended.Add(1)
	}
	sending.Wait()
	c.stop(t)

	a := &account{emitters: emitters}
	stream(t, filepath.Join(c.output, "logs.jsonl"), (&plog.JSONUnmarshaler{}).UnmarshalLogs, func(ld plog.Logs) {
		eachLogRecord([]plog.Logs{ld}, func(resource pcommon.Map, record plog.LogRecord) { a.came(t, resource, record.Attributes()) })
	})
	stream(t, filepath.Join(c.output, "metrics.jsonl"), (&pmetric.JSONUnmarshaler{}).UnmarshalMetrics, func(md pmetric.Metrics) {
		eachDataPoint([]pmetric.Metrics{md}, func(resource pcommon.Map, _ pmetric.Metric, dp pmetric.NumberDataPoint) {
			a.came(t, resource, dp.Attributes())
		})
	})
	a.close(t)
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
		case <-time.After(tick):
		}
	}
}

// account is what became of all that was sent.
type account struct {
	emitters []*emitter
	// strangers is how many records came that nobody sent.
	strangers int
	answers   [answerClasses]tally
	shown     int
}

// answerClasses tell the answers in sessions that no reload cut.
const (
	settledWhole = iota // all earlier boundaries had come, and the session lost none
	settledLossy        // all earlier boundaries had come that will
	unsettled           // earlier boundaries were on their way
	answerClasses
)

// came takes note of a record that came out.
func (a *account) came(t *testing.T, resource, attributes pcommon.Map) {
	t.Helper()
	i, n, id := number(resource, "emitter"), number(resource, "request"), number(attributes, "record")
	if i >= int64(len(a.emitters)) || n >= int64(len(a.emitters[i].requests)) {
		a.strangers++
		return
	}
	r := a.emitters[i].requests[n]
	at := slices.IndexFunc(r.items, func(it *item) bool { return it.id == id })
	if at < 0 {
		a.strangers++
		return
	}
	r.came[at]++
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
	a.answers[class].given++
	if given := answerOf(attributes); maps.Equal(given, r.items[at].right) {
		a.answers[class].right++
	} else if class == settledWhole && a.shown < shown {
		a.shown++
		t.Errorf("%s, rank of emitter %d, request %d (tries: %d, %s, held: %t), record %d at %d: want %v, got %v",
			r.of.id, i, n, r.tries, r.signal, r.held, id, r.items[at].at, r.items[at].right, given)
	}
}

// ledger is the account of one signal, in records.
type ledger struct {
	made, lost, doubled int
	acknowledged, came  int
	again               int // after a request that was answered with an error or not at all
	missing, unexpected int
}

func (l *ledger) add(r *request) {
	for _, times := range r.came {
		if r.acked {
			l.acknowledged++
		}
		l.came += times
		switch {
		case times == 0 && r.acked:
			l.missing++
		case times > r.tries:
			l.unexpected += times - r.tries
		case times > 1:
			l.again += times - 1
		}
	}
}

// close prints the account and checks it.
func (a *account) close(t *testing.T) {
	t.Helper()
	var events, points ledger
	sessions, cut, requests, repeated, tries, held := 0, 0, 0, 0, 0, 0
	for _, e := range a.emitters {
		for _, s := range e.sessions {
			sessions++
			if s.cut {
				cut++
			}
			events.made += len(s.events)
			events.lost += s.lost
			points.made += len(s.points)
			events.doubled += s.doubled[logs]
			points.doubled += s.doubled[metrics]
		}
		for _, r := range e.requests {
			requests++
			tries += r.tries
			if r.tries > 1 {
				repeated++
			}
			if r.held {
				held++
			}
			if r.signal == metrics {
				points.add(r)
			} else {
				events.add(r)
			}
		}
	}
	all := ledger{}
	for _, l := range []*ledger{&events, &points} {
		all.made += l.made
		all.lost += l.lost
		all.doubled += l.doubled
		all.acknowledged += l.acknowledged
		all.came += l.came
		all.again += l.again
		all.missing += l.missing
		all.unexpected += l.unexpected
	}

	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', tabwriter.AlignRight)
	row := func(name string, of func(*ledger) int) {
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t\n", name, of(&events), of(&points), of(&all))
	}
	fmt.Fprintf(w, "the account\tlog records\tdata points\tall\t\n")
	row("made", func(l *ledger) int { return l.made })
	row("- lost on the way", func(l *ledger) int { return l.lost })
	row("+ sent a second time", func(l *ledger) int { return l.doubled })
	row("= in: acknowledged", func(l *ledger) int { return l.acknowledged })
	row("+ came again after a retry", func(l *ledger) int { return l.again })
	row("= out", func(l *ledger) int { return l.came })
	row("missing", func(l *ledger) int { return l.missing })
	row("unexpected", func(l *ledger) int { return l.unexpected })
	fmt.Fprintf(w, "\t\t\t\t\nanswers in the sessions that no reload cut\trecords\tright\tshare\t\n")
	var settled, total tally
	for class, name := range [answerClasses]string{
		settledWhole: "all earlier boundaries in, none lost",
		settledLossy: "all earlier boundaries in, but for those lost",
		unsettled:    "earlier boundaries on their way",
	} {
		fmt.Fprintf(w, "%s\t%s\t\n", name, a.answers[class])
		total = total.plus(a.answers[class])
		if class != unsettled {
			settled = settled.plus(a.answers[class])
		}
	}
	fmt.Fprintf(w, "all\t%s\t\n", total)
	require.NoError(t, w.Flush())
	t.Logf("%d sessions of %d programs, %d of them cut by %d reloads\n"+
		"%d requests, %d of them more than once, in all %d times; %d with metrics that came before their boundaries\n\n%s",
		sessions, len(a.emitters), cut, soakReloads, requests, repeated, tries, held, text.String())

	assert.Equal(t, all.made-all.lost+all.doubled, all.acknowledged, "records in")
	assert.Equal(t, all.acknowledged+all.again, all.came, "records out")
	assert.Zero(t, all.missing, "records that did not come out")
	assert.Zero(t, all.unexpected, "records that came out more often than they were sent")
	assert.Zero(t, a.strangers, "records that nobody sent")
	assert.NotZero(t, held, "batches that came before their boundaries")
	assert.Equal(t, a.answers[settledWhole].given, a.answers[settledWhole].right, "right answers where nothing is missing")
	assert.GreaterOrEqual(t, settled.share(), soakFloor, "share of right answers where all earlier boundaries are in")
}

// tally counts answers.
type tally struct{ given, right int }

func (n tally) plus(more tally) tally { return tally{n.given + more.given, n.right + more.right} }

func (n tally) share() float64 { return float64(n.right) / float64(n.given) }

func (n tally) String() string {
	return fmt.Sprintf("%d\t%d\t%.3f%%", n.given, n.right, 100*n.share())
}
