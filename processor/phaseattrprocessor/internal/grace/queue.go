// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package grace

import (
	"context"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/boundary"
)

// Queue holds the batches of one pipeline. Each held batch has a goroutine of its
// own, so that none waits for another, but for one of the same group that came before
// it and waits for no later moment: what adds up delta points wants them in order.
type Queue struct {
	gate *Gate
	wg   sync.WaitGroup
	// closing is closed when everything is to be let go.
	closing chan struct{}
	close   func()
	// forced ends what is being passed on when the shutdown has no time left.
	forced context.Context //nolint:containedctx // it is the queue's own, not a call's
	force  context.CancelFunc

	// mu guards closed, so that no batch comes in once Close waits.
	mu     sync.RWMutex
	closed bool

	// lineMu guards line.
	lineMu sync.Mutex
	// line has the batches of each group that have not been passed on, as they came.
	line map[boundary.RankKey][]place
}

// place is that of a batch among those of a group.
type place struct {
	until int64
	// passed is closed when the batch has been passed on.
	passed chan struct{}
}

// NewQueue returns a queue at the gate. It must be closed.
func (g *Gate) NewQueue() *Queue {
	closing := make(chan struct{})
	forced, force := context.WithCancel(context.Background())
	return &Queue{
		gate: g, closing: closing, close: sync.OnceFunc(func() { close(closing) }),
		forced: forced, force: force, line: map[boundary.RankKey][]place{},
	}
}

// Hold holds a batch of some bytes until the gate's groups have come as far as the
// waits say, the period is over, or the queue is closed, and then passes it on from
// a goroutine. pass gets the values of ctx, but is not canceled with it: the caller
// has its answer by then.
//
// When the gate is full, Hold blocks until there is room. A caller that has been
// blocked for the period has waited as long as any batch does: its batch is passed on
// before Hold returns. Hold returns an error, and passes nothing on, when ctx is done
// before that.
func (q *Queue) Hold(ctx context.Context, waits []Wait, bytes int64, pass func(context.Context)) error {
	q.mu.RLock()
	defer q.mu.RUnlock()
	if q.closed {
		pass(ctx)
		return nil
	}
	bytes = min(bytes, q.gate.options.MaxBytes) // a batch larger than the bound is held alone
	if err := q.gate.acquire(ctx, bytes); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		q.gate.options.Released(Release{Held: q.gate.options.Period, Expired: true})
		pass(ctx)
		return nil
	}
	before, passed := q.lineUp(waits)
	q.wg.Go(func() {
		q.wait(waits)
		for _, other := range before {
			<-other
		}
		q.pass(ctx, pass)
		q.stepOut(waits, passed)
		q.gate.release(bytes)
	})
	return nil
}

// lineUp gives a batch its place. It returns those that are to be passed on before it.
func (q *Queue) lineUp(waits []Wait) (before []<-chan struct{}, passed chan struct{}) {
	q.lineMu.Lock()
	defer q.lineMu.Unlock()
	passed = make(chan struct{})
	for _, wait := range waits {
		covered := int64(math.MinInt64) // those before a later one are waited for by that one
		for _, other := range slices.Backward(q.line[wait.Group]) {
			if covered < other.until && other.until <= wait.Until {
				before = append(before, other.passed)
				covered = other.until
			}
		}
		q.line[wait.Group] = append(q.line[wait.Group], place{wait.Until, passed})
	}
	return before, passed
}

// stepOut takes a batch that has been passed on from its place.
func (q *Queue) stepOut(waits []Wait, passed chan struct{}) {
	q.lineMu.Lock()
	defer q.lineMu.Unlock()
	close(passed)
	for _, wait := range waits {
		left := slices.DeleteFunc(q.line[wait.Group], func(p place) bool { return p.passed == passed })
		if len(left) == 0 {
			delete(q.line, wait.Group)
			continue
		}
		q.line[wait.Group] = left
	}
}

func (q *Queue) wait(waits []Wait) {
	start := time.Now()
	h := q.gate.enter(waits)
	timer := time.NewTimer(q.gate.options.Period)
	defer timer.Stop()
	expired := false
	select {
	case <-h.ready:
	case <-timer.C:
		expired = true
	case <-q.closing:
	}
	q.gate.leave(h, waits)
	q.gate.options.Released(Release{Held: time.Since(start), Expired: expired})
}

func (q *Queue) pass(ctx context.Context, pass func(context.Context)) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(q.forced, cancel)() //nolint:contextcheck // the queue's own end, beside the call's
	pass(ctx)
}

// Close lets go everything that is held and waits until it has been passed on. When
// ctx is done before that, what is still being passed on is canceled.
func (q *Queue) Close(ctx context.Context) error {
	defer q.force()
	defer context.AfterFunc(ctx, q.force)()
	q.close() // first, so that a caller that blocks in Hold gets through
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	done := make(chan struct{})
	go func() {
		defer close(done)
		q.wg.Wait()
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
