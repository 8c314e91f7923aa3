// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

const (
	// killsByDefault is for a short test; KILLS says how many there are.
	killsByDefault = 10
	// startingShare is the share of the kills that come as the collector starts, up to
	// twice the time that its last start took. There are fewer in a row than attempts to
	// open the file of the index: if each came in that moment, another one would be begun.
	startingShare, startingInARow = 0.25, maxAttempts - 1
	// The other ones come up to so many acknowledgements after the collector was ready,
	// and up to killDelay later.
	acknowledgementsPerKill, killDelay = 1500, 20 * time.Millisecond
)

// TestKilled kills a collector again and again, at random moments under load and as it
// starts, and starts it anew with the same storage. What was not acknowledged is sent
// again. The same requests then go through a collector that is never killed and has no
// storage. Compared are all records of all requests, log records, data points and spans
// alike, those that were on their way as the collector was killed too, and each copy of
// a record that came twice: each must have the answer that the other collector gave.
// Where a session lost no boundary and none is late, that must be the right one. No
// record of a request that was acknowledged may be missing: a program asks about a
// moment once its events of that time are acknowledged, so nothing has to be held.
func TestKilled(t *testing.T) {
	v := killAgainAndAgain(t, fromEnvironment(t, "KILLS", killsByDefault), "storage.yaml")
	assert.Zero(t, v.wrong, "wrong answers")
	assert.Zero(t, v.missing, "records that did not come out")
	assert.Zero(t, v.unexpected, "records that came out more often than they were sent")
	for _, answer := range v.examples {
		t.Error(answer)
	}
}

// TestKilledWithoutStorage shows that the comparison tells a collector that forgets.
func TestKilledWithoutStorage(t *testing.T) {
	v := killAgainAndAgain(t, 5)
	assert.NotZero(t, v.wrong, "wrong answers")
}

// killAgainAndAgain runs programs and kills their collector. It returns what they were
// answered, compared with the answers of a collector that is left alone.
func killAgainAndAgain(t *testing.T, kills int, storage ...string) *verdict {
	t.Helper()
	random, seed := seeded(t)
	configuration := []string{"soak.yaml", "crash.yaml"}
	env := []string{"STORAGE=" + t.TempDir()}
	onTop := slices.Concat(configuration, storage)
	p := newPlant()
	emitters := crashEmitters(seed)
	ctx, cancel := context.WithCancel(t.Context())
	var sending sync.WaitGroup
	defer sending.Wait()
	defer cancel()
	var finish atomic.Bool
	for _, e := range emitters {
		sending.Go(func() {
			for !finish.Load() {
				_, requests := e.run()
				for _, r := range requests {
					if finish.Load() || p.deliver(ctx, r) != nil {
						return
					}
				}
			}
		})
	}

	came := transcript{}
	v := &verdict{kills: kills}
	run := func() *collector {
		c := p.open(t, env, onTop)
		enough := p.acknowledged.Load() + 1 + random.Int64N(acknowledgementsPerKill)
		c.eventually(t, "acknowledgements", func() bool { return p.acknowledged.Load() >= enough })
		return c
	}
	inARow := 0
	for range kills {
		if inARow < startingInARow && random.Float64() < startingShare {
			inARow++
			v.starting++
			c := launch(t, env, onTop...)
			<-time.After(time.Duration(random.Int64N(2 * int64(p.startTook+time.Millisecond))))
			c.kill(t)
			continue
		}
		inARow = 0
		c := run()
		<-time.After(time.Duration(random.Int64N(int64(killDelay))))
		c.kill(t)
		p.closed()
		came.read(t, c)
	}
	last := run()
	finish.Store(true)
	sending.Wait()
	last.stop(t)
	came.read(t, last)
	t.Logf("the longest start took %s", p.longestStart)

	told := uninterrupted(t, emitters, configuration)
	for _, e := range emitters {
		for _, r := range e.requests {
			v.add(t, r, came, told)
		}
	}
	v.close(t)
	return v
}

// seeded returns a source of random numbers. SEED repeats them.
func seeded(t *testing.T) (random *rand.Rand, seed int) {
	t.Helper()
	seed = fromEnvironment(t, "SEED", int(time.Now().Unix()))
	t.Logf("SEED=%d", seed)
	return rand.New(rand.NewPCG(uint64(seed), 0)), seed
}

func fromEnvironment(t *testing.T, name string, byDefault int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return byDefault
	}
	n, err := strconv.Atoi(text)
	require.NoError(t, err, name)
	return n
}

// crashEmitters are four programs that start again and again on a bad network, two that
// run on and on, and two that write so much that the journal is soon too long.
func crashEmitters(seed int) []*emitter {
	emitters := make([]*emitter, 8)
	for i := range emitters {
		e := newEmitter(i)
		emitters[i] = e
		e.random = rand.New(rand.NewPCG(uint64(seed), uint64(i)+1))
		e.early = 0
		e.spans = true
		switch {
		case i >= 6:
			e.lost, e.steps, e.sampling, e.perRequest = 0, 5000, 50*millisecond, 300
			e.pace, e.note = 2, 250
		case i >= 4:
			e.lost = 0
			e.steps = 10_000
		}
	}
	return emitters
}

// aside tells whether the records of a request are not kept.
func (r *request) aside() bool { return r.of.of.note > 0 && r.signal == logs }

// plant is where programs find the collector that runs at present.
type plant struct {
	acknowledged atomic.Int64

	mu sync.Mutex
	// opened is closed once there is a collector.
	opened chan struct{}
	// load is the other entrance of main, for what is not kept.
	main, load *collector
	// How long the last start took, and the longest one.
	startTook, longestStart time.Duration
}

func newPlant() *plant { return &plant{opened: make(chan struct{})} }

// open starts a collector, and shows it to the programs.
func (p *plant) open(t *testing.T, env, configuration []string) *collector {
	t.Helper()
	launched := time.Now()
	c := launch(t, env, configuration...)
	c.waitUntilReady(t, 1)
	p.startTook = time.Since(launched)
	p.longestStart = max(p.longestStart, p.startTook)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.main, p.load = c, &collector{otlp: c.second}
	close(p.opened)
	return c
}

// closed lets the programs wait for the next collector.
func (p *plant) closed() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.opened = make(chan struct{})
}

// entrance is where a request goes, as soon as there is a collector.
func (p *plant) entrance(ctx context.Context, r *request) (*collector, error) {
	p.mu.Lock()
	opened := p.opened
	p.mu.Unlock()
	select {
	case <-opened:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if r.aside() {
		return p.load, nil
	}
	return p.main, nil
}

// deliver sends a request until it is acknowledged.
func (p *plant) deliver(ctx context.Context, r *request) error {
	batch := r.batch()
	for {
		c, err := p.entrance(ctx, r)
		if err != nil {
			return err
		}
		r.tries++
		if c.export(ctx, batch) == nil {
			r.acked = true
			p.acknowledged.Add(1)
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(tick / 10):
		}
	}
}

// uninterrupted sends all that has been sent to a collector that is left alone.
func uninterrupted(t *testing.T, emitters []*emitter, configuration []string) transcript {
	t.Helper()
	p := newPlant()
	c := p.open(t, nil, configuration)
	var sending sync.WaitGroup
	for _, e := range emitters {
		sending.Go(func() {
			for _, r := range e.requests {
				if r.tries == 0 {
					break
				}
				entrance, _ := p.entrance(t.Context(), r)
				if !assert.NoError(t, entrance.export(t.Context(), r.batch())) {
					break
				}
			}
		})
	}
	sending.Wait()
	c.stop(t)
	told := transcript{}
	told.read(t, c)
	return told
}

// transcript has the answers that came, each as often as it came.
type transcript map[recordID][]answer

// recordID says which record of which request of which emitter.
type recordID struct{ emitter, request, record int64 }

// read adds what a collector has written.
func (s transcript) read(t *testing.T, c *collector) {
	t.Helper()
	known := map[string]answer{} // so that each is kept once
	add := func(resource, attributes pcommon.Map) {
		id := recordID{number(resource, "emitter"), number(resource, "request"), number(attributes, "record")}
		given := answerOf(attributes)
		text := fmt.Sprint(given)
		if _, ok := known[text]; !ok {
			known[text] = given
		}
		s[id] = append(s[id], known[text])
	}
	stream(t, filepath.Join(c.output, "logs.jsonl"), (&plog.JSONUnmarshaler{}).UnmarshalLogs, func(ld plog.Logs) {
		eachLogRecord([]plog.Logs{ld}, func(resource pcommon.Map, record plog.LogRecord) { add(resource, record.Attributes()) })
	})
	stream(t, filepath.Join(c.output, "metrics.jsonl"), (&pmetric.JSONUnmarshaler{}).UnmarshalMetrics, func(md pmetric.Metrics) {
		eachDataPoint([]pmetric.Metrics{md}, func(resource pcommon.Map, _ pmetric.Metric, dp pmetric.NumberDataPoint) {
			add(resource, dp.Attributes())
		})
	})
	stream(t, filepath.Join(c.output, "traces.jsonl"), (&ptrace.JSONUnmarshaler{}).UnmarshalTraces, func(td ptrace.Traces) {
		eachSpan([]ptrace.Traces{td}, func(resource pcommon.Map, span ptrace.Span) { add(resource, span.Attributes()) })
	})
}

// verdict counts what the comparison of two transcripts shows.
type verdict struct {
	kills, starting int
	requests        int // that were acknowledged
	repeated        int // requests that were sent more than once
	events          int // records that are not kept
	records         int // that were acknowledged
	copies          int // records that came
	answered        int // of these, those that have a phase
	known           int // of these, those whose right answer is known
	wrong, missing  int
	unexpected      int
	examples        []string // of wrong answers
}

func (v *verdict) add(t *testing.T, r *request, came, told transcript) {
	t.Helper()
	if r.tries == 0 {
		return
	}
	if r.tries > 1 {
		v.repeated++
	}
	if r.acked {
		v.requests++
	}
	if r.aside() {
		v.events += len(r.items)
		return
	}
	for _, it := range r.items {
		id := recordID{int64(r.of.of.id), r.number, it.id}
		require.Len(t, told[id], 1, "how often a record came from the collector that was never killed")
		want := told[id][0]
		expected := it.right
		known := expected != nil && r.settled && r.of.lost == 0
		if known {
			require.Equal(t, expected, want, "%s, emitter %d, request %d (%s), record %d at %d: the answer of the collector that was never killed",
				r.of.id, r.of.of.id, r.number, r.signal, it.id, it.at)
		}
		if r.acked {
			v.records++
			if len(came[id]) == 0 {
				v.missing++
			}
		}
		v.unexpected += max(0, len(came[id])-r.tries)
		for _, given := range came[id] {
			v.copies++
			if len(given) > 0 {
				v.answered++
			}
			if known {
				v.known++
			}
			if maps.Equal(given, want) {
				continue
			}
			v.wrong++
			if v.wrong <= shown {
				v.examples = append(v.examples, fmt.Sprintf("%s, emitter %d, request %d (%s, tries: %d), record %d at %d: want %v, got %v",
					r.of.id, r.of.of.id, r.number, r.signal, r.tries, it.id, it.at, want, given))
			}
		}
	}
}

func (v *verdict) close(t *testing.T) {
	t.Helper()
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', tabwriter.AlignRight)
	for _, row := range []struct {
		name  string
		count int
	}{
		{"kills", v.kills},
		{"of them as it started", v.starting},
		{"requests acknowledged", v.requests},
		{"requests sent more than once", v.repeated},
		{"events whose records are not kept", v.events},
		{"records acknowledged", v.records},
		{"records compared, with those that came again", v.copies},
		{"of them with a phase", v.answered},
		{"of them right by what the program knows", v.known},
		{"wrong answers", v.wrong},
		{"missing", v.missing},
		{"unexpected", v.unexpected},
	} {
		fmt.Fprintf(w, "%s\t%d\t\n", row.name, row.count)
	}
	require.NoError(t, w.Flush())
	t.Logf("a killed collector against one that was never killed:\n%s", text.String())
	assert.NotZero(t, v.repeated, "requests that were on their way as the collector was killed")
	assert.Greater(t, v.answered, v.copies/2, "records with a phase")
	assert.NotZero(t, v.known, "records whose right answer is known")
}
