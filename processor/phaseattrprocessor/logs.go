// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"iter"

	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/boundary"
)

// logs walks log records, which are annotated as of their time.
type logs struct{}

func (logs) items(ld plog.Logs) iter.Seq[*item] {
	return func(yield func(*item) bool) {
		var it item // one for all, since it escapes
		for _, resource := range ld.ResourceLogs().All() {
			it.resource = resource.Resource().Attributes()
			for _, scope := range resource.ScopeLogs().All() {
				it.scope = scope.Scope().Attributes()
				for _, record := range scope.LogRecords().All() {
					it.attributes, it.body, it.record = record.Attributes(), boundary.MapBody(record), record
					if !yield(&it) {
						return
					}
				}
			}
		}
	}
}

func (logs) partition(ld plog.Logs, c *cursor, n int) []plog.Logs {
	parts := make([]plog.Logs, n)
	for i := range parts {
		parts[i] = plog.NewLogs()
	}
	ld.ResourceLogs().RemoveIf(func(resource plog.ResourceLogs) bool {
		inResource := shells[plog.ResourceLogs]{}
		resource.ScopeLogs().RemoveIf(func(scope plog.ScopeLogs) bool {
			inScope := shells[plog.ScopeLogs]{}
			scope.LogRecords().RemoveIf(func(record plog.LogRecord) bool {
				part := c.next()
				if part == stays {
					return false
				}
				to := inScope.of(part, func() plog.ScopeLogs {
					outer := inResource.of(part, func() plog.ResourceLogs {
						shell := parts[part].ResourceLogs().AppendEmpty()
						resource.Resource().CopyTo(shell.Resource())
						shell.SetSchemaUrl(resource.SchemaUrl())
						return shell
					})
					shell := outer.ScopeLogs().AppendEmpty()
					scope.Scope().CopyTo(shell.Scope())
					shell.SetSchemaUrl(scope.SchemaUrl())
					return shell
				})
				record.MoveTo(to.LogRecords().AppendEmpty())
				return true
			})
			return len(inScope) > 0 && scope.LogRecords().Len() == 0
		})
		return len(inResource) > 0 && resource.ScopeLogs().Len() == 0
	})
	return parts
}

func (logs) append(to, from plog.Logs) {
	from.ResourceLogs().MoveAndAppendTo(to.ResourceLogs())
}

func (logs) count(ld plog.Logs) int  { return ld.LogRecordCount() }
func (logs) empty(ld plog.Logs) bool { return ld.ResourceLogs().Len() == 0 }
func (logs) itemBytes() int64        { return recordBytes }

func (logs) wireBytes(ld plog.Logs) int {
	var marshaler plog.ProtoMarshaler
	return marshaler.LogsSize(ld)
}
