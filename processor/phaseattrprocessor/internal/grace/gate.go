// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

// Package grace holds batches whose answers would be too early: the boundaries that
// precede them in time may still be on their way.
package grace

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/boundary"
)

// Wait is the moment that the events of a group must reach.
type Wait struct {
	Group boundary.RankKey
	Until int64
}

// Options say how long and how much is held.
type Options struct {
	// Period is how long a batch is held at most.
	Period time.Duration
	// MaxBytes bounds the bytes held, MaxBatches the batches.
	MaxBytes   int64
	MaxBatches int64
	// Reached tells whether there is nothing to wait for any more.
	Reached func(boundary.RankKey, int64) bool
	// Released is told of each batch that is let go.
	Released func(Release)
}

// Release says how a batch was let go.
type Release struct {
	// Held is how long the batch was held.
	Held time.Duration
	// Expired is true when the period ran out before the events came.
	Expired bool
}

// Gate is what the pipelines of one component ID hold their batches at.
type Gate struct {
	options Options
	bytes   *semaphore.Weighted
	batches *semaphore.Weighted
	// holding is how many batches are held, heldBytes how much they take.
	holding, heldBytes atomic.Int64

	// mu guards waiting.
	mu      sync.Mutex
	waiting map[boundary.RankKey][]waiter
}

type waiter struct {
	until int64
	held  *held
}

// held is a batch that waits for one or more groups.
type held struct {
	pending int
	ready   chan struct{}
}

// NewGate returns a gate that holds nothing yet.
func NewGate(options Options) *Gate {
	return &Gate{
		options: options,
		bytes:   semaphore.NewWeighted(options.MaxBytes),
		batches: semaphore.NewWeighted(options.MaxBatches),
		waiting: map[boundary.RankKey][]waiter{},
	}
}

// acquire takes room for a batch, and waits for it for the period at most.
func (g *Gate) acquire(ctx context.Context, bytes int64) error {
	ctx, cancel := context.WithTimeout(ctx, g.options.Period)
	defer cancel()
	if err := g.batches.Acquire(ctx, 1); err != nil {
		return err
	}
	if err := g.bytes.Acquire(ctx, bytes); err != nil {
		g.batches.Release(1)
		return err
	}
	g.holding.Add(1)
	g.heldBytes.Add(bytes)
	return nil
}

// release gives back the room of a batch.
func (g *Gate) release(bytes int64) {
	g.holding.Add(-1)
	g.heldBytes.Add(-bytes)
	g.bytes.Release(bytes)
	g.batches.Release(1)
}

// HeldBytes returns how many bytes are held.
func (g *Gate) HeldBytes() int64 { return g.heldBytes.Load() }

// Advance is to be called when events of a group have come. It lets go what has
// waited for no more than them.
func (g *Gate) Advance(group boundary.RankKey) {
	if g.holding.Load() == 0 {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.settle(group, func(w waiter) bool {
		if !g.options.Reached(group, w.until) {
			return false
		}
		w.held.pending--
		if w.held.pending == 0 {
			close(w.held.ready)
		}
		return true
	})
}

// settle takes the waiters off a group that done says are.
func (g *Gate) settle(group boundary.RankKey, done func(waiter) bool) {
	left := g.waiting[group][:0]
	for _, w := range g.waiting[group] {
		if !done(w) {
			left = append(left, w)
		}
	}
	if len(left) == 0 {
		delete(g.waiting, group)
		return
	}
	g.waiting[group] = left
}

// enter lets a batch wait. What is reached already is not waited for.
func (g *Gate) enter(waits []Wait) *held {
	g.mu.Lock()
	defer g.mu.Unlock()
	h := &held{ready: make(chan struct{})}
	for _, wait := range waits {
		if !g.options.Reached(wait.Group, wait.Until) {
			g.waiting[wait.Group] = append(g.waiting[wait.Group], waiter{wait.Until, h})
			h.pending++
		}
	}
	if h.pending == 0 {
		close(h.ready)
	}
	return h
}

// leave takes a batch out, whether it still waits or not.
func (g *Gate) leave(h *held, waits []Wait) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, wait := range waits {
		g.settle(wait.Group, func(w waiter) bool { return w.held == h })
	}
}
