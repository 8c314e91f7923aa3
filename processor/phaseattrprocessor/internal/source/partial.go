// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package source

import (
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/phaseattr/phaseattr/internal/boundary"
)

// The attributes of a log record whose body is a span that has begun.
const (
	partialEvent    = "partial.event"
	partialBodyType = "partial.body.type"
	// partialFrequency is how often there is such a record while the span is open.
	partialFrequency = "partial.frequency"
	partialJSON      = "json/v1"
)

// maxPartial bounds the length of the body of a partial span.
const maxPartial = 64 << 10

// Partial returns the spans that are the body of a log record, and why they cannot be read. It
// returns false if the record has none.
func (r *Reader) Partial(record plog.LogRecord) (spans ptrace.Traces, reason boundary.Reason, ok bool) {
	if !r.set.partial {
		return spans, boundary.OK, false
	}
	if _, ok := record.Attributes().Get(partialEvent); !ok {
		return spans, boundary.OK, false
	}
	kind, _ := record.Attributes().Get(partialBodyType)
	if kind == (pcommon.Value{}) || kind.AsString() != partialJSON || record.Body().Type() != pcommon.ValueTypeStr {
		return spans, boundary.OK, false
	}
	body := record.Body().Str()
	if len(body) > maxPartial {
		return spans, boundary.TooLong, true
	}
	spans, err := r.json.UnmarshalTraces([]byte(body))
	if err != nil {
		return spans, boundary.BadSpan, true
	}
	return spans, boundary.OK, true
}

// Heartbeat returns how often there are log records of a span that has begun; 0 if the record
// does not say.
func Heartbeat(record plog.LogRecord) time.Duration {
	v, ok := record.Attributes().Get(partialFrequency)
	if !ok {
		return 0
	}
	every, err := time.ParseDuration(v.AsString())
	if err != nil {
		return 0
	}
	return max(every, 0)
}

// Open says that the spans that follow are partial ones, which may have no end yet.
func (r *Reader) Open() { r.open = true }
