// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phasespansconnector

import (
	"context"
	"math"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/connector"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.uber.org/zap"

	"github.com/phaseattr/phaseattr/internal/boundary"
)

// spansConnector turns the ends of phases into spans. What it keeps of open phases tells
// which trace a deep one belongs to, and ends those of a process that is gone.
type spansConnector struct {
	config   *Config
	next     consumer.Traces
	logger   *zap.Logger
	version  string
	reader   boundary.Reader
	recorder *recorder

	stop     chan struct{}
	stopping sync.Once
	sweeping sync.WaitGroup

	// mu guards what follows.
	mu sync.Mutex
	// processes has the known processes, by when their last event arrived.
	processes *simplelru.LRU[processKey, *process]
	// open is the number of their open scopes.
	open int
	// previous has the newest unit of each line of units.
	previous *simplelru.LRU[lineKey, unit]
}

// lineKey identifies a line of units that follow each other.
type lineKey struct {
	process processKey
	thread  int64
	depth   int
}

// unit is a unit that later ones are linked to.
type unit struct {
	trace pcommon.TraceID
	span  pcommon.SpanID
	end   int64
}

func newConnector(set connector.Settings, cfg *Config, next consumer.Traces) (*spansConnector, error) {
	c := &spansConnector{
		config: cfg, next: next, logger: set.Logger, version: set.BuildInfo.Version,
		reader: boundary.Reader{
			SessionKey: cfg.SessionAttribute, RankKey: cfg.RankAttribute, KeepAttributes: cfg.ScopeAttributes,
			Limits: boundary.Limits{TextBytes: cfg.Limits.MaxTextBytes, LabelBytes: cfg.Limits.MaxLabelBytes, Depth: cfg.Limits.MaxScopeDepth},
		},
		stop: make(chan struct{}),
	}
	var err error
	if c.processes, err = simplelru.NewLRU[processKey, *process](cfg.Limits.MaxProcesses, nil); err != nil {
		return nil, err
	}
	if c.previous, err = simplelru.NewLRU[lineKey, unit](cfg.Limits.MaxProcesses, nil); err != nil {
		return nil, err
	}
	c.recorder, err = newRecorder(set,
		c.size(func() int { return c.open }), c.size(func() int { return c.processes.Len() }))
	return c, err
}

// size returns a function that returns the size of what is kept.
func (c *spansConnector) size(of func() int) func() int64 {
	return func() int64 {
		c.mu.Lock()
		defer c.mu.Unlock()
		return int64(of())
	}
}

func (*spansConnector) Capabilities() consumer.Capabilities {
	return consumer.Capabilities{MutatesData: false}
}

// Start begins to look for processes that are gone.
func (c *spansConnector) Start(ctx context.Context, _ component.Host) error {
	ctx = context.WithoutCancel(ctx)
	c.sweeping.Go(func() {
		ticker := time.NewTicker(max(c.config.ProcessTimeout/4, time.Millisecond))
		defer ticker.Stop()
		for {
			select {
			case <-c.stop:
				return
			case now := <-ticker.C:
				c.sweep(ctx, now)
			}
		}
	})
	return nil
}

// Shutdown forgets the open scopes: the phases go on without the connector.
func (c *spansConnector) Shutdown(context.Context) error {
	c.stopping.Do(func() {
		close(c.stop)
		c.sweeping.Wait()
		c.recorder.shutdown()
	})
	return nil
}

// ConsumeLogs forwards the spans of the phases that end in a batch.
func (c *spansConnector) ConsumeLogs(ctx context.Context, ld plog.Logs) error {
	events := c.read(ctx, ld)
	if len(events) == 0 {
		return nil
	}
	out := c.newOutput()
	c.mu.Lock()
	now := time.Now()
	for i := range events {
		c.add(ctx, out, &events[i], now)
	}
	c.mu.Unlock()
	return c.forward(ctx, out)
}

func (c *spansConnector) newOutput() *output {
	return &output{traces: ptrace.NewTraces(), serviceName: c.config.ServiceName, version: c.version}
}

func (c *spansConnector) forward(ctx context.Context, out *output) error {
	if out.traces.ResourceSpans().Len() == 0 {
		return nil
	}
	return c.next.ConsumeTraces(ctx, out.traces)
}

// add takes an event into account. It is called with mu held.
func (c *spansConnector) add(ctx context.Context, out *output, e *event, now time.Time) {
	p, known := c.processes.Get(e.process)
	if !known {
		if e.boundary == nil {
			return
		}
		p = c.newProcess(ctx, e)
	}
	p.seen = now
	switch {
	case e.Start(): // what an earlier incarnation had left open
		c.end(ctx, out, p, p.removeEntered(e.Time-1), min(p.newest, e.Time))
	case e.Stop():
		c.end(ctx, out, p, p.removeEntered(e.Time), e.Time)
	case e.boundary == nil:
	case e.boundary.Action == boundary.Enter:
		c.enter(ctx, p, e)
	default:
		c.exit(ctx, out, p, e)
	}
	p.newest = max(p.newest, e.Time)
}

func (c *spansConnector) newProcess(ctx context.Context, e *event) *process {
	if c.processes.Len() == c.config.Limits.MaxProcesses {
		_, oldest, _ := c.processes.RemoveOldest()
		c.drop(ctx, oldest.removeEntered(math.MaxInt64), droppedEvicted)
	}
	key := e.process
	key.rank.Session = strings.Clone(key.rank.Session)
	p := &process{key: key, resource: pcommon.NewResource(), threads: map[int64][]*openScope{}}
	e.resource.CopyTo(p.resource)
	c.processes.Add(key, p)
	return p
}

// enter remembers a scope until its exit. Scopes of the thread that it does not lie in
// have ended, and their exits are lost.
func (c *spansConnector) enter(ctx context.Context, p *process, e *event) {
	b := e.boundary
	stack := p.threads[b.ThreadID]
	switch n := len(stack); {
	case find(stack, b.ScopeID) >= 0:
		c.recorder.skipped(ctx, reasonDuplicate)
		return
	case n > 0 && b.Time < stack[n-1].entered:
		c.recorder.skipped(ctx, reasonLate)
		return
	}
	if parent := find(stack, b.ParentScopeID); parent >= 0 || b.ParentScopeID == "" {
		c.drop(ctx, p.truncate(b.ThreadID, parent+1), droppedLostExit)
	}
	if c.open == c.config.Limits.MaxOpenScopes {
		c.recorder.skipped(ctx, reasonMaxOpenScopes)
		return
	}
	stack = p.threads[b.ThreadID]
	s := &openScope{id: strings.Clone(b.ScopeID), entered: b.Time, span: ptrace.NewSpan()}
	unitID, unitKnown := c.config.Root.unitOf(b, stack)
	s.unit, s.unitKnown = strings.Clone(unitID), unitKnown
	c.write(s.span, &p.key, b, &e.fields)
	c.place(s.span, p, b, stack, s.unit)
	s.span.SetStartTimestamp(timestamp(b.Time))
	p.threads[b.ThreadID] = append(stack, s)
	c.open++
	c.recorder.entered(ctx)
}

// exit turns a scope into a span.
func (c *spansConnector) exit(ctx context.Context, out *output, p *process, e *event) {
	b := e.boundary
	var s *openScope
	if at := find(p.threads[b.ThreadID], b.ScopeID); at >= 0 {
		above := p.truncate(b.ThreadID, at+1)
		c.drop(ctx, above, droppedLostExit)
		s = p.truncate(b.ThreadID, at)[0]
		c.open--
	}
	if !e.timed {
		c.recorder.skipped(ctx, reasonNoStart)
		return
	}
	span := out.spans(e.n, e.resource).AppendEmpty()
	stack := p.threads[b.ThreadID]
	unitID, unitKnown := "", false
	if s != nil {
		s.span.MoveTo(span)
		unitID, unitKnown = s.unit, s.unitKnown
	} else {
		unitID, unitKnown = c.config.Root.unitOf(b, stack)
		c.place(span, p, b, stack, unitID)
	}
	c.write(span, &p.key, b, &e.fields)
	span.SetStartTimestamp(timestamp(e.start))
	span.SetEndTimestamp(timestamp(e.end))
	if unitID == b.ScopeID {
		c.linkToPrevious(span, p, b, e)
	}
	c.recorder.exited(ctx)
	c.recorder.span(ctx, endsByExit, unitKnown)
}

// end turns scopes that a process has left open into spans.
func (c *spansConnector) end(ctx context.Context, out *output, p *process, scopes []*openScope, at int64) {
	if len(scopes) == 0 {
		return
	}
	spans := out.add(p.resource)
	for _, s := range scopes {
		span := spans.AppendEmpty()
		s.span.MoveTo(span)
		span.SetEndTimestamp(max(span.StartTimestamp(), timestamp(at)))
		span.Attributes().PutBool(attributeSyntheticEnd, true)
		c.recorder.span(ctx, endsSynthetic, s.unitKnown)
	}
	c.open -= len(scopes)
}

// drop forgets open scopes.
func (c *spansConnector) drop(ctx context.Context, scopes []*openScope, reason string) {
	c.open -= len(scopes)
	c.recorder.dropped(ctx, reason, len(scopes))
}

// sweep ends the scopes of processes that have been silent for too long.
func (c *spansConnector) sweep(ctx context.Context, now time.Time) {
	out := c.newOutput()
	c.mu.Lock()
	for {
		_, p, ok := c.processes.GetOldest()
		if !ok || now.Sub(p.seen) < c.config.ProcessTimeout {
			break
		}
		c.processes.RemoveOldest()
		c.end(ctx, out, p, p.removeEntered(math.MaxInt64), p.newest)
	}
	c.mu.Unlock()
	if err := c.forward(ctx, out); err != nil {
		c.logger.Error("Failed to forward the spans of processes that are gone", zap.Int("spans", out.traces.SpanCount()), zap.Error(err))
	}
}

// timestamp returns a time, which is not negative, as spans have it.
func timestamp(at int64) pcommon.Timestamp { return pcommon.Timestamp(at) } //nolint:gosec // events before 1970 are skipped
