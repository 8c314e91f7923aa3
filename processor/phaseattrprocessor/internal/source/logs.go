// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package source

import (
	"encoding/binary"
	"encoding/hex"
	"hash/fnv"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/open-telemetry/opentelemetry-collector-contrib/pkg/ottl/contexts/ottllog"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/phaseattr/phaseattr/internal/boundary"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/replay"
)

// logSource is a Logs, compiled.
type logSource struct {
	identity
	feed        replay.Feed
	localGPU    bool
	where       *condition[*ottllog.TransformContext]
	names       []string
	enter, exit string
	// duration is that of records that are written once for a phase, took that of an exit.
	duration, took   quantity
	atStart, ofWhole bool
	sequence         boundary.Keys
	time             quantity
	attributes       []string
}

// quantity is a number with a unit.
type quantity struct {
	keys boundary.Keys
	// unit is in nanoseconds.
	unit int64
}

func (s *Set) newLogs(o *Options, set component.TelemetrySettings) (*logSource, error) {
	c := o.Logs
	where, err := logCondition(c.Where, set)
	if err != nil {
		return nil, keyed("logs::where", c.Where, err)
	}
	number := func(field, unit string) quantity { return quantity{s.keysOf(field), Units()[unit]} }
	return &logSource{
		identity: s.newIdentity(c.Session, c.Rank, c.Group, c.Lane, Main{}, c.SessionPath),
		feed:     o.Feed, localGPU: o.LocalRankIsGPU, where: where, names: c.Name, enter: c.Enter.Suffix, exit: c.Exit.Suffix,
		duration: number(c.Duration.Field, c.Duration.Unit), took: number(c.Exit.Took.Field, c.Exit.Took.Unit),
		ofWhole: c.Duration.Field != "", atStart: c.Duration.Time == AtStart,
		sequence: s.keysOf(c.Sequence...), time: number(c.Time.Field, c.Time.Unit), attributes: c.ScopeAttributes,
	}, nil
}

// Units returns the units of times, in nanoseconds.
func Units() map[string]int64 { return map[string]int64{"s": 1e9, "ms": 1e6, "us": 1e3, "ns": 1} }

// logScope is a source that may read the log records of a scope.
type logScope struct {
	*logSource
	// where is true when the condition still has to be asked of each record.
	where bool
}

// EnterLogs begins with the log records of a scope. It reports whether any of them can be of a
// phase.
func (r *Reader) EnterLogs(resource plog.ResourceLogs, scope plog.ScopeLogs) bool {
	r.logs, r.scanned = r.logs[:0], false
	if !r.logClaims.enter(scope) {
		return false
	}
	r.resourceLogs, r.scopeLogs = resource, scope
	for _, s := range r.set.logs {
		at := logScope{logSource: s, where: s.where != nil}
		if at.where && s.where.ofScope {
			if !r.holdsFor(s, r.noRecord) {
				continue
			}
			at.where = false
		}
		r.logs = append(r.logs, at)
	}
	return len(r.logs) > 0
}

// Record returns what a log record of the scope says about a phase, nil if no source claims
// it. It is valid until the next call.
func (r *Reader) Record(record plog.LogRecord) *Phase {
	for i := range r.logs {
		s := &r.logs[i]
		text, ok := s.nameOf(record)
		if !ok {
			continue
		}
		name, action, ok := s.phaseOf(text)
		isPhase := ok && (!s.where || r.holdsFor(s.logSource, record))
		if !isPhase && s.sequence.Mask() == 0 {
			continue
		}
		r.scanScope(r.scopeLogs.Scope().Attributes(), r.resourceLogs.Resource().Attributes())
		r.fields.ScanRecord(r.set.keys, record.Attributes(), boundary.MapBody(record))
		w := s.read(&r.fields, &r.set.limits)
		if !w.named {
			continue
		}
		r.source = s.logSource
		r.logClaims.note()
		if isPhase {
			r.readRecord(s.logSource, &w, name, action, record)
		} else {
			r.readEvent(s.logSource, &w, record)
		}
		return &r.phase
	}
	return nil
}

// nameOf returns the name that a record has.
func (s *logSource) nameOf(record plog.LogRecord) (string, bool) {
	for _, key := range s.names {
		v, ok := record.Attributes().Get(key)
		if !ok && record.Body().Type() == pcommon.ValueTypeMap {
			v, ok = record.Body().Map().Get(key)
		}
		if ok && v.Type() == pcommon.ValueTypeStr {
			return v.Str(), true
		}
	}
	return "", false
}

// phaseOf returns the phase that a name is about, and what happens to it. Where one suffix ends
// with the other one, the longer one counts.
func (s *logSource) phaseOf(text string) (name string, action boundary.Action, ok bool) {
	if s.ofWhole {
		return text, boundary.Exit, true
	}
	entered, isEnter := strings.CutSuffix(text, s.enter)
	left, isExit := strings.CutSuffix(text, s.exit)
	if isEnter && (!isExit || len(s.enter) > len(s.exit)) {
		return entered, boundary.Enter, true
	}
	return left, boundary.Exit, isExit
}

func (r *Reader) holdsFor(s *logSource, record plog.LogRecord) bool {
	tCtx := ottllog.NewTransformContextPtr(r.resourceLogs, r.scopeLogs, record)
	defer tCtx.Close()
	return s.where.holds(tCtx)
}

// readRecord reads a record that a source claims.
func (r *Reader) readRecord(s *logSource, w *whose, name string, action boundary.Action, record plog.LogRecord) {
	r.phase = Phase{Feed: &s.feed, Rank: w.rank, Aside: w.aside, LocalRankIsGPU: s.localGPU, Reason: w.reason, IsBoundary: !s.ofWhole}
	p := &r.phase
	p.Rank.Tenant = r.tenant
	at, ok := s.timeOf(&r.fields, record)
	p.Time = at
	switch {
	case p.Reason != boundary.OK:
		return
	case !ok:
		p.Reason = boundary.BadTime
		return
	case strings.TrimSpace(name) == "":
		p.Reason = boundary.BadName
		return
	case !boundary.IsText(name):
		p.Reason = boundary.BadText
		return
	case len(name) > r.set.limits.TextBytes:
		p.Reason = boundary.TooLong
		return
	case s.ofWhole:
		p.readWhole(s, w, name, &r.fields)
		return
	}
	b := &p.Boundary
	*b = boundary.Boundary{Time: at, Action: action, Name: name, Lane: w.lane, ThreadName: w.lane}
	switch b.Sequence, ok = r.fields.Integer(s.sequence); {
	case s.sequence.Mask() == 0:
		b.Sequence = boundary.Unnumbered
	case !ok:
		p.Reason = boundary.BadSequence
		return
	}
	if took, ok := s.took.of(&r.fields); ok && action == boundary.Exit && took > 0 && took < at {
		b.Began = at - took
	}
}

// readEvent reads a record that a source claims and that is not about a phase. Its number is
// one of those of its process.
func (r *Reader) readEvent(s *logSource, w *whose, record plog.LogRecord) {
	r.phase = Phase{Feed: &s.feed, Rank: w.rank, Aside: w.aside, LocalRankIsGPU: s.localGPU, Event: true, Reason: w.reason}
	r.phase.Rank.Tenant = r.tenant
	at, ok := s.timeOf(&r.fields, record)
	r.phase.Time = at
	sequence, isNumber := r.fields.Integer(s.sequence)
	switch {
	case !ok:
		r.phase.Reason = boundary.BadTime
	case !isNumber:
		r.phase.Reason = boundary.BadSequence
	}
	r.phase.Boundary.Sequence = sequence
}

// timeOf returns the time of a record.
func (s *logSource) timeOf(f *boundary.Fields, record plog.LogRecord) (int64, bool) {
	if s.time.unit > 0 {
		at, ok := s.time.of(f)
		return at, ok && at > 0
	}
	at := record.Timestamp()
	return int64(at), at > 0 && at <= math.MaxInt64 //nolint:gosec // false if it overflows
}

// readWhole reads the interval of a record that is written once for a phase.
func (p *Phase) readWhole(s *logSource, w *whose, name string, f *boundary.Fields) {
	took, ok := s.duration.of(f)
	start, end := p.Time-took, p.Time
	if s.atStart {
		start, end = p.Time, p.Time+took
	}
	if !ok || took < 0 || start <= 0 || end < start {
		p.Reason = boundary.Inverted
		return
	}
	p.Time = end
	p.Interval = boundary.Interval{
		Start: start, End: end, Lane: w.lane, Path: boundary.NewPath(name), ScopeID: scopeID(w.lane, name, start, end),
	}
}

// scopeID returns an identifier of an interval that has none.
func scopeID(lane, name string, start, end int64) string {
	hash := fnv.New64a()
	_, _ = hash.Write([]byte(lane + "\x00" + name))
	var times []byte
	times = binary.BigEndian.AppendUint64(times, uint64(start)) //nolint:gosec // any bits will do
	times = binary.BigEndian.AppendUint64(times, uint64(end))   //nolint:gosec // any bits will do
	_, _ = hash.Write(times)
	return hex.EncodeToString(hash.Sum(nil))
}

// RecordAttributes returns those of the attributes to keep that a record has, which
// Record has claimed.
func (r *Reader) RecordAttributes(record plog.LogRecord) []boundary.Attribute {
	kept := r.Attributes(record.Attributes())
	if body := boundary.MapBody(record); body != (pcommon.Map{}) {
		kept = append(kept, r.Attributes(body)...)
	}
	if only := r.source.attributes; len(only) > 0 {
		kept = slices.DeleteFunc(kept, func(a boundary.Attribute) bool { return !slices.Contains(only, a.Key) })
	}
	return kept
}

// of returns a quantity in nanoseconds.
func (q *quantity) of(f *boundary.Fields) (int64, bool) {
	v, found := f.FindAny(q.keys)
	if !found || q.unit == 0 {
		return 0, false
	}
	if n, ok := boundary.Integer(v); ok {
		product := n * q.unit
		return product, product/q.unit == n
	}
	number, ok := decimal(v)
	if !ok {
		return 0, false
	}
	whole, fraction := math.Modf(number)
	if !(math.Abs(whole) < math.MaxInt64/float64(q.unit)) {
		return 0, false
	}
	return int64(whole)*q.unit + int64(math.Round(fraction*float64(q.unit))), true
}

// decimal returns the value if it is a number or decimal text: what a regular expression has
// found in a line is text.
func decimal(v pcommon.Value) (float64, bool) {
	switch v.Type() {
	case pcommon.ValueTypeDouble:
		return v.Double(), true
	case pcommon.ValueTypeStr:
		number, err := strconv.ParseFloat(strings.TrimSpace(v.Str()), 64)
		return number, err == nil
	}
	return 0, false
}
