// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package recorder

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel/log"
)

// Recorder reports the phases of one rank of one session. It is safe for concurrent
// use.
type Recorder struct {
	logger      log.Logger
	session     string
	common      []log.KeyValue
	defaultLane *Lane
	pulse       time.Duration
	onError     func(error)

	// lifecycle serializes Start and Stop, and guards stopPulse, which is nil unless
	// the recorder is started.
	lifecycle sync.Mutex
	stopPulse func()

	// mu guards the fields below. No event is emitted with it held.
	mu sync.Mutex
	// sequence is the number of the newest boundary.
	sequence int64
	// innermost has the innermost open scope of each lane that has one, by lane ID.
	innermost map[int64]*Handle
}

// New returns a recorder. It emits nothing until it is used.
func New(opts ...Option) *Recorder {
	c := newConfig(opts)
	return &Recorder{
		logger:      c.provider.Logger(loggerName),
		session:     c.session,
		common:      c.common(),
		defaultLane: newLane(DefaultLane),
		pulse:       c.pulse,
		onError:     c.onError,
		innermost:   make(map[int64]*Handle),
	}
}

// SessionID returns the ID of the session. A program that puts it on its own telemetry
// as session_id has it attributed to this session.
func (r *Recorder) SessionID() string { return r.session }

// Enter opens a phase within the innermost open one of the lane of ctx, and emits its
// phase_enter event with the trace context of ctx. The attributes describe this scope
// of the phase (step, epoch, ...).
//
// Enter never fails the program that it describes: a blank name opens nothing and
// returns ctx itself and a handle that carries the error.
func (r *Recorder) Enter(ctx context.Context, name string, attrs ...log.KeyValue) (context.Context, *Handle) {
	lane := r.lane(ctx)
	name = strings.TrimSpace(name)
	if name == "" {
		return ctx, &Handle{err: r.refuse(&ProtocolError{Err: ErrBlankName, Lane: *lane})}
	}
	h := &Handle{recorder: r, lane: lane, name: name, attrs: slices.Clone(attrs), uncancelled: uncancelled{ctx}}
	h.ctx = &h.uncancelled
	enabled := r.enabled(h.ctx, eventEnter)
	b := r.push(h, enabled)
	if enabled {
		r.emitBoundary(h.ctx, &b)
	}
	return context.WithValue(ctx, contextKey{}, h), h
}

// Exit ends the phase with a scope ID in the lane of ctx, and emits its phase_exit
// event with the trace context of ctx. It is for callbacks that cannot be handed a
// [Handle].
func (r *Recorder) Exit(ctx context.Context, scopeID string) error {
	lane := r.lane(ctx)
	r.mu.Lock()
	b, err := r.popLocked(r.findLocked(lane, scopeID), lane)
	r.mu.Unlock()
	if err != nil {
		err.ScopeID = scopeID
		return r.refuse(err)
	}
	r.emitExit(context.WithoutCancel(ctx), &b)
	return nil
}

// Reset forgets all open scopes and restarts the numbering of boundaries.
func (r *Recorder) Reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sequence = 0
	clear(r.innermost)
}

// push opens a scope.
func (r *Recorder) push(h *Handle, describe bool) boundary {
	r.mu.Lock()
	defer r.mu.Unlock()
	b := r.numberLocked(h, actionEnter)
	h.number = b.sequence
	h.parent = r.innermost[h.lane.ID]
	r.innermost[h.lane.ID] = h
	if describe {
		h.described = h.describe()
	}
	return b
}

// popLocked closes a scope for a lane. A nil handle stands for a scope that is not
// open. It is called with mu held.
func (r *Recorder) popLocked(h *Handle, lane *Lane) (boundary, *ProtocolError) {
	innermost := r.innermost[lane.ID]
	if h == nil || h != innermost {
		return boundary{}, r.refusalLocked(h, lane, innermost)
	}
	h.closed = true
	if h.parent == nil {
		delete(r.innermost, lane.ID) // lanes come and go
	} else {
		r.innermost[lane.ID] = h.parent
	}
	return r.numberLocked(h, actionExit), nil
}

// refusalLocked says why a scope cannot be exited in a lane. It is called with mu held.
func (r *Recorder) refusalLocked(h *Handle, lane *Lane, innermost *Handle) *ProtocolError {
	err := &ProtocolError{Lane: *lane}
	open := h != nil && r.isOpenLocked(h)
	switch {
	case open && h.lane.ID != lane.ID:
		err.Err, err.Owner = ErrOtherLane, *h.lane
	case innermost == nil:
		err.Err = ErrNothingOpen
	case open:
		err.Err, err.Innermost = ErrNotInnermost, innermost.ScopeID()
	default:
		err.Err = ErrUnknownScope
	}
	return err
}

func (r *Recorder) isOpenLocked(h *Handle) bool {
	for open := r.innermost[h.lane.ID]; open != nil; open = open.parent {
		if open == h {
			return true
		}
	}
	return false
}

// findLocked returns the open scope with an ID, or nil. It looks in a lane first, then
// in the others. It is called with mu held.
func (r *Recorder) findLocked(lane *Lane, scopeID string) *Handle {
	digits, ok := strings.CutPrefix(scopeID, r.session+scopeSeparator)
	number, err := strconv.ParseInt(digits, 10, 64)
	if !ok || err != nil || strconv.FormatInt(number, 10) != digits {
		return nil
	}
	if h := r.innermost[lane.ID].find(number); h != nil {
		return h
	}
	for _, innermost := range r.innermost {
		if h := innermost.find(number); h != nil {
			return h
		}
	}
	return nil
}

// numberLocked gives a boundary the next number and the current time, so that the order
// of both is the same. It is called with mu held.
func (r *Recorder) numberLocked(h *Handle, action string) boundary {
	r.sequence++
	return boundary{scope: h, action: action, sequence: r.sequence, time: time.Now()}
}

func (r *Recorder) refuse(err *ProtocolError) error {
	r.onError(err)
	return err
}
