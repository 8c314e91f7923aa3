// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package recorder

import (
	"context"
	"sync"

	"go.opentelemetry.io/otel/log"
	"go.opentelemetry.io/otel/log/embedded"
)

// provider is the provider of one logger.
type provider struct {
	embedded.LoggerProvider

	logger log.Logger
}

func (p provider) Logger(string, ...log.LoggerOption) log.Logger { return p.logger }

// memory is a logger that keeps what is emitted.
type memory struct {
	embedded.Logger

	mu     sync.Mutex
	events []event
}

type event struct {
	ctx    context.Context
	record log.Record
}

func (*memory) Enabled(context.Context, log.EnabledParameters) bool { return true }

func (m *memory) Emit(ctx context.Context, record log.Record) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.events = append(m.events, event{ctx, record})
}

// take returns the events since it was called last.
func (m *memory) take() []event {
	m.mu.Lock()
	defer m.mu.Unlock()
	events := m.events
	m.events = nil
	return events
}

// names returns the names of the events since take was called last.
func (m *memory) names() []string {
	var names []string
	for _, e := range m.take() {
		names = append(names, e.record.EventName())
	}
	return names
}

// attributes returns the attributes of an event as plain values.
func (e *event) attributes() map[string]any {
	attrs := make(map[string]any)
	e.record.WalkAttributes(func(kv log.KeyValue) bool {
		attrs[kv.Key] = plain(kv.Value)
		return true
	})
	return attrs
}

func (e *event) phaseScope() map[string]any {
	scope, _ := e.attributes()["phase_scope"].(map[string]any)
	return scope
}

func plain(v log.Value) any {
	switch v.Kind() {
	case log.KindBool:
		return v.AsBool()
	case log.KindInt64:
		return v.AsInt64()
	case log.KindFloat64:
		return v.AsFloat64()
	case log.KindString:
		return v.AsString()
	case log.KindSlice:
		items := []any{}
		for _, item := range v.AsSlice() {
			items = append(items, plain(item))
		}
		return items
	case log.KindMap:
		fields := make(map[string]any)
		for _, kv := range v.AsMap() {
			fields[kv.Key] = plain(kv.Value)
		}
		return fields
	case log.KindBytes:
		return v.AsBytes()
	default:
		return nil
	}
}

// discard is a logger that has records made for nothing.
type discard struct{ embedded.Logger }

func (discard) Enabled(context.Context, log.EnabledParameters) bool { return true }

func (discard) Emit(context.Context, log.Record) {}
