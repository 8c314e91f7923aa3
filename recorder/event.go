// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package recorder

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/log"
)

// The names of the events, and what they say to people.
const (
	eventEnter  = "phase_enter"
	eventExit   = "phase_exit"
	eventStart  = "start"
	eventSample = "sample"
	eventStop   = "stop"

	actionEnter = "enter"
	actionExit  = "exit"

	messageEnter  = "Phase entered: "
	messageExit   = "Phase exited: "
	messageStart  = "Phase recording started"
	messageSample = "Phase recording continues"
	messageStop   = "Phase recording stopped"
)

// boundary is the entry into a scope or the exit from it.
type boundary struct {
	scope    *Handle
	action   string
	sequence int64
	time     time.Time
}

func (r *Recorder) enabled(ctx context.Context, event string) bool {
	return r.logger.Enabled(ctx, log.EnabledParameters{Severity: log.SeverityInfo, EventName: event})
}

func (r *Recorder) emitExit(ctx context.Context, b *boundary) {
	if r.enabled(ctx, eventExit) {
		r.emitBoundary(ctx, b)
	}
}

func (r *Recorder) emitBoundary(ctx context.Context, b *boundary) {
	r.logger.Emit(ctx, r.boundaryRecord(b))
}

func (r *Recorder) boundaryRecord(b *boundary) log.Record {
	d := b.scope.describe()
	event, message := eventEnter, d.message
	if b.action == actionExit {
		event, message = eventExit, messageExit+d.label
	}
	record := r.record(event, message, b.time)
	record.AddAttributes(log.Map("phase_scope", b.fields(&d)...))
	return record
}

// fields returns the fields of the boundary's phase_scope.
func (b *boundary) fields(d *description) []log.KeyValue {
	parentID := log.Empty("parent_scope_id")
	if parent := b.scope.parent; parent != nil {
		parentID = log.String(parentID.Key, parent.ScopeID())
	}
	const most = 10
	fields := append(
		make([]log.KeyValue, 0, most),
		log.String("action", b.action),
		log.String("name", b.scope.name),
		log.Slice("path", d.path...),
		log.Int("depth", len(d.path)),
		log.String("scope_id", d.scopeID),
		parentID,
		log.Int64("thread_id", b.scope.lane.ID),
		log.String("thread_name", b.scope.lane.Name),
		log.Int64("sequence", b.sequence),
	)
	if len(b.scope.attrs) > 0 {
		fields = append(fields, log.Map("attributes", b.scope.attrs...))
	}
	return fields
}

// record returns an event with the attributes that all have.
func (r *Recorder) record(event, message string, now time.Time) log.Record {
	var record log.Record
	record.SetEventName(event)
	record.SetTimestamp(now)
	record.SetSeverity(log.SeverityInfo)
	record.SetBody(log.StringValue(message))
	record.AddAttributes(r.common...)
	return record
}

// emit emits an event that is not a boundary.
func (r *Recorder) emit(ctx context.Context, event, message string, attrs ...log.KeyValue) {
	if r.enabled(ctx, event) {
		record := r.record(event, message, time.Now())
		record.AddAttributes(attrs...)
		r.logger.Emit(ctx, record)
	}
}
