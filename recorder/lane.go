// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package recorder

import (
	"cmp"
	"context"
	"hash/fnv"
	"strings"
)

// DefaultLane is the name of the lane of a context that has no other one.
const DefaultLane = "main"

// Lane is a lane of execution: what a thread is to programs whose work stays on one.
// Lanes with the same ID are the same lane. Records carry them as thread_id and
// thread_name.
type Lane struct {
	ID   int64
	Name string
}

// LaneOption configures a lane.
type LaneOption func(*Lane)

// LaneID sets the ID of a lane, for example to that of an operating system thread.
// Default: derived from the lane's name, the same in every process.
func LaneID(id int64) LaneOption {
	return func(l *Lane) { l.ID = id }
}

// WithLane returns a context whose phases are entered in the named lane. A blank name
// stands for [DefaultLane]. The lane starts at the top level: phases that are open in
// the lane of ctx are not parents of its phases.
func WithLane(ctx context.Context, name string, opts ...LaneOption) context.Context {
	lane := newLane(name)
	for _, opt := range opts {
		opt(lane)
	}
	return context.WithValue(ctx, contextKey{}, lane)
}

func newLane(name string) *Lane {
	name = cmp.Or(strings.TrimSpace(name), DefaultLane)
	hash := fnv.New64a()
	_, _ = hash.Write([]byte(name))
	// 53 bits, so that the ID survives JSON parsers that read numbers as doubles.
	const spare = 64 - 53
	return &Lane{ID: int64(hash.Sum64() >> spare), Name: name}
}

// contextKey is the key of the *Lane or the *Handle that was put into a context last.
// One key for both finds either with a single walk up the context.
type contextKey struct{}

// FromContext returns the innermost phase that was entered with ctx or a context that
// it derives from, or nil if there is none in the lane of ctx. The scope and the lane
// of the phase are what telemetry gives as origin_phase_scope_id and origin_thread_id
// to be attributed to precisely this phase.
func FromContext(ctx context.Context) *Handle {
	h, _ := ctx.Value(contextKey{}).(*Handle)
	return h
}

func (r *Recorder) lane(ctx context.Context) *Lane {
	switch v := ctx.Value(contextKey{}).(type) {
	case *Lane:
		return v
	case *Handle:
		return v.lane
	}
	return r.defaultLane
}
