// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package recorder

import (
	"context"
	"slices"
	"strconv"
	"time"

	"go.opentelemetry.io/otel/log"
)

const (
	scopeSeparator = ":"
	labelSeparator = " / "
)

// Handle is a phase that was entered.
type Handle struct {
	recorder *Recorder
	lane     *Lane
	parent   *Handle
	name     string
	number   int64
	attrs    []log.KeyValue
	err      error

	// ctx is the address of uncancelled. It is a field because contextcheck would
	// report every caller of a Close that converts it.
	ctx         context.Context
	uncancelled uncancelled

	// described is what the events say; empty if the phase_enter event was not emitted.
	described description

	// closed is guarded by the recorder's mu.
	closed bool
}

// Close ends the phase in the lane in which it was entered, and emits its phase_exit
// event with the trace context with which it was entered. Closing a phase again does
// nothing. If Close returns an error, the phase is as open as before.
func (h *Handle) Close() error { return h.close(h.ctx, h.lane) }

// CloseContext is Close in the lane of ctx, with the trace context of ctx. It returns
// [ErrOtherLane] in place of closing a phase of another lane.
func (h *Handle) CloseContext(ctx context.Context) error {
	if h.err != nil {
		return h.err
	}
	return h.close(context.WithoutCancel(ctx), h.recorder.lane(ctx))
}

func (h *Handle) close(ctx context.Context, lane *Lane) error {
	if h.err != nil {
		return h.err
	}
	r := h.recorder
	r.mu.Lock()
	if h.closed {
		r.mu.Unlock()
		return nil
	}
	b, err := r.popLocked(h, lane)
	r.mu.Unlock()
	if err != nil {
		err.ScopeID = h.ScopeID()
		return r.refuse(err)
	}
	r.emitExit(ctx, &b)
	return nil
}

// Err returns the error with which Enter refused to open the phase, or nil.
func (h *Handle) Err() error { return h.err }

// Name returns the name of the phase; empty if Enter refused it.
func (h *Handle) Name() string { return h.name }

// Path returns the names of the phases from the outermost to this one.
func (h *Handle) Path() []string {
	var path []string
	for s := h; s != nil && s.name != ""; s = s.parent {
		path = append(path, s.name)
	}
	slices.Reverse(path)
	return path
}

// ScopeID returns the ID of this scope of the phase; empty if Enter refused it.
func (h *Handle) ScopeID() string {
	switch {
	case h.err != nil:
		return ""
	case h.described.scopeID != "":
		return h.described.scopeID
	}
	var room [64]byte
	id := append(room[:0], h.recorder.session...)
	id = append(id, scopeSeparator...)
	return string(strconv.AppendInt(id, h.number, 10))
}

// Lane returns the lane in which the phase was entered; zero if Enter refused it.
func (h *Handle) Lane() Lane {
	if h.err != nil {
		return Lane{}
	}
	return *h.lane
}

// find returns the scope with a number among h and its parents, or nil.
func (h *Handle) find(number int64) *Handle {
	for ; h != nil && h.number >= number; h = h.parent {
		if h.number == number {
			return h
		}
	}
	return nil
}

// description is the part of a scope's events that takes memory to put together.
type description struct {
	scopeID string
	// label is the path as one text, message the body of the phase_enter event, which
	// ends in it.
	label   string
	message string
	path    []log.Value
}

func (h *Handle) describe() description {
	if h.described.scopeID != "" {
		return h.described
	}
	var parent description
	if h.parent != nil {
		parent = h.parent.describe()
	}
	d := description{scopeID: h.ScopeID(), path: make([]log.Value, len(parent.path)+1)}
	copy(d.path, parent.path)
	d.path[len(parent.path)] = log.StringValue(h.name)
	if h.parent == nil {
		d.message = messageEnter + h.name
	} else {
		d.message = messageEnter + parent.label + labelSeparator + h.name
	}
	d.label = d.message[len(messageEnter):]
	return d
}

// uncancelled is a context that is never cancelled, so that the events of a phase are
// emitted also when its work was cancelled. In contrast to [context.WithoutCancel] it
// can be a part of something else.
type uncancelled struct{ parent context.Context }

func (*uncancelled) Deadline() (deadline time.Time, ok bool) { return time.Time{}, false }
func (*uncancelled) Done() <-chan struct{}                   { return nil }
func (*uncancelled) Err() error                              { return nil }
func (u *uncancelled) Value(key any) any                     { return u.parent.Value(key) }
