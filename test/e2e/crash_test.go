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
	// killsByDefault keeps the test short; KILLS overrides it.
	killsByDefault = 10
	// startingShare is the share of the kills during the start of the collector, up to
	// twice the duration of the previous start. There are fewer of them in a row than
	// attempts to open the file of the index: after that many, a new file is started.
	startingShare, startingInARow = 0.25, maxAttempts - 1
	// The other kills come up to this many acknowledgements, plus killDelay, after the
	// collector is ready.
	acknowledgementsPerKill, killDelay = 1500, 20 * time.Millisecond
)

// TestKilled kills a collector repeatedly, at random times under load and during its
// start, and restarts it with the same storage. Requests that were not acknowledged are
// sent again. The same requests then go through a collector without storage that is never
// killed. All records are compared, including those that were in flight during a kill and
// every copy of a duplicate: each must have the annotation of the other collector, which
// must be the correct one in sessions that lost no boundary and had no late ones. No
// acknowledged record may be missing: records are sent after the events of their time are
// acknowledged, so that nothing has to wait.
func TestKilled(t *testing.T) {
	v := killRepeatedly(t, fromEnvironment(t, "KILLS", killsByDefault), "storage.yaml")
	assert.Zero(t, v.wrong, "wrong annotations")
	assert.Zero(t, v.missing, "missing records")
	assert.Zero(t, v.unexpected, "records received more often than they were sent")
	for _, example := range v.examples {
		t.Error(example)
	}
}

// TestKilledWithoutStorage verifies that the comparison detects a lost index.
func TestKilledWithoutStorage(t *testing.T) {
	v := killRepeatedly(t, 5)
	assert.NotZero(t, v.wrong, "wrong annotations")
}

// killRepeatedly runs emitters, kills their collector repeatedly, and compares its output
// with that of a collector that is not killed.
func killRepeatedly(t *testing.T, kills int, storage ...string) *comparison {
	t.Helper()
	random, seed := seeded(t)
	configuration := []string{"soak.yaml", "crash.yaml"}
	env := []string{"STORAGE=" + t.TempDir()}
	onTop := slices.Concat(configuration, storage)
	tg := newTarget()
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
					if finish.Load() || tg.deliver(ctx, r) != nil {
						return
					}
				}
			}
		})
	}

	received := output{}
	v := &comparison{kills: kills}
	run := func() *collector {
		c := tg.open(t, env, onTop)
		enough := tg.acknowledged.Load() + 1 + random.Int64N(acknowledgementsPerKill)
		c.eventually(t, "acknowledgements", func() bool { return tg.acknowledged.Load() >= enough })
		return c
	}
	inARow := 0
	for range kills {
		if inARow < startingInARow && random.Float64() < startingShare {
			inARow++
			v.starting++
			c := launch(t, env, onTop...)
			<-time.After(time.Duration(random.Int64N(2 * int64(tg.startTook+time.Millisecond))))
			c.kill(t)
			continue
		}
		inARow = 0
		c := run()
		<-time.After(time.Duration(random.Int64N(int64(killDelay))))
		c.kill(t)
		tg.close()
		received.read(t, c)
	}
	last := run()
	finish.Store(true)
	sending.Wait()
	last.stop(t)
	received.read(t, last)
	t.Logf("the longest start took %s", tg.longestStart)

	baseline := undisturbed(t, emitters, configuration)
	for _, e := range emitters {
		for _, r := range e.requests {
			v.add(t, r, received, baseline)
		}
	}
	v.check(t)
	return v
}

// seeded returns a source of random numbers. SEED reproduces them.
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

// crashEmitters returns four programs with short sessions on a bad network, two with long
// sessions, and two that fill the journal quickly.
func crashEmitters(seed int) []*emitter {
	emitters := make([]*emitter, 8)
	for i := range emitters {
		e := newEmitter(i, seed)
		emitters[i] = e
		e.early = 0
		e.spans = true
		switch {
		case i >= 6:
			e.lost, e.steps, e.sampling, e.perRequest = 0, 5000, 50*time.Millisecond, 300
			e.step, e.noteBytes = 2*stepDuration, 250
		case i >= 4:
			e.lost = 0
			e.steps = 10_000
		}
	}
	return emitters
}

// discarded reports whether the collector discards the records of a request.
func (r *request) discarded() bool { return r.of.of.noteBytes > 0 && r.signal == logs }

// target directs emitters to the collector that is currently running.
type target struct {
	acknowledged atomic.Int64

	mu sync.Mutex
	// available is closed while a collector is running.
	available chan struct{}
	// load is the second receiver of main, for records to discard.
	main, load *collector
	// The durations of the last and of the longest start.
	startTook, longestStart time.Duration
}

func newTarget() *target { return &target{available: make(chan struct{})} }

// open starts a collector and directs the emitters to it.
func (tg *target) open(t *testing.T, env, configuration []string) *collector {
	t.Helper()
	launched := time.Now()
	c := launch(t, env, configuration...)
	c.waitUntilReady(t, 1)
	tg.startTook = time.Since(launched)
	tg.longestStart = max(tg.longestStart, tg.startTook)
	tg.mu.Lock()
	defer tg.mu.Unlock()
	tg.main, tg.load = c, &collector{otlp: c.second}
	close(tg.available)
	return c
}

// close lets the emitters wait for the next collector.
func (tg *target) close() {
	tg.mu.Lock()
	defer tg.mu.Unlock()
	tg.available = make(chan struct{})
}

// receiver returns the receiver for a request, once a collector is running.
func (tg *target) receiver(ctx context.Context, r *request) (*collector, error) {
	tg.mu.Lock()
	available := tg.available
	tg.mu.Unlock()
	select {
	case <-available:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	tg.mu.Lock()
	defer tg.mu.Unlock()
	if r.discarded() {
		return tg.load, nil
	}
	return tg.main, nil
}

// deliver sends a request until it is acknowledged.
func (tg *target) deliver(ctx context.Context, r *request) error {
	batch := r.batch()
	for {
		c, err := tg.receiver(ctx, r)
		if err != nil {
			return err
		}
		r.tries++
		if c.export(ctx, batch) == nil {
			r.acked = true
			tg.acknowledged.Add(1)
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pollInterval / 10):
		}
	}
}

// undisturbed sends the same requests to a collector that is not killed and returns its
// output.
func undisturbed(t *testing.T, emitters []*emitter, configuration []string) output {
	t.Helper()
	tg := newTarget()
	c := tg.open(t, nil, configuration)
	var sending sync.WaitGroup
	for _, e := range emitters {
		sending.Go(func() {
			for _, r := range e.requests {
				if r.tries == 0 {
					break
				}
				receiver, _ := tg.receiver(t.Context(), r)
				if !assert.NoError(t, receiver.export(t.Context(), r.batch())) {
					break
				}
			}
		})
	}
	sending.Wait()
	c.stop(t)
	baseline := output{}
	baseline.read(t, c)
	return baseline
}

// output has the annotations of received records, one per copy.
type output map[recordID][]annotation

// recordID identifies a record.
type recordID struct{ emitter, request, record int64 }

// read adds the output of a collector.
func (s output) read(t *testing.T, c *collector) {
	t.Helper()
	known := map[string]annotation{} // distinct annotations, so that each is stored once
	add := func(resource, attributes pcommon.Map) {
		id := recordID{number(resource, "emitter"), number(resource, "request"), number(attributes, "record")}
		got := annotationOf(attributes)
		text := fmt.Sprint(got)
		if _, ok := known[text]; !ok {
			known[text] = got
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

// comparison counts the differences between the outputs of two collectors.
type comparison struct {
	kills, starting int
	requests        int // acknowledged requests
	repeated        int // requests sent more than once
	discarded       int // records that the collector discarded
	records         int // acknowledged records
	copies          int // received records, including duplicates
	annotated       int // of these, those with a phase
	known           int // of these, those whose correct annotation is known
	wrong, missing  int
	unexpected      int
	examples        []string // of wrong annotations
}

func (v *comparison) add(t *testing.T, r *request, received, baseline output) {
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
	if r.discarded() {
		v.discarded += len(r.items)
		return
	}
	for _, it := range r.items {
		id := recordID{int64(r.of.of.id), r.number, it.id}
		require.Len(t, baseline[id], 1, "copies of a record from the collector that was never killed")
		want := baseline[id][0]
		expected := it.want
		known := expected != nil && r.settled && r.of.lost == 0
		if known {
			require.Equal(t, expected, want, "%s, emitter %d, request %d (%s), record %d at %d: the collector that was never killed",
				r.of.job.Session, r.of.of.id, r.number, r.signal, it.id, it.at)
		}
		if r.acked {
			v.records++
			if len(received[id]) == 0 {
				v.missing++
			}
		}
		v.unexpected += max(0, len(received[id])-r.tries)
		for _, got := range received[id] {
			v.copies++
			if len(got) > 0 {
				v.annotated++
			}
			if known {
				v.known++
			}
			if maps.Equal(got, want) {
				continue
			}
			v.wrong++
			if v.wrong <= maxShown {
				v.examples = append(v.examples, fmt.Sprintf("%s, emitter %d, request %d (%s, tries: %d), record %d at %d: want %v, got %v",
					r.of.job.Session, r.of.of.id, r.number, r.signal, r.tries, it.id, it.at, want, got))
			}
		}
	}
}

// check prints the comparison and checks that it is meaningful.
func (v *comparison) check(t *testing.T) {
	t.Helper()
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', tabwriter.AlignRight)
	for _, row := range []struct {
		name  string
		count int
	}{
		{"kills", v.kills},
		{"of these, during the start", v.starting},
		{"requests acknowledged", v.requests},
		{"requests sent more than once", v.repeated},
		{"records discarded", v.discarded},
		{"records acknowledged", v.records},
		{"records compared, including duplicates", v.copies},
		{"of these, with a phase", v.annotated},
		{"of these, correct according to the program", v.known},
		{"wrong annotations", v.wrong},
		{"missing", v.missing},
		{"unexpected", v.unexpected},
	} {
		fmt.Fprintf(w, "%s\t%d\t\n", row.name, row.count)
	}
	require.NoError(t, w.Flush())
	t.Logf("a killed collector against one that was never killed:\n%s", text.String())
	assert.NotZero(t, v.repeated, "requests in flight during a kill")
	assert.Greater(t, v.annotated, v.copies/2, "records with a phase")
	assert.NotZero(t, v.known, "records whose correct annotation is known")
}
